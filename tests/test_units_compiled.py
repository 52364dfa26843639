"""The compiler on machines with several EXEC engines: every engine gets its share, and the bits
are those of one engine."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import te, topi

import tileflow_tvm as tf
from tileflow_tvm import _sim
from tileflow_tvm.isa.program import Role

MACHINE = tf.Machine.load("tileflow")
THREE_TILES = 3 * 32 * 32 * 4
FAST_DRAM = {"dram_bytes_per_cycle": 1024, "dram_latency_cycles": 10}
"""Where DRAM is what takes time, more engines are of no use."""


def dense(m: int, n: int, k: int, *, after: str = ""):
    a, b = te.placeholder((m, k), name="a"), te.placeholder((k, n), name="b")
    bias = te.placeholder((n,), name="bias")
    product = topi.matmul(a, b)
    outputs = {
        "": [product],
        "bias, relu": [bias, topi.nn.relu(product + bias)],
        "exp, and kept": [product, topi.exp(product)],
    }[after]
    return te.create_prim_func([a, b, *outputs])


def transposed(m: int, n: int, k: int):
    a, b = te.placeholder((k, m), name="a"), te.placeholder((n, k), name="b")
    return te.create_prim_func([a, b, topi.matmul(a, b, transp_a=True, transp_b=True)])


def softmax(m: int, n: int):
    x = te.placeholder((m, n), name="x")
    return te.create_prim_func([x, topi.nn.softmax(x)])


def reduction(m: int, n: int, axis: int):
    x = te.placeholder((m, n), name="x")
    return te.create_prim_func([x, topi.sum(x, axis=axis)])


def elementwise(*shape: int):
    x, y = te.placeholder(shape, name="x"), te.placeholder(shape, name="y")
    return te.create_prim_func([x, y, topi.exp(x + y * 0.5)])


def units_of(exe: tf.Executable) -> set[int]:
    """The EXEC engines that have anything to do."""
    insns = exe.program.insns
    return {i.operands["unit"] for i in insns if i.mnemonic.startswith("exec.")}


def arguments(exe: tf.Executable, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal(arg.shape, dtype=np.float32) for arg in exe.program.args]


def outputs(exe: tf.Executable, args: list[np.ndarray], **how) -> bytes:
    """What a run leaves in the arguments that it writes."""
    arrays = [arg.copy() for arg in args]
    _sim.Program(exe.to_bytes()).run(arrays, [], **how)
    written = (spec.role is not Role.IN for spec in exe.program.args)
    return b"".join(array.tobytes() for array, out in zip(arrays, written, strict=True) if out)


def check(func, rng: np.random.Generator, *, levels: bool = False, **keys) -> dict[int, set[int]]:
    """Which engines do anything, by the number of engines; asserts that all give the same bits."""
    machine = MACHINE.replace(**keys)
    one = tf.compile(func, machine=machine)
    args = arguments(one, rng)
    want = outputs(one, args, engine="sequential")
    used = {1: units_of(one)}
    for engines in (2, 3, 4):
        exe = tf.compile(func, machine=machine.replace(exec_engines=engines))
        used[engines] = units_of(exe)
        for level in _sim.levels() if levels else ("",):
            assert outputs(exe, args, engine="sequential", level=level) == want
        for threads in (2, engines, engines + 2):
            got = outputs(exe, args, engine="threaded", threads=threads, hand_over=3)
            assert got == want, (engines, threads)
    return used


SHARES = {engines: set(range(engines)) for engines in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "func"),
    [
        ("dense", dense(129, 97, 200)),
        ("dense, deep", dense(257, 300, 1111)),
        ("dense, bias, relu", dense(200, 161, 100, after="bias, relu")),
        ("dense, two results", dense(140, 170, 90, after="exp, and kept")),
        ("transposed", transposed(150, 131, 99)),
        ("matrix times vector", dense(1000, 1, 300)),
        ("softmax of short rows", softmax(300, 77)),
        ("a vector", elementwise(5003)),
        ("elementwise", elementwise(333, 222)),
    ],
)
def test_every_engine_has_a_share(name, func, rng):
    levels = name in ("dense", "softmax of short rows")
    used = check(func, rng, levels=levels, **FAST_DRAM)
    assert used[1] == SHARES[1]
    assert used[2] == SHARES[2]
    assert used[4] >= SHARES[2]


@pytest.mark.parametrize(
    "func",
    [reduction(100, 3000, 1), reduction(3000, 50, 0), softmax(90, 5000), softmax(4, 20000)],
)
def test_reductions_have_the_bits_of_one_engine(func, rng):
    """Sums depend on where they are cut; more engines cut at the same places."""
    check(func, rng)
    check(func, rng, sram_bytes=65536, dram_bytes_per_cycle=2048, vector_lanes=8)


def test_a_vector_times_a_matrix(rng):
    """Little to compute for what is loaded, and the result is a vector."""
    check(dense(1, 1000, 300, after="bias, relu"), rng, vector_lanes=1, macs_per_cycle=8)


@pytest.mark.parametrize("func", [dense(20, 30, 40), softmax(7, 19), elementwise(9)])
def test_a_single_tile_is_work_for_one_engine(func, rng):
    assert set(map(max, check(func, rng).values())) == {0}


@pytest.mark.parametrize(
    "func", [dense(100, 90, 80, after="bias, relu"), softmax(70, 40), elementwise(500, 3)]
)
def test_what_fits_for_one_engine_fits_for_several(func, rng):
    for sram in (THREE_TILES, 5 * 4096, 40000):
        check(func, rng, sram_bytes=sram)


def test_engines_of_a_contraction_do_not_wait_for_each_other():
    """They read the strips in common, and hand nothing to each other."""
    exe = tf.compile(dense(300, 300, 300), machine=MACHINE.replace(exec_engines=2))
    waits: dict[int, set[int]] = {}
    posts: dict[int, set[int]] = {}
    for insn in exe.program.insns:
        if insn.mnemonic.startswith("exec."):
            for side, names in ((waits, ("wait0", "wait1")), (posts, ("post0", "post1"))):
                for name in names:
                    side.setdefault(insn.operands[name], set()).add(insn.operands["unit"])
    del waits[63], posts[63]
    assert waits
    assert not waits.keys() & posts.keys()


def test_two_engines_halve_the_time_where_dram_is_fast():
    fast = MACHINE.replace(sram_bytes=1 << 20, dram_bytes_per_cycle=512)
    cycles = [
        _sim.Program(
            tf.compile(dense(512, 512, 512), machine=fast.replace(exec_engines=e)).to_bytes()
        ).time([])["cycles"]
        for e in (1, 2, 4)
    ]
    assert cycles[1] < 0.6 * cycles[0]
    assert cycles[2] < 0.4 * cycles[0]


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(40))
def test_many_shapes(seed):
    rng = np.random.default_rng(seed)
    m, n, k = (int(side) for side in rng.integers(1, 400, 3))
    sram = int(rng.choice([THREE_TILES, 30000, 65536, 262144, 1 << 20]))
    after = str(rng.choice(["", "bias, relu", "exp, and kept"]))
    check(dense(m, n, k, after=after), rng, sram_bytes=sram)
    check(softmax(m, n * 4), rng, sram_bytes=sram)
    check(reduction(m, n * 4, int(rng.integers(2))), rng, sram_bytes=sram)
    check(elementwise(m, n), rng, sram_bytes=sram)

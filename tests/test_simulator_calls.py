"""Calls: programs that were not verified, arrays that do not fit, the SIMD level."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_programs import core, gemm_arrays, gemm_core, program

from tileflow_tvm import _sim
from tileflow_tvm.isa.container import to_bytes

# Programs that were not verified.

UNSAFE = """
.arg X f32[8, 8] in
.arg Y f32[8, 8] out
.tensor X f32[8, 8] at arg X
.tensor Y f32[8, 8] at arg Y
.access tile row(8, d0), col(8, d1)
agen a0, 0
agen a1, 0 pitch=1
agen a2, 8000 pitch=1
ext e0 limit=8 max=8
"""


def test_a_race_runs_in_program_order(rng):
    text = UNSAFE + "load a1, X[a0, a0], tile\nstore a1, Y[a0, a0], tile"
    x, y = rng.standard_normal((8, 8), np.float32), np.zeros((8, 8), np.float32)
    stats = core(text).run([x, y], [], verify=False)
    assert stats["engine"] == "sequential"
    np.testing.assert_array_equal(x, y)
    with pytest.raises(_sim.Fault, match="threaded engine runs only programs that were verified"):
        core(text).run([x, y], [], "threaded", verify=False)
    with pytest.raises(_sim.Fault, match="no semaphore orders"):
        core(text).run([x, y], [])


def test_unwritten_memory_is_nan():
    y = np.zeros((8, 8), np.float32)
    core(UNSAFE + "store a1, Y[a0, a0], tile").run([y, y.copy()], [], verify=False)
    out = np.zeros((8, 8), np.float32)
    core(UNSAFE + "store a1, Y[a0, a0], tile").run([y, out], [], verify=False)
    assert np.isnan(out).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("load a2, X[a0, a0], tile", "pc 4 load: dst .8 x 8. covers SRAM bytes 8000..8255"),
        ("exec.fill a2 m=e0 n=e0 value=0.0", "pc 4 exec.fill: dst .* covers SRAM bytes 8000..8255"),
        ("exec.nop wait=sem0", "pc 4 exec.nop: waits on sem0, which is 0"),
        ("exec.fill a9 m=e0 n=e0 value=0.0", "a9 is used but was never set"),
        ("agen a3, 2\nexec.fill a3 m=e0 n=e0 value=0.0", "not aligned"),
    ],
)
def test_what_is_not_verified_stays_inside_all_the_same(body, message):
    x = np.zeros((8, 8), np.float32)
    with pytest.raises(_sim.Fault, match=message) as caught:
        core(UNSAFE + body).run([x, x.copy()], [], verify=False)
    assert caught.value.kind == "run"


# Calls.


def test_arrays_that_do_not_fit(rng):
    a, b, c = gemm_arrays(rng, 8, 9, 10)
    program_ = gemm_core(8, 9, 10)
    wrong = {
        "takes 3 arrays, not 2": [a, b],
        "'A' is to be a float32 array": [a.astype(np.float64), b, c],
        "'B' has another shape": [a, b.T.copy(), c],
        "'B' is not C-contiguous": [a, np.asfortranarray(b), c],
        "'A' is to be a float32": [None, b, c],
    }
    for message, arrays in wrong.items():
        with pytest.raises(_sim.Fault, match=message) as caught:
            program_.run(arrays, [])
        assert caught.value.kind == "call"
    c.flags.writeable = False
    with pytest.raises(_sim.Fault, match="'C' is read-only"):
        program_.run([a, b, c], [])
    with pytest.raises(_sim.Fault, match="no engine 'fast'"):
        program_.run([a, b, c.copy()], [], "fast")
    odd = np.frombuffer(bytes(8 * 10 * 4 + 1), np.uint8)[1:].view(np.float32).reshape(8, 10)
    with pytest.raises(_sim.Fault, match="'A' is not aligned"):
        program_.run([odd, b, c.copy()], [])


def test_an_output_that_shares_memory(rng):
    memory = rng.standard_normal((24, 8), np.float32)
    program_ = gemm_core(8, 8, 8)
    with pytest.raises(_sim.Fault, match="'C' shares memory with 'B'"):
        program_.run([memory[:8], memory[8:16], memory[12:20]], [])
    x = memory[:8]
    program_.run([x, x, memory[8:16]], [])
    np.testing.assert_allclose(memory[8:16], x.astype(float) @ x, rtol=1e-4, atol=1e-4)


def test_inputs_are_never_written(rng):
    a, b, c = gemm_arrays(rng, 40, 30, 20)
    before = a.tobytes(), b.tobytes()
    a.flags.writeable = b.flags.writeable = False
    gemm_core(40, 30, 20).run([a, b, c], [])
    assert (a.tobytes(), b.tobytes()) == before


def test_names_agree_with_the_table():
    from tileflow_tvm.isa import table
    from tileflow_tvm.isa.encoding import isa_fingerprint

    assert _sim.UNARY_FUNCS == table.UNARY_FUNCS
    assert _sim.BINARY_FUNCS == table.BINARY_FUNCS
    assert _sim.REDUCE_FUNCS == table.REDUCE_FUNCS
    assert isa_fingerprint() == _sim.ISA_FINGERPRINT


def test_a_program_outlives_its_bytes():
    data = bytearray(to_bytes(program("exec.nop")))
    core_ = _sim.Program(bytes(data))
    data[:] = bytes(len(data))
    assert core_.run([], [])["instructions"] == {"exec.nop": 1}

"""The threaded engine: the same bits from any moment of hand-over, on few processors, after a
fork, from several Python threads; and every run can be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from simulator_programs import core, gemm_arrays, gemm_core, gemm_machine, gemm_text

from tileflow_tvm import _sim

HANG = 120
"""Seconds after which a test is taken to hang."""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_from_any_hand_over(rng, threads):
    arrays = gemm_arrays(rng, 130, 70, 150)
    program = gemm_core(130, 70, 150, block=32)
    program.run(arrays, [], "sequential")
    want = arrays[2].tobytes()
    total = sum(program.run(arrays, [])["instructions"].values())
    for hand_over in (*range(12), total // 2, total - 1, total, total + 1):
        arrays[2][:] = np.nan
        stats = program.run(arrays, [], "threaded", threads=threads, hand_over=hand_over)
        assert arrays[2].tobytes() == want
        assert sum(stats["instructions"].values()) == total
        assert stats["flops"] == 2 * 130 * 70 * 150
        assert stats["dram_bytes"]["C"] == {"load": 0, "store": 130 * 70 * 4}
        assert 0 <= stats["overlap_ns"] <= stats["wall_ns"]
        assert threads > 1 or stats["overlap_ns"] == 0


@pytest.mark.parametrize("shape", [(300, 100, 900), (100, 300, 900), (257, 259, 700)])
def test_the_same_bits_from_a_gemm_that_threads_share(rng, shape):
    """Instructions of several bands: of rows, of columns, with tails."""
    arrays = gemm_arrays(rng, *shape)
    program = gemm_core(*shape, block=128)
    program.run(arrays, [], "sequential")
    want = arrays[2].tobytes()
    # On a busy host the other thread mostly stands aside.
    for _ in range(400):
        arrays[2][:] = np.nan
        program.run(arrays, [], "threaded", threads=2, hand_over=0)
        assert arrays[2].tobytes() == want


def test_dma_and_compute_overlap(rng):
    arrays = gemm_arrays(rng, 512, 512, 512)
    program = gemm_core(512, 512, 512)
    # On a busy host one thread may do the work of both; it does not always.
    runs = (program.run(arrays, [], "threaded", threads=2, hand_over=0) for _ in range(2000))
    assert any(stats["overlap_ns"] > 0 for stats in runs)


def test_a_program_without_work_for_some_engines():
    for text in ("", "load.nop", "store.nop\nexec.nop", "loop 5 {\n load.nop post=sem0\n}"):
        for threads in (1, 2, 3):
            core(text).run([], [], "threaded", threads=threads, hand_over=0)


def test_the_environment_sets_the_hand_over(rng, monkeypatch):
    arrays = gemm_arrays(rng, 40, 40, 40)
    monkeypatch.setenv("TILEFLOW_HAND_OVER", "3")
    gemm_core(40, 40, 40).run(arrays, [], "threaded", threads=2)
    monkeypatch.setenv("TILEFLOW_HAND_OVER", "soon")
    with pytest.raises(_sim.Fault, match="TILEFLOW_HAND_OVER is 'soon', not a number"):
        gemm_core(40, 40, 40).run(arrays, [], "threaded")


def test_auto_leaves_short_programs_alone(rng):
    assert gemm_core(8, 8, 8).run(gemm_arrays(rng, 8, 8, 8), [])["engine"] == "sequential"
    stats = gemm_core(512, 512, 512).run(gemm_arrays(rng, 512, 512, 512), [])
    several = len(os.sched_getaffinity(0)) > 1
    assert stats["engine"] == ("threaded" if several else "sequential")


def test_several_python_threads_at_once(rng):
    program = gemm_core(150, 150, 150)
    jobs = [gemm_arrays(rng, 150, 150, 150) for _ in range(6)]
    failures: list[BaseException] = []

    def work(arrays: list[np.ndarray]) -> None:
        try:
            for engine in ("threaded", "sequential", "auto") * 5:
                arrays[2][:] = np.nan
                program.run(arrays, [], engine, hand_over=0 if engine == "threaded" else -1)
                want = arrays[0].astype(float) @ arrays[1]
                np.testing.assert_allclose(arrays[2], want, rtol=1e-3, atol=1e-3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(arrays,)) for arrays in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures


# In processes of their own.

SETUP = """
import os, signal, sys
import numpy as np
from simulator_programs import core, gemm_arrays, gemm_core
rng = np.random.default_rng(7)
def check(program, arrays, **how):
    arrays[2][:] = np.nan
    stats = program.run(arrays, [], "threaded", **how)
    want = arrays[0].astype(float) @ arrays[1]
    np.testing.assert_allclose(arrays[2], want, rtol=1e-3, atol=1e-3)
    return stats
"""


def start(script: str) -> subprocess.Popen:
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": here, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SETUP + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process: subprocess.Popen) -> str:
    try:
        out, err = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hangs: {process.communicate()}")
    assert process.returncode == 0, err
    return out


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C for a process that says when it is ready, and when it was interrupted."""
    assert process.stdout is not None
    if process.stdout.readline() == "ready\n":
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
    assert finish(process) == "interrupted\n"


def test_a_hundred_runs_pinned_to_one_processor():
    script = """
arrays, program = gemm_arrays(rng, 200, 180, 220), gemm_core(200, 180, 220)
check(program, arrays, threads=3, hand_over=0)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for run in range(100):
    check(program, arrays)
    check(program, arrays, threads=2 + run % 2, hand_over=run % 7)
print("done")
"""
    assert finish(start(script)) == "done\n"


def test_threads_follow_the_caller_to_its_processors():
    script = """
everywhere = os.sched_getaffinity(0)
arrays, program = gemm_arrays(rng, 100, 100, 100), gemm_core(100, 100, 100)
def masks():
    tasks = os.listdir("/proc/self/task")
    return {frozenset(os.sched_getaffinity(int(task))) for task in tasks}
os.sched_setaffinity(0, {min(everywhere)})
check(program, arrays, threads=3, hand_over=0)
assert masks() == {frozenset({min(everywhere)})}, masks()
os.sched_setaffinity(0, everywhere)
check(program, arrays, threads=3, hand_over=0)
assert masks() == {frozenset(everywhere)}, masks()
print("done")
"""
    assert finish(start(script)) == "done\n"


def test_a_forked_child_has_threads_of_its_own():
    script = """
arrays, program = gemm_arrays(rng, 200, 180, 220), gemm_core(200, 180, 220)
check(program, arrays, threads=3, hand_over=0)
sys.stdout.flush()
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
for _ in range(3):
    child = os.fork()
    if child == 0:
        for run in range(10):
            check(program, arrays, threads=3, hand_over=run)
        os._exit(0)
    check(program, arrays, threads=3, hand_over=0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""
    assert finish(start(script)) == "done\n"


LONG = """
.arg X f32[64, 64] in
.arg Y f32[64, 64] out
.tensor X f32[64, 64] at arg X
.tensor Y f32[64, 64] at arg Y
.access box row(64, d0), col(64, d1)
sem sem1, 2
agen a0, 0
agen a1, 0 wrap=32768 pitch=2
stride a1, l0, 16384
agen a2, 32768 pitch=2
ext e0 limit=64 max=64
loop 1000000 {
    load a1, X[a0, a0], box wait=sem1 post=sem0
    exec.gemm a2, a1, a1 m=e0 n=e0 k=e0 clear=at0 level=l0 wait=sem0 post=sem1
}
exec.nop post=sem2
store a2, Y[a0, a0], box wait=sem2
"""
ENDLESS = "loop 1099511627775 {\\n exec.nop post=sem9\\n}"
SPINNING = "agen a0, 0\\nloop 1099511627775 {\\n loop 1000 {\\n agen a0, 0\\n }\\n}"
INTERRUPTED = {
    "verifying": f"core('{ENDLESS}').verify([])",
    "verifying control flow alone": f"core('{SPINNING}').verify([])",
    "sequential, not verified": f"core('{ENDLESS}').run([], [], verify=False)",
    "control flow alone": f"core('{SPINNING}').run([], [], verify=False)",
    "sequential": "program.run(arrays, [], 'sequential')",
    "threaded": "program.run(arrays, [], 'threaded', hand_over=100)",
    "threaded, three threads": "program.run(arrays, [], 'threaded', threads=3, hand_over=0)",
    "threaded, one thread": "program.run(arrays, [], 'threaded', threads=1)",
}


@pytest.mark.parametrize("statement", INTERRUPTED.values(), ids=INTERRUPTED)
def test_interrupt(statement):
    """Ctrl-C ends what would take minutes or ages, and the next run is right."""
    script = f"""
program = core({LONG!r}, ".machine tileflow\\n")
arrays = [np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)]
program.verify([])
try:
    print("ready", flush=True)
    {statement}
except KeyboardInterrupt:
    print("interrupted")
small = gemm_arrays(rng, 100, 90, 80)
for threads in (1, 2, 3):
    check(gemm_core(100, 90, 80), small, threads=threads, hand_over=0)
"""
    interrupt(start(script))


def test_loops_without_work_take_no_time():
    nest = "loop 1099511627775 {\n" * 8 + "}\n" * 8
    assert core(nest).verify([]) > 0
    assert core(nest).run([], [])["instructions"] == {}
    rest = f"load.nop post=sem0\n{nest}exec.nop wait=sem0"
    assert core(rest).run([], [], "threaded", threads=3)["instructions"] == {
        "load.nop": 1,
        "exec.nop": 1,
    }


def test_a_large_machine_is_interrupted_within_an_instruction():
    size = 8192
    script = f"""
text = '''
ext e0 limit={size} max={size}
agen a0, 0 pitch={size // 32}
agen a1, {size * size * 4} pitch={size // 32}
exec.fill a1 m=e0 n=e0 value=1.0
loop 10 {{
exec.gemm a0, a1, a1 m=e0 n=e0 k=e0 clear=always
}}
'''
program = core(text, ".machine tileflow {{ sram_bytes={1 << 30} }}\\n")
program.verify([])
print("ready", flush=True)
try:
    program.run([], [])
except KeyboardInterrupt:
    print("interrupted")
"""
    interrupt(start(script))


@pytest.mark.parametrize(("m", "n"), [(1030, 1000), (1000, 1030)], ids=["rows", "columns"])
def test_gemm_in_bands_is_the_same_gemm(m, n, rng):
    """One instruction of 2.1 GFLOP, cut by the engine along its longer side, against many small
    ones; operands as they are, and stored the other way around."""
    machine = ".machine tileflow { sram_bytes=14000000 }\n"
    arrays = gemm_arrays(rng, m, n, 1024)
    core(gemm_text(m, n, 1024, block=32), gemm_machine(32)).run(arrays, [])
    want = arrays[2].tobytes()
    for ta, tb in ((0, 0), (1, 0), (0, 1)):
        lhs = f"row(1024, d1), col({m}, d0)" if ta else f"row({m}, d0), col(1024, d1)"
        rhs = f"row({n}, d1), col(1024, d0)" if tb else f"row(1024, d0), col({n}, d1)"
        text = f"""
.arg A f32[{m}, 1024] in
.arg B f32[1024, {n}] in
.arg C f32[{m}, {n}] out
.tensor A f32[{m}, 1024] at arg A
.tensor B f32[1024, {n}] at arg B
.tensor C f32[{m}, {n}] at arg C
.access lhs {lhs}
.access rhs {rhs}
.access dst row({m}, d0), col({n}, d1)
agen a0, 0
agen a1, 0 pitch=33
agen a2, 4500000 pitch=33
agen a3, 9000000 pitch=33
ext e0 limit={m} max={m}
ext e1 limit={n} max={n}
ext e2 limit=1024 max=1024
load a1, A[a0, a0], lhs
load a2, B[a0, a0], rhs post=sem0
exec.gemm a3, a1, a2 m=e0 n=e1 k=e2 clear=always ta={ta} tb={tb} wait=sem0 post=sem1
store a3, C[a0, a0], dst wait=sem1
"""
        arrays[2][:] = np.nan
        core(text, machine).run(arrays, [])
        assert arrays[2].tobytes() == want

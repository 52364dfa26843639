"""tileflow-sim under ThreadSanitizer, AddressSanitizer and UBSan: programs with known values, and
hostile files. `make sanitize` builds what this runs.

Every run has to end by itself, with 0 or with a message and 1, and without a report. What would
run for hours, because a flipped bit is a loop count, has to end at Ctrl-C.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from differential import assert_close, assert_same_bits
from instruction_programs import ROWS, assembled, inputs, variants
from sanitize_programs import CASES, draw
from simulator_programs import gemm_machine, gemm_text, program
from test_simulator_binary import TABLES, resealed

from tileflow_tvm import _sim
from tileflow_tvm.cli.arrays import to_npy
from tileflow_tvm.isa.container import HEADER, to_bytes
from tileflow_tvm.isa.program import Role

pytestmark = pytest.mark.sanitize

ROOT = Path(__file__).resolve().parents[1]
KINDS = os.environ.get("TILEFLOW_SANITIZERS", "thread address undefined").split()
REPORT = 99
"""Exit code after a report; what tileflow-sim never ends with."""
_MEMORY = "allocator_may_return_null=1 max_allocation_size_mb=2048"
OPTIONS = {
    "TSAN_OPTIONS": f"exitcode={REPORT} halt_on_error=1 {_MEMORY}",
    "ASAN_OPTIONS": f"exitcode={REPORT} {_MEMORY}",
    "LSAN_OPTIONS": f"exitcode={REPORT}",
    "UBSAN_OPTIONS": f"exitcode={REPORT} print_stacktrace=1",
}
NO_MEMORY = re.compile(r"==\d+==WARNING: \w+Sanitizer failed to allocate .*\n")
"""What a sanitizer adds where an allocation fails; the message of tileflow-sim follows."""
MOST_MEMORY = 4 << 30
"""Of a process in bytes; the other sanitizers have their own limit, and shadows beyond it."""
SAYS = re.compile(r"(?:ERROR|WARNING): (\w+Sanitizer): |runtime error: ")
PATIENCE = 10
"""Seconds after which a program that was altered is taken to run for hours."""
ENDS = 20
"""Seconds that Ctrl-C may take under a sanitizer on a busy machine."""

M, N, K = 40, 70, 33
SMALL_GEMM = gemm_text(M, N, K, block=32)
GEMM = to_bytes(program(SMALL_GEMM, gemm_machine(32)))


@dataclass
class Build:
    """tileflow-sim under one sanitizer, in a folder for its files."""

    kind: str
    folder: Path
    runs: int = 0

    def binary(self, name: str) -> Path:
        path = ROOT / "build" / f"sanitize-{self.kind}" / "simulator_cpp" / "native" / name
        assert path.exists(), f"{path} is missing: make sanitize builds it"
        return path

    def start(self, name: str, *words: object, hand_over: int = 0) -> subprocess.Popen[str]:
        self.runs += 1

        def limit_memory() -> None:
            if self.kind == "undefined":
                resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))

        return subprocess.Popen(
            [self.binary(name), *map(str, words)], cwd=self.folder, text=True,
            errors="backslashreplace", preexec_fn=limit_memory, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**OPTIONS, "TILEFLOW_HAND_OVER": str(hand_over), "TILEFLOW_SHARE_GEMMS": "1"},
        )  # fmt: skip

    def run(self, *words: object, hand_over: int = 0) -> tuple[int, str]:
        """Exit code and message of a run without a report; 130 where it had to be stopped."""
        code, said, _ = self.run_and_read(*words, hand_over=hand_over)
        return code, said

    def run_and_read(self, *words: object, hand_over: int = 0) -> tuple[int, str, str]:
        """As run; with what it printed."""
        process = self.start("tileflow-sim", *words, hand_over=hand_over)
        try:
            printed, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                printed, said = process.communicate(timeout=ENDS)
            finally:
                process.kill()
        said = NO_MEMORY.sub("", said)
        assert not SAYS.search(said), f"{words}:\n{said}"
        assert (process.returncode, said != "") in {(0, False), (1, True), (130, True)}, (
            f"{words} ends with {process.returncode}:\n{said}"
        )
        assert process.returncode == 0 or re.match(r"(\S+: )?error: |interrupted\n$", said), said
        return process.returncode, said, printed

    def fine(self, *words: object, hand_over: int = 0) -> dict[str, Any]:
        """The statistics of a run that has to succeed."""
        code, said, printed = self.run_and_read(*words, "--json", hand_over=hand_over)
        assert code == 0, f"{words}: {said}"
        return json.loads(printed)["stats"]

    def save(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return name

    def save_arrays(self, arrays: Sequence[np.ndarray]) -> list[str]:
        return [self.save(f"in{i}.npy", to_npy(array)) for i, array in enumerate(arrays)]


@pytest.fixture(params=KINDS)
def build(request, tmp_path, record_property):
    build = Build(request.param, tmp_path)
    yield build
    what = request.node.originalname.removeprefix("test_").replace("_", " ")
    record_property("sanitize", [build.kind, what, build.runs])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_programs(case, build, rng):
    """Every engine and level gives the values of the oracle, and the same bits."""
    case = case(rng)
    given = [build.save("k.bin", case.binary), "--in", *build.save_arrays(case.arrays)]
    files = [f"out{i}.npy" for i in range(len(case.wants))]
    first: list[np.ndarray] = []
    helped = 0
    hand_overs = (0, 1, 7) if build.kind == "thread" else (0,)
    ways = [("sequential", 0), *(("threaded", after) for after in hand_overs)]
    for level in _sim.levels():
        for engine, after in ways:
            words = [*given, "--out", *files, "--engine", engine, "--simd", level]
            helped += build.fine(*words, hand_over=after)["helped_bands"]
            got = [np.load(build.folder / file) for file in files]
            for array, want in zip(got, case.wants, strict=True):
                assert_close(array, want, f"{engine}, {level}")
            first = first or got
            for array, same in zip(got, first, strict=True):
                assert_same_bits(array, same, f"{engine}, {level}, hand-over after {after}")
    assert helped > 0 or not case.shared, "nobody has helped with a product"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_instructions(row, build, rng):
    """Every choice of every instruction that computes: each engine and level gives the same bits,
    those that the build without a sanitizer gives."""
    instructions = assembled(row, variants(row))
    arrays = inputs(rng, instructions)
    binary = to_bytes(instructions)
    given = [build.save("k.bin", binary), "--in", *build.save_arrays(arrays)]
    _sim.Program(binary).run(arrays, [], "sequential")
    wants = [array for arg, array in zip(instructions.args, arrays, strict=True)
             if arg.role is not Role.IN]  # fmt: skip
    files = [f"out{i}.npy" for i in range(len(wants))]
    for level in _sim.levels():
        for engine in ("sequential", "threaded"):
            build.fine(*given, "--out", *files, "--engine", engine, "--simd", level)
            for file, want in zip(files, wants, strict=True):
                got = np.load(build.folder / file)
                assert got.tobytes() == want.tobytes(), f"{file}: {engine}, {level}"


def gemm_inputs(build: Build, rng: np.random.Generator) -> list[str]:
    return build.save_arrays(draw(rng, (M, K), (K, N)))


@pytest.mark.parametrize("part", range(2))
def test_truncated_binaries(part, build, rng):
    arrays = gemm_inputs(build, rng)
    sizes = sorted({*range(0, 300, 11), *range(300, len(GEMM), 37), len(GEMM) - 1})
    for size in sizes[part::2]:
        code, said = build.run(build.save("k.bin", GEMM[:size]), "--in", *arrays)
        assert code == 1
        assert said.startswith("k.bin: error: "), said


PARTS = 10
ALTERED = 330


@pytest.mark.parametrize("part", range(PARTS))
def test_altered_binaries(part, build, rng, request):
    """Flipped bits behind a checksum that fits: decoded or refused, proven or refused, and what
    is run without proof stays in its memory all the same."""
    choose = random.Random(1000 * request.config.getoption("--seed") + part)
    arrays = gemm_inputs(build, rng)
    ends = set()
    for _ in range(ALTERED // PARTS):
        data = GEMM
        for _ in range(choose.choice((1, 1, 2))):
            at = choose.randrange(HEADER.size, len(GEMM) - 4)
            data = resealed(data, at, bytes([data[at] ^ 1 << choose.randrange(8)]))
        words = [build.save("k.bin", data), "--in", *arrays]
        code, said = build.run(*words, "--engine", "threaded")
        if not said.startswith("k.bin: error: ") or "pc " in said:
            ends.add(code)
            ends.add(build.run(*words, "--no-verify")[0])
    assert ends, "the decoder refuses every one of them"


def gemm_with(*changes: tuple[str, str]) -> bytes:
    """The product with some of its text replaced."""
    text = SMALL_GEMM
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return to_bytes(program(text, gemm_machine(32)))


RING = 2 * 32 * 32 * 4
END = 6 * 32 * 32 * 4
"""Of the SRAM."""
REFUSED = {
    "no wait for free slots": gemm_with((" wait=sem0", "")),
    "no wait for full slots": gemm_with((" wait=sem1", "")),
    "a wait for ever": gemm_with((" post=sem1", "")),
    "a store that waits for nothing": gemm_with(("box wait=sem3", "box")),
    "a result beyond SRAM": gemm_with((f"agen a5, {2 * RING}", f"agen a5, {END - 1024}")),
    "an operand far outside": gemm_with(("agen a3, 0 ", "agen a3, 1099511627000 ")),
    "an operand in front": gemm_with(("agen a3, 0 ", "agen a3, -8192 ")),
    "an operand off its alignment": gemm_with(("agen a4, 8192", "agen a4, 8190")),
    "coordinates at the end of 64 bits": gemm_with(
        ("stride a0, l0, 32", "stride a0, l0, 140737488355327")
    ),
    "operands that overlap": gemm_with((f"agen a5, {2 * RING}", "agen a5, 0")),
    "extents larger than the grid": gemm_with((f"limit={M} max=32", f"limit={M} max=99")),
    "what nothing wrote": gemm_with(("clear=at0 level=l2", "clear=never")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_programs(name, build, rng):
    """Refused in both engines; without proof, run inside their memory or stopped."""
    words = [build.save("k.bin", REFUSED[name]), "--in", *gemm_inputs(build, rng)]
    for engine in ("sequential", "threaded"):
        code, said = build.run(*words, "--engine", engine)
        assert code == 1
        assert re.search(r"pc \d|output 'C'", said), said
    for level in _sim.levels():
        build.run(*words, "--no-verify", "--simd", level, "--out", "y.npy")
    code, said = build.run(*words, "--no-verify", "--engine", "threaded")
    assert code == 1
    assert "runs only programs that were verified" in said


@pytest.mark.parametrize("part", range(2))
def test_hostile_arrays(part, build, rng, request):
    """Headers cut, flipped, and of other words."""
    choose = random.Random(1000 * request.config.getoption("--seed") + part)
    binary = build.save("k.bin", GEMM)
    *_, rhs = gemm_inputs(build, rng)
    good = (build.folder / "in0.npy").read_bytes()
    contents = [good[:size] for size in range(part, 140, 9)]
    for _ in range(40):
        flipped = bytearray(good)
        for _ in range(choose.randint(1, 3)):
            flipped[choose.randrange(128)] ^= 1 << choose.randrange(8)
        contents.append(bytes(flipped))
    for text in (b"{" * 65535, b"('" * 30000, b"{'shape': (" + b"9, " * 20000, b"\0" * 65535):
        contents.append(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        contents.append(b"\x93NUMPY\x03\x00\xff\xff\xff\x7f" + text)
    for content in contents:
        code, said = build.run(binary, "--in", build.save("x.npy", content), rhs)
        assert code in (0, 1)
        assert code == 0 or said.startswith(("error: x.npy is no .npy", "x.npy: error: ")), said


def test_odd_command_lines(build, rng):
    arrays = gemm_inputs(build, rng)
    binary = build.save("k.bin", GEMM)
    tables = build.save("tables.bin", to_bytes(program(TABLES)))
    for words in (
        ["no.bin"], ["."], [binary], [binary, "--in", *arrays, arrays[0]],
        [binary, "--in", f"A={arrays[0]}", f"A={arrays[1]}"], [binary, "--in", binary, tables],
        [binary, "--in", *arrays, "--scalar", "n=1"], [tables, "--scalar", "n=0x7fffffffffffffff"],
        [binary, "--in", *arrays, "--simd", "x" * 5000],
        [binary, "--in", *arrays, "--out", "k.bin"],
    ):  # fmt: skip
        assert build.run(*words)[0] == 1
    build.fine(binary, "--in", *arrays)
    assert build.run(binary, "--in", *arrays, "--stats")[0] == 0


@dataclass(frozen=True)
class Planted:
    """A fault in the engines' own code, and what the sanitizer calls it."""

    binary: bytes
    words: tuple[object, ...]
    said: str
    refusal: str = ""
    """Of tileflow-sim; where it is empty, the fault is in what it is not told to do."""
    shapes: tuple[tuple[int, int], ...] = ((M, K), (K, N))


RACE = to_bytes(
    program(gemm_text(200, 200, 200, block=32).replace(" wait=sem1", ""), gemm_machine(32))
)
ATTEMPTS = 5
"""A race does not happen in every interleaving."""
PLANTED: dict[str, list[Planted]] = {
    "thread": [
        Planted(
            RACE, ("threaded",), "ThreadSanitizer: data race", "no semaphore orders the two",
            ((200, 200), (200, 200)),
        ),
    ],
    "address": [
        Planted(
            REFUSED["a result beyond SRAM"], ("sequential",),
            "AddressSanitizer: heap-buffer-overflow", "SRAM",
        ),
    ],
    "undefined": [
        # Vectors may lie anywhere, and so may what transfers read: at the scalar level, a gemm's
        # operands may not.
        Planted(
            REFUSED["an operand off its alignment"], ("sequential", "scalar"),
            "runtime error: load of misaligned address", "not aligned to its elements",
        ),
        Planted(GEMM, ("overflow",), "runtime error: signed integer overflow"),
    ],
}  # fmt: skip


def test_planted_faults(build):
    """The build reports what it is for; tileflow-sim does not let it happen."""

    def end_of(binary: bytes, *words: object) -> tuple[int, str]:
        process = build.start("planted_faults", build.save("p.bin", binary), *words)
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    for engine in ("sequential", "threaded"):
        assert end_of(GEMM, engine) == (0, ""), "without a fault there is no report"
    for planted in PLANTED[build.kind]:
        for _ in range(ATTEMPTS):
            code, said = end_of(planted.binary, *planted.words)
            if code != 0:
                break
        assert planted.said in said, (planted.words, said)
        assert code == REPORT
        if planted.refusal:
            words = ["A=a.npy", "B=b.npy"]
            for name, shape in zip("ab", planted.shapes, strict=True):
                build.save(f"{name}.npy", to_npy(np.zeros(shape, np.float32)))
            code, said = build.run(build.save("k.bin", planted.binary), "--in", *words)
            assert code == 1
            assert planted.refusal in said


def test_interrupt(build, rng):
    """Ctrl-C in every engine of a program that runs for hours."""
    for_hours = gemm_with(("loop 2 {\n  loop 3", "loop 99999999 {\n  loop 3"))
    words = [build.save("k.bin", for_hours), "--in", *gemm_inputs(build, rng)]
    for more in (["--engine", "threaded"], ["--no-verify"]):
        process = build.start("tileflow-sim", *words, *more)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=ENDS)
        finally:
            process.kill()
        assert (process.returncode, said) == (130, "interrupted\n")

"""Programs on the simulator: arrays in, arrays and statistics out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from tileflow_tvm.errors import (
    BinaryError,
    CallError,
    FileLoc,
    LaunchError,
    Loc,
    RunError,
    TileflowError,
    VerifyError,
)
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import ArgSpec, Fusion, Program, Role
from tileflow_tvm.isa.table import DTYPE_FACTS
from tileflow_tvm.timing import Timing, timing_of

DTYPES = {
    dtype.name: np.dtype(getattr(ml_dtypes, dtype.numpy, dtype.numpy)) for dtype in DTYPE_FACTS
}
"""The ISA's name of a dtype → NumPy's."""

ENGINES = ("auto", "sequential", "threaded")

LAUNCH_LIMIT = 1 << 40
"""Launch scalars are smaller, in magnitude."""

_MOST_TIMINGS = 1024


@dataclass(frozen=True)
class Stats:
    """What a run did.

    `instructions`: how many of each mnemonic ran. `dram_bytes`: for each tensor, the bytes that
    went each way ("load", "store"). `overlap_ns`: time in which DMA and compute were both busy.
    `verify_ns` is 0 where the program had been verified before. `simd`: the level of the kernels.
    `helped_bands`: parts of products that threads computed which had no transfer to do.
    `timing`: what the run takes on the machine; None where it was not verified.
    `fusion`: what the compiler kept on chip; None for a program of tile level, or of a .bin.
    """

    engine: str
    simd: str
    instructions: dict[str, int] = field(default_factory=dict)
    dram_bytes: dict[str, dict[str, int]] = field(default_factory=dict)
    flops: int = 0
    wall_ns: int = 0
    overlap_ns: int = 0
    verify_ns: int = 0
    helped_bands: int = 0
    timing: Timing | None = None
    fusion: Fusion | None = None

    @property
    def cycles(self) -> int | None:
        """Of the machine, as the timing model has it."""
        return self.timing.cycles if self.timing else None

    @property
    def total_instructions(self) -> int:
        return sum(self.instructions.values())

    @property
    def total_dram_bytes(self) -> int:
        return sum(sum(ways.values()) for ways in self.dram_bytes.values())

    @property
    def overlap(self) -> float:
        """Part of the wall time in which DMA and compute were both busy, 0..1."""
        return self.overlap_ns / self.wall_ns if self.wall_ns else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        timing = self.timing.as_dict() if self.timing else None
        return {**asdict(replace(self, timing=None)), "cycles": self.cycles, "timing": timing}


class Result:
    """`outputs` in the order of the arguments that are written; `stats` are put together when
    they are first looked at."""

    def __init__(self, outputs: tuple[np.ndarray, ...], stats: Callable[[], Stats]) -> None:
        self.outputs = outputs
        self._stats = stats

    @cached_property
    def stats(self) -> Stats:
        return self._stats()


class Simulator:
    """One program, decoded once and verified once for each set of launch scalars.

    `data` is the program as a .bin, `file` where that came from, for errors.
    """

    def __init__(self, program: Program, data: bytes | None = None, file: str = "") -> None:
        from tileflow_tvm import _sim

        self.program = program
        self._file = file
        self._fault = _sim.Fault
        self._timings: dict[tuple[int, ...], Timing] = {}
        try:
            self._core = _sim.Program(data if data is not None else to_bytes(program))
        except _sim.Fault as fault:
            raise self._explain(fault) from None

    def verify(self, scalars: Sequence[int] = ()) -> None:
        """Prove that the program is well-synchronised and stays inside its memory.

        Raises VerifyError, at the source line of the instruction, where it is not.
        """
        try:
            self._core.verify(list(scalars))
        except self._fault as fault:
            raise self._explain(fault) from None

    def time(self, scalars: Mapping[str, int] | None = None) -> Timing:
        """What a run with these launch parameters takes on the machine; no data are needed.

        Raises CallError, or VerifyError where the program is not well-synchronised.
        """
        return self._time(self._launch(scalars or {}))

    def _time(self, launch: list[int]) -> Timing:
        key = tuple(launch)
        if key not in self._timings:
            try:
                raw = self._core.time(launch)
            except self._fault as fault:
                raise self._explain(fault) from None
            if len(self._timings) >= _MOST_TIMINGS:
                self._timings.clear()
            self._timings[key] = timing_of(self.program, raw)
        return self._timings[key]

    def run(
        self,
        inputs: Sequence[Any],
        scalars: Mapping[str, int] | None = None,
        *,
        engine: str = "auto",
        simd: str = "",
        verify: bool = True,
        out: Sequence[np.ndarray] | None = None,
    ) -> Result:
        """Run on `inputs`: the arguments that are read, in order, each of exactly the dtype and
        shape of its argument; they are never written.

        `scalars` are the launch parameters by name. `out` are arrays to write into, in place of
        new ones. `verify=False` runs a program that was not proven (for experiments).
        Raises CallError, VerifyError or RunError.
        """
        if engine not in ENGINES:
            raise CallError(f"no engine {engine!r}", hint=f"one of {', '.join(ENGINES)}")
        launch = self._launch(scalars or {})
        arrays = self._arrays(inputs, out)
        try:
            report = self._core.run(arrays, launch, engine, simd, verify)
        except self._fault as fault:
            raise self._explain(fault) from None

        def stats() -> Stats:
            timing = self._time(launch) if verify else None
            return Stats(**report, timing=timing, fusion=self.program.fusion)

        return Result(tuple([arrays[i] for i in self._written]), stats)

    @cached_property
    def reads(self) -> tuple[ArgSpec, ...]:
        return tuple(arg for arg in self.program.args if arg.role is not Role.OUT)

    @cached_property
    def writes(self) -> tuple[ArgSpec, ...]:
        return tuple(arg for arg in self.program.args if arg.role is not Role.IN)

    @cached_property
    def _written(self) -> tuple[int, ...]:
        args = enumerate(self.program.args)
        return tuple(index for index, arg in args if arg.role is not Role.IN)

    @cached_property
    def _moves(self) -> tuple[tuple[ArgSpec, np.dtype[Any], bool, bool], ...]:
        """Each argument with its dtype, whether it is read, and whether it is written."""
        return tuple(
            (arg, DTYPES[arg.dtype], arg.role is not Role.OUT, arg.role is not Role.IN)
            for arg in self.program.args
        )

    def _launch(self, scalars: Mapping[str, int]) -> list[int]:
        wanted = self.program.scalars
        if not wanted and not scalars:
            return []
        if set(scalars) != set(wanted):
            names = ", ".join(wanted) or "none"
            given = ", ".join(scalars) or "none"
            raise LaunchError(
                f"the program's launch scalars are: {names}; given: {given}",
                hint="pass each by its name, as in exe(x, n=100)" if wanted else "leave it out",
            )
        for name, value in scalars.items():
            if not isinstance(value, (int, np.integer)) or abs(value) >= LAUNCH_LIMIT:
                raise LaunchError(
                    f"launch scalar {name}={value!r} is not an integer below 2^40 in magnitude",
                    hint="a length or a number of iterations, as in exe(x, n=100)",
                )
        return [int(scalars[name]) for name in wanted]

    def _arrays(self, inputs: Sequence[Any], out: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        if len(inputs) != len(self.reads):
            names = ", ".join(f"{arg.name}{list(arg.shape)}" for arg in self.reads)
            raise CallError(
                f"{len(self.reads)} arrays are read, {len(inputs)} were given",
                hint=f"the program reads {names or 'nothing'}; outputs are returned",
            )
        if out is not None and len(out) != len(self.writes):
            names = ", ".join(f"{arg.name}{list(arg.shape)}" for arg in self.writes)
            raise CallError(
                f"{len(self.writes)} arrays are written, out has {len(out)}",
                hint=f"the program writes {names or 'nothing'}",
            )
        given = iter(inputs)
        arrays = [
            checked_input(arg, next(given)) if read else None for arg, _, read, _ in self._moves
        ]
        targets = iter(out) if out is not None else None
        for index, (arg, dtype, read, written) in enumerate(self._moves):
            if not written:
                continue
            if targets is None:
                target = np.empty(arg.shape, dtype)
            else:
                target = _checked_target(arg, next(targets), inputs)
            if read:
                np.copyto(target, arrays[index])
            arrays[index] = target
        return arrays

    def _explain(self, fault: Any) -> TileflowError:
        """`fault` as the error of this package, with the source line of its instruction."""
        kinds = {"binary": BinaryError, "verify": VerifyError, "run": RunError, "call": CallError}
        notes = []
        other = self._loc(fault.other_pc)
        if other:
            notes.append(f"the other one comes from {other}")
        loc = self._loc(fault.pc) or (FileLoc(self._file) if self._file else None)
        return kinds[fault.kind](fault.message, loc=loc, hint=fault.hint, notes=tuple(notes))

    def _loc(self, pc: int | None) -> Loc | None:
        if pc is None or not 0 <= pc < len(self.program.insns):
            return None
        return self.program.insns[pc].loc


def draw(rng: np.random.Generator, arg: ArgSpec) -> np.ndarray:
    """Standard normal values; of an integer type, integers from the whole range of int8."""
    dtype = DTYPES[arg.dtype]
    if dtype.kind == "i":
        return rng.integers(-128, 128, arg.shape).astype(dtype)
    return rng.standard_normal(arg.shape).astype(dtype)


def checked_input(arg: ArgSpec, value: Any) -> np.ndarray:
    """`value` as a C-contiguous array; CallError where dtype or shape are not the argument's."""
    dtype = DTYPES[arg.dtype]
    if type(value) is np.ndarray and value.dtype is dtype and value.shape == arg.shape:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    try:
        array = np.asarray(value, dtype if _is_number_for(arg, value, dtype) else None)
    except (ValueError, OverflowError) as error:
        raise CallError(
            f"'{arg.name}' is not an array: {error}",
            hint=f"it takes a NumPy array, {dtype}{list(arg.shape)}",
        ) from None
    if array.dtype != dtype:
        raise CallError(
            f"'{arg.name}' takes {dtype}, not {array.dtype}",
            hint=f"cast it yourself: {arg.name}.astype({_spelled(dtype)})",
        )
    if array.shape != arg.shape:
        raise CallError(
            f"'{arg.name}' takes shape {arg.shape}, not {array.shape}",
            hint=_reshape_hint(arg, array),
        )
    return np.require(array, dtype, ["C", "A"])


def _is_number_for(arg: ArgSpec, value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether `value` is a number of Python's for a scalar argument, which takes the nearest."""
    return arg.shape == () and (type(value) is int or (type(value) is float and dtype.kind != "i"))


def _spelled(dtype: np.dtype[Any]) -> str:
    """`dtype` as a script names it."""
    return f"ml_dtypes.{dtype}" if hasattr(ml_dtypes, dtype.name) else f"np.{dtype}"


def _reshape_hint(arg: ArgSpec, array: np.ndarray) -> str:
    if array.size == prod(arg.shape):
        same = " (transposed?)" if array.shape == arg.shape[::-1] else ""
        return f"it has as many elements{same}: {arg.name}.reshape{arg.shape} keeps their order"
    return "shapes are fixed when a kernel is compiled: compile it for this one, or cut or pad"


def _checked_target(arg: ArgSpec, target: Any, inputs: Sequence[Any]) -> np.ndarray:
    dtype = DTYPES[arg.dtype]
    wrong = ""
    if not isinstance(target, np.ndarray) or target.dtype != dtype:
        wrong = f"is to be a {dtype} array"
    elif target.shape != arg.shape:
        wrong = f"has shape {target.shape}, not {arg.shape}"
    elif not target.flags.carray:
        wrong = "is to be C-contiguous and writeable"
    if wrong:
        hint = f"np.empty({arg.shape}, {_spelled(dtype)})"
        raise CallError(f"out for '{arg.name}' {wrong}", hint=hint)
    if any(isinstance(x, np.ndarray) and np.may_share_memory(x, target) for x in inputs):
        raise CallError(f"out for '{arg.name}' overlaps an input", hint="give it memory of its own")
    return target


__all__ = ["ENGINES", "Result", "Simulator", "Stats"]

"""From a kernel to something that runs: `compile`, `load`, and what they return."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tileflow_tvm.errors import BinaryError, CallError, FileLoc, KernelError
from tileflow_tvm.files import write_whole
from tileflow_tvm.isa.container import from_bytes, to_bytes
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.program import Fusion, Program

if TYPE_CHECKING:
    import numpy as np
    from tvm.ir import IRModule
    from tvm.tirx import PrimFunc

    from tileflow_tvm.cache.store import Place
    from tileflow_tvm.sim import Result, Simulator
    from tileflow_tvm.timing import Timing


class Executable:
    """A program for one machine: call it with NumPy arrays, look at its text, save it."""

    def __init__(self, program: Program, data: bytes | None = None, file: str = "") -> None:
        """`data` is the program as a .bin, `file` where that came from, for errors."""
        self.program = program
        self._data = data
        self._file = file

    @property
    def machine(self) -> Machine:
        return self.program.machine

    @property
    def fusion(self) -> Fusion | None:
        """Intermediate tensors that never reach DRAM; None for a kernel at tile level, and for a
        program that was loaded: a .bin does not say."""
        return self.program.fusion

    @cached_property
    def asm(self) -> str:
        """The program as assembly text, which assembles to the same bytes."""
        from tileflow_tvm.assembler import disassemble

        return disassemble(self.program)

    def to_bytes(self) -> bytes:
        """The program as the bytes of a .bin."""
        if self._data is None:
            self._data = to_bytes(self.program)
        return self._data

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the .bin; the file appears whole or not at all. CallError where it cannot be."""
        try:
            return write_whole(path, self.to_bytes())
        except OSError as error:
            hint = "name a file in a folder that is there and may be written to"
            raise CallError(f"cannot write {path}: {error.strerror}", hint=hint) from None

    @cached_property
    def simulator(self) -> Simulator:
        from tileflow_tvm.sim import Simulator

        return Simulator(self.program, self.to_bytes(), self._file)

    def __call__(self, *inputs: Any, **scalars: int) -> Any:
        """Run on NumPy arrays; the written arguments come back: one array, or a tuple."""
        outputs = self.run(*inputs, **scalars).outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def run(
        self,
        *inputs: Any,
        engine: str = "auto",
        simd: str = "",
        verify: bool = True,
        out: np.ndarray | Sequence[np.ndarray] | None = None,
        **scalars: int,
    ) -> Result:
        """Run and also return statistics; see `sim.Simulator.run`. `out` is one array or a
        sequence of them."""
        if out is not None and not isinstance(out, (list, tuple)):
            out = [out]
        return self.simulator.run(inputs, scalars, engine=engine, simd=simd, verify=verify, out=out)

    def time(self, **scalars: int) -> Timing:
        """What a run takes on the machine, in cycles, and why; needs no data. The same figures are
        in the statistics of a run."""
        return self.simulator.time(scalars)

    def __repr__(self) -> str:
        args = ", ".join(
            f"{arg.name}: {arg.role.name.lower()} {arg.dtype}{list(arg.shape)}"
            for arg in self.program.args
        )
        return f"<Executable {self.program.name}({args}) for {self.machine.name}>"


def compile(
    func: PrimFunc | IRModule,
    machine: str | os.PathLike[str] | Machine = "tileflow",
    *,
    dump_passes: str | os.PathLike[str] | None = None,
    verify: bool = True,
    fuse: bool = True,
    cache: bool = True,
) -> Executable:
    """Compile a kernel, at compute level or at tile level, for `machine`.

    `machine` is a name, the path of a .toml, or a Machine. `dump_passes` is a directory that
    gets the function as TVMScript after each pass. `verify` runs the verifier on the result.
    Without `fuse` each operation of a compute-level kernel has a loop nest of its own, and what
    passes between two of them goes through DRAM; the code of a tile-level kernel is as written.
    With `cache` a program that was compiled before comes from the cache on disk, unless
    `dump_passes` asks for the passes.
    Raises KernelError for what cannot be compiled exactly, MachineError for a bad machine.
    """
    from tileflow_tvm.frontend.module import only_function

    target = machine if isinstance(machine, Machine) else Machine.load(machine)
    function = only_function(func)
    watch = _dump_to(Path(dump_passes)) if dump_passes is not None else None
    place = _place(function, target, fuse=fuse) if cache and watch is None else None
    found = place.get() if place else None
    if found is not None:
        return Executable(found.program, found.data)
    # Imported here, since what is in the cache needs no pass.
    from tileflow_tvm.passes.sequence import run_passes
    from tileflow_tvm.passes.tile_search import watched
    from tileflow_tvm.progress import SearchBar

    with SearchBar() as bar, watched(bar.watch):
        executable = Executable(run_passes(function, target, watch, fused=fuse))
    if verify:
        if not executable.program.scalars:
            executable.simulator.verify()
        if place:
            place.put(executable.program, executable.to_bytes())
    return executable


def _place(function: PrimFunc, machine: Machine, *, fuse: bool) -> Place | None:
    """Where the cache has, or is to have, the program. What is there has been verified, so a hit
    is not verified again until it runs. None where the cache is off, or the program has no key."""
    from tileflow_tvm.cache import key, store
    from tileflow_tvm.frontend.structure import NoStructure, structure_of

    if not store.is_on():
        return None
    programs = store.Store.of_user()
    try:
        found = key.key_of(structure_of(function), machine, fuse=fuse)
    except (NoStructure, OSError):
        return None
    return store.Place(programs, found) if found else None


def load(path: str | os.PathLike[str]) -> Executable:
    """The program of a .bin. Raises BinaryError where it is not one."""
    if not isinstance(path, (str, os.PathLike)):
        what = f"{path!r} is no path: a .bin is loaded from a file"
        raise CallError(what, hint="give its path as a string or a Path")
    file = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        hint = "a .bin is written by tileflow compile, tileflow asm, and exe.save"
        what = f"cannot read it: {error.strerror}"
        raise BinaryError(what, loc=FileLoc(file), hint=hint) from None
    return Executable(from_bytes(data, file=file), data, file)


def _dump_to(folder: Path) -> Callable[[str, PrimFunc], None]:
    """A watcher that writes each pass's script as NN_name.py."""
    if folder.exists() and not folder.is_dir():
        raise KernelError(f"{folder} is not a directory", hint="--dump-passes makes one of its own")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0

    def watch(name: str, func: PrimFunc) -> None:
        nonlocal count
        write_whole(folder / f"{count:02}_{name}.py", func.script().encode())
        count += 1

    return watch


__all__ = ["Executable", "compile", "load"]

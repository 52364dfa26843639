"""`tileflow run`: a binary on the simulator, with arrays from files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tileflow_tvm.cli.files import check_outputs, display_name, read_program, write_files
from tileflow_tvm.cli.model_time import print_timing, utilisation
from tileflow_tvm.cli.options import (
    add_command,
    add_json,
    add_scalars,
    launch_words,
    scalars_of,
    seed,
)
from tileflow_tvm.cli.tables import in_bytes, print_json, print_table
from tileflow_tvm.errors import CallError

if TYPE_CHECKING:
    import numpy as np

    from tileflow_tvm.cli.options import Commands
    from tileflow_tvm.driver import Executable
    from tileflow_tvm.sim import Stats
    from tileflow_tvm.timing import Timing

ENGINES = ("auto", "sequential", "threaded")


def add_commands(commands: Commands) -> None:
    run = add_command(
        commands, "run", run_program, does="run a binary on the simulator",
        details="Arrays are .npy files, in the order of the program's arguments, or NAME=FILE.",
        example="tileflow run gemm.bin --in a.npy b.npy --out c.npy",
    )  # fmt: skip
    run.add_argument("binary", metavar="FILE.bin", help="the program")
    run.add_argument(
        "--in", dest="inputs", nargs="+", action="extend", default=[], metavar="X.npy",
        help="what the program reads",
    )  # fmt: skip
    run.add_argument(
        "--out", dest="outputs", nargs="+", action="extend", default=[], metavar="Y.npy",
        help="where to put what it writes",
    )  # fmt: skip
    run.add_argument(
        "--random", type=seed, metavar="SEED",
        help="draw the inputs that --in does not give: standard normal, the same for a seed",
    )  # fmt: skip
    run.add_argument(
        "--engine", choices=ENGINES, default="auto",
        help="auto picks by the amount of work (default); all give the same bits",
    )  # fmt: skip
    run.add_argument(
        "--timing-only", action="store_true",
        help="only say how many cycles it takes on the machine, and why; no arrays are needed",
    )  # fmt: skip
    run.add_argument(
        "--no-verify", action="store_true",
        help="run it without proof that it is free of races; the sequential engine only",
    )  # fmt: skip
    add_scalars(run)
    add_json(run)


def run_program(args: argparse.Namespace) -> None:
    from tileflow_tvm.cli.arrays import assign, read_inputs, to_npy
    from tileflow_tvm.driver import Executable

    program, data = read_program(args.binary)
    exe = Executable(program, data, display_name(args.binary))
    if args.timing_only:
        _time_program(args, exe)
        return
    writes = exe.simulator.writes
    targets = assign(args.outputs, writes, "output")
    check_outputs(list(targets.values()), [args.binary])
    arrays = read_inputs(args.inputs, exe.simulator.reads, args.random)
    with launch_words():
        result = exe.simulator.run(
            arrays, scalars_of(args), engine=args.engine, verify=not args.no_verify
        )
    outputs = {arg.name: array for arg, array in zip(writes, result.outputs, strict=True)}
    write_files({path: to_npy(outputs[name]) for name, path in targets.items()})
    if args.json:
        print_json(_as_json(exe, outputs, targets, result.stats))
    elif not args.quiet:
        _print_outputs(outputs, targets)
        print_stats(result.stats)


def _time_program(args: argparse.Namespace, exe: Executable) -> None:
    given = [*(["--in"] if args.inputs else []), *(["--out"] if args.outputs else []),
             *(["--random"] if args.random is not None else []),
             *(["--no-verify"] if args.no_verify else [])]  # fmt: skip
    if given:
        raise CallError(
            f"--timing-only computes no values: {', '.join(given)} cannot be given with it",
            hint="leave out one or the other",
        )
    with launch_words():
        timing = exe.simulator.time(scalars_of(args))
    if args.json:
        name, machine = exe.program.name, exe.machine.name
        print_json({"program": name, "machine": machine, "timing": timing.as_dict()})
    else:
        print_timing(timing)


def _as_json(
    exe: Executable, outputs: dict[str, np.ndarray], targets: dict[str, str], stats: Stats
) -> dict[str, Any]:
    return {
        "program": exe.program.name,
        "machine": exe.machine.name,
        "outputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "file": targets.get(name),
            }
            for name, array in outputs.items()
        ],
        "stats": stats.as_dict(),
    }


def _print_outputs(outputs: dict[str, np.ndarray], targets: dict[str, str]) -> None:
    columns = ("output", "shape", "min", "mean", "max", "not finite", "file")
    rows = [_summary(name, array, targets.get(name, "")) for name, array in outputs.items()]
    print_table(columns, rows, right=("min", "mean", "max", "not finite"))


def _summary(name: str, array: np.ndarray, path: str) -> tuple[str, ...]:
    import numpy as np

    finite = array[np.isfinite(array)]
    figures = ("", "", "")
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        figures = (f"{low:.6g}", f"{finite.mean(dtype=np.float64):.6g}", f"{high:.6g}")
    shape = " x ".join(map(str, array.shape)) or "scalar"
    lost = array.size - finite.size
    return (name, shape, *figures, str(lost) if lost else "", path)


def print_stats(stats: Stats) -> None:
    """What a run did, as one table."""
    loaded = sum(ways.get("load", 0) for ways in stats.dram_bytes.values())
    stored = sum(ways.get("store", 0) for ways in stats.dram_bytes.values())
    rows = [
        ("engine", f"{stats.engine}, {stats.simd} kernels"),
        ("instructions", f"{stats.total_instructions:,}"),
        *((f"  {name}", f"{count:,}") for name, count in sorted(stats.instructions.items())),
        ("DRAM read", in_bytes(loaded)),
        ("DRAM written", in_bytes(stored)),
        ("FLOPs", f"{stats.flops:,}"),
        *(_model_time(stats.timing) if stats.timing else ()),
        ("wall time", f"{stats.wall_ns / 1e6:.3f} ms"),
        ("DMA and compute both busy", f"{stats.overlap:.0%} of it"),
    ]
    print_table(("run", ""), rows)


def _model_time(timing: Timing) -> list[tuple[str, str]]:
    return [("cycles of the machine", f"{timing.cycles:,}"), ("  of peak", utilisation(timing))]

"""`tileflow compile` and `tileflow check`: from a kernel in a Python file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from tileflow_tvm.cli.files import STANDARD, check_outputs, write_files
from tileflow_tvm.cli.options import (
    add_command,
    add_json,
    add_machine,
    add_scalars,
    launch_words,
    scalars_of,
    seed,
    whole_number,
)
from tileflow_tvm.cli.tables import in_bytes, print_json, print_table
from tileflow_tvm.errors import CallError

if TYPE_CHECKING:
    from tileflow_tvm.cli.kernels import Shape
    from tileflow_tvm.cli.options import Commands
    from tileflow_tvm.driver import Executable

KERNEL = (
    "a Python file and the name of a PrimFunc, an IRModule, or a function that makes one; "
    "the name may be left out where the file has one kernel"
)


def add_commands(commands: Commands) -> None:
    build = add_command(
        commands, "compile", compile_kernel, does="compile a kernel of a Python file",
        details="Without -o, --asm and --json the assembly goes to standard output.",
        example="tileflow compile gemm.py:gemm -o gemm.bin --asm gemm.asm",
    )  # fmt: skip
    _add_kernel(build)
    build.add_argument("-o", "--output", metavar="FILE.bin", help="the binary")
    build.add_argument("--asm", metavar="FILE.asm", help="the assembly text; - prints it")
    build.add_argument(
        "--dump-passes", metavar="DIR", help="put the kernel after each pass there, as TVMScript"
    )
    build.add_argument(
        "--verify", action=argparse.BooleanOptionalAction, default=True,
        help="prove that the program is free of races, deadlocks and stray accesses (on unless "
             "--no-verify is given; a program with launch parameters is proven at each run)",
    )  # fmt: skip
    add_json(build)
    check = add_command(
        commands, "check", check_kernel, does="compile a kernel, run it, and compare",
        details="Both engines must give the same bits, and every element must agree with the "
                "function NAME_reference in the same file, which takes the inputs as float64 "
                "arrays. Without one, a compute-level kernel is compared with what TVM's own "
                "LLVM back end makes of it.",
        example="tileflow check mlp.py:mlp --seed 7",
    )  # fmt: skip
    _add_kernel(check)
    check.add_argument("--seed", type=seed, default=0, help="draws the inputs (default: 0)")
    check.add_argument(
        "--validate", action="store_true",
        help="execute the kernel after each pass too, as plain loops by TVM's LLVM, and name the "
             "first pass after which it computes something else",
    )  # fmt: skip
    add_scalars(check)
    add_json(check)


def _add_kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kernel", metavar="FILE.py[:NAME]", help=KERNEL)
    parser.add_argument(
        "--shape", type=shape, default=(), metavar="N,N,...",
        help="arguments of a function that makes a kernel, as 64,96 or m=64,n=96",
    )  # fmt: skip
    parser.add_argument(
        "--fuse", action=argparse.BooleanOptionalAction, default=True,
        help="keep what passes between operations on chip where that has room (on unless --no-fuse "
             "is given: each operation alone, through DRAM; for experiments)",
    )  # fmt: skip
    add_machine(parser)


def shape(text: str) -> Shape:
    """`64,96` or `m=64,n=96`."""
    found = []
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        if equals and not name.strip().isidentifier():
            raise argparse.ArgumentTypeError(f"{name!r} is not a name")
        found.append((name.strip(), whole_number(value)))
    return tuple(found)


def compile_kernel(args: argparse.Namespace) -> None:
    from tileflow_tvm.cli.kernels import find_kernel, split_kernel
    from tileflow_tvm.driver import compile

    source, _ = split_kernel(args.kernel)
    check_outputs([args.output, args.asm], [source])
    kernel = find_kernel(args.kernel, args.shape)
    exe = compile(
        kernel.func, args.machine, dump_passes=args.dump_passes, verify=args.verify,
        fuse=args.fuse,
    )  # fmt: skip
    asm = STANDARD if not (args.output or args.asm or args.json) else args.asm
    if args.json and asm == STANDARD:
        hint = "give --asm a file, or leave --json out"
        raise CallError("the text and --json both go to standard output", hint=hint)
    contents = {}
    if args.output is not None:
        contents[args.output] = exe.to_bytes()
    if asm is not None:
        contents[asm] = exe.asm.encode()
    write_files(contents)
    if args.json:
        print_json(_figures(exe))
    elif not args.quiet:
        # Standard output may be the text.
        print(_summary(exe), file=sys.stderr if STANDARD in contents else sys.stdout)


def _figures(exe: Executable) -> dict[str, Any]:
    program = exe.program
    return {
        "program": program.name,
        "machine": exe.machine.name,
        "instructions": len(program.insns),
        "text_bytes": len(program.insns) * program.isa.word_bits // 8,
        "sram_bytes": max((b.address + b.nbytes * b.slots for b in program.buffers), default=0),
        "scratch_bytes": program.scratch_bytes,
        "fusion": dataclasses.asdict(exe.fusion) if exe.fusion else None,
    }


def _summary(exe: Executable) -> str:
    made = _figures(exe)
    fusion, fused = exe.fusion, ""
    if fusion and fusion.tensors:
        noun = "tensor" if fusion.tensors == 1 else "tensors"
        fused = f", {fusion.tensors} {noun} ({in_bytes(fusion.bytes)}) never in DRAM"
    return (
        f"{made['program']}: {made['instructions']} instructions, "
        f"{in_bytes(made['text_bytes'])} of text, "
        f"{in_bytes(made['sram_bytes'])} of {in_bytes(exe.machine.sram_bytes)} SRAM{fused}"
    )


def check_kernel(args: argparse.Namespace) -> None:
    from tileflow_tvm.cli.kernels import ORACLE_SUFFIX, find_kernel
    from tileflow_tvm.frontend.compute_places import function_place
    from tileflow_tvm.frontend.module import only_function
    from tileflow_tvm.frontend.read import level
    from tileflow_tvm.golden import compare

    kernel = find_kernel(args.kernel, args.shape)
    if kernel.oracle is None and level(only_function(kernel.func)) == "tile":
        error = CallError(
            f"{args.kernel} is at tile level, where the code does not say what it should compute",
            hint=f"put a function {kernel.name}{ORACLE_SUFFIX} beside it: float64 arrays in, "
            "what it should give out",
        )
        raise function_place(only_function(kernel.func)).give(error)
    with launch_words():
        report = compare(
            kernel.func, scalars=scalars_of(args), oracle=kernel.oracle, machine=args.machine,
            seed=args.seed, fuse=args.fuse, validate=args.validate,
        )  # fmt: skip
    if args.json:
        print_json(_as_json(args, report))
    elif not args.quiet:
        rows = [
            ("outputs", ", ".join(" x ".join(map(str, y.shape)) for y in report.outputs)),
            ("sequential and threaded", "the same bits"),
            ("largest absolute difference", f"{report.max_abs:.3g}"),
            ("largest relative difference", f"{report.max_rel:.3g}"),
        ]
        if args.validate:
            rows.append(("the same after", ", ".join(report.passes)))
        print_table((f"check {args.kernel}", "fine"), rows)


def _as_json(args: argparse.Namespace, report: Any) -> dict[str, Any]:
    return {
        "kernel": args.kernel,
        "seed": args.seed,
        "max_abs": report.max_abs,
        "max_rel": report.max_rel,
        "passes": list(report.passes),
        "stats": {engine: stats.as_dict() for engine, stats in report.stats.items()},
    }

"""`tileflow asm` and `tileflow disasm`: assembly text to binary and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tileflow_tvm.cli.files import (
    STANDARD,
    FileError,
    check_outputs,
    display_name,
    read_program,
    read_text,
    write_files,
)
from tileflow_tvm.cli.options import add_command

if TYPE_CHECKING:
    from tileflow_tvm.cli.options import Commands


def add_commands(commands: Commands) -> None:
    asm = add_command(
        commands, "asm", assemble_file, does="assemble a text into a binary",
        example="tileflow asm kernel.asm -o kernel.bin",
    )  # fmt: skip
    asm.add_argument("text", metavar="FILE.asm", help="assembly text; - is standard input")
    asm.add_argument(
        "-o", "--output", metavar="FILE.bin", help="(default: the text's name with .bin)"
    )
    disasm = add_command(
        commands, "disasm", disassemble_file, does="print a binary as assembly text",
        details="The source line of each instruction stands beside it. Assembling the text gives "
                "the same binary, byte for byte.",
        example="tileflow disasm kernel.bin -o kernel.asm",
    )  # fmt: skip
    disasm.add_argument("binary", metavar="FILE.bin", help="a program; - is standard input")
    disasm.add_argument(
        "-o", "--output", default=STANDARD, metavar="FILE.asm",
        help="where the text goes (default: standard output)",
    )  # fmt: skip


def assemble_file(args: argparse.Namespace) -> None:
    from tileflow_tvm.assembler import assemble
    from tileflow_tvm.isa.container import to_bytes

    output = args.output
    if output is None:
        if args.text == STANDARD:
            raise FileError("the binary has no name", hint="name it with -o FILE.bin")
        output = str(Path(args.text).with_suffix(".bin"))
    text = read_text(args.text)
    check_outputs([output], [args.text])
    program = assemble(text, display_name(args.text))
    write_files({output: to_bytes(program)})
    if not args.quiet and output != STANDARD:
        print(f"{output}: {len(program.insns)} instructions")


def disassemble_file(args: argparse.Namespace) -> None:
    from tileflow_tvm.assembler import disassemble

    check_outputs([args.output], [args.binary])
    program, _ = read_program(args.binary)
    write_files({args.output: disassemble(program).encode()})

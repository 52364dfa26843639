"""`tileflow isa` and `tileflow machines`: what the instructions and the machines are."""

from __future__ import annotations

import argparse
import dataclasses
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tileflow_tvm.cli.options import add_command, add_json
from tileflow_tvm.cli.tables import in_bytes, print_json, print_table
from tileflow_tvm.errors import TileflowError
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import OPCODE_BITS, TILEFLOW, Field, Insn

if TYPE_CHECKING:
    from tileflow_tvm.cli.options import Commands


def add_commands(commands: Commands) -> None:
    isa = add_command(
        commands, "isa", show_isa, does="print the instruction table",
        details="With a mnemonic, print the fields of that instruction.",
        example="tileflow isa exec.gemm",
    )  # fmt: skip
    isa.add_argument("mnemonic", nargs="?", help="one instruction, e.g. load or exec.gemm")
    form = isa.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print doc/isa.md")
    add_json(form)
    machines = add_command(
        commands, "machines", show_machines, does="list the machines, or show one",
        details="One machine is shown as the .toml that describes it, ready to be edited.",
        example="tileflow machines tileflow > mine.toml",
    )  # fmt: skip
    machines.add_argument("name", nargs="?", metavar="NAME|FILE.toml", help="the one to show")
    add_json(machines)


def show_isa(args: argparse.Namespace) -> None:
    if args.markdown:
        from tileflow_tvm.isa.reference import isa_page

        print(isa_page(TILEFLOW), end="")
        return
    rows = [_instruction(args.mnemonic)] if args.mnemonic else list(TILEFLOW.insns)
    if args.json:
        print_json([_as_json(insn) for insn in rows])
    elif args.mnemonic:
        _print_fields(rows[0])
    else:
        print_table(
            ("mnemonic", "opcode", "engine", "operands", "meaning"),
            [
                (row.mnemonic, f"{row.opcode:#04x}", row.engine.value, _operands(row), row.does)
                for row in rows
            ],
            title=f"{TILEFLOW.name} {TILEFLOW.version}: {TILEFLOW.word_bits}-bit instructions",
        )


def _instruction(mnemonic: str) -> Insn:
    row = TILEFLOW.by_mnemonic.get(mnemonic)
    if row is None:
        near = get_close_matches(mnemonic, TILEFLOW.by_mnemonic, 1)
        hint = f"did you mean '{near[0]}'?" if near else "`tileflow isa` lists all of them"
        raise TileflowError(f"no instruction is called '{mnemonic}'", hint=hint)
    return row


def _operands(row: Insn) -> str:
    """The operands that must be written, then in brackets those that may be left out."""
    needed = [field.name for field in row.fields if field.default is None]
    optional = [field.name for field in row.fields if field.default is not None]
    return " ".join(needed + ([f"[{' '.join(optional)}]"] if optional else []))


def _print_fields(row: Insn) -> None:
    rows = [("opcode", f"{OPCODE_BITS - 1}:0", "", f"{row.opcode:#04x}")]
    for field in sorted(row.fields, key=lambda f: f.lo):
        rows.append((field.name, _bits(field), field.kind.value, _meaning(field)))
    print_table(("field", "bits", "kind", "meaning"), rows, title=f"{row.mnemonic}: {row.does}")


def _bits(field: Field) -> str:
    return f"{field.lo + field.width - 1}:{field.lo}"


def _meaning(field: Field) -> str:
    choices = f": {', '.join(field.choices)}" if field.choices else ""
    return f"{field.does}{choices}"


def _as_json(row: Insn) -> dict[str, Any]:
    fields = [{**dataclasses.asdict(field), "kind": field.kind.value} for field in row.fields]
    return {
        "mnemonic": row.mnemonic, "opcode": row.opcode, "engine": row.engine.value,
        "does": row.does, "fields": fields,
    }  # fmt: skip


def show_machines(args: argparse.Namespace) -> None:
    if args.name is None:
        machines = [Machine.load(name) for name in Machine.names()]
    else:
        machines = [Machine.load(args.name)]
    if args.json:
        print_json([dataclasses.asdict(machine) for machine in machines])
    elif args.name is not None:
        print(machines[0].to_toml(), end="")
    else:
        columns = ("name", "tile", "sram", "MAC/cycle", "DRAM B/cycle", "latency", "dtypes")
        print_table(columns, [_machine_row(machine) for machine in machines])


def _machine_row(machine: Machine) -> tuple[str, ...]:
    return (
        machine.name,
        f"{machine.tile} x {machine.tile}",
        in_bytes(machine.sram_bytes),
        str(machine.macs_per_cycle),
        str(machine.dram_bytes_per_cycle),
        f"{machine.dram_latency_cycles} cycles",
        " ".join(machine.dtypes),
    )

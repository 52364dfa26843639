"""Machine descriptions: what one accelerator has, and what things cost on it.

A description is a TOML file with one key for each field of `Machine`; the built-in ones are in
`machines/`. Every limit in compiler, verifier and simulator comes from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import os
import re
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tileflow_tvm.errors import Loc, MachineError
from tileflow_tvm.isa.table import DTYPES, NO_REGISTER, TILEFLOW, UNIT, Kind

MACHINES_DIR = Path(__file__).with_name("machines")
LARGEST = (1 << 31) - 1
"""Bound of every number that has no tighter one."""


def _key(
    does: str, unit: str, low: int = 1, high: int = LARGEST, *, default: int, hint: str = ""
) -> int:
    """A number of the description, in low..high; `default` is the machine `tileflow`'s."""
    meta = {"does": does, "unit": unit, "low": low, "high": high, "hint": hint}
    number: int = dataclasses.field(default=default, metadata=meta)
    return number


def _nameable(kind: Kind) -> int:
    """How many registers or table entries the fields of this kind can name."""
    widths = [f.width for row in TILEFLOW.insns for f in row.fields if f.kind is kind]
    return min(NO_REGISTER if width == NO_REGISTER.bit_length() else 1 << width for width in widths)


def _registers(does: str, unit: str, kind: Kind, low: int, default: int) -> int:
    return _key(does, unit, low, _nameable(kind), default=default,
                hint="the instruction fields cannot name more")  # fmt: skip


_ONE_ENGINE = "there is one engine that loads and one that stores"
START = "`tileflow machines tileflow > mine.toml` writes a whole one to begin with"
"""How to come by a description."""
MIN_TILES = 3
"""Tiles of SRAM below which no contraction can run."""


@dataclass(frozen=True)
class Machine:
    """One accelerator. Construction raises MachineError where a value makes no sense."""

    name: str = dataclasses.field(
        default="tileflow",
        metadata={"does": "what the machine is called; not part of its fingerprint", "unit": ""},
    )
    tile: int = _key("edge of a square tile; a power of two", "elements", 8, 128, default=32)
    sram_bytes: int = _key(
        "on-chip memory; a multiple of 4, at least three tiles", "bytes", 4, 1 << 30,
        default=262144, hint="the largest SRAM is 1 GiB",
    )  # fmt: skip
    load_engines: int = _key("engines DRAM to SRAM", "engines", 1, 1, default=1, hint=_ONE_ENGINE)
    exec_engines: int = _key(
        "engines SRAM to SRAM, each with arithmetic of its own", "engines", 1, 1 << UNIT.width,
        default=1, hint="the field `unit` of an instruction cannot name more",
    )  # fmt: skip
    store_engines: int = _key("engines SRAM to DRAM", "engines", 1, 1, default=1, hint=_ONE_ENGINE)
    queue_depth: int = _key(
        "instructions that wait in front of an engine while the sequencer runs ahead",
        "instructions", 1, 1 << 16, default=8,
    )  # fmt: skip
    address_generators: int = _registers("registers a0..", "registers", Kind.AGEN, 1, 63)
    extents: int = _registers("registers e0..", "registers", Kind.EXTENT, 1, 63)
    semaphores: int = _registers("counting semaphores", "semaphores", Kind.SEM, 1, 63)
    scalars: int = _registers("registers s0..", "registers", Kind.SCALAR, 0, 16)
    loop_levels: int = _registers("how deep hardware loops nest", "levels", Kind.LEVEL, 1, 8)
    tensors: int = _registers("tensor descriptors", "entries", Kind.TENSOR, 1, 1024)
    accesses: int = _registers("access patterns", "entries", Kind.ACCESS, 1, 1024)
    issue_cycles: int = _key("the sequencer's time for one instruction", "cycles", 0, default=1)
    semaphore_cycles: int = _key(
        "from a post to where the waiting engine sees it", "cycles", 0, default=1
    )
    macs_per_cycle: int = _key("multiply-adds of exec.gemm", "per cycle", default=1024)
    mac_fill_cycles: int = _key(
        "from the start of an exec.gemm to its first multiply-add", "cycles", 0, default=32
    )
    mac_drain_cycles: int = _key(
        "from the last multiply-add of an exec.gemm to its end", "cycles", 0, default=32
    )
    vector_lanes: int = _key("elements of the other exec instructions", "per cycle", default=128)
    vector_startup_cycles: int = _key(
        "what each of the other exec instructions takes on top of its elements", "cycles", 0,
        default=8,
    )  # fmt: skip
    function_cycles: int = _key(
        "a lane's time for an element of a division, a root or a transcendental function",
        "cycles", default=1,
    )  # fmt: skip
    dma_setup_cycles: int = _key(
        "a load or store engine's time for a transfer before it asks DRAM", "cycles", 0, default=8
    )
    dma_outstanding: int = _key(
        "transfers that one load or store engine may have under way", "transfers", 1, 1 << 10,
        default=4,
    )  # fmt: skip
    dram_bytes_per_cycle: int = _key(
        "DRAM bandwidth that loads and stores share", "bytes per cycle", default=64
    )
    dram_latency_cycles: int = _key(
        "from a load's request to its first byte, from a store's last byte to its end", "cycles",
        0, default=100,
    )  # fmt: skip
    dram_burst_bytes: int = _key(
        "what DRAM moves at least; a power of two", "bytes", 4, 1 << 16, default=64
    )
    dtypes: tuple[str, ...] = dataclasses.field(
        default=DTYPES, metadata={"does": "element types the engines take", "unit": ""}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtypes", _as_tuple(self.dtypes))
        for complaint in _complaints(vars(self)):
            raise MachineError(complaint.what, hint=complaint.hint)

    def engines_of(self, kind: str) -> int:
        """How many engines of this kind ("load", "exec", "store") there are."""
        count: int = getattr(self, f"{kind}_engines")
        return count

    @property
    def tile_bytes(self) -> int:
        """Size of one f32 tile in SRAM."""
        return self.tile * self.tile * 4

    @staticmethod
    def load(name_or_path: str | os.PathLike[str]) -> Machine:
        """The built-in machine of this name, or the one described in a TOML file."""
        if not isinstance(name_or_path, (str, os.PathLike)):
            what = f"{name_or_path!r} is no machine"
            raise MachineError(what, hint="a name (tileflow), the path of a .toml, or a Machine")
        text = os.fspath(name_or_path)
        if isinstance(name_or_path, str) and re.fullmatch(r"[\w-]+", text):
            return _load_builtin(text)
        return _load_file(Path(text))

    @staticmethod
    def names() -> tuple[str, ...]:
        """The built-in machines."""
        return tuple(sorted(path.stem for path in MACHINES_DIR.glob("*.toml")))

    def replace(self, **changes: Any) -> Machine:
        """This machine with some keys changed."""
        known = [field.name for field in dataclasses.fields(self)]
        for key in changes:
            if key not in known:
                raise MachineError(f"a machine has no key '{key}'", hint=_nearest_key(key))
        return dataclasses.replace(self, **changes)

    def codes(self) -> tuple[int, ...]:
        """The values of MACHINE_INTS, dtypes as a bit set."""
        *numbers, _ = MACHINE_INTS
        bits = sum(1 << DTYPES.index(dtype) for dtype in self.dtypes)
        return (*(getattr(self, key) for key in numbers), bits)

    @staticmethod
    def of_codes(name: str, codes: tuple[int, ...]) -> Machine:
        """The inverse of `codes`."""
        *numbers, bits = codes
        if bits >> len(DTYPES):
            raise MachineError(f"dtypes {bits:#x} has bits that mean nothing")
        dtypes = tuple(dtype for i, dtype in enumerate(DTYPES) if bits >> i & 1)
        keys: dict[str, Any] = dict(zip(MACHINE_INTS, numbers, strict=False))
        return Machine(name=name, **{**keys, "dtypes": dtypes})

    def fingerprint(self) -> int:
        """64 bits of SHA-256 over `codes`: equal for machines that differ in name alone."""
        data = struct.pack(f"<{len(MACHINE_INTS)}I", *self.codes())
        return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")

    def to_toml(self) -> str:
        """The description as a file that `load` reads back, each key with its meaning."""
        return "\n".join(
            f"# {field.metadata['does']}{_in_unit(field)}\n"
            f"{field.name} = {_toml_value(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
        ) + "\n"  # fmt: skip


MACHINE_INTS = tuple(field.name for field in dataclasses.fields(Machine))[1:]
"""What the container stores of a machine, in this order; dtypes, the last, as a bit set."""


def code_bounds(key: str) -> tuple[int, int]:
    """The smallest and the largest code of a key of MACHINE_INTS."""
    if key == MACHINE_INTS[-1]:
        return 1, (1 << len(DTYPES)) - 1
    (field,) = (field for field in dataclasses.fields(Machine) if field.name == key)
    return field.metadata["low"], field.metadata["high"]


@dataclass(frozen=True)
class _Complaint:
    key: str
    what: str
    hint: str = ""


def _complaints(values: Mapping[str, Any]) -> Iterator[_Complaint]:
    """What is wrong with a description; the first complaint may make later ones meaningless."""
    for field in dataclasses.fields(Machine):
        yield from _complain(field, values[field.name])
    tile, sram_bytes = values["tile"], values["sram_bytes"]
    least = MIN_TILES * tile * tile * 4
    if tile & (tile - 1):
        what = f"tile is {tile}, which is not a power of two"
        yield _Complaint("tile", what, f"{_range_of('tile')}: 8, 16, 32, 64 or 128")
    burst = values["dram_burst_bytes"]
    if burst & (burst - 1):
        what = f"dram_burst_bytes is {burst}, which is not a power of two"
        yield _Complaint("dram_burst_bytes", what, f"{_range_of('dram_burst_bytes')}: 32, 64, ...")
    if sram_bytes % 4:
        what = f"sram_bytes is {sram_bytes}, not a multiple of 4"
        example = max(sram_bytes - sram_bytes % 4, least)
        yield _Complaint("sram_bytes", what, f"{_range_of('sram_bytes')}, for example {example}")
    if sram_bytes < least:
        what = f"sram_bytes is {sram_bytes}, too small for {MIN_TILES} tiles"
        high = _FIELDS["sram_bytes"].metadata["high"]
        hint = f"{MIN_TILES} tiles of {tile} x {tile} x 4 B need {least}: give {least}..{high}"
        yield _Complaint("sram_bytes", what, hint)


def _complain(field: dataclasses.Field[Any], value: object) -> Iterator[_Complaint]:
    """What is wrong with the value of one key."""
    key = field.name
    if key == "name":
        if not isinstance(value, str) or not value or not value.isprintable():
            what = f"name is {value!r}, not a name"
            yield _Complaint(key, what, 'a printable text that is not empty, as in name = "mine"')
    elif key == "dtypes":
        in_order = [dtype for dtype in DTYPES if isinstance(value, tuple) and dtype in value]
        if not value or value != tuple(in_order):
            listing = ", ".join(DTYPES)
            yield _Complaint(key, f"dtypes is {value!r}, not a list of {listing}",
                             f"dtypes = {_toml_value(DTYPES)}")  # fmt: skip
    elif not isinstance(value, int) or isinstance(value, bool):
        yield _Complaint(key, f"{key} is {value!r}, not an integer", _range_of(key))
    elif not field.metadata["low"] <= value <= field.metadata["high"]:
        low, high = field.metadata["low"], field.metadata["high"]
        what = f"{key} is {value}, outside {low}..{high}"
        reason = field.metadata["hint"]
        yield _Complaint(key, what, _range_of(key) + (f"; {reason}" if reason else ""))


_FIELDS = {field.name: field for field in dataclasses.fields(Machine)}


def _range_of(key: str) -> str:
    """What may be given for a key, and what it means."""
    meta = _FIELDS[key].metadata
    if "low" not in meta:
        return f"{key} is {meta['does']}"
    low, high = meta["low"], meta["high"]
    allowed = f"{low}" if low == high else f"an integer in {low}..{high}"
    return f"{key} is {allowed} ({meta['does']})"


def _in_unit(field: dataclasses.Field[Any]) -> str:
    return f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def _nearest_key(word: str) -> str:
    hint = _nearest(word, list(_FIELDS))
    return next((f"{hint} {_range_of(key)}" for key in _FIELDS if f"'{key}'" in hint), hint)


def _load_builtin(name: str) -> Machine:
    if name not in Machine.names():
        nearest = _nearest(name, list(Machine.names()))
        hint = f"{nearest} (a file is given by its path, ./{name}.toml)"
        raise MachineError(f"no machine is called '{name}'", hint=hint)
    return _load_file(MACHINES_DIR / f"{name}.toml")


def _load_file(path: Path) -> Machine:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        built_in = ", ".join(Machine.names())
        raise MachineError(
            f"cannot read the machine file {path}: {reason}",
            hint=f"built-in machines are given by name: {built_in}; a file by its path. {START}",
        ) from error
    except UnicodeDecodeError as error:
        raise MachineError(
            f"{path} is not UTF-8 text", loc=Loc(str(path), 1), hint=START
        ) from error
    values = _parse_toml(text, path)
    fields = dataclasses.fields(Machine)
    known = [field.name for field in fields]
    for key in values:
        if key not in known:
            loc = _find_key(text, key, path)
            raise MachineError(f"unknown key '{key}'", loc=loc, hint=_nearest_key(key))
    missing = [key for key in known if key not in values]
    if missing:
        what = f"missing key{'s' * (len(missing) > 1)} {', '.join(missing)}"
        hint = f"{'; '.join(map(_range_of, missing[:3]))}; doc/machine.md lists every key. {START}"
        raise MachineError(what, loc=Loc(str(path), 1), hint=hint)
    values["dtypes"] = _as_tuple(values["dtypes"])
    for complaint in _complaints(values):
        loc = _find_key(text, complaint.key, path)
        raise MachineError(complaint.what, loc=loc, hint=complaint.hint)
    return Machine(**values)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _find_key(text: str, key: str, path: Path) -> Loc:
    """Where a key of the file is set (its first line where it is written in a way of its own)."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(rf"""\s*\[*\s*["']?({re.escape(key)})["']?\s*[=.\]]""", line)
        if found:
            return Loc(str(path), number, found.start(1) + 1)
    return Loc(str(path), 1)


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        values: dict[str, Any] = toml.loads(text)
        return values
    except toml.TOMLDecodeError as error:
        place = re.search(r"at line (\d+), column (\d+)", str(error))
        last = text.count("\n") + 1
        loc = Loc(str(path), int(place[1]), int(place[2])) if place else Loc(str(path), last)
        what = re.sub(r" \(at .*\)$", "", str(error))
        raise MachineError(
            f"not TOML: {what}", loc=loc, hint=f"each line is `key = value`. {START}"
        ) from error

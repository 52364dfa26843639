"""A TVM function as bytes, which are equal only for the same function at the same place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import tvm
import tvm_ffi


class NoStructure(Exception):
    """Something in the function cannot be told apart by its value, such as a Python callback."""


def structure_of(node: Any) -> bytes:
    """Every field of `node` and of all that it reaches, by TVM's reflection, in one order: types,
    shapes, constants to the last bit, attributes, names, which nodes are shared, and spans.

    (`tvm.ir.save_json` of 0.27 crashes on variables, and a script prints no spans.) Raises
    NoStructure. The version of TVM is in it, which says what the fields mean.
    """
    out = bytearray(_text(tvm.__version__))
    numbers: dict[int, int] = {}
    alive: list[Any] = []
    """What has a number: an address that is free may be used again."""
    todo: list[Any] = [node]
    while todo:
        value = todo.pop()
        if not isinstance(value, tvm_ffi.Object):
            out += _plain(value)
            continue
        handle = value.__chandle__()
        if handle in numbers:
            out += b"=" + struct.pack("<Q", numbers[handle])
            continue
        numbers[handle] = len(numbers)
        alive.append(value)
        parts = _parts(value)
        out += b"(" + _key(type(value)) + struct.pack("<Q", len(parts))
        todo += reversed(parts)
    return bytes(out)


def _plain(value: Any) -> bytes:
    match value:
        case None:
            return b"-"
        case bool():
            return b"b1" if value else b"b0"
        case int():
            return b"i" + _text(str(value))
        case float():
            return b"f" + struct.pack("<d", value)
        case str():
            return b"s" + _text(value)
        case bytes():
            return b"y" + struct.pack("<Q", len(value)) + value
    raise NoStructure(f"a value of type {type(value).__name__}")


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _parts(value: Any) -> list[Any]:
    """What an object consists of: its fields, or the elements of a container."""
    if isinstance(value, tvm_ffi.Array):
        return list(value)
    if isinstance(value, tvm_ffi.Map):
        return [part for pair in value.items() for part in pair]
    return [get(value) for get in _getters(type(value))]


@cache
def _key(kind: type) -> bytes:
    return _text(kind.__tvm_ffi_type_info__.type_key)  # type: ignore[attr-defined]


@cache
def _getters(kind: type) -> tuple[Callable[[Any], Any], ...]:
    """Of each field of a type and of those it is derived from; their names follow from the type.
    NoStructure where there is none, as what it holds is then not to be seen."""
    info: Any = getattr(kind, "__tvm_ffi_type_info__", None)
    found: list[Callable[[Any], Any]] = []
    while info is not None:
        found += [field.getter for field in info.fields]
        info = info.parent_type_info
    if not found:
        raise NoStructure(f"a value of type {kind.__name__}")
    return tuple(found)

"""Operands of instructions, as text to raw values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tileflow_tvm.isa.table import NO_REGISTER, SCALAR_SOURCE, Field, Kind
from tileflow_tvm.isa.validate import registers

from .cursor import Cursor, nearest
from .directives import DIRECTIVES, Draft, f32_operand
from .lexer import Tok, Token
from .syntax import NONE, PREFIX, Form, Operand

REGISTER = re.compile(r"(sem|[aesl])(0|[1-9]\d{0,3})")
"""What a register looks like, of whichever kind."""

_KIND_OF = {prefix: kind for kind, prefix in PREFIX.items()}


@dataclass
class Operands:
    """The values read so far and the token each came from."""

    values: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def operands(draft: Draft, cursor: Cursor, form: Form) -> Operands:
    """All operands of an instruction, up to its place, its comment or the end of the line."""
    found = Operands()
    waiting = list(form.positional)
    while not _is_over(cursor):
        named = _named(cursor, form)
        if named is not None:
            operand = named
        elif not waiting or found.seen - {op.name for op in form.positional}:
            raise cursor.error(
                f"{form.row.mnemonic} takes no further operand {cursor.token.shown()}",
                hint=usage(form),
            )
        else:
            operand = waiting[0]
        if operand in waiting:
            waiting.remove(operand)
        _read(draft, cursor, operand, found)
        if cursor.accept(","):
            if _is_over(cursor):
                raise cursor.error("an operand is missing after the comma")
        elif not _is_over(cursor) and _named_ahead(cursor) is None:
            raise cursor.error(f"expected a comma, found {cursor.token.shown()}")
    _complete(cursor, form, found)
    return found


def _is_over(cursor: Cursor) -> bool:
    token = cursor.token
    return token.tok is Tok.END or (token.tok is Tok.MARK and token.text in "@{")


def _named_ahead(cursor: Cursor) -> str | None:
    follows = cursor.ahead(1)
    if cursor.token.tok is Tok.WORD and follows.tok is Tok.MARK and follows.text == "=":
        return cursor.token.text
    return None


def _named(cursor: Cursor, form: Form) -> Operand | None:
    """The operand of a `name=` that comes next, which is taken; None where none does."""
    name = _named_ahead(cursor)
    if name is None:
        return None
    operand = form.find(name)
    if operand is None:
        hint = nearest(name, [operand.name for operand in form.operands])
        raise cursor.error(f"{form.row.mnemonic} has no operand '{name}'", hint=hint)
    cursor.take()
    cursor.take()
    return operand


def _read(draft: Draft, cursor: Cursor, operand: Operand, found: Operands) -> None:
    token = cursor.token
    if operand.name in found.seen:
        raise cursor.error(f"{operand.name} is given twice", token)
    found.seen.add(operand.name)
    head, *rest = operand.fields
    _store(draft, cursor, head, found)
    if head.kind is Kind.TENSOR:
        if cursor.accept("["):
            _coordinates(draft, cursor, rest, found)
        return
    for spec in rest:
        if cursor.token.text != "," or _named_after_comma(cursor):
            break
        cursor.take()
        _store(draft, cursor, spec, found)


def _named_after_comma(cursor: Cursor) -> bool:
    return cursor.ahead(2).text == "=" or cursor.ahead(1).tok is Tok.END


def _coordinates(draft: Draft, cursor: Cursor, rest: list[Field], found: Operands) -> None:
    """The rest of `[a1, 0, a2]`; 0 is the coordinate that names no register."""
    for spec in rest:
        if cursor.token.tok is Tok.NUMBER and cursor.token.text == "0":
            found.tokens[spec.name] = cursor.take()
            found.values[spec.name] = NO_REGISTER
        else:
            _store(draft, cursor, spec, found)
        if not cursor.accept(","):
            break
    cursor.expect("]")


def _store(draft: Draft, cursor: Cursor, spec: Field, found: Operands) -> None:
    token = found.tokens[spec.name] = cursor.token
    value = _value(draft, cursor, spec)
    low, high = spec.bounds
    if not low <= value <= high:
        raise cursor.error(f"{spec.name} is {token.text}, outside {low}..{high}", token)
    found.values[spec.name] = value


def _complete(cursor: Cursor, form: Form, found: Operands) -> None:
    """Fills in defaults; an operand that has none must have been written."""
    for operand in form.operands:
        if operand.required and operand.name not in found.seen:
            raise cursor.error(f"{form.row.mnemonic} needs {operand.name}", hint=usage(form))
        for spec in operand.fields:
            if spec.default is not None:
                found.values.setdefault(spec.name, spec.default)


def usage(form: Form) -> str:
    """How the instruction is written."""
    parts = [_placeholder(op) for op in form.positional]
    named = [f"{op.name}=" for op in form.operands if not op.positional]
    shown = ", ".join(part for part in parts if part)
    return " ".join(["it is written:", form.row.mnemonic, shown, *named]).replace("  ", " ")


def _placeholder(operand: Operand) -> str:
    kind = operand.fields[0].kind
    prefix = PREFIX.get(kind)
    text = f"{operand.name}:{prefix}0" if prefix else operand.name
    return text if operand.required else f"[{text}]"


def _value(draft: Draft, cursor: Cursor, spec: Field) -> int:
    """The raw value of what is written for one field."""
    match spec.kind:
        case Kind.UINT | Kind.SINT | Kind.FLAG:
            return cursor.integer(f"{spec.name}, a number")
        case Kind.F32:
            return f32_operand(cursor)
        case Kind.ENUM:
            return spec.choices.index(cursor.word(f"{spec.name}", spec.choices))
        case Kind.TENSOR:
            return _entry(cursor, "tensor", ".tensor", draft.tensor_names)
        case Kind.ACCESS:
            return _entry(cursor, "access pattern", ".access", draft.access_names)
        case _:
            return _register(draft, cursor, spec)


def _entry(cursor: Cursor, what: str, directive: str, names: dict[str, int]) -> int:
    token = cursor.token
    name = cursor.name(f"the name of a {what}".replace(" a access", " an access"))
    if name not in names:
        known = nearest(name, names) or f"there are {len(names)}: {', '.join([*names][:8])}, ..."
        hint = (
            known
            if names
            else f"declare it before the first instruction: {DIRECTIVES[directive].form}"
        )
        raise cursor.error(f"no {what} is called '{name[:40]}'", token, hint)
    return names[name]


def _register(draft: Draft, cursor: Cursor, spec: Field) -> int:
    token = cursor.token
    if token.text == NONE and spec.default == NO_REGISTER:
        cursor.take()
        return NO_REGISTER
    match = REGISTER.fullmatch(token.text)
    kind = _KIND_OF[match[1]] if match else None
    allowed = (Kind.LEVEL, Kind.SCALAR) if spec.kind is Kind.SOURCE else (spec.kind,)
    if match is None or kind not in allowed:
        found = f"the {kind.value} {token.text}" if kind else token.shown()
        examples = " or ".join(f"{PREFIX[kind]}0" for kind in allowed)
        what = f"{spec.name} is written as {examples}, not {found}"
        raise cursor.error(what, token, registers(spec.kind, draft.machine))
    cursor.take()
    number = int(match[2])
    most = SCALAR_SOURCE - 1 if spec.kind is Kind.SOURCE else min(spec.mask, NO_REGISTER - 1)
    if number > most:
        what = f"{token.text} does not exist"
        raise cursor.error(what, token, registers(spec.kind, draft.machine))
    if spec.kind is not Kind.SOURCE:
        return number
    return number if kind is Kind.LEVEL else SCALAR_SOURCE + number

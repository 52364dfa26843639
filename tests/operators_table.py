"""`doc/operators.md` from `operators.json`: python tests/operators_table.py > doc/operators.md"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

DATA = Path(__file__).with_name("operators.json")
PAGE = DATA.parents[1] / "doc" / "operators.md"

COMPILES = "compiles"

Outcomes = dict[str, dict[str, str]]
"""Family -> case -> COMPILES, or why it is refused."""

SUITES = {
    "operators": (
        "Operators",
        "Functions of TOPI made by `te.create_prim_func`, and Relax operators (`relax.…`) as "
        "`LegalizeOps` leaves them. A number behind `of` is the rank, a list of numbers the axes; "
        "types other than float32 are named.",
    ),
    "contractions": (
        "Contractions",
        "Written by hand as TVMScript (`tests/contractions/`), each at three sizes: `small` is "
        "smaller than a tile, `odd` crosses tiles and fills none, `large` is many tiles.",
    ),
}
"""Suite -> its title and what is in it."""

INTRODUCTION = """# Operators

What the compute level takes. Whatever compiles is run in both engines at every test run and
compared, element by element, with TVM's LLVM back end (operators) or NumPy (contractions, and many
operators too); what is refused is an error with its place, this reason, and a hint.

Generated from `tests/operators.json`, which `pytest tests/test_operators.py
tests/test_contractions.py --update-operators` records; a test fails where either is out of date.

"""


def load() -> dict[str, Outcomes]:
    return json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}


def page(data: dict[str, Outcomes]) -> str:
    """The whole document."""
    parts = [INTRODUCTION, _table(("", "compile", "refused"), _counts(data)), _reasons(data)]
    for suite, (title, what) in SUITES.items():
        parts.append(f"\n## {title}\n\n{what}\n")
        for family, outcomes in data.get(suite, {}).items():
            head = f"### {_capital(family)} ({_share(outcomes.values())})"
            parts.append(f"\n{head}\n\n{_table(('case', 'outcome'), _rows(outcomes))}")
    return "".join(parts)


def _counts(data: dict[str, Outcomes]) -> list[tuple[str, ...]]:
    """A row for each suite, and below the operators one for each of their families."""
    rows = []
    for suite, (title, _) in SUITES.items():
        families = data.get(suite, {})
        every = [found for family in families.values() for found in family.values()]
        rows.append(_count(f"**{title}**", every))
        if suite == "operators":
            rows += [_count(family, list(found.values())) for family, found in families.items()]
    return rows


def _count(name: str, found: list[str]) -> tuple[str, ...]:
    compiled = found.count(COMPILES)
    return name, str(compiled), str(len(found) - compiled)


def _reasons(data: dict[str, Outcomes]) -> str:
    """How often each reason is given, names and numbers taken out."""
    count = Counter(
        general(found)
        for suite in data.values() for family in suite.values() for found in family.values()
        if found != COMPILES
    )  # fmt: skip
    if not count:
        return ""
    rows = [(str(number), _cell(reason)) for reason, number in count.most_common()]
    return f"\n## Why cases are refused\n\n{_table(('cases', 'reason'), rows)}"


def general(reason: str) -> str:
    """A reason as it is given in many places: names, types, numbers and indices left out."""
    reason = re.sub(r"(?<=the index ).*(?= is not affine)", "…", reason)
    reason = re.sub(r"(dtype|from|to|type) (float|bfloat|int|uint|bool)\d*", r"\1 …", reason)
    reason = re.sub(r"(?<=in order: ).*", "…", reason)
    reason = re.sub(r"(?<=with the same ).*(?= assign)", "…", reason)
    reason = re.sub(r"over the axes [\w, ]+ is", "over the axes … is", reason)
    return re.sub(r"\w+\[[^\]]*\]", "…", re.sub(r"'[^']*'", "…", reason))


def _rows(outcomes: dict[str, str]) -> list[tuple[str, str]]:
    """A row a case; one for all sizes (`name/size`) of it that have the same outcome."""
    sizes: dict[tuple[str, str], list[str]] = {}
    count = Counter(name.partition("/")[0] for name in outcomes)
    for name, found in outcomes.items():
        stem, _, size = name.partition("/")
        sizes.setdefault((stem, found), []).append(size)
    rows = []
    for (stem, found), which in sizes.items():
        shown = "" if len(which) == count[stem] else f" ({', '.join(which)})"
        rows.append((f"`{stem}`{shown}", _cell(found)))
    return rows


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _share(found: Iterable[str]) -> str:
    outcomes = list(found)
    return f"{outcomes.count(COMPILES)} of {len(outcomes)} compile"


def _cell(text: str) -> str:
    """As Markdown that shows it as it is."""
    if text == COMPILES:
        return f"**{text}**"
    return re.sub(r"([|*_\[\]<>`])", r"\\\1", text)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    print(page(load()), end="")

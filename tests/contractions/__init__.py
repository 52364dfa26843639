"""Contractions that must compile exactly or be refused with a reason: aggregations over index
tuples, written by hand as blocks."""

from __future__ import annotations

from contractions import convolutions, movement, products, rows, semirings, sums, windows
from contractions.contraction import ROWS, SIZES, Contraction

FAMILIES: dict[str, dict[str, tuple[Contraction, str]]] = {
    row: {
        f"{name}/{size}": (contraction, size)
        for name, contraction in forms.items() for size in SIZES
    }
    for row, forms in sorted(ROWS.items(), key=lambda item: int(item[0].split()[0]))
}  # fmt: skip
"""Row -> form/size -> what it is."""

__all__ = [
    "FAMILIES",
    "Contraction",
    "convolutions",
    "movement",
    "products",
    "rows",
    "semirings",
    "sums",
    "windows",
]

"""The operators of TOPI and Relax that the compiler is measured by: functions whose accesses are
affine or nearly so, and some that are not."""

from __future__ import annotations

from operator_cases import (
    convolutions,
    elementwise,
    movement,
    narrow,
    products,
    reductions,
)
from operator_cases.case import LARGE, SMALL, Case, Family, Sizes

FAMILIES: dict[str, Family] = {
    "mathematical functions": elementwise.MATH,
    "activations": elementwise.ACTIVATIONS,
    "arithmetic": elementwise.BINARY,
    "comparisons and choices": elementwise.COMPARISONS,
    "casts": elementwise.CASTS,
    "reductions": reductions.REDUCTIONS,
    "scans": reductions.SCANS,
    "softmax": reductions.SOFTMAX,
    "norms": reductions.NORMS,
    "losses": reductions.LOSSES,
    "products": products.PRODUCTS,
    "convolutions": convolutions.CONVOLUTIONS,
    "pools": convolutions.POOLS,
    "padding and windows": movement.PADDING,
    "shapes": movement.SHAPES,
    "slices and joins": movement.SLICES,
    "creation": movement.CREATION,
    "indexing by data": movement.INDEXING,
    "integers and bool": narrow.INTEGERS,
    "float16 and bfloat16": narrow.FLOATS,
    "narrow products": {**products.NARROW_PRODUCTS, **convolutions.NARROW_CONVOLUTIONS},
}

__all__ = ["FAMILIES", "LARGE", "SMALL", "Case", "Family", "Sizes"]

"""Which sums of products, or least and greatest sums, `exec.gemm` computes."""

from __future__ import annotations

from tileflow_tvm.frontend.compute import IDENTITY, INTEGER, Apply, Stage, dtype_of
from tileflow_tvm.isa.table import SEMIRINGS


def semiring_of(stage: Stage) -> str | None:
    """The semiring in which `stage` sums what its two factors make; None for other stages.

    C[i, j] = min_k (A[i, k] + B[k, j])    "add_min"
    """
    value = stage.value
    if not isinstance(value, Apply):
        return None
    if stage.combine == "sum":
        return SEMIRINGS[0] if value.func.removeprefix(INTEGER) == "mul" else None
    name = f"{value.func}_{stage.combine}"
    return name if name in SEMIRINGS and dtype_of(value) == "float32" else None


def empty_sum(semiring: str) -> float:
    """What a sum of nothing is."""
    _, plus = semiring.split("_")
    return IDENTITY["sum" if plus == "add" else plus]

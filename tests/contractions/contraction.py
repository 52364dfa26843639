"""A contraction as somebody would write it in TVMScript, at three sizes, with its oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from kernel_steps import numpy_type
from operator_cases.case import Domain, normal
from tvm.tirx import PrimFunc

SIZES = ("small", "odd", "large")
"""Within a tile; across tiles, filling none; many tiles."""


@dataclass(frozen=True)
class Contraction:
    """`build(*size)` is the function, its last parameter the output; `numpy` says in float64 what
    that is. `of(*size)` has the inputs, by name, that are not normally distributed. `within`
    multiplies the tolerance: sums are long."""

    build: Callable[..., PrimFunc]
    numpy: Callable[..., np.ndarray]
    sizes: dict[str, tuple[int, ...]]
    of: Callable[..., dict[str, Domain]] = field(default=lambda *_: {})
    within: float = 1.0

    def function(self, size: str) -> PrimFunc:
        return self.build(*self.sizes[size])

    def inputs(self, func: PrimFunc, size: str, rng: np.random.Generator) -> list[np.ndarray]:
        """Random ones for `func`, the function of this size."""
        domains = self.of(*self.sizes[size])
        drawn = []
        for param in func.params[:-1]:
            shape = tuple(int(extent) for extent in param.ty.shape)
            array = domains.get(param.name, normal)(rng, shape)
            drawn.append(array.astype(numpy_type(str(param.ty.dtype))))
        return drawn


ROWS: dict[str, dict[str, Contraction]] = {}
"""The rows of the list of contractions, each in the forms it can be written in."""


def contraction(row: str, numpy: Callable[..., Any], *sizes: tuple[int, ...], **more: Any) -> Any:
    """A decorator: the function below it makes the PrimFunc for a size; `sizes` are three."""

    def add(build: Callable[..., PrimFunc]) -> Callable[..., PrimFunc]:
        forms = ROWS.setdefault(row, {})
        assert build.__name__ not in forms
        named = dict(zip(SIZES, sizes, strict=True))
        forms[build.__name__] = Contraction(build, numpy, named, **more)
        return build

    return add


long_sum = partial(contraction, within=8.0)
"""For sums of hundreds of terms."""

"""An operator as a function to compile: what it is applied to, at which sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from kernel_steps import Draw, Kernel, numpy_type, of_function, of_relax
from tvm import relax, te

Domain = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.abs(rng.standard_normal(shape)) + 0.25


def leaning(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of both signs, but sums of many of them do not cancel."""
    return rng.standard_normal(shape) + 1.0


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Inside of -1..1."""
    return rng.uniform(-0.95, 0.95, shape)


def above_one(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 1.125 + np.abs(rng.standard_normal(shape))


def near_one(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Products of many of these neither vanish nor overflow."""
    return rng.uniform(0.7, 1.4, shape) * rng.choice([-1, 1], shape)


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of which many are equal, and many are ties of a rounding."""
    return rng.integers(-7, 8, shape) / 2


def special(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers, NaN and infinities."""
    return rng.choice([1.5, -2.0, np.nan, np.inf, -np.inf, 0.0], shape)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All different, in any order."""
    return rng.permutation(int(np.prod(shape))).reshape(shape)


def integers(low: int, high: int) -> Domain:
    """From low to high - 1."""
    return lambda rng, shape: rng.integers(low, high, shape)


@dataclass(frozen=True)
class Sizes:
    """Matrices are m x k and k x n; images b samples of c channels (a multiple of 6), d, h, w."""

    m: int
    k: int
    n: int
    b: int
    c: int
    d: int
    h: int
    w: int


SMALL = Sizes(m=33, k=17, n=35, b=3, c=6, d=5, h=9, w=11)
LARGE = Sizes(m=129, k=70, n=201, b=5, c=36, d=9, h=23, w=37)

DEFAULT = {"float": normal, "bfloat": normal, "int": integers(-9, 10), "uint": integers(0, 10)}


class Operands:
    """Makes the placeholders of one case, in the order of its parameters."""

    def __init__(self, sizes: Sizes, placeholder: Callable[..., Any]) -> None:
        self._sizes = sizes
        self._placeholder = placeholder
        self.inputs: list[Any] = []
        self.draws: list[Draw] = []

    def __getattr__(self, name: str) -> int:
        return int(getattr(self._sizes, name))

    def __call__(self, *shape: int, dtype: str = "float32", of: Domain | None = None) -> Any:
        """An input of this shape, its data drawn from `of`."""
        kind = dtype.rstrip("0123456789")
        domain = of or (integers(0, 2) if kind == "bool" else DEFAULT[kind])
        self.inputs.append(self._placeholder(shape, dtype, "ABCDEFGH"[len(self.inputs)]))
        self.draws.append(lambda rng: domain(rng, shape).astype(numpy_type(dtype)))
        return self.inputs[-1]

    def matrix(self, dtype: str = "float32", of: Domain | None = None) -> Any:
        """m x n"""
        return self(self.m, self.n, dtype=dtype, of=of)

    def line(self) -> Any:
        """b x c x w"""
        return self(self.b, self.c, self.w)

    def image(self, dtype: str = "float32") -> Any:
        """b x c x h x w"""
        return self(self.b, self.c, self.h, self.w, dtype=dtype)

    def image_last(self, dtype: str = "float32") -> Any:
        """b x h x w x c"""
        return self(self.b, self.h, self.w, self.c, dtype=dtype)

    def volume(self) -> Any:
        """b x c x d x h x w"""
        return self(self.b, self.c, self.d, self.h, self.w)


@dataclass(frozen=True)
class Case:
    """`build` applies an operator to operands, and `numpy` says the same of arrays: of float64
    for floating point, of their own type for integers. `within` multiplies the tolerance."""

    build: Callable[[Operands], Any]
    numpy: Callable[..., Any] | None = None
    within: float = 1.0
    relax: bool = False

    def kernel(self, sizes: Sizes) -> Kernel:
        operands = Operands(sizes, _variable if self.relax else _placeholder)
        result = self.build(operands)
        if self.relax:
            return of_relax(result, operands.inputs, operands.draws)
        results = [result] if isinstance(result, te.Tensor) else list(result)
        func = te.create_prim_func([*operands.inputs, *results])
        return of_function(func, operands.draws)


def _placeholder(shape: tuple[int, ...], dtype: str, name: str) -> te.Tensor:
    return te.placeholder(shape, dtype, name)


def _variable(shape: tuple[int, ...], dtype: str, name: str) -> relax.Var:
    return relax.Var(name, relax.TensorType(shape, dtype))


Family = dict[str, Case]


def topi_cases(**cases: Any) -> Family:
    """`name=build` or `name=(build, numpy)` or a Case."""
    made = {}
    for name, case in cases.items():
        if isinstance(case, tuple):
            case = Case(*case)
        made[name] = case if isinstance(case, Case) else Case(case)
    return made


def relax_cases(**cases: Any) -> Family:
    """The same for Relax operators; names get the prefix `relax.`"""
    return {
        f"relax.{name}": replace(case, relax=True) for name, case in topi_cases(**cases).items()
    }

"""A tensor expression or a Relax function as PrimFuncs in a row, with data for them and what TVM's
LLVM makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import tvm
from lifted import LLVM
from tvm import relax
from tvm.tirx import PrimFunc

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Tensor:
    """A value between functions: its number in the kernel, shape and dtype."""

    number: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Step:
    """A call of `func` on `reads`, then `writes`."""

    func: PrimFunc
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]


@dataclass(frozen=True)
class Kernel:
    """PrimFuncs that are called one after the other. The inputs are the tensors from 0 on;
    `draws` makes random ones."""

    steps: tuple[Step, ...]
    draws: tuple[Draw, ...]
    outputs: tuple[Tensor, ...]

    def inputs(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [draw(rng) for draw in self.draws]


def numpy_type(dtype: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def of_function(func: PrimFunc, draws: Sequence[Draw]) -> Kernel:
    """A function whose parameters are the inputs, then the outputs."""
    tensors = tuple(
        Tensor(number, tuple(int(extent) for extent in param.ty.shape), str(param.ty.dtype))
        for number, param in enumerate(func.params)
    )
    reads, writes = tensors[: len(draws)], tensors[len(draws) :]
    return Kernel((Step(func, reads, writes),), tuple(draws), writes)


def of_relax(value: relax.Expr, params: Sequence[relax.Var], draws: Sequence[Draw]) -> Kernel:
    """What LegalizeOps makes of a function that returns `value`."""
    builder = relax.BlockBuilder()
    with builder.function("main", list(params)):
        with builder.dataflow():
            out = builder.emit_output(builder.normalize(value))
        builder.emit_func_output(out)
    module = relax.transform.LegalizeOps()(builder.get())
    return _Chain(module).kernel(draws)


class _Chain:
    """Reads the calls of a module's `main`."""

    def __init__(self, module: tvm.IRModule) -> None:
        self._module = module
        self._main = module["main"]
        self._values: dict[Any, Any] = {}
        self._count = 0

    def kernel(self, draws: Sequence[Draw]) -> Kernel:
        for param in self._main.params:
            self._values[param] = self._fresh(param.ty)
        body = self._main.body
        steps = []
        for block in body.blocks:
            for binding in block.bindings:
                steps += self._bind(binding.var, binding.value)
        return Kernel(tuple(steps), tuple(draws), tuple(self._flat(body.body)))

    def _fresh(self, ty: Any) -> Any:
        if isinstance(ty, relax.TupleType):
            return [self._fresh(field) for field in ty.fields]
        shape = tuple(int(extent) for extent in ty.shape)
        self._count += 1
        return Tensor(self._count - 1, shape, str(ty.dtype))

    def _bind(self, var: Any, value: Any) -> Iterator[Step]:
        if isinstance(value, tvm.ir.Call):
            assert value.op == tvm.ir.Op.get("relax.call_tir"), f"{value.op} is left over"
            self._values[var] = self._fresh(value.ty_args[0])
            func = self._module[value.args[0]]
            reads, writes = tuple(self._flat(value.args[1])), tuple(self._flat(var))
            yield Step(func, reads, writes)
        else:
            self._values[var] = self._value(value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, relax.Tuple):
            return [self._value(field) for field in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._value(value.tuple_value)[value.index]
        return self._values[value]

    def _flat(self, value: Any) -> list[Tensor]:
        found = self._value(value)
        return list(found) if isinstance(found, list) else [found]


def run_llvm(kernel: Kernel, inputs: list[np.ndarray]) -> list[list[np.ndarray]]:
    """What each step reads and writes, all of it computed by LLVM."""
    names = [f"step_{number}" for number in range(len(kernel.steps))]
    functions = {
        name: step.func.with_attr("global_symbol", name)
        for name, step in zip(names, kernel.steps, strict=True)
    }
    module = tvm.compile(tvm.IRModule(functions), target=LLVM)
    known = {number: tvm.runtime.tensor(array) for number, array in enumerate(inputs)}
    arrays = []
    for name, step in zip(names, kernel.steps, strict=True):
        for tensor in step.writes:
            known[tensor.number] = tvm.runtime.empty(tensor.shape, tensor.dtype)
        used = [known[tensor.number] for tensor in (*step.reads, *step.writes)]
        module[name](*used)
        arrays.append([tensor.numpy() for tensor in used])
    return arrays

"""One function four ways: TVM's LLVM on it as written and as legalized, NumPy on what `lift`
makes of either."""

from __future__ import annotations

import numpy as np
import tvm
from reference_numpy import run_tensor_program
from tvm.tirx import PrimFunc

from tileflow_tvm.frontend.tile_ir import Alloc, Op, Program, Region
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift

MACHINE = Machine()
LLVM = tvm.target.Target({"kind": "llvm", "opt-level": 0})
"""Unoptimised: a tenth of the time to compile."""


def check_lift(
    func: PrimFunc, rng: np.random.Generator, *, positive: bool = False, rtol: float = 2e-5
) -> Program:
    """The lifted program, after every way has given the same numbers on random data."""
    legal = legalize(func, MACHINE)
    tvm.ir.assert_structural_equal(legalize(legal, MACHINE), legal)
    tvm.ir.assert_structural_equal(tvm.script.from_source(legal.script()), legal)
    program = lift(func, MACHINE)
    check_ensures(program)
    inputs = [
        _data(param.shape, rng, positive)
        for param, role in zip(program.params, program.roles, strict=True) if role != "out"
    ]  # fmt: skip
    llvm = _llvm({"written": func, "legalized": legal}, program, inputs)
    want = llvm["written"]
    for name, got in {
        "LLVM on the legalized function": llvm["legalized"],
        "NumPy on the lifted program": run_tensor_program(program, inputs),
        "NumPy after legalize and lift": run_tensor_program(lift(legal, MACHINE), inputs),
    }.items():
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            scale = np.abs(other[np.isfinite(other)]).max(initial=1.0)
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale, err_msg=name)
    return program


def _data(shape: tuple[int, ...], rng: np.random.Generator, positive: bool) -> np.ndarray:
    data = rng.standard_normal(shape)
    return (np.abs(data) + 0.25 if positive else data).astype(np.float32)


def _llvm(
    funcs: dict[str, PrimFunc], program: Program, inputs: list[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """The written parameters after each of the functions, compiled as one module."""
    named = {name: func.with_attr("global_symbol", name) for name, func in funcs.items()}
    module = tvm.compile(tvm.IRModule(named), target=LLVM)
    results = {}
    for name in named:
        given = iter(inputs)
        tensors = [
            tvm.runtime.tensor(
                np.full(param.shape, np.nan, np.float32) if role == "out" else next(given)
            )
            for param, role in zip(program.params, program.roles, strict=True)
        ]
        module[name](*tensors)
        results[name] = [
            tensor.numpy()
            for tensor, role in zip(tensors, program.roles, strict=True) if role != "in"
        ]  # fmt: skip
    return results


def check_ensures(program: Program) -> None:
    """What `lift` promises of any program."""
    allocated = set(program.params)
    written = set()
    held = {p for p, role in zip(program.params, program.roles, strict=True) if role != "out"}
    for stmt in program.body:
        if isinstance(stmt, Alloc):
            assert stmt.buffer not in allocated
            allocated.add(stmt.buffer)
            continue
        assert isinstance(stmt, Op)
        assert stmt.name in ("gemm", "unary", "binary", "reduce", "fill", "copy")
        assert all(region.is_whole and region.buffer in allocated for region in stmt.regions)
        sources = [src.buffer for src in stmt.srcs if isinstance(src, Region)]
        assert all(buffer in written or buffer in held for buffer in sources)
        assert stmt.dst.buffer not in written, "a buffer is written once"
        written.add(stmt.dst.buffer)
    names = [buffer.name for buffer in allocated]
    assert len(set(names)) == len(names)
    for param, role in zip(program.params, program.roles, strict=True):
        assert param in written or role != "out" or not param.elements


def ops(program: Program) -> list[str]:
    """The operations as short texts: `Y = binary add(A, 2.0) full imm`."""
    return [_text(op) for op in program.ops]


def _text(op: Op) -> str:
    srcs = [f"{s:g}" if isinstance(s, float) else s.buffer.name for s in op.srcs]
    if op.name == "fill":
        srcs.append(f"{op.value:g}")
    flags = [*op.modes, op.axis]
    flags += [
        flag for flag, on in (("ta", op.transpose_a), ("tb", op.transpose_b), ("T", op.transposed))
        if on
    ]  # fmt: skip
    if (op.scale, str(op.bias)) != (1.0, "-0.0"):
        flags += [f"scale={op.scale:g}", f"bias={op.bias:g}"]
    head = f"{op.dst.buffer.name} = {op.name} {op.func}".rstrip()
    return f"{head}({', '.join(srcs)}) {' '.join(filter(None, flags))}".rstrip()

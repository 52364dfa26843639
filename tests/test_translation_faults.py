"""Passes that are wrong on purpose: validation names them, and not the ones around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fusible import feed_forward, softmax
from test_translation import draw
from translated import MACHINE, arguments_of

import tileflow_tvm as tf
from tileflow_tvm.cli import main
from tileflow_tvm.errors import CallError, KernelError
from tileflow_tvm.frontend.ops import OPS
from tileflow_tvm.frontend.read import read
from tileflow_tvm.frontend.tile_ir import Clear, Group, Loop, Op, Program, Stmt, walk
from tileflow_tvm.frontend.tree import substitute_buffers
from tileflow_tvm.golden import CheckError, validated
from tileflow_tvm.isa.machine import Machine
from tileflow_tvm.isa.table import BINARY_FUNCS, DTYPE_FACTS, REDUCE_FUNCS, UNARY_FUNCS
from tileflow_tvm.kernels.gemm import gemm, gemm_reference
from tileflow_tvm.passes.legalize import accepted
from tileflow_tvm.reference.functions import BINARY, REDUCE, UNARY, VALUE
from tileflow_tvm.reference.lowering import Lowering
from tileflow_tvm.reference.primitives import PRIMITIVES
from tileflow_tvm.reference.stages import executions


def with_one_changed(program: Program, changes) -> Program:
    """`program` with the first operation that `changes` returns another one for."""
    done = False

    def stmt(old: Stmt) -> Stmt:
        nonlocal done
        if isinstance(old, Loop | Group):
            return replace(old, body=tuple(stmt(child) for child in old.body))
        new = changes(old) if isinstance(old, Op) and not done else None
        done = done or new is not None
        return new or old

    changed = replace(program, body=tuple(stmt(child) for child in program.body))
    assert done
    return changed


def one_further(program: Program, _: Machine) -> Program:
    """A load that begins an element late."""

    def change(op: Op) -> Op | None:
        if op.name != "load":
            return None
        (src,) = op.srcs
        return replace(op, srcs=(replace(src, start=(*src.start[:-1], src.start[-1] + 1)),))

    return with_one_changed(program, change)


def never_cleared(program: Program, _: Machine) -> Program:
    """A sum that begins with what was there."""

    def change(op: Op) -> Op | None:
        accumulates = op.name in ("gemm", "reduce")
        return replace(op, clear=Clear()) if accumulates and op.clear != Clear() else None

    return with_one_changed(program, change)


def over_another(program: Program, _: Machine) -> Program:
    """A source that has the address of another one of the same operation."""
    for op in program.ops:
        sources = list(dict.fromkeys(region.buffer for region in op.regions[1:]))
        if op.name in ("gemm", "binary") and len(sources) == 2:
            first, second = sources
            assert first.scope.on_chip
            return substitute_buffers(program, {second: replace(second, address=first.address)})
    raise AssertionError("no operation of two sources")


FAULTS = [("tile", one_further), ("infer_scope", never_cleared), ("plan_sram", over_another)]


def blamed(func, inputs, extra) -> str:
    """What validation says of `func` with further passes."""
    function = accepted(func, MACHINE)
    arguments = arguments_of(function, inputs)
    written = [p.name for p, role in zip(function.params, function.roles, strict=True)
               if role != "in"]  # fmt: skip
    with pytest.raises(CheckError) as caught:
        validated(executions(func, MACHINE, arguments, extra=extra), written)
    return str(caught.value)


@pytest.mark.parametrize(
    ("after", "fault"), FAULTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_the_pass_that_is_wrong_is_named(after, fault, rng):
    func = feed_forward()
    text = blamed(func, draw(func, rng), {after: fault})
    assert f"after pass '{fault.__name__}' the function computes something else: '" in text
    assert "elements are off" in text
    assert "hint: tileflow compile --dump-passes" in text


def test_an_overlap_of_a_few_bytes_is_seen(rng):
    """Bytes are shared, not only whole buffers."""
    func = feed_forward()

    def half_a_tile_into_the_sums(program: Program, machine: Machine) -> Program:
        gemm = next(op for op in program.ops if op.name == "gemm")
        dst, lhs, _ = (region.buffer for region in gemm.regions)
        return substitute_buffers(
            program, {lhs: replace(lhs, address=dst.address + machine.tile_bytes // 2)}
        )

    text = blamed(func, draw(func, rng), {"pipeline": half_a_tile_into_the_sums})
    assert "after pass 'half_a_tile_into_the_sums'" in text


def test_every_primitive_and_function_has_its_meaning():
    assert PRIMITIVES.keys() == OPS.keys()
    assert UNARY.keys() == set(UNARY_FUNCS)
    assert BINARY.keys() == set(BINARY_FUNCS)
    assert REDUCE.keys() == set(REDUCE_FUNCS)
    assert VALUE.keys() == {dtype.numpy for dtype in DTYPE_FACTS}


def test_a_primitive_without_a_rule_is_named():
    rules = {name: rule for name, rule in PRIMITIVES.items() if name != "gemm"}
    program = read(gemm(32, 32, 32))
    assert any(isinstance(stmt, Op) and stmt.name == "gemm" for stmt in walk(program.body))
    with pytest.raises(KernelError, match=r"T\.tf\.gemm has no reference lowering") as caught:
        Lowering(program, MACHINE, rules).func()
    assert caught.value.loc is not None
    assert "primitives.py" in caught.value.hint


def test_check_lists_the_passes():
    report = tf.check(gemm(40, 50, 33), oracle=gemm_reference, validate=True)
    assert report.passes == ("infer_scope", "plan_sram", "pipeline")
    assert tf.check(softmax()).passes == ()


def test_a_compiled_program_has_no_passes():
    exe = tf.compile(gemm(32, 32, 32))
    with pytest.raises(CallError, match="a compiled program carries no passes"):
        tf.check(exe, oracle=gemm_reference, validate=True)


def test_the_command_line_takes_it(capsys):
    from tileflow_tvm.kernels import gemm as module

    main(["check", f"{module.__file__}:gemm", "--shape", "40,50,33", "--validate"])
    out = capsys.readouterr().out
    assert "infer_scope, plan_sram, pipeline" in out


def test_the_reference_is_a_function_of_plain_loops(rng):
    """As the document shows it: LLVM against NumPy."""
    from tileflow_tvm.frontend.reference import run_llvm
    from tileflow_tvm.reference import reference

    func = gemm(40, 50, 33)
    loops = reference(func)
    assert "T.tf" not in loops.script()
    a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((40, 33), (33, 50)))
    (got,) = run_llvm(loops, [(a, False), (b, False), (np.zeros((40, 50), np.float32), True)])
    np.testing.assert_allclose(got, a @ b, rtol=1e-4, atol=1e-4)

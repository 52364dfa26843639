"""`legalize`: its normal form, and errors for functions that no text stands behind."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from graph_source import load_source
from lifted import MACHINE, check_lift
from refused import block_func
from tvm import te, tirx, topi
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from tileflow_tvm.errors import KernelError
from tileflow_tvm.passes.legalize import legalize
from tileflow_tvm.passes.lift import lift


@T.prim_func(s_tir=True)
def scheduled(X: T.Buffer((T.int64(32), T.int64(50)), "float32"),
              Y: T.Buffer((T.int64(32), T.int64(50)), "float32")):  # fmt: skip
    for io, ii, j, u in T.grid(T.int64(4), T.int64(8), T.int64(50), T.int64(1)):
        with T.sblock("y"):
            i = T.axis.spatial(T.int64(32), io * T.int64(8) + ii)
            vj, vu = T.axis.remap("SS", [j, u])
            two: T.let = T.float32(2)
            if vj < T.int64(50):
                Y[i, (vj + vu * T.int64(50)) % T.int64(50)] = X[i, vj] * two


@T.prim_func(s_tir=True)
def normal(X: T.Buffer((32, 50), "float32"), Y: T.Buffer((32, 50), "float32")):
    for i_loop, j in T.grid(32, 50):
        with T.sblock("y"):
            i, vj = T.axis.remap("SS", [i_loop, j])
            Y[i, vj] = X[i, vj] * T.float32(2)


def test_the_normal_form() -> None:
    legal = legalize(scheduled, MACHINE)
    tvm.ir.assert_structural_equal(legal, normal.with_attr("global_symbol", "scheduled"))
    assert "i_loop" in legal.script()


def test_places_survive() -> None:
    (loop,) = (legalize(scheduled, MACHINE).body.block.body,)
    store = loop.body.body.block.body
    written = scheduled.body.block.body.body.body.body.body.block.body.seq[1].then_case
    assert (store.span.line, store.span.column) == (written.span.line, written.span.column)
    assert store.span.source_name.name == __file__


def test_a_temporary_of_higher_rank_loses_its_unit_dimensions() -> None:
    a = te.placeholder((4, 5), "float32", "A")
    func = te.create_prim_func([a, topi.reshape(topi.exp(topi.reshape(a, (1, 4, 1, 5))), (4, 5))])
    assert [op.name for op in lift(func, MACHINE).ops] == ["unary"]


def test_an_output_that_is_also_an_input_is_refused() -> None:
    func = PrimFunc([normal.params[0], normal.params[0]], normal.body)
    with pytest.raises(KernelError, match="tensor 'X' is declared twice"):
        legalize(func, MACHINE)


def test_a_function_without_a_text_is_drawn() -> None:
    a = te.placeholder((4, 5), "float32", "A")
    func = te.create_prim_func([a, topi.atan2(topi.exp(a), a)])
    with pytest.raises(KernelError) as caught:
        legalize(func, MACHINE)
    text = str(caught.value).splitlines()
    assert text[0].startswith("error: the function 'atan2' is not supported")
    call = "T.atan2(compute[v_ax0, v_ax1], A[v_ax0, v_ax1])"
    assert call in text[1]
    assert text[2].index("^") == text[1].index("T.atan2")
    assert len(text[2].strip()) == len(call)


def test_a_value_in_a_function_without_a_text_is_drawn() -> None:
    a, b = (te.placeholder((4, 4), "float32", name) for name in "AB")
    c = te.compute((4, 4), lambda i, j: te.if_then_else(i * j > 2, a[i, j], b[j, i]), "C")
    with pytest.raises(KernelError) as caught:
        lift(te.create_prim_func([a, b, c]), MACHINE)
    assert "A[v_i, v_j]" in str(caught.value)
    assert "^^^" in str(caught.value)


def test_an_expression_that_is_too_large_is_refused() -> None:
    a = te.placeholder((4,), "float32", "A")

    def deep(i: object) -> object:
        value = a[i]
        for _ in range(500):
            value = te.exp(value)
        return value

    func = te.create_prim_func([a, te.compute((4,), deep, "C")])
    with pytest.raises(KernelError, match="more than 150 levels or 20000 nodes"):
        legalize(func, MACHINE)


def test_a_drawing_of_a_long_line_shows_what_matters() -> None:
    a = te.placeholder((4,), "float32", "A")
    value = sum([a] * 30, start=a)
    func = te.create_prim_func(
        [a, te.compute((4,), lambda i: value[i] * tirx.atan2(a[i], a[i]), "C")]
    )
    with pytest.raises(KernelError) as caught:
        legalize(func, MACHINE)
    what, line, carets, _hint = str(caught.value).splitlines()
    assert "atan2" in what
    assert line[carets.index("^") :].startswith("T.atan2(A[v_i], A[v_i])")
    assert max(len(line), len(carets)) < 115


@pytest.mark.parametrize(("steps", "value"), [(250, "T.exp({0})"), (40, "{0} * {0}")])
def test_lets_that_grow_too_large_are_refused(steps: int, value: str) -> None:
    lets = [f"x{i + 1}: T.let = {value.format(f'x{i}')}" for i in range(steps)]
    body = "\n".join(f"        {let}" for let in lets)
    source = block_func(
        "A(4,), C(4,)",
        f"""
for i in range(4):
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        x0: T.let = A[vi]
{body}
        C[vi] = x{steps}
""",
    )
    with pytest.raises(KernelError, match="more than 150 levels or 20000 nodes"):
        legalize(load_source(source), MACHINE)


def test_long_sums_are_accepted(rng: np.random.Generator) -> None:
    terms = " + ".join(["A[vi]"] * 100)
    check_lift(
        load_source(
            block_func(
                "A(4,), C(4,)",
                f"""
for i in range(4):
    with T.sblock("c"):
        vi = T.axis.spatial(4, i)
        C[vi] = {terms}
""",
            )
        ),
        rng,
    )

"""Contractions written by hand: compiled exactly, or refused at their line, as recorded."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from contractions import FAMILIES
from graph_source import load_source
from outcomes import compare, compiled, numpy_results, recorded_outcomes
from refused import MARK, block_func

import tileflow_tvm as tf
from tileflow_tvm.errors import KernelError

CASES = [(row, name) for row, forms in FAMILIES.items() for name in forms]
ROWS = range(1, 26)


@pytest.mark.parametrize(("row", "name"), CASES, ids=[name for _, name in CASES])
def test_a_contraction(row, name, request, rng):
    contraction, size = FAMILIES[row][name]
    func = contraction.function(size)
    inputs = contraction.inputs(func, size, rng)
    wanted = numpy_results(contraction.numpy, inputs)
    file = contraction.build.__code__.co_filename
    found = compiled(func, inputs, wanted, contraction.within, file)
    compare(request, "contractions", row, name, found)


def test_every_row_is_there():
    assert [int(row.split()[0]) for row in FAMILIES] == list(ROWS)


def test_every_case_is_recorded_and_no_other(request):
    recorded = recorded_outcomes(request)["contractions"]
    assert {row: list(cases) for row, cases in recorded.items()} == {
        row: list(forms) for row, forms in FAMILIES.items()
    }


TWICE = {
    "no axis": ("Y[0] = X[vi, vj]", "4, 5"),
    "one axis of two": ("Y[vj] = X[vi, vj]", "4, 5"),
    "a sum": ("Y[vi + vj] = X[vi, vj]", "4, 5"),
    "a difference": ("Y[vi - vj + 4] = X[vi, vj]", "4, 5"),
    "windows that overlap": ("Y[2 * vi + vj] = X[vi, vj]", "4, 5"),
    "multiples that meet": ("Y[3 * vi + 2 * vj] = X[vi, vj]", "3, 4"),
    "a quotient": ("Y[(5 * vi + vj) // 2] = X[vi, vj]", "4, 5"),
    "a remainder": ("Y[(5 * vi + vj) % 7] = X[vi, vj]", "4, 5"),
    "a clamp": ("Y[T.min(5 * vi + vj, 12)] = X[vi, vj]", "4, 5"),
    "a sum over spatial axes": ("Y[vi] = Y[vi] + X[vi, vj]", "4, 5"),
}
"""Assignments that write some cell of Y twice."""


@pytest.mark.parametrize("name", TWICE)
def test_an_assignment_that_writes_a_cell_twice(name):
    statement, extents = TWICE[name]
    check_twice(statement, extents, "SS")


@pytest.mark.parametrize("axes", ["SR", "RS", "RR"])
def test_a_reduction_that_does_not_accumulate(axes):
    check_twice("Y[0] = X[vi, vj]", "4, 5", axes)


ONCE = [
    ("Y[0, 3 * vi + 2 * vj] = X[vi, vj]", "2, 3"),
    ("Y[vi, vi + vj] = X[vi, vj]", "3, 4"),
    ("Y[vi - vj + 2, vi + vj] = X[vi, vj]", "3, 3"),
    ("Y[vi, (vi + vj) % 4] = X[vi, vj]", "3, 4"),
    ("Y[(4 * vi + vj) // 5, (4 * vi + vj) % 5] = X[vi, vj]", "3, 4"),
]
"""Assignments that write no cell of Y twice, though it takes a second look."""


@pytest.mark.parametrize(("statement", "extents"), ONCE)
def test_an_assignment_that_writes_no_cell_twice(statement, extents, rng):
    m, n = map(int, extents.split(", "))
    func = load_source(assignment_after_zeros(statement, extents), stem="once")
    x = rng.standard_normal((m, n)).astype(np.float32)
    want = np.zeros((5, 8))
    for vi, vj in np.ndindex(m, n):
        exec(statement, {"X": x, "Y": want, "vi": vi, "vj": vj})
    file = func.body.block.body.seq[0].span.source_name.name
    assert "race" not in compiled(func, [x], [want], 1.0, file)


def check_twice(statement: str, extents: str, axes: str) -> None:
    """It is an error at its line, of a race, or of an index of which nothing is known."""
    with pytest.raises(KernelError) as caught:
        tf.compile(load_source(assignment(statement, extents, axes), stem="twice"))
    error = caught.value
    assert re.search(r"a write race: .* assign|is not affine", error.what), error.what
    assert error.hint
    assert error.loc is not None
    line = Path(error.loc.file).read_text(encoding="utf-8").splitlines()[error.loc.line - 1]
    assert line.endswith(MARK), f"points at: {line}"


def assignment(statement: str, extents: str, axes: str) -> str:
    """The source of a function that copies X to Y in one block."""
    return block_func(
        f"X({extents}), Y(24,)",
        f"""
for i, j in T.grid({extents}):
    with T.sblock("copy"):
        vi, vj = T.axis.remap("{axes}", [i, j])
        {statement}{MARK}
""",
    )


def assignment_after_zeros(statement: str, extents: str) -> str:
    """The source of a function that fills Y, 5 x 8, with zeros, and then copies X into it."""
    return block_func(
        f"X({extents}), Y(5, 8)",
        f"""
for i, j in T.grid(5, 8):
    with T.sblock("fill"):
        vi, vj = T.axis.remap("SS", [i, j])
        Y[vi, vj] = T.float32(0)
for i, j in T.grid({extents}):
    with T.sblock("copy"):
        vi, vj = T.axis.remap("SS", [i, j])
        {statement}
""",
    )

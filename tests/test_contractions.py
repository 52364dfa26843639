"""Contractions written by hand: compiled exactly, or refused at their line, as recorded."""

from __future__ import annotations

import re
from pathlib import Path

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
    found = compiled(func, inputs, wanted, contraction.within)
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


def check_twice(statement: str, extents: str, axes: str) -> None:
    """It is an error at its line, of a race, or of an index of which nothing is known."""
    source = block_func(
        f"X({extents}), Y(24,)",
        f"""
for i, j in T.grid({extents}):
    with T.sblock("copy"):
        vi, vj = T.axis.remap("{axes}", [i, j])
        {statement}{MARK}
""",
    )
    with pytest.raises(KernelError) as caught:
        tf.compile(load_source(source, stem="twice"))
    error = caught.value
    assert re.search(r"a write race: .* assign|is not affine", error.what), error.what
    assert error.hint
    assert error.loc is not None
    line = Path(error.loc.file).read_text(encoding="utf-8").splitlines()[error.loc.line - 1]
    assert line.endswith(MARK), f"points at: {line}"

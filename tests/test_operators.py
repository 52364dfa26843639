"""Every operator of `operator_cases`: compiled exactly, or refused with a reason, as recorded."""

from __future__ import annotations

import numpy as np
import pytest
from operator_cases import FAMILIES, LARGE, SMALL, Sizes
from operators_table import PAGE, page
from outcomes import compare, outcome, recorded_outcomes

CASES = [(family, name) for family, cases in FAMILIES.items() for name in cases]


LONGER = 4
"""How many times the error of a small case a large one may have: its sums are longer."""


def found(family: str, name: str, sizes: Sizes, rng: np.random.Generator, looser: float = 1) -> str:
    case = FAMILIES[family][name]
    kernel = case.kernel(sizes)
    return outcome(kernel, kernel.inputs(rng), case.numpy, case.within * looser)


@pytest.mark.parametrize(("family", "name"), CASES, ids=[name for _, name in CASES])
def test_an_operator(family, name, request, rng):
    compare(request, "operators", family, name, found(family, name, SMALL, rng))


@pytest.mark.sweep
@pytest.mark.parametrize(("family", "name"), CASES, ids=[name for _, name in CASES])
def test_a_large_operator(family, name, request, rng):
    large = found(family, name, LARGE, rng, LONGER)
    compare(request, "operators", family, name, large, reasons=False)


def test_names_are_unique():
    names = [name for _, name in CASES]
    assert len(set(names)) == len(names)


def test_every_case_is_recorded_and_no_other(request):
    recorded = recorded_outcomes(request)["operators"]
    assert {family: list(cases) for family, cases in recorded.items()} == {
        family: list(cases) for family, cases in FAMILIES.items()
    }


def test_the_page_is_up_to_date(request):
    what = "python tests/operators_table.py > doc/operators.md"
    assert PAGE.read_text(encoding="utf-8") == page(recorded_outcomes(request)), what

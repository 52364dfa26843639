"""The yardstick itself: what is neither compiled exactly nor refused with a reason has to fail."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import operators_table
import outcomes
import pytest
from operators_table import COMPILES, general, page
from outcomes import assert_near, check_refusal, compare, compiled, record

from tileflow_tvm.errors import KernelError, Loc

X = np.array([1.5, -2.0, 7.0], np.float32)


def kernel(*results):
    """An executable whose runs return these, one after the other."""
    left = list(results)
    return SimpleNamespace(run=lambda *_, engine: SimpleNamespace(outputs=(left.pop(0),)))  # noqa: ARG005


def compile_to(monkeypatch, made):
    def fake(_):
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(outcomes.tf, "compile", fake)


def test_a_right_result_compiles(monkeypatch):
    compile_to(monkeypatch, kernel(X, X.copy()))
    assert compiled(None, [], [X.astype(np.float64)], 1.0) == COMPILES


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (X + np.float32(1e-3), X + np.float32(1e-3)),  # wrong
        (X, np.nextafter(X, np.float32(9))),  # the engines differ in a bit
        (X[:2], X[:2]),  # a tail is missing
        (X.astype(np.float64), X),  # another type
        (X * np.float32([1, np.nan, 1]),) * 2,
        (X * np.float32([1, np.inf, 1]),) * 2,
    ],
)
def test_a_wrong_result_fails(monkeypatch, first, second):
    compile_to(monkeypatch, kernel(first, second))
    with pytest.raises(AssertionError):
        compiled(None, [], [X], 1.0)


def test_an_output_too_few_fails(monkeypatch):
    compile_to(monkeypatch, kernel(X, X))
    with pytest.raises(ValueError, match="zip"):
        compiled(None, [], [X, X], 1.0)


def test_a_refusal_is_its_reason(monkeypatch):
    loc = Loc(__file__, 1, 1)
    compile_to(monkeypatch, KernelError("no diagonals", loc=loc, hint="read whole tensors"))
    assert compiled(None, [], [X], 1.0, __file__) == "no diagonals"


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (KernelError("no hint", loc=Loc(__file__, 1, 1)), __file__),
        (KernelError("no place", hint="write it down"), __file__),
        (KernelError("no column", loc=Loc(__file__, 1), hint="say it"), __file__),
        (KernelError("another file", loc=Loc("x.py", 1, 1), hint="say it"), __file__),
        (KernelError("a drawing alone", excerpt="    A[i]\n    ^", hint="say it"), __file__),
        (KernelError("no drawing", hint="say it"), ""),
        (KernelError("a drawing of nothing", excerpt="    x = 1", hint="say it"), ""),
    ],
)
def test_a_refusal_that_says_too_little_fails(error, file):
    with pytest.raises((AssertionError, ValueError)):
        check_refusal(error, file)


@pytest.mark.parametrize("drawing", ["    A[i]\n    ^^^^", "    def main(A: ...):"])
def test_a_printed_function_is_a_place(drawing):
    check_refusal(KernelError("no diagonals", excerpt=drawing, hint="read whole tensors"))


def test_a_crash_is_no_refusal(monkeypatch):
    compile_to(monkeypatch, RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        compiled(None, [], [X], 1.0)


def test_integers_are_exact_and_special_values_match():
    assert_near(np.array([2**31 - 1]), np.array([2**31 - 1]), 1.0, "")
    with pytest.raises(AssertionError, match=r"first at \(0,\)"):
        assert_near(np.array([2**30]), np.array([2**30 + 1]), 1.0, "")
    odd = np.float32([np.nan, np.inf, -np.inf, 1])
    assert_near(odd, odd.astype(np.float64), 1.0, "")
    with pytest.raises(AssertionError, match="1 of 4"):
        assert_near(odd, np.float64([np.nan, np.inf, np.inf, 1]), 1.0, "")


class TestTheRecord:
    @pytest.fixture
    def request_for(self, monkeypatch, tmp_path):
        """A request with or without --update-operators, and a record of one case each."""
        data = tmp_path / "operators.json"
        data.write_text(json.dumps({"operators": {"f": {"good": COMPILES, "bad": "no"}}}))
        monkeypatch.setattr(operators_table, "DATA", data)
        monkeypatch.setattr(outcomes, "DATA", data)
        monkeypatch.setattr(outcomes, "PAGE", tmp_path / "operators.md")
        node = SimpleNamespace(user_properties=[])
        return lambda update: SimpleNamespace(
            config=SimpleNamespace(getoption=lambda _: update), node=node
        )

    @pytest.mark.parametrize(
        ("name", "found", "reasons", "fine"),
        [
            ("good", COMPILES, True, True),
            ("bad", "no", True, True),
            ("good", "no", True, False),
            ("bad", COMPILES, True, False),
            ("bad", "another reason", True, False),
            ("bad", "another reason", False, True),
            ("good", "no", False, False),
            ("bad", COMPILES, False, False),
            ("new", COMPILES, True, False),
            ("new", "no", True, False),
        ],
    )
    def test_another_outcome_fails(self, request_for, name, found, reasons, fine):
        arguments = (request_for(False), "operators", "f", name, found)
        if fine:
            compare(*arguments, reasons=reasons)
        else:
            with pytest.raises(AssertionError, match="--update-operators"):
                compare(*arguments, reasons=reasons)

    def test_an_update_keeps_what_did_not_run_and_drops_what_is_gone(self, request_for):
        request = request_for(True)
        compare(request, "operators", "f", "new", "no | table")
        found = [value for _, value in request.node.user_properties]
        record(found, {"operators": {"f": ["new", "bad", "never ran"]}})
        assert list(operators_table.load()["operators"]["f"].items()) == [
            ("new", "no | table"), ("bad", "no"),
        ]  # fmt: skip
        assert r"| `new` | no \| table |" in outcomes.PAGE.read_text()

    def test_a_sweep_does_not_record(self, request_for):
        request = request_for(True)
        compare(request, "operators", "f", "bad", "no", reasons=False)
        assert request.node.user_properties == []


def test_sizes_of_one_outcome_share_a_row():
    rows = {"a/small": COMPILES, "a/odd": COMPILES, "b/small": COMPILES, "b/odd": "no", "c": "no"}
    text = page({"operators": {"family": rows}})
    assert "| **Operators** | 3 | 2 |\n| family | 3 | 2 |\n| **Contractions** | 0 | 0 |\n" in text
    assert "### Family (3 of 5 compile)" in text
    assert "| `a` | **compiles** |\n| `b` (small) | **compiles** |\n| `b` (odd) | no |\n" in text
    assert "| 2 | no |" in text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tensor 'A' has dtype int8", "tensor 'B_1' has dtype bfloat16"),
        ("the index v_i % 33 is not affine: a remainder",
         "the index (v_j + 1) % 4 is not affine: a remainder"),
        ("block 'x' does not read all of 'A' in order: the index i + 1 of A[i + 1]",
         "block 'y' does not read all of 'B' in order: B[i, i] is a diagonal"),
        ("the reduction in block 'x' over the axes i, j, k is not a matrix product",
         "the reduction in block 'y' over the axes v is not a matrix product"),
    ],
)  # fmt: skip
def test_reasons_are_counted_whatever_the_names(one, other):
    assert general(one) == general(other)


def test_different_reasons_are_counted_apart():
    assert general("tensor 'A' has rank 3") != general("tensor 'A' has rank 4")

"""Seeds, Hypothesis profiles and markers that all tests share."""

from __future__ import annotations

import os
import signal
import zlib
from collections import Counter, defaultdict

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile(
    "default", deadline=None, max_examples=40, derandomize=True, print_blob=True
)
hypothesis.settings.register_profile("sweep", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=0, help="seed of the random data; each test derives its own"
    )
    parser.addoption(
        "--update-operators", action="store_true",
        help="record what compiles and why the rest is refused, and write doc/operators.md",
    )  # fmt: skip


ON_DEMAND = {
    "sweep": "long; runs where -m names it (make sweep)",
    "sanitize": "needs builds of its own; runs where -m names it (make sanitize)",
}
"""Markers of tests that are left out unless the marker expression speaks of them."""


def pytest_configure(config: pytest.Config) -> None:
    for marker, why in ON_DEMAND.items():
        config.addinivalue_line("markers", f"{marker}: {why}")
    # Short programs are to run in several threads as well, from their first instruction on.
    os.environ.setdefault("TILEFLOW_HAND_OVER", "0")
    # Every compilation is to happen, and none is to touch what the user has compiled.
    os.environ["TILEFLOW_CACHE"] = "0"
    # A job that a shell put into the background ignores Ctrl-C, and so would what tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')} (set it with --seed)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = [marker for marker in ON_DEMAND if marker not in (config.getoption("-m") or "")]
    left_out = [item for item in items if any(map(item.get_closest_marker, absent))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.config.getoption("--update-operators"):
        _record_operators(terminalreporter)
    _summarise_sanitizers(terminalreporter)


def _record_operators(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes down the outcomes of all tests that came to one."""
    from contractions import FAMILIES as CONTRACTIONS
    from operator_cases import FAMILIES as OPERATORS
    from outcomes import record

    reports = terminalreporter.getreports("passed")
    found = [value for report in reports for name, value in report.user_properties
             if name == "operators" and report.when == "call"]  # fmt: skip
    record(found, {"operators": OPERATORS, "contractions": CONTRACTIONS})
    terminalreporter.write_line(f"{len(found)} outcomes recorded")


def _summarise_sanitizers(terminalreporter: pytest.TerminalReporter) -> None:
    """How many runs each sanitizer build has stood, and of what."""
    runs: dict[str, Counter[str]] = defaultdict(Counter)
    # Where teardowns are that went well.
    for report in terminalreporter.getreports(""):
        for name, value in report.user_properties:
            if name == "sanitize":
                kind, what, count = value
                runs[what][kind] += count
    if not runs:
        return
    kinds = sorted({kind for row in runs.values() for kind in row})
    terminalreporter.section("runs under sanitizers, without a report")
    for name, row in {"": {kind: kind for kind in kinds}, **runs}.items():
        cells = "".join(f"{row[kind]!s:>12}" for kind in kinds)
        terminalreporter.write_line(f"{name:24}{cells}")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random data of this test's own, whatever other tests run; the seed is shown on failure."""
    seed = [request.config.getoption("--seed"), zlib.crc32(request.node.nodeid.encode())]
    print(f"np.random.default_rng({seed})")
    return np.random.default_rng(seed)

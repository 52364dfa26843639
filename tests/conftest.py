"""Seeds, Hypothesis profiles and markers that all tests share."""

from __future__ import annotations

import os
import signal
import zlib

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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sweep: long; runs where -m names it (make sweep)")
    # Short programs are to run in several threads as well, from their first instruction on.
    os.environ.setdefault("TILEFLOW_HAND_OVER", "0")
    # A job that a shell put into the background ignores Ctrl-C, and so would what tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')} (set it with --seed)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the sweeps out unless the marker expression speaks of them."""
    if "sweep" in (config.getoption("-m") or ""):
        return
    sweeps = [item for item in items if item.get_closest_marker("sweep")]
    if sweeps:
        config.hook.pytest_deselected(items=sweeps)
        items[:] = [item for item in items if not item.get_closest_marker("sweep")]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random data of this test's own, whatever other tests run; the seed is shown on failure."""
    seed = [request.config.getoption("--seed"), zlib.crc32(request.node.nodeid.encode())]
    print(f"np.random.default_rng({seed})")
    return np.random.default_rng(seed)

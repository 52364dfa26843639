"""The demo and the benchmark as a user starts them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / script, *args], capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip


def test_the_demo_is_equal_to_numpy():
    pytest.importorskip("sklearn")
    shown = run("examples/digits.py")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = re.findall(r"(sequential|threaded)\W+([\d.]+)%\W+([\d.]+)%", shown.stdout)
    assert [engine for engine, _, _ in rows] == ["sequential", "threaded"]
    for _, numpy, simulator in rows:
        assert numpy == simulator
        assert float(simulator) > 95
    assert re.search(
        r"line \d+: T\.tf\.gemm\(acc, a, b, clear=p == 0\)\n +exec\.gemm ", shown.stdout
    )
    for stem in ("digits", "gemm_bias_relu"):
        assert (ROOT / "build" / f"{stem}.asm").stat().st_size
        assert (ROOT / "build" / f"{stem}.bin").stat().st_size


def test_the_benchmark_measures_and_writes_json(tmp_path):
    pytest.importorskip("threadpoolctl")
    path = tmp_path / "bench.json"
    shown = run("benchmarks/bench_gemm.py", "--sizes", "64", "--rounds", "7", "--json", str(path))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    small, large = json.loads(path.read_text())["rows"]
    assert (small["size"], large["size"]) == (64, 4096)
    assert len(small["times_s"]["numpy"]) == 7
    assert large["text_bytes"] < 4096

"""A way to run tileflow-sim, which needs no Python."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

TILEFLOW_SIM = Path(sysconfig.get_path("scripts")) / "tileflow-sim"
"""Where pip puts it."""


def sim(
    *words: object, cwd: Path, binary: Path = TILEFLOW_SIM, env: Mapping[str, str] | None = None,
    **options,
) -> subprocess.CompletedProcess:  # fmt: skip
    """Run it in `cwd`, in an environment of `env` alone."""
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    command = [str(binary), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=dict(env or {}), check=False, **options)

"""Products that several threads compute for certain: the same bits, and helpers had their part."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_programs import gemm_arrays, gemm_core

from tileflow_tvm import _sim


@pytest.mark.parametrize("shape", [(300, 100, 900), (100, 300, 900), (257, 259, 100)])
@pytest.mark.parametrize("threads", [2, 3])
def test_helpers_have_their_part(rng, shape, threads):
    arrays = gemm_arrays(rng, *shape)
    program = gemm_core(*shape, block=128)
    program.run(arrays, [], "sequential")
    want = arrays[2].tobytes()
    arrays[2][:] = np.nan
    stats = program.run(arrays, [], "threaded", threads=threads, share_gemms=True)
    assert arrays[2].tobytes() == want
    assert stats["helped_bands"] >= stats["instructions"]["exec.gemm"] // 2


def test_the_environment_shares_as_well(rng, monkeypatch):
    arrays = gemm_arrays(rng, 100, 100, 100)
    monkeypatch.setenv("TILEFLOW_SHARE_GEMMS", "1")
    assert gemm_core(100, 100, 100).run(arrays, [], "threaded")["helped_bands"] > 0
    monkeypatch.setenv("TILEFLOW_SHARE_GEMMS", "often")
    with pytest.raises(_sim.Fault, match="TILEFLOW_SHARE_GEMMS is 'often', not 0 or 1"):
        gemm_core(100, 100, 100).run(arrays, [], "threaded")

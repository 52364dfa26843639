"""What follows from the instruction table is complete, and right in every engine and level."""

from __future__ import annotations

import numpy as np
import pytest
from instruction_programs import ROWS, assembled, choices_of, expected, inputs, variants

from tileflow_tvm import _sim
from tileflow_tvm.isa.container import to_bytes
from tileflow_tvm.isa.program import Role
from tileflow_tvm.isa.table import TILEFLOW, Engine


def test_every_instruction_that_computes_is_there():
    computing = {row.mnemonic for row in TILEFLOW.insns if row.engine is Engine.EXEC}
    assert computing - ROWS.keys() == {"exec.nop"}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_choice_is_run(row, rng):
    """Each function, flag and mode is in a program that the verifier lets through, and the
    engines and levels make of it what the oracle does."""
    found = variants(row)
    run = set().union(*(variant.choices for variant in found))
    names = {field.name: field.choices for field in row.fields}
    missing = [(name, names[name][value] if names[name] else value)
               for name, value in set(choices_of(row)) - run]  # fmt: skip
    assert found, f"no way to run {row.mnemonic} was found: instruction_programs.py guesses them"
    assert not missing, f"{row.mnemonic}: nothing runs {missing}"
    program = assembled(row, found)
    loaded = _sim.Program(to_bytes(program))
    given = inputs(rng, program)
    wants = expected(program, given)
    first: list[bytes] = []
    for level in _sim.levels():
        for engine in ("sequential", "threaded"):
            arrays = [array.copy() for array in given]
            loaded.run(arrays, [], engine, level, hand_over=0 if engine == "threaded" else -1)
            written = [array for arg, array in zip(program.args, arrays, strict=True)
                       if arg.role is not Role.IN]  # fmt: skip
            for array, want in zip(written, wants, strict=True):
                np.testing.assert_allclose(
                    array.astype(np.float64), want.astype(np.float64), rtol=1e-2, atol=1e-2
                )
            first = first or [array.tobytes() for array in written]
            assert [array.tobytes() for array in written] == first, f"{engine}, {level}"

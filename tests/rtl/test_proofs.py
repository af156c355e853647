"""Every proof holds, and every planted fault breaks its own."""

from __future__ import annotations

import pytest

from sparcade_rtl.formal.mutants import MUTANTS, planted
from sparcade_rtl.formal.prove import PROOFS, check


@pytest.mark.parametrize("name", PROOFS)
def test_proof_holds(name: str) -> None:
    assert check(PROOFS[name], "sparcade_rtl") == (True, "")


@pytest.mark.parametrize("name", MUTANTS)
def test_fault_is_found(name: str) -> None:
    with planted(name) as package:
        holds, reason = check(PROOFS[MUTANTS[name].proof], package)
    assert not holds
    assert reason.startswith("harness.py:")

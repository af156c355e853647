"""Golden cycle counts of the bundled traces: a change asks for a new MODEL_VERSION.

Regenerate with `python tests/golden/test_cycles.py` after raising MODEL_VERSION in sim/sparcade/version.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sparcade

GOLDEN = Path(__file__).with_name("cycles.json")
RUNS = [
    ("minilm", "spatten-encoder", "spatten"),
    ("minilm", "dense", "spatten-eighth"),
    ("stories260k", "spatten", "spatten"),
    ("stories260k", "spatten-normalised", "spatten-eighth"),
    ("gpt2-tiny", "spatten", "spatten"),
    ("gpt2-tiny", "dense", "spatten"),
    ("gpt2-tiny", "spatten", "spatten", "dram.kind=ideal"),
    ("gpt2-tiny", "spatten", "spatten", "dram.device=ddr4-3200", "dram.channels=8"),
]
COUNTERS = ("cycles", "tx_q", "tx_k_msb", "tx_k_lsb", "tx_v", "tx_out", "refetches", "topk_passes", "cascade_busy",
            "dram_activations", "dram_refreshes", "dram_row_hits", "dram_row_conflicts")  # fmt: skip


def measure(trace: str, policy: str, arch: str, *settings: str) -> dict[str, int]:
    source = sparcade.AttentionTrace.load(sparcade.bundled_trace(trace))
    work = sparcade.apply(source, sparcade.load_policy(policy)).workload
    total = sparcade.simulate(work, sparcade.load_arch(arch, settings)).total()
    return {name: total[name] for name in COUNTERS}


@pytest.mark.parametrize("run", RUNS, ids="-".join)
def test_golden_cycles(run: tuple[str, ...]) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["model_version"] == sparcade.MODEL_VERSION, "regenerate the goldens: see the docstring"
    assert measure(*run) == golden["runs"][" ".join(run)], "cycles changed: raise MODEL_VERSION, then regenerate"


def regenerate() -> None:
    old = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"model_version": 0, "runs": {}}
    runs = {" ".join(run): measure(*run) for run in RUNS}
    if runs != old["runs"] and old["model_version"] == sparcade.MODEL_VERSION:
        raise SystemExit("the counts changed: raise MODEL_VERSION in sim/sparcade/version.py first")
    table = {"model_version": sparcade.MODEL_VERSION, "command": "python tests/golden/test_cycles.py", "runs": runs}
    GOLDEN.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    regenerate()

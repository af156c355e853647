"""What the address mapping makes of the bandwidth; `python benchmarks/dram_mappings.py` writes it into docs/dram.md.

Sequential reads, every fourth 64-byte vector, and random 32-byte reads on 16 channels of HBM2 with refresh, with 16
and 32 outstanding transactions per channel: achieved in % of peak. Deterministic.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sparcade.dram import DramSystem, Injection, requests
from sparcade.dram.mapping import NAMED

DOCS = Path(__file__).parent.parent / "docs" / "dram.md"
COUNT = 1 << 19


def mapping_table() -> str:
    """The table in Markdown."""
    rng = np.random.default_rng(1)
    kept = np.sort(rng.choice(COUNT * 2, COUNT // 2, replace=False))
    streams = {
        "sequential": np.arange(COUNT) * 32,
        "64-byte vectors, keep 25 %": (kept[:, None] * 64 + np.array([0, 32])).ravel(),
        "random": rng.integers(0, 1 << 27, COUNT // 2) * 32,
    }
    lines = ["| mapping | outstanding | " + " | ".join(streams) + " |", "|---|---|" + "---|" * len(streams)]
    for mapping in NAMED:
        for limit in (16, 32):
            system = DramSystem("hbm2", channels=16, mapping=mapping)
            shares = [
                system.run([requests(stream)], Injection(max_outstanding_per_channel=limit))
                for stream in streams.values()
            ]
            cells = " | ".join(f"{100 * share.achieved_gbps / share.peak_gbps:.0f}" for share in shares)
            lines.append(f"| {mapping} | {limit} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = DOCS.read_text(encoding="utf-8")
    block = re.compile(r"(<!-- mappings:begin -->\n).*?(<!-- mappings:end -->)", re.DOTALL)
    DOCS.write_text(block.sub(lambda found: found[1] + mapping_table() + found[2], page), encoding="utf-8")
    print(mapping_table(), end="")

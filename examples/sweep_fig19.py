"""Fig. 19 of the SpAtten paper: speed over the parallelism of the top-k engine and over the size of the K and V SRAMs.

    python examples/sweep_fig19.py [FOLDER]

The paper does not name its GPT-2 application; this one is gpt2-small-wikitext2, synthetic ids. docs/rtl.md says how our
engine differs from the released one.
"""

import sys
from pathlib import Path

import sparcade

WORKLOAD = "gpt2-small-wikitext2"
#: GFLOPS as printed.
PAPER_LANES = {1: 168.40, 2: 298.77, 4: 485.42, 8: 652.79, 16: 776.24, 32: 770.87}
PAPER_SRAM = {256: 776.24, 512: 785.26, 1024: 774.79}  # 196, 392 and 784 KB: lines of 512 words of 12 bits

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "sweeps/fig19")
    lanes = sparcade.sweep(
        {"workloads": WORKLOAD, "axes": {"topk.lanes": list(PAPER_LANES)}},
        out=folder / "lanes",
        progress=sparcade.progress_line(),
    )
    sram = sparcade.sweep(
        {
            "workloads": WORKLOAD,
            "axes": {"key_sram.lines": list(PAPER_SRAM), "value_sram.lines": list(PAPER_SRAM)},
            "constraints": ["key_sram.lines == value_sram.lines"],
        },
        out=folder / "sram",
        progress=sparcade.progress_line(),
    )
    for frame, axis, paper, base in (
        (lanes.frame, "topk.lanes", PAPER_LANES, 16),
        (sram.frame, "key_sram.lines", PAPER_SRAM, 256),
    ):
        speed = 1 / frame.set_index(axis)["cycles"].astype(float)
        print(f"{axis:>14}  speed over {base}  paper")
        for value, gflops in paper.items():
            print(f"{value:14}  {speed[value] / speed[base]:12.3f}  {gflops / paper[base]:5.3f}")

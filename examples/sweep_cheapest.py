"""The cheapest hardware that keeps 95 % of the speed of the fastest.

    python examples/sweep_cheapest.py [FOLDER]

Cost is the area of the chip without DRAM, from published circuits (docs/energy.md). It is known before a run: points
that can't be on the front of cycles and area are not simulated.
"""

import sys

import sparcade

if __name__ == "__main__":
    result = sparcade.sweep(
        {
            "workloads": "gpt2-tiny",
            "axes": {
                "multipliers": {"log2": [256, 1024]},
                "dram.channels": {"log2": [1, 16]},
                "topk.lanes": {"log2": [4, 16]},
            },
            "objectives": {"cycles": "min", "area_mm2": "min"},
            "skip_dominated": True,
        },
        out=sys.argv[1] if len(sys.argv) > 1 else "sweeps/cheapest",
        progress=sparcade.progress_line(),
    )
    front = result.pareto()
    enough = front[front["cycles"] <= front["cycles"].min() / 0.95]
    best = enough.sort_values(["area_mm2", "cycles"]).iloc[0]
    print(
        f"{len(result.frame)} points simulated, {result.skipped} skipped, {len(front)} on the front of cycles and area"
    )
    columns = ["multipliers", "dram.channels", "topk.lanes", "cycles", "area_mm2"]
    print(front[columns].to_string(index=False))
    print("cheapest within 95 % of the fastest:", ", ".join(f"{name} {best[name]:g}" for name in columns))

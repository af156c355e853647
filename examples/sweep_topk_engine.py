"""Top-k engine x lanes: does the engine bound the run, and which lanes are enough?

    python examples/sweep_topk_engine.py [FOLDER]

Run it again after a change: only new points are computed.
"""

import sys

import sparcade

if __name__ == "__main__":
    result = sparcade.sweep(
        {
            "workloads": "stories260k",
            "compare": "dense",
            "axes": {"topk.engine": ["quick-select", "radix-select"], "topk.lanes": {"log2": [4, 32]}},
            "objectives": {"cycles": "min"},
        },
        out=sys.argv[1] if len(sys.argv) > 1 else "sweeps/topk_engine",
        progress=sparcade.progress_line(),
    )
    table = result.frame.pivot(index="topk.lanes", columns="topk.engine", values="speedup")
    print("speedup over dense on the same hardware", table.astype(float).round(2).to_string(), sep="\n")

"""DRAM channels x share of tokens kept: where does pruning stop paying? Cycles against output error.

    python examples/sweep_channels_pruning.py [FOLDER]

The error is open loop: later layers saw the model's unpruned inputs.
"""

import sys

import sparcade

if __name__ == "__main__":
    result = sparcade.sweep(
        {
            "workloads": "minilm",
            "axes": {"dram.channels": [2, 4, 8, 16], "policy.tokens.end": {"linear": [0.25, 1.0], "steps": 4}},
            "objectives": {"cycles": "min", "output_cosine": "max"},
        },
        out=sys.argv[1] if len(sys.argv) > 1 else "sweeps/channels_pruning",
        progress=sparcade.progress_line(),
    )
    table = result.frame.pivot(index="dram.channels", columns="policy.tokens.end", values="cycles")
    print("cycles by channels and share of tokens kept", table.to_string(), sep="\n")
    front = result.pareto()[["dram.channels", "policy.tokens.end", "cycles", "output_cosine"]]
    print("no point is better in both", front.to_string(index=False), sep="\n")

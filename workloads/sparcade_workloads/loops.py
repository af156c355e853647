"""Open against closed loop on the bundled traces: how far a replay is from what the hardware would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparcade._files import new_file
from sparcade.arch import load_arch
from sparcade.bundled import bundled_trace
from sparcade.trace import AttentionTrace
from sparcade_workloads.accuracy import measure_accuracy
from sparcade_workloads.models import minilm_folder
from sparcade_workloads.subject import make_subject

#: Model folder of each bundled trace (None: of the package) and the policies that are compared on it.
CASES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "minilm": (None, ("spatten-encoder",)),
    "stories260k": ("stories260K-llama", ("spatten", "spatten-normalised")),
    "gpt2-tiny": ("gpt2-tiny-gutenberg", ("spatten", "spatten-normalised")),
}
_COLUMNS = ("tokens_kept", "lsb_rate", "kv_reduction_vs_dense_12_bit", "cycles", "output_cosine")


def compare_loops(models_dir: Path, path: Path) -> pd.DataFrame:
    """Run the token ids of each bundled trace in both loops; writes a closed and an open row per policy."""
    rows: list[dict[str, Any]] = []
    for name, (folder, policies) in CASES.items():
        trace = AttentionTrace.load(bundled_trace(name))
        sequence = trace.manifest.sequences[0]
        subject = make_subject(
            minilm_folder() if folder is None else models_dir / folder,
            data=name,
            metric=None,
            sequences=len(trace.manifest.sequences),
            prompt_tokens=sequence.prompt_tokens,
            decode=max(1, sequence.decode_steps - 1),
            train=None,
            title=name,
        )
        for policy in policies:
            found = measure_accuracy(subject, policy, load_arch("spatten"), open_loop=True).rows[0]
            for loop, prefix in (("closed", ""), ("open", "open_")):
                values = {column: found[prefix + column] for column in _COLUMNS}
                shared = {"same_survivors": found["same_survivors"]}
                rows.append({"trace": name, "policy": policy, "loop": loop, **values, **shared})
    frame = pd.DataFrame(rows)
    with new_file(path) as fresh:
        frame.to_csv(fresh, index=False, lineterminator="\n")
    return frame

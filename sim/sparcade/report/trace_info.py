"""What a trace holds: shapes, size, tokens, and how concentrated its attention is."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from sparcade.policy import HeadState, Row, SequenceShape, TokenState, apply
from sparcade.policy.protocol import Choice
from sparcade.trace import AttentionTrace


class MaximumProbability:
    """A dense policy that notes the largest probability of every row it sees."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bool, int]] = []  #: (layer, decode, 12-bit word)

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Nothing to reset."""

    def keep_tokens(self, state: TokenState) -> Choice:
        """All."""
        return state.candidates

    def keep_heads(self, state: HeadState) -> Choice:
        """All."""
        return state.candidates

    def keep_values(self, row: Row) -> Choice:
        """All, after noting the row."""
        if row.probabilities is not None:
            self.rows.append((row.layer, row.step > 0, int(row.probabilities.max())))
        return row.key_ids

    def bits(self, row: Row) -> tuple[int, int, float]:
        """Unquantized."""
        return 32, 0, 0.0


def print_info(console: Console, trace: AttentionTrace) -> None:
    """Print the manifest's facts and the statistics of the rows' largest probabilities."""
    manifest, model = trace.manifest, trace.manifest.model
    console.print(f"{trace.name}: {model.name}, {'decoder' if model.mask == 'causal' else 'encoder'}")
    console.print(f"source: {manifest.source}")
    console.print(
        f"{model.layers} layers, {model.heads} heads, {model.kv_heads} KV heads, D = {model.head_dim}, "
        f"scaling {model.scaling:.6g}, {manifest.dtype}, {trace.stored_bytes():,} bytes"
    )
    if model.excerpt:
        console.print(str(model.excerpt))
    console.print(f"outputs: {manifest.outputs_from}; error of the stored tensors {manifest.stored_error:.2e}")
    if manifest.rounding:
        console.print(str(manifest.rounding))
    for index, sequence in enumerate(manifest.sequences):
        text = " ".join(sequence.text.split())
        console.print(
            f"sequence {index}: {sequence.prompt_tokens} prompt tokens + {sequence.decode_steps} decode steps: "
            f"{text[:70]}{'...' if len(text) > 70 else ''}",
        )
    notes = MaximumProbability()
    apply(trace, notes)
    layers, decode, words = (np.array(column) for column in zip(*notes.rows, strict=True))
    table = Table("layer", "phase", title="largest probability of a row", title_justify="left")
    for column in ("rows", "mean", "median", "below 0.1", "below 0.05"):
        table.add_column(column, justify="right")
    groups = [
        (str(layer), phase, (layers == layer) & (decode == phase)) for layer in range(model.layers) for phase in (0, 1)
    ]
    groups += [("all", phase, decode == phase) for phase in (0, 1)]
    for label, phase, chosen in groups:
        if chosen.any():
            p = words[chosen] / 4096
            shares = [f"{np.mean(p < limit):.1%}" for limit in (0.1, 0.05)]
            name = "decode" if phase else "prefill"
            table.add_row(label, name, f"{len(p):,}", f"{p.mean():.3f}", f"{np.median(p):.3f}", *shares)
    console.print(table)
    console.print(f"content hash {trace.content_hash}")

"""The tokens that survive each layer, as text."""

from __future__ import annotations

from sparcade.policy import PolicyResult
from sparcade.trace import AttentionTrace


def survivors_text(trace: AttentionTrace, replay: PolicyResult, command: str) -> str:
    """One line per sequence, layer and step (prompt and last decode step): the surviving tokens in order."""
    lines = [f"# Tokens of {trace.name} that enter each layer under {replay.workload.shape.policy}.", f"# {command}"]
    for index, sequence in enumerate(trace.manifest.sequences):
        for step in [0, sequence.decode_steps] if sequence.decode_steps else [0]:
            context = sequence.prompt_tokens + step
            lines.append(f"\nsequence {index}, step {step}, {context} tokens")
            for layer in range(trace.manifest.model.layers):
                ids = replay.survivors[index, step, layer]
                words = "|".join(sequence.tokens[token].replace("\n", "\\n") for token in ids)
                lines.append(f"layer {layer} keeps {len(ids)}: {words}")
    return "\n".join(lines) + "\n"

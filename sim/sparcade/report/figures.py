"""The two pictures of a run: who survived, drawn over the text; and DRAM, energy and cycles per layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from sparcade.energy import PARTS
from sparcade.evaluation import Evaluation
from sparcade.policy import PolicyResult
from sparcade.trace import AttentionTrace

_KIND_COLOURS = {"k_msb": "#2b6cb0", "k_lsb": "#90cdf4", "v": "#2f855a", "q": "#d69e2e", "out": "#a0aec0"}
_KIND_LABELS = {"k_msb": "K (MSB or only plane)", "k_lsb": "K LSB refetch", "v": "V", "q": "Q", "out": "output"}
_ENERGY_GROUPS = {
    "DRAM": ("dram",),
    "fetch path": ("fetch",),
    "K, V SRAM": ("key_sram", "value_sram"),
    "Q x K, prob x V": ("qk", "pv"),
    "softmax": ("softmax",),
    "top-k, importance": ("topk", "importance"),
    "leakage": ("leakage",),
}
_GROUP_COLOURS = ("#2b6cb0", "#90cdf4", "#805ad5", "#c05621", "#d69e2e", "#2f855a", "#a0aec0")
#: Sentences up to this many tokens are drawn once per layer, longer texts once, coloured by depth of survival.
_SENTENCE_TOKENS = 40
_LINE_CHARACTERS = 120


def draw_layers(evaluation: Evaluation, path: Path) -> None:
    """DRAM bytes, energy and cycles of each layer: the policy as bars, the comparison as outlines."""
    phases = [name for name in ("prefill", "decode") if evaluation.run.phase(name).any()]
    run, transaction = evaluation.run, evaluation.run.arch.dram.transaction_bytes
    ours = evaluation.layers(run)
    theirs = evaluation.layers(evaluation.baseline) if evaluation.baseline else []
    figure = Figure(figsize=(12, 3.1 * len(phases) + 0.9), layout="constrained")
    axes = figure.subplots(len(phases), 3, squeeze=False)
    title = f"{run.workload.shape.name}: {run.workload.shape.policy} on {run.arch.name}"
    if evaluation.baseline is not None:
        title += f" (outline: {evaluation.baseline.workload.shape.policy} on the same hardware)"
    figure.suptitle(title)
    for line, phase in zip(axes, phases, strict=True):
        mine, other = ([layer for layer in table if layer["phase"] == phase] for table in (ours, theirs))
        kinds = {
            (_KIND_LABELS[kind], colour): [layer[f"tx_{kind}"] * transaction / 1e3 for layer in mine]
            for kind, colour in _KIND_COLOURS.items()
        }
        moved = [sum(layer[f"tx_{kind}"] for kind in _KIND_COLOURS) * transaction / 1e3 for layer in other]
        _stack(line[0], mine, kinds, moved, f"{phase}: DRAM moved [kB]")
        groups = {
            (label, colour): [sum(layer[f"energy_{part}_joules"] for part in parts) * 1e6 for layer in mine]
            for (label, parts), colour in zip(_ENERGY_GROUPS.items(), _GROUP_COLOURS, strict=True)
        }
        joules = [sum(layer[f"energy_{part}_joules"] for part in PARTS) * 1e6 for layer in other]
        _stack(line[1], mine, groups, joules, f"{phase}: energy [µJ]")
        cycles = {
            ("Q x K busy", "#c05621"): [layer["qk_busy"] / 1e3 for layer in mine],
            ("rest of elapsed", "#fbd38d"): [(layer["cycles"] - layer["qk_busy"]) / 1e3 for layer in mine],
        }
        _stack(line[2], mine, cycles, [layer["cycles"] / 1e3 for layer in other], f"{phase}: cycles [thousand]")
    _save(figure, path)


def draw_survival(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Token survival per layer, drawn over the text of every sequence."""
    sequences = trace.manifest.sequences
    if max(len(sequence.tokens) for sequence in sequences) <= _SENTENCE_TOKENS:
        _draw_sentences(trace, replay, path)
    else:
        _draw_texts(trace, replay, path)


def _stack(
    axes: Axes,
    layers: list[dict[str, Any]],
    parts: dict[tuple[str, str], list[float]],
    outline: list[float],
    title: str,
) -> None:
    positions = np.arange(len(layers))
    bottom = np.zeros(len(layers))
    for (label, colour), heights in parts.items():
        if any(heights):
            axes.bar(positions, heights, bottom=bottom, color=colour, label=label, width=0.7)
            bottom += heights
    if outline:
        axes.bar(positions, outline, fill=False, edgecolor="#4a5568", linewidth=1.2, width=0.86)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("layer")
    axes.set_xticks(positions, [str(layer["layer"]) for layer in layers])
    axes.set_ylim(0, 1.35 * max([*bottom, *outline]))
    axes.legend(fontsize=7, ncols=2, loc="upper center")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_sentences(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Short sentences: one line of text per layer, pruned tokens struck out."""
    layers = trace.manifest.model.layers
    heights = [layers + 1.6] * len(trace.manifest.sequences)
    figure = Figure(figsize=(15, 0.27 * sum(heights) + 0.5), layout="constrained")
    figure.suptitle(f"{trace.name}: tokens that enter each layer under {replay.workload.shape.policy}")
    panels = figure.subplots(len(heights), 1, squeeze=False)[:, 0]
    for index, (axes, sequence) in enumerate(zip(panels, trace.manifest.sequences, strict=True)):
        words = [_printable(token).strip() or "␣" for token in sequence.tokens]
        ends = np.cumsum([len(word) + 1.2 for word in words])
        axes.set_xlim(-9, max(ends[-1], 100))
        axes.set_ylim(layers, -0.9)
        axes.axis("off")
        for layer in range(layers):
            alive = set(replay.survivors[index, 0, layer].tolist())
            axes.text(-1.5, layer, f"layer {layer}: {len(alive)}", ha="right", va="center", fontsize=7, color="#4a5568")
            for token, (word, end) in enumerate(zip(words, ends, strict=True)):
                left, width = end - len(word) - 1.2, len(word) + 0.9
                colour = "#bee3f8" if token in alive else "#f7fafc"
                axes.add_patch(Rectangle((left, layer - 0.42), width, 0.84, color=colour, linewidth=0))
                ink = "#1a202c" if token in alive else "#cbd5e0"
                middle = left + width / 2
                axes.text(middle, layer, word, ha="center", va="center", fontsize=7, color=ink, family="monospace")
    _save(figure, path)


def _draw_texts(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Long texts: each token on the colour of the last layer it entered, for the prompt and the last decode step."""
    panels = []
    for index, sequence in enumerate(trace.manifest.sequences):
        steps = [0, sequence.decode_steps] if sequence.decode_steps else [0]
        for step in steps:
            name = "prompt (step 0)" if step == 0 else f"last decode step (step {step})"
            panels.append((name, sequence.tokens[: sequence.prompt_tokens + step], _depth(trace, replay, index, step)))
    layouts = [_flow([_printable(token) for token in tokens]) for _, tokens, _ in panels]
    heights = [layout[-1][1] + 3.0 for layout in layouts]
    layers = trace.manifest.model.layers
    colours = mpl.colormaps["YlGnBu"](np.linspace(0.08, 0.75, layers))
    figure = Figure(figsize=(15, 0.2 * sum(heights) + 0.8), layout="constrained")
    axes_list = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    figure.suptitle(f"{trace.name}: how deep each token survives under {replay.workload.shape.policy}")
    for axes, (name, tokens, depth), layout in zip(axes_list, panels, layouts, strict=True):
        axes.set_xlim(0, _LINE_CHARACTERS + 4)
        axes.set_ylim(layout[-1][1] + 0.8, -1.0)
        axes.axis("off")
        counts = ", ".join(f"{int((depth >= layer).sum())}" for layer in range(layers))
        axes.set_title(f"{name}: tokens per layer {counts}", fontsize=9, loc="left")
        for token, last, (left, line) in zip(tokens, depth, layout, strict=True):
            word = _printable(token)
            axes.add_patch(Rectangle((left, line - 0.46), len(word), 0.92, color=colours[last], linewidth=0))
            ink = "white" if last >= layers - 1 else "#1a202c"
            axes.text(
                left + len(word) / 2, line, word, ha="center", va="center", fontsize=7, color=ink, family="monospace"
            )
    handles = [Patch(color=colour, label=f"last in layer {layer}") for layer, colour in enumerate(colours)]
    handles[-1].set_label(f"in all {layers} layers")
    figure.legend(handles=handles, ncols=layers, loc="outside lower center", fontsize=8)
    _save(figure, path)


def _depth(trace: AttentionTrace, replay: PolicyResult, index: int, step: int) -> npt.NDArray[np.int64]:
    """The last layer each token of the context entered in a step."""
    sequence = trace.manifest.sequences[index]
    depth = np.zeros(sequence.prompt_tokens + step, np.int64)
    for layer in range(trace.manifest.model.layers):
        depth[replay.survivors[index, step, layer]] = layer
    return depth


def _flow(words: list[str]) -> list[tuple[float, int]]:
    """Left edge and line of each word, wrapped."""
    places, left, line = [], 0, 0
    for word in words:
        if left + len(word) > _LINE_CHARACTERS:
            left, line = 0, line + 1
        places.append((float(left), line))
        left += len(word)
    return places


def _printable(token: str) -> str:
    """A token as one line of printable text; `$` is escaped from matplotlib's mathematics."""
    text = token.replace("\n", "↵").replace("\t", " ")
    return "".join(letter if letter.isprintable() else "·" for letter in text).replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    """Write an SVG whose bytes depend on the figure only."""
    with mpl.rc_context({"svg.hashsalt": "sparcade", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})

"""Who survived which layer, drawn over the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from sparcade.policy import PolicyResult
from sparcade.report.svg import plain, save_picture
from sparcade.trace import AttentionTrace

#: Sentences up to this many tokens are drawn once per layer, longer texts once, coloured by depth of survival.
_SENTENCE_TOKENS = 40
_LINE_CHARACTERS = 130
_INK, _GREY, _PALE, _ALIVE = "#1a202c", "#718096", "#c3cad5", "#bee3f8"


def draw_survival(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Token survival per layer, drawn over the text of every sequence; SVG, or PNG by the name of the file."""
    sequences = trace.manifest.sequences
    if max(len(sequence.tokens) for sequence in sequences) <= _SENTENCE_TOKENS:
        _draw_sentences(trace, replay, path)
    else:
        _draw_texts(trace, replay, path)


def _draw_sentences(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Short sentences: one line of text per layer, pruned tokens pale."""
    layers = trace.manifest.model.layers
    lines: list[_Line] = []
    for index, sequence in enumerate(trace.manifest.sequences):
        words = [_printable(token).strip() or " " for token in sequence.tokens]
        for layer in range(layers):
            alive = np.zeros(len(words), np.bool_)
            alive[replay.survivors[index, 0, layer]] = True
            label = f"layer {layer}: {np.count_nonzero(alive):3d}  "
            spans = [_Span(label, None, _GREY)]
            for word, lives in zip(words, alive, strict=True):
                spans += [
                    _Span(word, "#bee3f8" if lives else None, _INK if lives else "#c3cad5"),
                    _Span(" ", None, _INK),
                ]
            lines.append(_Line(spans))
        lines.append(_Line([]))
    _draw_lines(
        lines[:-1], f"{trace.name}: tokens that enter each layer under {replay.workload.shape.policy}", [], path
    )


def _draw_texts(trace: AttentionTrace, replay: PolicyResult, path: Path) -> None:
    """Long texts: each token on the colour of the last layer it entered, for the prompt and the last decode step.

    Where keys are evicted per layer, on the colour of how many layers still hold it.
    """
    layers = trace.manifest.model.layers
    evicts = "key" in replay.workload.shape.persistent
    colours = [to_hex(colour) for colour in mpl.colormaps["YlGnBu"](np.linspace(0.05, 0.55, layers))]
    lines: list[_Line] = []
    for index, sequence in enumerate(trace.manifest.sequences):
        for step in [0, sequence.decode_steps] if sequence.decode_steps else [0]:
            alive = [replay.survivors[index, step, layer] for layer in range(layers)]
            depth = _held(trace, replay, index, step) if evicts else _depth(trace, replay, index, step)
            counts = ", ".join(
                f"{len(ids) if evicts else np.count_nonzero(depth >= layer)}" for layer, ids in enumerate(alive)
            )
            name = "prompt (step 0)" if step == 0 else f"last decode step (step {step})"
            lines += [_Line([]), _Line([_Span(f"{name}: tokens in layers 0 to {layers - 1}: {counts}", None, _INK)])]
            lines += _wrapped(
                [
                    _Span(_printable(sequence.tokens[token]), None if last < 0 else colours[last], _INK)
                    for token, last in enumerate(depth)
                ]
            )
    key = [
        (colour, f"in {layer + 1} layers" if evicts else f"last in layer {layer}")
        for layer, colour in enumerate(colours)
    ]
    key[-1] = (colours[-1], f"in all {layers} layers")
    what = "in how many layers each token is held" if evicts else "how deep each token survives"
    _draw_lines(lines[1:], f"{trace.name}: {what} under {replay.workload.shape.policy}", key, path)


@dataclass(frozen=True, slots=True)
class _Span:
    text: str
    background: str | None
    ink: str


@dataclass(frozen=True, slots=True)
class _Line:
    spans: list[_Span]


def _wrapped(spans: list[_Span]) -> list[_Line]:
    """Spans broken into lines of at most `_LINE_CHARACTERS`."""
    lines, length = [_Line([])], 0
    for span in spans:
        if length + len(span.text) > _LINE_CHARACTERS:
            lines.append(_Line([]))
            length = 0
        lines[-1].spans.append(span)
        length += len(span.text)
    return lines


def _draw_lines(lines: list[_Line], title: str, key: list[tuple[str, str]], path: Path) -> None:
    """Monospaced lines on coloured backgrounds: one text object per line and ink, not per word."""
    columns = max([sum(len(span.text) for span in line.spans) for line in lines] + [_LINE_CHARACTERS])
    font = 8.0  # points; a character of DejaVu Sans Mono is 0.602 of it wide
    width, depth = columns * font * 0.602 / 72, len(lines) * 1.55 * font / 72  # inches
    side, top, bottom = 0.25, 0.55, 0.6 if key else 0.25
    total_width, total_height = width + 2 * side, depth + top + bottom
    figure = Figure(figsize=(total_width, total_height))
    box = (side / total_width, bottom / total_height, width / total_width, depth / total_height)
    axes = figure.add_axes(box)
    axes.set_xlim(0, columns)
    axes.set_ylim(len(lines), 0)
    axes.axis("off")
    figure.text(0.5, 1 - 0.3 / total_height, plain(title), ha="center", va="center", fontsize=12)
    boxes, fills = [], []
    for row, line in enumerate(lines):
        inks: dict[str, str] = {}
        column = 0
        for span in line.spans:
            for ink in {*inks, span.ink}:
                inks[ink] = inks.get(ink, " " * column) + (span.text if ink == span.ink else " " * len(span.text))
            if span.background is not None:
                boxes.append(Rectangle((column, row + 0.06), len(span.text), 0.88))
                fills.append(span.background)
            column += len(span.text)
        for ink in sorted(inks):
            axes.text(
                0, row + 0.52, inks[ink].rstrip(), va="center", fontsize=font, color=ink, family="DejaVu Sans Mono"
            )
    axes.add_collection(PatchCollection(boxes, facecolors=fills, linewidths=0.6, edgecolors="white"))
    if key:
        handles = [Patch(color=colour, label=label) for colour, label in key]
        figure.legend(handles=handles, ncols=len(key), loc="lower center", fontsize=8, frameon=False)
    save_picture(figure, path)


def _depth(trace: AttentionTrace, replay: PolicyResult, index: int, step: int) -> npt.NDArray[np.int64]:
    """The last layer each token of the context entered in a step."""
    sequence = trace.manifest.sequences[index]
    depth = np.zeros(sequence.prompt_tokens + step, np.int64)
    for layer in range(trace.manifest.model.layers):
        depth[replay.survivors[index, step, layer]] = layer
    return depth


def _held(trace: AttentionTrace, replay: PolicyResult, index: int, step: int) -> npt.NDArray[np.int64]:
    """One less than the number of layers in which some KV head read each token of the context in a step."""
    count = np.full(trace.manifest.sequences[index].prompt_tokens + step, -1, np.int64)
    for layer in range(trace.manifest.model.layers):
        count[replay.survivors[index, step, layer]] += 1
    return count


def _printable(token: str) -> str:
    """A token as one line of printable text."""
    return plain(token.replace("\n", "↵").replace("\t", " "))

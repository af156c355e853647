"""The text of a sequence as HTML, pruned tokens fading: a column per layer, or long texts shaded by depth."""

from __future__ import annotations

from html import escape

from sparcade.report.detail import Detail, StepTokens

#: Rows of a column per layer, at most: the last tokens of the context.
MOST_ROWS = 64
#: Cells of all columns on a page, at most; the first sequence is always there.
_MOST_CELLS = 6_000
#: Tokens of a text shaded by depth, at most: as many from its beginning as from its end.
MOST_TOKENS = 1_200
#: A pruned token is seen this many layers more, paler in each.
_FADES = 3
_LONGEST = 24
STYLE = """<style>
.fade { border-collapse: separate; border-spacing: 2px 1px; }
.fade th, .fade td { border: 0; padding: 0 .45em; white-space: pre; }
.fade td { font: 12px/1.5 "DejaVu Sans Mono", monospace; }
.fade .a, .depth .a { background: color-mix(in srgb, #0072b2 24%, transparent); border-radius: 3px; }
.fade .f1 { opacity: .55; } .fade .f2 { opacity: .35; } .fade .f3 { opacity: .18; }
.fade .i { color: var(--pale); text-align: right; }
.depth { font: 13px/1.7 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.depth span { border-radius: 3px; }
</style>"""


def sentences(detail: Detail) -> str:
    """The texts of the sequences; "" without texts."""
    parts, cells = [], 0
    for index, sequence in enumerate(detail.sequences):
        if sequence.texts is None:
            return ""
        last = sequence.steps[-1]
        cells += min(MOST_ROWS, last.alive.shape[1]) * len(last.alive)
        if index and cells > _MOST_CELLS:
            parts.append(f'<p class="note">{detail.sequence_count - index} more sequences are not shown.</p>')
            break
        parts.append(_sequence(index, sequence.texts, sequence.steps))
    else:
        if detail.sequence_count > len(detail.sequences):
            more = detail.sequence_count - len(detail.sequences)
            parts.append(f'<p class="note">{more} more sequences are not shown.</p>')
    return f"{STYLE}\n{''.join(parts)}"


def _sequence(index: int, texts: tuple[str, ...], steps: tuple[StepTokens, ...]) -> str:
    parts = []
    for step in steps:
        title = f"Sequence {index}, " + ("prompt" if step.step == 0 else f"last decode step ({step.step})")
        whole = step.alive.shape[1] <= MOST_ROWS
        counts = ", ".join(f"{count:,}" for count in step.alive.sum(axis=1).tolist())
        inner = f'<p class="note">{step.alive.shape[1]:,} tokens; read in layer 0, 1, ...: {counts}.</p>'
        if not whole:
            inner += _depth(texts, step)
        cut = "" if whole else f'<p class="note">The last {MOST_ROWS} tokens, a column per layer:</p>'
        inner += cut + _columns(texts, step)
        opened = " open" if index == 0 and step is steps[-1] else ""
        parts.append(f"<details{opened}><summary>{title}</summary>{inner}</details>")
    return "".join(parts)


def _columns(texts: tuple[str, ...], step: StepTokens) -> str:
    """A row per token, a column per layer; a pruned token fades over the layers that follow."""
    layers, context = step.alive.shape
    heads = "".join(f"<th>{layer}</th>" for layer in range(layers))
    rows = []
    for token in range(max(0, context - MOST_ROWS), context):
        word, gone, cells = escape(_printable(texts[token])), 0, []
        for lives in step.alive[:, token].tolist():
            gone = 0 if lives else gone + 1
            name = "a" if lives else f"f{gone}"
            cells.append(f"<td class={name}>{word}</td>" if gone <= _FADES else "<td></td>")
        rows.append(f"<tr><td class=i>{token}</td>{''.join(cells)}</tr>")
    return (
        '<div class="scroll tall" tabindex="0"><table class="fade"><thead><tr><th>layer</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _depth(texts: tuple[str, ...], step: StepTokens) -> str:
    """The text, each token as dark as the share of layers that read it."""
    layers, context = step.alive.shape
    share = step.alive.sum(axis=0) / layers
    half = MOST_TOKENS // 2
    shown = [range(context)] if context <= MOST_TOKENS else [range(half), range(context - half, context)]
    texts_html = [
        "".join(_shaded(texts[token].replace("\t", " "), float(share[token])) for token in part) for part in shown
    ]
    gap = f"\n\n[... {context - MOST_TOKENS:,} tokens left out ...]\n\n"
    return (
        '<p class="note">The darker a token, the more layers read it; without shade, none does.</p>'
        f'<div class="depth tall" tabindex="0">{gap.join(texts_html)}</div>'
    )


def _shaded(text: str, share: float) -> str:
    percent = round(8 + 52 * share) if share else 0
    shade = f' style="background:color-mix(in srgb,#0072b2 {percent}%,transparent)"' if percent else ""
    return f"<span{shade}>{escape(_printable(text, most=200, space=' '))}</span>"


def _printable(token: str, most: int = _LONGEST, space: str = "·") -> str:
    """A token as one line of printable text, cut when it is long; leading blanks are shown as they are."""
    text = "".join(letter if letter.isprintable() else "↵" if letter == "\n" else "·" for letter in token)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text if text.strip() else text.replace(" ", space) or space

"""A diff of two runs in words and tables: plain text, Markdown, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sparcade._files import canonical_json
from sparcade.report.diff import Diff, Move, figure_text, unit_of
from sparcade.report.diff_inputs import Setting
from sparcade.report.html import shown

SCHEMA = "sparcade.diff"
SCHEMA_VERSION = 1
#: Rows of a table of text; JSON has all.
_MOST = 12
#: Settings, and causes, that a sentence names.
_MOST_NAMED = 3
_MICRO = {"s": "µs", "J": "µJ"}
_MODULES = "cycles of "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def as_text(diff: Diff) -> str:
    """Plain text with aligned columns."""
    return _joined(diff, _text_table)


def as_markdown(diff: Diff) -> str:
    """Markdown, for a comment on a change."""
    return _joined(diff, _markdown_table)


def as_json(diff: Diff) -> str:
    """Everything that moved; canonical, so that equal diffs are equal bytes."""
    return canonical_json(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "a": diff.a,
            "b": diff.b,
            "equal": diff.equal,
            "settings": [_setting_dict(setting) for setting in diff.settings],
            "summary": [*_sentences(diff)],
            "headlines": [_move_dict(move) for move in diff.headlines],
            "effects": [
                {"setting": effect.setting.name, "moves": [_move_dict(move) for move in effect.moves]}
                for effect in diff.effects
            ],
            "breakdowns": [
                {"name": part.name, "change": _number(part.whole), "moves": [_move_dict(move) for move in part.moves]}
                for part in diff.breakdowns
            ],
            "outputs": [_move_dict(move) for move in diff.outputs],
        }
    )


def headline_text(move: Move) -> str:
    """A headline as a few words: "cycles of decode -8.1 %"."""
    place = f" of {move.phase}" if move.phase else ""
    return f"{figure_text(move.figure)}{place} {_relative(move) or 'from nothing'}"


def _joined(diff: Diff, table: Callable[[_Table], str]) -> str:
    blocks = [f"{diff.a} -> {diff.b}", *_sentences(diff), *map(table, _tables(diff))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _sentences(diff: Diff) -> Iterator[str]:
    """What differs, and where most of each headline's change is."""
    if diff.equal:
        yield "The runs are equal: no input and no figure differs."
        return
    yield _inputs(diff.settings)
    if not diff.headlines:
        yield "Cycles, DRAM bytes and energy are equal."
    for move in diff.headlines:
        if move.phase is None:
            yield _explanation(diff, move)


def _inputs(settings: tuple[Setting, ...]) -> str:
    if not settings:
        return "No input differs."
    named = ", ".join(f"{one.name} {_setting_value(one.a)} -> {_setting_value(one.b)}" for one in settings)
    several = " An effect of one cannot be told from those of the others." if len(settings) > 1 else ""
    return f"{'These settings differ' if several else 'This setting differs'}: {named}.{several}"


def _explanation(diff: Diff, total: Move) -> str:
    phases = [move for move in diff.headlines if move.figure == total.figure and move.phase and move.change]
    first = max(phases, key=lambda move: move.change / total.change, default=None)
    facts = [f"{_share(first.change / total.change)} of it in {first.phase}"] if first else []
    causes = _causes(diff, total, first.phase if first else None)
    facts += [f"{figure_text(move.figure)} ({_signed(move)} {_unit(move.figure)})" for move in causes[:_MOST_NAMED]]
    before, after = (_value(total.figure, value) for value in (total.a, total.b))
    unit = _unit(total.figure)
    moved = f"{figure_text(total.figure)} {_relative(total) or 'from nothing'} ({before} -> {after} {unit})"
    return f"{moved}: {'; '.join(facts)}." if facts else f"{moved}."


def _causes(diff: Diff, total: Move, phase: str | None) -> list[Move]:
    """What moved the same way as a headline, in that phase: first what the changed settings act on, then the largest.

    A module that has nothing to do causes nothing.
    """
    names = {"cycles": _MODULES, "bytes_moved": "DRAM bytes by kind", "energy_joules": "energy by part"}
    if total.figure not in names:
        return []
    parts = (part for part in diff.breakdowns if part.name.startswith(names[total.figure]))
    same = [
        move
        for part in parts
        for move in part.moves
        if move.change * total.change > 0 and phase in (None, move.phase) and not move.figure.endswith("_idle")
    ]
    direct = {move.figure for effect in diff.effects for move in effect.moves}
    return sorted(same, key=lambda move: (move.figure not in direct, -abs(move.change)))


def _tables(diff: Diff) -> Iterator[_Table]:
    if diff.headlines:
        yield _table("what moved", diff.headlines, share=False)
    for effect in diff.effects:
        if effect.moves:
            one = effect.setting
            title = f"{one.name} {_setting_value(one.a)} -> {_setting_value(one.b)} acts on"
            yield _table(title, effect.moves, share=False)
    if diff.outputs:
        yield _table("outputs", diff.outputs, share=False)
    modules = [part for part in diff.breakdowns if part.name.startswith(_MODULES)]
    for part in diff.breakdowns:
        if part not in modules:
            yield _table(part.name, part.moves, share=part.whole is not None)
        elif part is modules[0]:
            moves = sorted((move for one in modules for move in one.moves), key=_idle_last)
            whole = _signed(Move(figure="cycles", a=Fraction(), b=part.whole or Fraction()))
            note = f"The busy, stalled and idle cycles of each module sum to {whole}."
            yield _table("cycles by module", moves, share=True, note=note, rest=False)


def _idle_last(move: Move) -> tuple[bool, Fraction]:
    """Order of cycles by module: largest first, but what a module did not do after all that it did."""
    return move.figure.endswith("_idle"), -abs(move.change)


def _table(title: str, moves: Iterable[Move], *, share: bool, note: str = "", rest: bool = True) -> _Table:
    every = tuple(moves)
    by_layer = any(move.layer is not None for move in every)
    head = (
        *(("layer",) if by_layer else ("figure",)),
        *(("phase",) if any(move.phase for move in every) else ()),
        *("unit", "a", "b", "change", "relative"),
        *(("share",) if share else ()),
    )
    cells: dict[str, Callable[[Move], str]] = {
        "layer": lambda move: str(move.layer),
        "figure": lambda move: figure_text(move.figure),
        "phase": lambda move: move.phase or "total",
        "unit": lambda move: _unit(move.figure),
        "a": lambda move: _value(move.figure, move.a),
        "b": lambda move: _value(move.figure, move.b),
        "change": _signed,
        "relative": _relative,
        "share": lambda move: "" if move.share is None else _share(move.share),
    }
    cut = every[_MOST:]
    if cut:
        summed = Move(figure=cut[0].figure, a=Fraction(), b=sum((m.change for m in cut), Fraction()))
        sum_text = f", together {_signed(summed)} {_unit(summed.figure)}" if share and rest else ""
        note = f"{len(cut)} smaller ones are left out{sum_text}. {note}".strip()
    rows = tuple(tuple(cells[name](move) for name in head) for move in every[:_MOST])
    return _Table(title=title, head=head, rows=rows, note=note)


def _text_table(table: _Table) -> str:
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    left = {"layer", "figure", "phase", "unit"}

    def line(row: tuple[str, ...]) -> str:
        pairs = zip(row, widths, table.head, strict=True)
        return "  ".join(cell.ljust(w) if name in left else cell.rjust(w) for cell, w, name in pairs).rstrip()

    return "\n".join(
        [table.title, *(f"  {line(row)}" for row in (table.head, *table.rows)), *filter(None, [table.note])]
    )


def _markdown_table(table: _Table) -> str:
    rule = ("---" if name in ("layer", "figure", "phase", "unit") else "---:" for name in table.head)
    rows = (table.head, tuple(rule), *(tuple(cell.replace("|", r"\|") for cell in row) for row in table.rows))
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join(filter(None, [f"**{table.title}**", lines, table.note]))


def _setting_value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_setting_value(item)}" for key, item in value.items() if key != "source")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _setting_dict(setting: Setting) -> dict[str, Any]:
    return {"name": setting.name, "a": setting.a, "b": setting.b}


def _move_dict(move: Move) -> dict[str, Any]:
    place = {"phase": move.phase, "layer": move.layer}
    return {
        "figure": move.figure,
        "description": figure_text(move.figure),
        "unit": unit_of(move.figure),
        "a": _number(move.a),
        "b": _number(move.b),
        "change": _number(move.change),
        "relative": _number(move.relative, exact=False),
        "share": _number(move.share, exact=False),
        **{name: value for name, value in place.items() if value is not None},
    }


def _number(value: Fraction | None, *, exact: bool = True) -> int | float | None:
    if value is None:
        return None
    return int(value) if exact and value.denominator == 1 else float(value)


def _unit(figure: str) -> str:
    return _MICRO.get(unit_of(figure), unit_of(figure))


def _value(figure: str, value: Fraction) -> str:
    scaled = value * 10**6 if unit_of(figure) in _MICRO else value
    return shown(int(scaled)) if scaled.denominator == 1 else shown(float(scaled))


def _signed(move: Move) -> str:
    text = _value(move.figure, move.change)
    return text if text.startswith("-") else f"+{text}"


def _relative(move: Move) -> str:
    return "" if move.relative is None else _percent(move.relative, sign="+")


def _share(share: Fraction) -> str:
    return _percent(share)


def _percent(share: Fraction, sign: str = "-") -> str:
    """Percent with one decimal, more where that would be 0."""
    percent = float(100 * share)
    return f"{percent:{sign}.1f} %" if abs(percent) >= 0.05 or not percent else f"{percent:{sign}.1g} %"

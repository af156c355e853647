"""A short window of a run as a picture: what each module did, module by cycle, a colour per query."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sparcade.accelerator.events import MODULES, Excerpt
from sparcade.report.axis import COLOURS, GREY, INK, clean
from sparcade.report.svg import plain

_STALL = "#cbd5e0"
#: Most queries with a colour in the legend.
_MOST_NAMED = 12
#: Narrower slices have no letters in them [share of the window].
_ROOM = 0.022
_LETTERS = {"Q": "Q", "K": "K", "K LSB": "LSB", "V": "V", "output": "out"}
_PLACE = ("sequence", "step", "layer", "head", "query")


def pipeline_table(excerpt: Excerpt) -> dict[str, Any]:
    """An excerpt of the event log in plain values, for detail.json.gz: small, and enough to draw the picture again."""
    slices = excerpt.slices
    queries = sorted(set(slices[list(_PLACE)].itertuples(index=False, name=None)), key=_first_seen(slices))
    numbers = {query: number for number, query in enumerate(queries)}
    modules: dict[str, list[list[Any]]] = {}
    columns = [slices[name].tolist() for name in ("module", "state", "part", "begin", "cycles", *_PLACE)]
    for module, state, part, begin, cycles, *place in zip(*columns, strict=True):
        modules.setdefault(module, []).append([begin, cycles, state, part, numbers[tuple(place)]])
    return {
        "begin": excerpt.begin,
        "end": excerpt.end,
        "queries": [dict(zip(_PLACE, map(int, query), strict=True)) for query in queries],
        "slice": ["begin", "cycles", "state", "part", "query"],
        "modules": modules,
    }


def pipeline_figure(table: dict[str, Any]) -> Figure:
    """The picture of a window.

    Parameters
    ----------
    table : as `pipeline_table` gives it.
    """
    present = [name for name in MODULES if name in table["modules"]]
    figure = Figure(figsize=(12, 0.3 * len(present) + 1.5), dpi=100, layout="constrained", facecolor="none")
    axes = figure.subplots()
    for place, module in enumerate(present):
        _draw_module(axes, -place, table["modules"][module], table["end"] - table["begin"])
    axes.set_xlim(table["begin"], table["end"])
    axes.set_ylim(-len(present) + 0.4, 0.6)
    axes.set_yticks([-place for place in range(len(present))], [plain(name) for name in present])
    axes.set_xlabel("cycle", fontsize=9)
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    clean(axes)
    axes.grid(visible=False, axis="y")
    handles = [
        Patch(color=_colour(number), label=plain(_name(query)))
        for number, query in enumerate(table["queries"][:_MOST_NAMED])
    ]
    handles.append(Patch(color=_STALL, label="stalled"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=7, fontsize=8, frameon=False, labelcolor=INK, handlelength=1
    )
    return figure


def _draw_module(axes: Axes, place: int, slices: list[list[Any]], window: int) -> None:
    """Busy cycles as bars in the colour of their query, stalled ones as a thin grey one."""
    busy = [one for one in slices if one[2] == "busy"]
    stalled = [one for one in slices if one[2] != "busy"]
    axes.broken_barh([(one[0], one[1]) for one in stalled], (place - 0.1, 0.2), facecolors=_STALL)
    axes.broken_barh(
        [(one[0], one[1]) for one in busy],
        (place - 0.38, 0.76),
        facecolors=[_colour(one[4]) for one in busy],
        edgecolors=GREY,
        linewidth=0.3,
    )
    for begin, cycles, state, part, _ in slices:
        if state == "busy" and part in _LETTERS and cycles > _ROOM * window:
            axes.text(begin + cycles / 2, place, _LETTERS[part], ha="center", va="center", fontsize=7, color="white")


def _first_seen(slices: Any) -> Any:
    """Order of queries: by the first cycle in which a module works for them."""
    first = slices.groupby(list(_PLACE))["begin"].min().to_dict()
    return lambda query: (first[query], query)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _name(query: dict[str, int]) -> str:
    """A query in short: step, layer, head, and its number in prefill."""
    name = f"step {query['step']} layer {query['layer']} head {query['head']}"
    return f"{name} query {query['query']}" if query["step"] == 0 else name

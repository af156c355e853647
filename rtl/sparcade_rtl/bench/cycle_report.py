"""Cycles of the engines over the length of a list and k: the simulated RTL, the model, and the paper's formula."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from sparcade.topk import TopKParams
from sparcade.topk.cycles import engine_cycles, interval_cycles
from sparcade.topk.lists import describe
from sparcade.topk.sorter import two_lists_cycles
from sparcade_rtl.bench.lists import Ints, save_lists
from sparcade_rtl.bench.runner import run_bench
from sparcade_rtl.bench.setting import Setting
from sparcade_rtl.report import markdown, write_report

Engine = Literal["quick-select", "radix-select"]
SIZES = (32, 64, 128, 256, 512, 1024)
SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
#: Lists of each size and k; the first, which fills the engine, does not count.
REPEATS = 13
#: Of the files of the report.
NAME = "cycles"
_HEADER = "engine,score_bits,lanes,n,k,rtl,model,closed_form,released_formula"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Mean cycles from list to list, the lists being of one size and k and following each other without a pause."""

    engine: str
    params: TopKParams
    n: int
    k: int
    rtl: float  #: simulated on Verilator
    model: float  #: `engine_cycles`
    closed: float  #: of the passes, or of the beats of a list
    formula: float  #: latency model of the release for the mean list: selection, and then its beats out


def measure_engines(params: TopKParams, folder: Path, seed: int = 1) -> list[Point]:
    """Simulate both engines on the same lists of uniform scores; builds stay in the folder."""
    rng = np.random.default_rng(seed)
    cases = [(n, max(1, round(n * share))) for n, share in itertools.product(SIZES, SHARES)]
    lists = [(rng.integers(0, 1 << params.score_bits, n), k) for n, k in cases for _ in range(REPEATS)]
    points: list[Point] = []
    for engine in get_args(Engine):
        shape = replace(params, engine=engine)
        points += _measure(shape, cases, lists, folder / engine, seed)
    return points


def _measure(
    params: TopKParams, cases: list[tuple[int, int]], lists: list[tuple[Ints, int]], folder: Path, seed: int
) -> list[Point]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lists.npz"
    save_lists(path, lists)
    (outcome,) = run_bench([Setting(params=params, file=str(path), seed=seed)], folder)
    described = describe(params, lists)
    trace = engine_cycles(params, described)
    model = trace.outputs[trace.last]
    closed = interval_cycles(params, described.sizes, described.pass_sizes, described.offsets)
    return [
        Point(
            engine=params.engine,
            params=params,
            n=n,
            k=k,
            rtl=_mean_interval(np.array(outcome.ends), index),
            model=_mean_interval(model, index),
            closed=float(closed[index * REPEATS + 1 : (index + 1) * REPEATS].mean()),
            formula=released_formula(params, n, k),
        )
        for index, (n, k) in enumerate(cases)
    ]


def _mean_interval(ends: npt.NDArray[np.int64], index: int) -> float:
    return float(np.diff(ends[index * REPEATS : (index + 1) * REPEATS]).mean())


def released_formula(params: TopKParams, n: int, k: int) -> float:
    """Mean cycles of a list, its beats out behind its selection.

    2 n (1 + H(k / n)) / lanes + 3.5 (H_k + H_(n - k + 1) - 1) + n / input_width; H: binary entropy, harmonic numbers.

    Source: latency model of the release, in closed form (uarch.md 3.4).
    """
    share = k / n
    entropy = -sum(part * np.log(part) for part in (share, 1 - share) if part > 0)
    passes = sum(1 / i for i in range(1, k + 1)) + sum(1 / i for i in range(1, n - k + 2)) - 1
    return float(2 * n * (1 + entropy) / params.lanes + 3.5 * passes - (-n // params.input_width))


def write_cycle_report(points: Iterable[Point], folder: Path, command: str) -> None:
    """`cycles.csv`, `cycles.md` and a picture, replaced as a whole."""
    points = list(points)
    table = "\n".join([_HEADER, *map(_csv_line, points)]) + "\n"
    write_report(folder, NAME, table=table, page=_page(points, command), figure=_draw(points))


def _csv_line(point: Point) -> str:
    params = point.params
    shape = f"{point.engine},{params.score_bits},{params.lanes},{point.n},{point.k}"
    return f"{shape},{point.rtl:.3f},{point.model:.3f},{point.closed:.3f},{point.formula:.3f}"


_TITLES = (
    "n",
    "k",
    "quick-select: RTL",
    "model",
    "closed form",
    "radix-select: RTL",
    "model",
    "closed form",
    "released formula",
    "Batcher sorter",
)
_PAGE = """\
# Cycles of the top-k engines

Written by `{command}`. Mean cycles from list to list of {lists} lists of uniform {bits}-bit scores that follow
each other without a pause; {lanes} lanes, {width} elements a beat, capacity {capacity}.

{table}

- *RTL*: Verilog of the engine on Verilator. *model*: `sparcade.topk.cycles.engine_cycles`, what the accelerator
  charges. The bench compares every transfer: with a difference of one cycle this page is not written.
- *closed form*: max(beats, sum of the passes). A list above half the capacity waits for room in the delay FIFO, which
  still holds the one before: its first pass then takes n / {width} cycles, and the engine is slower than the form.
- *released formula*: mean of the off-line latency model that the released hardware is charged (rows + 3 cycles a pass,
  random pivots), then all beats out, the next selection waiting for that.
- *Batcher sorter*: closed form of the odd-even merge sorter with as many comparators as the engine has lanes (equal to
  its RTL: tests/rtl/test_sorter.py).
"""


def _page(points: list[Point], command: str) -> str:
    params = points[0].params
    quick, radix = ([point for point in points if point.engine == engine] for engine in get_args(Engine))
    rows = []
    for q, r in zip(quick, radix, strict=True):
        cycles = (q.rtl, q.model, q.closed, r.rtl, r.model, r.closed, q.formula, _sorter(q))
        rows.append((str(q.n), str(q.k), *(f"{each:.1f}" for each in cycles)))
    return _PAGE.format(
        command=command,
        lists=REPEATS - 1,
        bits=params.score_bits,
        lanes=params.lanes,
        width=params.input_width,
        capacity=params.capacity,
        table=markdown(_TITLES, rows),
    )


def _sorter(point: Point) -> float:
    return float(two_lists_cycles(point.params, point.n, point.k)) / 2


def _draw(points: list[Point]) -> Figure:
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    over_n, over_k = figure.subplots(1, 2)
    half = [point for point in points if 2 * point.k == point.n]
    longest = [point for point in points if point.n == max(SIZES)]
    for axes, chosen, shares in ((over_n, half, False), (over_k, longest, True)):
        for engine, colour in zip(get_args(Engine), ("#2b6cb0", "#2f855a"), strict=True):
            mine = [point for point in chosen if point.engine == engine]
            x = [point.k / point.n if shares else point.n for point in mine]
            axes.plot(x, [point.rtl for point in mine], "o", color=colour, label=f"{engine}: RTL")
            axes.plot(x, [point.model for point in mine], "-", color=colour, label=f"{engine}: model")
        axes.plot(x, [point.formula for point in mine], "--", color="#c05621", label="released formula")
        axes.plot(x, [_sorter(point) for point in mine], ":", color="#718096", label="Batcher sorter")
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.spines[["top", "right"]].set_visible(False)
    over_n.set_xscale("log", base=2)
    over_n.set_xticks(SIZES, [str(size) for size in SIZES])
    over_n.set_xlabel("elements of a list, k = n / 2")
    over_k.set_xlabel(f"k / n at n = {max(SIZES)}")
    over_n.set_ylabel("cycles from list to list")
    handles, labels = over_n.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure

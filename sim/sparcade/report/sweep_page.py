"""The results of a sweep as one self-contained HTML page."""

from __future__ import annotations

from html import escape

import pandas as pd
from matplotlib.figure import Figure

from sparcade.report.html import html_figure, html_page, html_parts, html_table
from sparcade.report.sweep_report import SweepReport
from sparcade.sweep.axes import Axis
from sparcade.sweep.metrics import METRICS

_MOST_POINTS = 500
_MOST_FAILED = 50
_MOST_COMMANDS = 100
_ERROR_LETTERS = 400
#: Metrics in the table of points beside the objectives.
_ALSO = ("cycles", "seconds", "energy_total_joules", "bytes_moved", "achieved_gbps", "bound_share", "output_cosine")
_GRID = (
    "The finished points are a full grid: every value of a setting meets the same values of all others, so a "
    "difference of two means is the effect of that setting alone, averaged over the others."
)
_GAPS = (
    "The finished points are no full grid (sampled, constrained, failed or unfinished): between two values of a "
    "setting the others differ too, so a difference of two means is not the effect of that setting alone."
)


def sweep_page(report: SweepReport, *, pareto: Figure | None, effects: Figure | None) -> str:
    """The page; a figure is None where there is nothing to draw."""
    there = bool(report.objectives)
    parts = {
        "Headline": f"<p><b>{escape(report.headline)}.</b>{_unfinished(report)}</p>",
        "Best configurations": _best(report) if there else "",
        "Pareto front": "".join(_front(report, pareto)) if there else "",
        "Main effects": "".join(_effects(report, effects)) if there else "",
        "Failed points": _failed(report) if len(report.failed) else "",
        "Points": _points(report),
        "What was swept": _definition(report),
        "How to read on": _how(report),
    }
    return html_page(f"Sweep {report.name}", html_parts(parts))


def _unfinished(report: SweepReport) -> str:
    texts = []
    if report.missing:
        texts.append("Run the same <code>sparcade sweep</code> command again: it computes only what is missing.")
    if report.skipped:
        texts.append("Skipped points were not computed: another beats their closed-form bounds in every objective.")
    if len(report.failed):
        texts.append("With <code>--retry</code> it computes the failed points again.")
    if not report.objectives:
        texts.append('<span class="bad">No point has a value of an objective.</span>')
    return " ".join(["", *texts])


def _best(report: SweepReport) -> str:
    per = " For each workload; workloads do not compete." if "workload" in report.factors else ""
    table = report.columns(report.best, "equals")
    table.insert(0, "best", report.best["best"])
    note = (
        "<p>The best point in each objective; ties go to the better one in the other objectives. "
        "The compromise is the point of the front nearest to the best value of every objective, each scaled to 0..1 "
        f"over the front.{per} <b>equals</b>: points that are as good.</p>"
    )
    commands: dict[str, list[str]] = {}
    for row in report.best.head(_MOST_COMMANDS).to_dict("records"):
        name = f"{row['best']} of {row['workload']}" if "workload" in report.factors else row["best"]
        commands.setdefault(row["command"], []).append(name)
    lines = (
        f"<dt>{escape('; '.join(names))}</dt><dd><code>{escape(text)}</code></dd>" for text, names in commands.items()
    )
    rerun = f"<p>Run them again, each with a report of its own:</p>\n<dl>{''.join(lines)}</dl>"
    return f"{note}{html_table(table, titles=_titles(report), rest='best.csv')}\n{rerun}"


def _front(report: SweepReport, figure: Figure | None) -> list[str]:
    of = " of the same workload" if "workload" in report.factors else ""
    parts = [
        f"<p>{len(report.front):,} points that no other point{of} beats: as good in every objective and better in "
        f"one. Objectives: {escape(', '.join(f'{name} ({way})' for name, way in report.objectives.items()))}.</p>"
    ]
    if figure is not None:
        caption = (
            "Every finished point; logarithmic where values span more than a factor of 20. "
            "At most three workloads and three pairs of objectives are drawn."
        )
        parts.append(html_figure(figure, "pareto", caption))
    first, way = next(iter(report.objectives.items()))
    front = report.front.sort_values(first, ascending=way == "min", kind="stable")
    return [*parts, html_table(report.columns(front), titles=_titles(report), rest="pareto.csv", most=100)]


def _effects(report: SweepReport, figure: Figure | None) -> list[str]:
    if figure is None:
        return ["<p>Nothing varies between the finished points.</p>"]
    caption = "Line: mean. Band: middle half of the points. Thin line: least to largest."
    caption += " Shares of the workload's mean." if "workload" in report.factors else ""
    swing = report.swings.pivot_table("swing", "factor", "metric", sort=False).mul(100).round(2).reset_index()
    return [
        f"<p>The distribution of an objective at each value of a setting, over all values of the others. "
        f"{_GRID if report.grid else _GAPS} A wide band means that the other settings matter too.</p>",
        html_figure(figure, "effects", caption),
        "<p>How far each setting moves the mean: largest less least, as a share of the mean "
        "(of the workload where it is largest).</p>",
        html_table(swing, titles={name: f"{name} [%]" for name in report.objectives}, rest="effects.csv"),
        "<details><summary>All main effects</summary>",
        html_table(report.effects.drop(columns="at"), rest="effects.csv", most=300),
        "</details>",
    ]


def _failed(report: SweepReport) -> str:
    columns = list(report.frame.columns)
    settings = [name for name in columns[1 : columns.index("status")] if len(report.frame[name].unique()) > 1]
    errors = report.failed["error"].str.slice(0, _ERROR_LETTERS)
    return html_table(
        report.failed[settings].assign(error=errors), rest="points.parquet (or points.csv)", most=_MOST_FAILED
    )


def _points(report: SweepReport) -> str:
    frame, order = report.frame, "of the sweep"
    if len(frame) > _MOST_POINTS and report.objectives:
        first, way = next(iter(report.objectives.items()))
        frame, order = frame.sort_values(first, ascending=way == "min", kind="stable"), f"by {first}"
    also = [name for name in (*_ALSO, *report.sweep.metrics, "speedup") if report.frame[name].notna().any()]
    table = report.columns(frame, "status", *also)
    table.insert(0, "key", frame["key"].str.slice(0, 12))
    note = f"In order {order}. All points with all metrics: points.parquet (or points.csv) in the folder of the sweep."
    return f'<p class="note">{escape(note)}</p>' + html_table(
        table, titles=_titles(report), rest="points.parquet (or points.csv)", most=_MOST_POINTS
    )


def _definition(report: SweepReport) -> str:
    sweep = report.sweep
    lines = {
        "workloads": ", ".join(sweep.workloads),
        "arch": ", ".join(sweep.archs),
        "policy": ", ".join(policy or "by kind of model" for policy in sweep.policies),
        **({"compared with": sweep.compare} if sweep.compare else {}),
        "method": sweep.method if sweep.method == "grid" else f"{sweep.method}, seed {sweep.seed}",
        **{f"axis {axis.name}": _values(axis) for axis in sweep.axes},
        **{f"set {name}": str(value) for name, value in sweep.fixed.items()},
        **({"constraints": "; ".join(each.text for each in sweep.constraints)} if sweep.constraints else {}),
        **{f"metric {name}": expression.text for name, expression in sweep.metrics.items()},
        **{f"objective {name}": f"{way}; {METRICS.get(name, 'derived')}" for name, way in report.objectives.items()},
    }
    return html_table(pd.DataFrame({"what": list(lines), "is": list(lines.values())}), rest="sweep.json")


def _values(axis: Axis) -> str:
    if not axis.values:
        return f"{axis.low:g} to {axis.high:g}"
    texts = [str(value) for value in axis.values]
    return ", ".join(texts if len(texts) <= 20 else [*texts[:10], "...", texts[-1]])


def _how(report: SweepReport) -> str:
    name, label = escape(report.name), escape(report.sweep.profile.label)
    return f"""<p>In Python, in the folder that holds <code>{name}</code>:</p>
<pre>import sparcade
frame = sparcade.read_sweep({escape(repr(report.name))})  # one row per point: key, settings, status, error, metrics
front = sparcade.sweep.pareto_fronts(frame, {escape(repr(report.objectives))})
effects = sparcade.sweep.main_effects(frame, {escape(repr(list(report.objectives)))})</pre>
<p>This report again: <code>sparcade report {name}</code></p>
<ul>
<li>output_cosine, output_cosine_min and output_max_abs_error compare outputs with the unpruned float model <b>open
loop</b>: later layers saw the model's unpruned inputs. They stand for accuracy; they are not accuracy.</li>
<li>Cycles are those of the timing model, DRAM bytes are whole transactions, energy, power and
area are formulas over counters and parameters (docs/energy.md), with constants that have ranges: {label}. The command
of a point prints its assumptions and their sources.</li>
</ul>"""


def _titles(report: SweepReport) -> dict[str, str]:
    units = {name: METRICS[name] for name in (*report.objectives, *_ALSO) if name in METRICS}
    short = {name: unit.split(",")[0].split(" of ")[0] for name, unit in units.items()}
    return {name: f"{name} [{unit}]" for name, unit in short.items() if unit in ("s", "J", "bytes", "GB/s")}

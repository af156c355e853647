"""The report of a measured accuracy, made of accuracy.json: the curve, its table, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparcade._files import parse_json
from sparcade.errors import ConfigError
from sparcade.report.axis import COLOURS, GREY, INK, MARKERS, clean
from sparcade.report.html import html_command, html_figure, html_page, html_parts, html_table, html_tiles, shown
from sparcade.report.svg import plain

RESULT = "accuracy.json"
SCHEMA = "sparcade.accuracy"
_REDUCTION = "kv_reduction_vs_dense_12_bit"
#: Columns of the table on a page behind the axis and the metric's, where they are there.
_COSTS = {
    "tokens_kept": "tokens kept", "heads_kept": "heads kept", "values_kept": "values kept", "lsb_rate": "LSB rate",
    _REDUCTION: "K+V, dense 12 bit over it [x]", "cycles": "cycles", "speedup": "speedup [x]",
    "energy_reduction": "energy, less [x]",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """A measurement of `sparcade accuracy`."""

    value: dict[str, Any]  #: accuracy.json

    @property
    def title(self) -> str:
        """Model and data."""
        return f"{self.value['model']} on {self.value['data']}"

    def page(self) -> str:
        """The page."""
        value, rows = self.value, self.value["rows"]
        metric, last = value["metric"], rows[-1]
        tiles = [
            ("metric", metric, f"{value['sequences']} sequences, closed loop, ± one standard error"),
            (f"under {value['compare']}", _told(last, f"{metric}_dense"), "the same sequences"),
            (_point(value, last), _told(last, metric), f"difference {_told(last, f'{metric}_difference')}"),
            ("K+V needed, reduction", f"{last[_REDUCTION]:.2f} x", "over dense 12 bit, in that point"),
            ("speedup", f"{last['speedup']:.2f} x", f"over {value['compare']} on {value['arch']}, in that point"),
        ]
        provenance = {name: each for name, each in value.items() if name != "rows" and not isinstance(each, dict)}
        table = pd.DataFrame({"what": list(provenance), "is": [shown(each) for each in provenance.values()]})
        settings = pd.DataFrame(
            {
                "setting": list(value["policy_settings"]),
                "value": [str(each) for each in value["policy_settings"].values()],
            }
        )
        parts = {
            "Headline": html_tiles(tiles),
            "Accuracy": curve_part(self),
            "Provenance": f"{html_table(table)}<details><summary>The policy</summary>{html_table(settings)}</details>",
            "Make it again": "<p>This page, from its folder alone:</p>" + html_command("sparcade report FOLDER")
            + "<p>The measurement: <code>sparcade accuracy</code> with the model, data and policy named above.</p>",
        }  # fmt: skip
        return html_page(f"Accuracy: {self.title}", html_parts(parts))

    def table(self) -> pd.DataFrame:
        """A row per point, everything."""
        return pd.DataFrame(self.value["rows"])

    def values(self) -> dict[str, Any]:
        """accuracy.json."""
        return self.value

    def brief(self) -> dict[str, pd.DataFrame]:
        """The tables of a short text."""
        return {f"Accuracy: {self.title}": _brief(self.value)}

    def picture(self) -> Figure | None:
        """The curve; None without an axis."""
        return draw_curve(self.value) if self.value["axis"] else None


def read_accuracy(path: Path) -> AccuracyReport:
    """Read accuracy.json.

    Raises
    ------
    ConfigError
        When it is no measurement of this version.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        known = (value["schema"], value["schema_version"]) == (SCHEMA, 1) and bool(value["rows"])
    except (ValueError, KeyError, TypeError) as error:
        known, value = False, {"schema": str(error) or type(error).__name__}
    if not known:
        raise ConfigError(
            "this is no measurement of accuracy",
            where=str(path),
            expected=f"{SCHEMA}, version 1, as 'sparcade accuracy' writes it",
            got=f"{value.get('schema')}" if isinstance(value, dict) else "no table",
            remedy="sparcade accuracy MODEL --policy POLICY --data FILE",
        )
    return AccuracyReport(value=value)


def curve_part(report: AccuracyReport) -> str:
    """The curve and its table, for any page."""
    value = report.value
    figure = report.picture()
    caption = f"Bars: one standard error; n = {value['sequences']} sequences."
    drawn = html_figure(figure, "accuracy", caption) if figure is not None else ""
    note = (
        f"<p>{escape(report.title)}: {escape(value['metric'])}, closed loop: every layer sees what pruning left of the "
        f"one before. Compared with {escape(value['compare'])} on the same sequences. Costs are those on arch "
        f"{escape(value['arch'])}.</p>"
    )
    return note + drawn + html_table(_brief(value), rest="accuracy.csv")


def draw_curve(value: dict[str, Any]) -> Figure:
    """The metric over the setting, and over the K+V reduction, with standard errors."""
    metric, axis, frame = value["metric"], str(value["axis"]), pd.DataFrame(value["rows"])
    figure = Figure(figsize=(10, 3.8), dpi=100, layout="constrained", facecolor="none")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name in ((left, axis), (right, _REDUCTION)):
        axes.axhline(frame[f"{metric}_dense"].iloc[0], color=INK, linewidth=0.8, linestyle=":", label=value["compare"])
        if f"{metric}_random" in frame:
            _curve(axes, frame, name, f"{metric}_random", GREY, "s", "as many, ranked at random")
        _curve(axes, frame, name, metric, COLOURS[0], MARKERS[0], "policy")
        clean(axes)
    left.set_xlabel(plain(axis.removeprefix("policy.")), fontsize=9)
    left.set_ylabel(metric, fontsize=9)
    left.yaxis.label.set_color(INK)
    left.legend(fontsize=8, frameon=False, labelcolor=INK)
    right.set_xlabel("K and V bits: dense 12 bit over the policy's", fontsize=9)
    policy = ", ".join([value["policy"], *value["set"], axis.removeprefix("policy.")])
    title = f"{value['model']} on {value['data']}, closed loop: {policy}"
    figure.suptitle(plain(f"{title} (n = {value['sequences']}, bars: standard error)"), fontsize=9, color=INK)
    return figure


def _curve(axes: Axes, frame: pd.DataFrame, x: str, y: str, colour: str, marker: str, label: str) -> None:
    points = frame.sort_values(x)
    axes.errorbar(
        points[x].to_numpy(float), points[y].to_numpy(float), yerr=points[f"{y}_stderr"].to_numpy(float), color=colour,
        marker=marker, markersize=4, capsize=3, linewidth=1.2, label=label,
    )  # fmt: skip


def _point(value: dict[str, Any], row: dict[str, Any]) -> str:
    axis = value["axis"]
    return value["policy"] if axis is None else f"{value['policy']}, {axis.removeprefix('policy.')} = {row[axis]:g}"


def _told(row: dict[str, Any], name: str) -> str:
    error = row[f"{name}_stderr"]
    return f"{row[name]:.4g}" if error is None else f"{row[name]:.4g} ± {error:.2g}"


def _brief(value: dict[str, Any]) -> pd.DataFrame:
    metric, axis = value["metric"], value["axis"]
    shown_as = {axis: axis.removeprefix("policy.")} if axis else {"policy": "policy"}
    for name in (metric, f"{metric}_difference", f"{metric}_random"):
        shown_as |= {name: name.replace("_", " "), f"{name}_stderr": f"± {name.removeprefix(f'{metric}_')}"}
    frame = pd.DataFrame(value["rows"])
    there = {name: label for name, label in (shown_as | _COSTS).items() if name in frame and frame[name].notna().any()}
    return frame[list(there)].rename(columns=there)

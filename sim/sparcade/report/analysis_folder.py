"""The analysis of a trace in a folder: a page, pictures and tables, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sparcade._files import canonical_json, new_folder, parse_json, refuse_foreign
from sparcade.errors import ConfigError
from sparcade.report.analysis_figures import draw_concentration, draw_heads, draw_importance, draw_lsb
from sparcade.report.formats import frame_records
from sparcade.report.html import html_command, html_figure, html_page, html_parts, html_table
from sparcade.report.svg import save_png
from sparcade.sweep.table import EXACT_FLOATS
from sparcade.trace import AttentionTrace
from sparcade.trace.analysis import Analysis

PAGE = "report.html"
ABOUT = "analysis.json"
SCHEMA = "sparcade.analysis"
_PICTURES = ("importance", "heads", "concentration", "lsb")
_TABLES = ("heads", "lsb", "tokens", "hitters")
_NAMES = frozenset((PAGE, ABOUT, *(f"{name}.png" for name in _PICTURES), *(f"{name}.csv" for name in _TABLES)))
#: A head is called a streaming head if it puts at most this share of its probability elsewhere.
STREAMING = 0.05
#: Tokens listed as heavy hitters.
_HITTERS = 20


def check_analysis(folder: Path) -> None:
    """Raise a `ConfigError` now if the analysis could not take the place of the folder later."""
    refuse_foreign(folder, marker=PAGE, owns=_NAMES.__contains__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisReport:
    """The analysis of a trace, as its folder holds it."""

    analysis: Analysis
    name: str  #: of the trace
    origin: str  #: what the trace says of its source
    command: str  #: makes the folder again

    def page(self) -> str:
        """The page."""
        return _page(self, self.pictures())

    def table(self) -> pd.DataFrame:
        """The heads."""
        return self.analysis.heads

    def values(self) -> Any:
        """Every table, as records."""
        return {name: frame_records(getattr(self.analysis, name)) for name in _TABLES}

    def brief(self) -> dict[str, pd.DataFrame]:
        """The tables of a short text."""
        return {f"Attention of {self.name}: heads": self.analysis.heads, "Concentration": self.analysis.hitters}

    def picture(self) -> Figure:
        """The map of importance."""
        return draw_importance(self.analysis)

    def pictures(self) -> dict[str, Figure]:
        """Every picture by name."""
        draw = (draw_importance, draw_heads, draw_concentration, draw_lsb)
        return {name: each(self.analysis) for name, each in zip(_PICTURES, draw, strict=True)}


def read_analysis(path: Path) -> AnalysisReport:
    """Read analysis.json and the tables beside it.

    Raises
    ------
    ConfigError
        When they are not as `write_analysis` left them.
    """
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        if (about["schema"], about["schema_version"]) != (SCHEMA, 1):
            raise ValueError(f"{about['schema']!r}, version {about['schema_version']!r}")
        tables = {name: _read_table(path.with_name(f"{name}.csv")) for name in _TABLES}
        analysis = Analysis(sinks=about["sinks"], window=about["window"], **tables)
        return AnalysisReport(
            analysis=analysis, name=about["trace"], origin=about["source"], command=about["command"]
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise ConfigError(
            "this is no analysis of a trace",
            where=str(path),
            expected=f"{SCHEMA}, version 1, with {', '.join(f'{name}.csv' for name in _TABLES)} beside it",
            got=str(error) or type(error).__name__,
            remedy="sparcade trace analyse TRACE",
        ) from None


def write_analysis(trace: AttentionTrace, analysis: Analysis, folder: Path, *, command: str) -> list[Path]:
    """Write all files atomically; returns them.

    command : what makes them again.
    """
    about = {"schema": SCHEMA, "schema_version": 1, "trace": trace.name, "source": trace.manifest.source}
    about |= {"sinks": analysis.sinks, "window": analysis.window, "command": command}
    with new_folder(folder, marker=PAGE, owns=_NAMES.__contains__) as fresh:
        (fresh / ABOUT).write_text(canonical_json(about), encoding="utf-8")
        for name in _TABLES:
            table = getattr(analysis, name)
            (fresh / f"{name}.csv").write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
        report = read_analysis(fresh / ABOUT)
        (fresh / PAGE).write_text(report.page(), encoding="utf-8")
        for name, figure in report.pictures().items():
            save_png(figure, fresh / f"{name}.png")
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]


def _read_table(path: Path) -> pd.DataFrame:
    """A table with the very numbers and texts that were written."""
    with path.open(encoding="utf-8", newline="") as stream:
        names = stream.readline().rstrip("\n").split(",")
    missing = {name: [""] for name in names if name != "text"}
    frame: pd.DataFrame = pd.read_csv(
        path, keep_default_na=False, na_values=missing, dtype={"text": str}, lineterminator="\n", **EXACT_FLOATS
    )  # fmt: skip
    return frame


def summary(analysis: Analysis) -> str:
    """A line per layer of the last phase: largest probability, keys that hold 90 %, sinks, streaming heads."""
    heads = analysis.heads[analysis.heads["phase"] == analysis.heads["phase"].iloc[-1]]
    lines = [f"{'layer':>5}  {'largest p':>9}  {'keys for 90 %':>13}  {'on sinks':>8}  streaming heads"]
    for layer, group in heads.groupby("layer"):
        sinks, far = group["sinks"].mean(), group["elsewhere"].dropna()
        streaming = f"{(far <= STREAMING).sum()} of {len(group)}" if len(far) else "-"
        on_sinks = f"{sinks:.3f}" if sinks == sinks else "-"
        lines.append(
            f"{layer:5}  {group['largest'].mean():9.3f}  {group['keys_90'].mean():13.3f}  {on_sinks:>8}  {streaming}"
        )
    return "\n".join(lines)


def _page(report: AnalysisReport, figures: dict[str, Figure]) -> str:
    analysis = report.analysis
    sinks, window = analysis.sinks, analysis.window
    heads = analysis.heads.copy()
    known = heads["elsewhere"].notna()
    heads["character"] = ["" if not each else "streaming" if far <= STREAMING else "retrieval"
                          for each, far in zip(known, heads["elsewhere"], strict=True)]  # fmt: skip
    last = analysis.tokens["layer"].max()
    hitters = analysis.tokens[(analysis.tokens["sequence"] == 0) & (analysis.tokens["layer"] == last)]
    hitters = hitters.sort_values("cumulative", ascending=False, kind="stable").head(_HITTERS)
    captions = {
        "importance": "Probability that each token got up to each layer, first sequence, as in Fig. 23 of the paper.",
        "heads": "Entropy near 1: the head looks everywhere alike. Elsewhere: neither first tokens nor the window.",
        "concentration": "The closer to 0, the fewer keys (left) or tokens (right) hold almost everything.",
        "lsb": "Share of rows whose largest probability is below a threshold: the LSB plane would be fetched.",
    }
    drawn = {name: html_figure(figure, name, captions[name]) for name, figure in figures.items()}
    parts = {
        "Cumulative importance": f"<p>{escape(report.origin)}. Probabilities of the unpruned float model; the hardware "
        f"decides on those of the MSB plane.</p>{drawn['importance']}",
        "Heavy hitters": "<p>The tokens with the largest cumulative importance, first sequence.</p>"
        + html_table(hitters.drop(columns=["sequence", "layer"])),
        "Heads": f"{drawn['heads']}<p>A streaming head puts at most {STREAMING:.0%} of its probability outside the "
        f"first {sinks} and the nearest {window} tokens, over rows that see more than these; a retrieval head more.</p>"
        + html_table(heads, rest="heads.csv"),
        "Concentration": drawn["concentration"] + html_table(analysis.hitters, rest="hitters.csv"),
        "LSB rate": drawn["lsb"],
        "Make it again": html_command(report.command),
    }
    return html_page(f"Attention of {report.name}", html_parts(parts))

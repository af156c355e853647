"""The analysis of a trace in a folder: a page, pictures and tables, replaced as a whole."""

from __future__ import annotations

from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from sparcade._files import new_folder, refuse_foreign
from sparcade.report.analysis_figures import draw_concentration, draw_heads, draw_importance, draw_lsb
from sparcade.report.html import html_figure, html_page, html_table
from sparcade.report.svg import save_png
from sparcade.trace import AttentionTrace
from sparcade.trace.analysis import Analysis

PAGE = "report.html"
_PICTURES = ("importance", "heads", "concentration", "lsb")
_TABLES = ("heads", "lsb", "tokens", "hitters")
_NAMES = frozenset((PAGE, *(f"{name}.png" for name in _PICTURES), *(f"{name}.csv" for name in _TABLES)))
#: A head is called a streaming head if it puts at most this share of its probability elsewhere.
STREAMING = 0.05
#: Tokens listed as heavy hitters.
_HITTERS = 20


def check_analysis(folder: Path) -> None:
    """Raise a `ConfigError` now if the analysis could not take the place of the folder later."""
    refuse_foreign(folder, marker=PAGE, owns=_NAMES.__contains__)


def write_analysis(trace: AttentionTrace, analysis: Analysis, folder: Path, *, command: str) -> list[Path]:
    """Write all files atomically; returns them.

    command : what makes them again.
    """
    figures = dict(
        zip(
            _PICTURES,
            (draw_importance(analysis), draw_heads(analysis), draw_concentration(analysis), draw_lsb(analysis)),
            strict=True,
        )
    )
    with new_folder(folder, marker=PAGE, owns=_NAMES.__contains__) as fresh:
        (fresh / PAGE).write_text(_page(trace, analysis, figures, command), encoding="utf-8")
        for name, figure in figures.items():
            save_png(figure, fresh / f"{name}.png")
        for name in _TABLES:
            table = getattr(analysis, name)
            (fresh / f"{name}.csv").write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]


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


def _page(trace: AttentionTrace, analysis: Analysis, figures: dict[str, Figure], command: str) -> str:
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
    parts = [
        f"<p>{escape(trace.manifest.source)}. Probabilities of the unpruned float model; the hardware decides on those "
        "of the MSB plane.</p>",
        "<h2>Cumulative importance</h2>", drawn["importance"],
        "<h2>Heavy hitters</h2><p>The tokens with the largest cumulative importance, first sequence.</p>",
        html_table(hitters.drop(columns=["sequence", "layer"])),
        "<h2>Heads</h2>", drawn["heads"],
        f"<p>A streaming head puts at most {STREAMING:.0%} of its probability outside the first {sinks} and the "
        f"nearest {window} tokens, over rows that see more than these; a retrieval head more.</p>",
        html_table(heads, rest="heads.csv"),
        "<h2>Concentration</h2>", drawn["concentration"], html_table(analysis.hitters, rest="hitters.csv"),
        "<h2>LSB rate</h2>", drawn["lsb"],
        f"<h2>Make it again</h2><pre><code>{escape(command)}</code></pre>",
    ]  # fmt: skip
    return html_page(f"Attention of {trace.name}", "\n".join(parts))

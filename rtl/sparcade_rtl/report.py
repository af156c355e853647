"""The folder of a published report: NAME.csv, NAME.md, NAME.svg and NAME.png, replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from sparcade._files import new_folder, refuse_foreign
from sparcade.report.svg import save_png, save_svg


def check_report(folder: Path, name: str) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=f"{name}.csv", owns=_names(name).__contains__)


def write_report(folder: Path, name: str, *, table: str, page: str, figure: Figure) -> None:
    """Write CSV, Markdown and picture atomically; the bytes depend on them only."""
    with new_folder(folder, marker=f"{name}.csv", owns=_names(name).__contains__) as fresh:
        (fresh / f"{name}.csv").write_text(table, encoding="utf-8")
        (fresh / f"{name}.md").write_text(page, encoding="utf-8")
        save_svg(figure, fresh / f"{name}.svg")
        save_png(figure, fresh / f"{name}.png")


def markdown(titles: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """A table."""
    rule = ("---",) * len(titles)
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, rule, *lines))


def _names(name: str) -> frozenset[str]:
    return frozenset(f"{name}.{kind}" for kind in ("csv", "md", "svg", "png"))

"""The folder of the reproduction: the page, and per table a CSV and a picture; replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from sparcade._files import new_folder, refuse_foreign
from sparcade.paper.page import Page, html, markdown
from sparcade.paper.tables import KEYS
from sparcade.report.svg import save_png, save_svg

PAGE = "paper.md"
HTML = "paper.html"
_NAMES = frozenset((PAGE, HTML, *(f"{key}.{suffix}" for key in KEYS for suffix in ("csv", "svg", "png"))))


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the reproduction could not take the place of the folder later."""
    refuse_foreign(folder, marker=PAGE, owns=_NAMES.__contains__)


def write_folder(folder: Path, page: Page) -> list[Path]:
    """Write all files atomically; returns them."""
    figures = {table.key: table.draw() for table in page.tables if table.draw is not None}
    with new_folder(folder, marker=PAGE, owns=_NAMES.__contains__) as fresh:
        (fresh / PAGE).write_text(markdown(page), encoding="utf-8")
        (fresh / HTML).write_text(html(page, figures), encoding="utf-8")
        for table in page.tables:
            table.frame().to_csv(fresh / f"{table.key}.csv", index=False, lineterminator="\n")
        for key, figure in figures.items():
            save_svg(figure, fresh / f"{key}.svg")
            save_png(figure, fresh / f"{key}.png")
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]

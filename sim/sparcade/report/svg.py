"""Pictures whose bytes depend on the figure only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.figure import Figure


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: `$` would begin mathematics, and unprintable letters have no glyph."""
    shown = "".join(letter if letter.isprintable() else "·" for letter in text)
    return shown.replace("$", r"\$")


def svg_text(figure: Figure, *, letters: Literal["path", "none"] = "path") -> str:
    """A figure as SVG without date or random ids; letters as shapes, or (none) small, as text in the reader's fonts."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "sparcade", "svg.fonttype": letters}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def save_svg(figure: Figure, path: Path) -> None:
    """Write `svg_text`."""
    path.write_text(svg_text(figure), encoding="utf-8")


def save_picture(figure: Figure, path: Path) -> None:
    """`save_png` or `save_svg`, by the name of the file."""
    (save_png if path.suffix == ".png" else save_svg)(figure, path)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure on white at 120 dots per inch."""
    figure.savefig(path, format="png", dpi=120, facecolor="white", metadata={"Software": None})

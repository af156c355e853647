"""SVG files whose bytes depend on the figure only."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: `$` would begin mathematics, and unprintable letters have no glyph."""
    shown = "".join(letter if letter.isprintable() else "·" for letter in text)
    return shown.replace("$", r"\$")


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure without date or random ids."""
    with mpl.rc_context({"svg.hashsalt": "sparcade", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})

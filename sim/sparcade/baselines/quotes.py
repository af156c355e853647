"""Published figures of accelerators that are not modelled here: quotes with their source, never compared with runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade.baselines.roofline import TAGS
from sparcade.config import read_toml
from sparcade.errors import ConfigError

#: Figures by key, in the order they are shown, with the head of their column.
FIGURES = {
    "node_nm": "nm",
    "clock_mhz": "MHz",
    "area_mm2": "mm²",
    "core_watts": "core W",
    "io_dram_watts": "I/O+DRAM W",
    "gops": "GOP/s",
    "gops_per_watt": "GOP/J",
    "accuracy_loss_percent": "loss %",
    "compute_saved_percent": "saved %",
    "latency_ms": "ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one source says of one system: figures by the keys of `FIGURES`, or a sentence."""

    system: str
    source: str
    tag: str  #: one of `TAGS`
    figures: Mapping[str, float]
    text: str = ""

    @property
    def standing(self) -> str:
        """How far the source can be trusted to say so."""
        return TAGS[self.tag]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "system": self.system,
            "source": self.source,
            "tag": self.tag,
            "standing": self.standing,
            "figures": dict(self.figures),
            "text": self.text,
        }


def quotes() -> tuple[Quote, ...]:
    """All quotes, source by source.

    Raises
    ------
    ConfigError
        When an entry of the bundled table names no source, or a figure that has no unit here.
    """
    path = Path(__file__).parent / "data" / "quotes.toml"
    table = read_toml(path)
    found = []
    for entry in (*table["figures"], *table["headlines"]):
        source = table["sources"].get(entry["source"])
        figures = {key: value for key, value in entry.items() if key not in ("source", "system", "text")}
        if source is None or source["tag"] not in TAGS or not set(figures) <= set(FIGURES):
            raise ConfigError(
                "a quote has no source, tag or unit",
                where=f"{path.name}: {entry['system']}",
                expected=f"one of the sources, and figures among {', '.join(FIGURES)}",
                got=f"source {entry['source']!r}, figures {', '.join(figures)}",
                remedy="add the source, or name the figure with its unit",
            )
        found.append(
            Quote(
                system=entry["system"],
                source=source["title"],
                tag=source["tag"],
                figures=figures,
                text=entry.get("text", ""),
            )
        )
    return tuple(found)

"""The report of a run, made of its folder alone: result.json, and beside it detail.json.gz and accuracy.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sparcade._files import parse_json
from sparcade.accelerator.bounds import BOUNDS
from sparcade.errors import ConfigError
from sparcade.evaluation import PHASES, SCHEMA, SCHEMA_VERSION
from sparcade.report import accuracy_report
from sparcade.report.accuracy_report import AccuracyReport, read_accuracy
from sparcade.report.detail import DETAIL, Detail, read_detail
from sparcade.report.layer_figure import draw_layers
from sparcade.report.run_page import comparison_table, layer_table, phase_table, run_page, title_of

RESULT = "result.json"
#: What the page reads of a result; the other parts came later.
_PARTS = frozenset((
    "workload", "arch", "arch_hash", "energy_profile", "total", "phases", "bounds", "layers", "heads", "output_errors",
    "saturated_elements", "comparison", "assumptions", "invariants_held", "package_version", "model_version",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run's folder holds."""

    result: dict[str, Any]
    detail: Detail | None = None
    accuracy: AccuracyReport | None = None

    @property
    def ordered(self) -> dict[str, Any]:
        """The result with phases, bounds and layers in the order of work; JSON has them by name."""
        phases, cycles = self.result["phases"], self.result["bounds"]["cycles"]
        return self.result | {
            "phases": {name: phases[name] for name in PHASES if name in phases},
            "bounds": self.result["bounds"] | {"cycles": {name: cycles[name] for name in BOUNDS}},
            "layers": sorted(self.result["layers"], key=lambda layer: PHASES.index(layer["phase"])),
        }

    def page(self) -> str:
        """The page."""
        return run_page(self.ordered, self.detail, self.accuracy)

    def table(self) -> pd.DataFrame:
        """The layers: every counter, bound and energy."""
        return pd.DataFrame(self.result["layers"])

    def values(self) -> dict[str, Any]:
        """result.json."""
        return self.result

    def brief(self) -> dict[str, pd.DataFrame]:
        """The tables of a short text."""
        result = self.ordered
        tables = {title_of(result): phase_table(result)}
        if result["comparison"]:
            tables[f"Over {result['comparison']['policy']} on the same hardware"] = comparison_table(result)
        return tables | {"Layers": layer_table(result)}

    def picture(self) -> Figure:
        """DRAM, energy and cycles of the layers."""
        return draw_layers(self.ordered, self.detail.compared if self.detail else [])


def read_run(path: Path) -> RunReport:
    """Read result.json, and what stands beside it in the folder of a run.

    Raises
    ------
    ConfigError
        When the file is no result of this version.
    """
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        known = (result["schema"], result["schema_version"]) == (SCHEMA, SCHEMA_VERSION) and result.keys() >= _PARTS
    except (ValueError, KeyError, TypeError, AttributeError):
        result, known = None, False
    if not known:
        raise ConfigError(
            "this is no result of a run",
            where=str(path),
            expected=f"{SCHEMA}, version {SCHEMA_VERSION}, as 'sparcade run' writes it",
            got="another version, or a part of one"
            if isinstance(result, dict) and result.get("schema") == SCHEMA
            else "something else",
            remedy="run it again",
        )
    detail, accuracy = path.with_name(DETAIL), path.with_name(accuracy_report.RESULT)
    return RunReport(
        result=result,
        detail=read_detail(detail) if path.name == RESULT and detail.is_file() else None,
        accuracy=read_accuracy(accuracy) if path.name == RESULT and accuracy.is_file() else None,
    )

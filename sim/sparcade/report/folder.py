"""The folder of a run: result.json, layers.csv, two pictures and a page of both, replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparcade._files import canonical_json, new_folder, refuse_foreign
from sparcade.evaluation import Evaluation
from sparcade.report.layer_figure import draw_layers
from sparcade.report.page import write_page
from sparcade.report.survival_figure import draw_survival
from sparcade.trace import AttentionTrace

RESULT = "result.json"
LAYERS = "layers.csv"
LAYERS_PICTURE = "layers.svg"
SURVIVAL_PICTURE = "survival.svg"
PAGE = "report.html"
_NAMES = frozenset((RESULT, LAYERS, LAYERS_PICTURE, SURVIVAL_PICTURE, PAGE))


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=RESULT, owns=_NAMES.__contains__)


def write_report(
    folder: Path, evaluation: Evaluation, result: dict[str, Any], trace: AttentionTrace | None
) -> list[Path]:
    """Write the report of a run atomically; returns the files. A workload without its trace has no survival picture.

    result : `evaluation.to_dict()`.
    """
    with new_folder(folder, marker=RESULT, owns=_NAMES.__contains__) as fresh:
        (fresh / RESULT).write_text(canonical_json(result), encoding="utf-8")
        pd.DataFrame(result["layers"]).to_csv(fresh / LAYERS, index=False, lineterminator="\n")
        draw_layers(evaluation, result["layers"], fresh / LAYERS_PICTURE)
        if trace is not None and evaluation.replay is not None:
            draw_survival(trace, evaluation.replay, fresh / SURVIVAL_PICTURE)
        write_page(fresh / PAGE, evaluation, result, sorted(fresh.glob("*.svg"), reverse=True))
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]

"""The folder of a run: result.json, layers.csv, detail.json.gz and a page made of them, replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparcade._files import canonical_json, new_folder, refuse_foreign
from sparcade.evaluation import Evaluation
from sparcade.report import accuracy_report
from sparcade.report.detail import DETAIL, detail_of, write_detail
from sparcade.report.run_report import RESULT, read_run
from sparcade.trace import AttentionTrace

LAYERS = "layers.csv"
PAGE = "report.html"
_NAMES = frozenset((RESULT, LAYERS, DETAIL, PAGE, accuracy_report.RESULT))


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the report could not take the place of the folder later."""
    refuse_foreign(folder, marker=RESULT, owns=_NAMES.__contains__)


def write_report(
    folder: Path, evaluation: Evaluation, result: dict[str, Any], trace: AttentionTrace | None, *, command: str = ""
) -> list[Path]:
    """Write the report of a run atomically; returns the files. A workload without its trace has no texts.

    Parameters
    ----------
    result : `evaluation.to_dict()`.
    command : what makes it again; it stands on the page, not in result.json.
    """
    with new_folder(folder, marker=RESULT, owns=_NAMES.__contains__) as fresh:
        (fresh / RESULT).write_text(canonical_json(result), encoding="utf-8")
        pd.DataFrame(result["layers"]).to_csv(fresh / LAYERS, index=False, lineterminator="\n")
        write_detail(fresh / DETAIL, detail_of(evaluation, trace, command))
        (fresh / PAGE).write_text(read_run(fresh / RESULT).page(), encoding="utf-8")
        names = sorted(path.name for path in fresh.iterdir())
    return [folder / name for name in names]

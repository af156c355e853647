"""Workloads from CSV files of the released form, and back."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sparcade._files import new_file
from sparcade.errors import WorkloadError
from sparcade.workload.csv_rules import check_rows
from sparcade.workload.csv_text import parse_csv, plain_columns, write_csv
from sparcade.workload.drawing import draw_workload
from sparcade.workload.released import table_of
from sparcade.workload.store import Workload

#: `WorkloadShape.policy` of an imported workload: the file says what is pruned.
POLICY = "as-imported"


def import_csv(path: str | Path, seed: int = 0) -> Workload:
    """A workload from a CSV file of the released form; ids and scores are drawn with the seed.

    Raises
    ------
    WorkloadError
        When the file is not of that form, or asks for what the hardware cannot do: with line and column.
    """
    path = Path(path)
    data = path.read_bytes()
    text = parse_csv(data, str(path))
    check_rows(text.table, text.place)
    settings = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    return draw_workload(
        text.table, text.released, name=path.stem, policy=POLICY, settings=settings, seed=seed, where=str(path)
    )


def export_csv(workload: Workload, path: str | Path) -> None:
    """Write a workload as a CSV file of the released form: byte for byte the file it was imported from.

    A workload that was not imported is written from its tables: heads numbered anew in each layer, what the tables do
    not hold is absent (-1), and its head selections have no column.

    Raises
    ------
    WorkloadError
        When the columns cannot express it: prefill, several queries a row, several sequences, or KV heads.
    """
    _check_expressible(workload)
    released = workload.released
    table = table_of(workload, released.extra if released else None)
    text = write_csv(table, released or plain_columns(table))
    with new_file(Path(path)) as fresh:
        fresh.write_bytes(text.encode())


def _check_expressible(workload: Workload) -> None:
    rows, shape = workload.rows, workload.shape
    reasons = [
        ((rows["step"] == 0).any(), "decode steps only", "prefill rows (step 0): a row of the CSV is one decode query"),
        ((rows["queries"] > 1).any(), "one query in every row", f"a row with {rows['queries'].max()} queries"),
        ((rows["sequence"] > 0).any(), "one sequence", f"{len(set(rows['sequence'].tolist()))} sequences"),
        (
            shape.kv_heads != shape.heads,
            "a KV head for every head",
            f"{shape.heads} heads share {shape.kv_heads} KV heads: the CSV has no column for that",
        ),
    ]
    for holds, expected, got in reasons:
        if holds:
            raise WorkloadError(
                "the CSV form cannot express this workload",
                where=workload.where,
                expected=expected,
                got=got,
                remedy="keep the .npz file, which holds everything",
            )

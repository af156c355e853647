"""The fixed checks: rows of the tables whose tolerance is a promise."""

from __future__ import annotations

from collections.abc import Sequence

from sparcade.paper.comparison import Row, Table
from sparcade.paper.speed_tables import SERIAL_NAME
from sparcade.paper.topk_tables import SHAPE_NAMES

#: Key of the table and name of the row.
CHECKS = (
    ("dram", "medium-wikitext2/kv_bytes"),
    ("dram", "medium-wikitext2/kv_reduction_vs_fp32"),
    ("engine", "medium-wikitext2/topk_released_serial"),
    ("latency", SERIAL_NAME),
    ("table4", "SpAtten-e2e/FC_latency"),
    ("fig18", "SpAtten/GPT-2/operational_intensity"),
    *(("fig19", name) for name in SHAPE_NAMES),
)


def fixed_checks(tables: Sequence[Table]) -> list[Row]:
    """The rows, in the order of `CHECKS`."""
    rows = {(table.key, row.name): row for table in tables for row in table.rows}
    return [rows[check] for check in CHECKS]

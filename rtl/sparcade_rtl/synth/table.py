"""Rows of a sweep as a table for a reader, and as CSV with everything."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from sparcade_rtl.synth.macros import PREFIX
from sparcade_rtl.synth.sweep import Row, Sweep

_HEADER = ("block", "score bits", "lanes", "cells", "flip-flops", "NAND2", "depth", "memory [bit]")
_CELL_HEADER = ("area [um2]", "path [ns]", "fmax [MHz]", "power [mW]")
_PATH_HEADER = ("from", "to")


def header(sweep: Sweep) -> tuple[str, ...]:
    """Titles of the columns; those of a library only with one."""
    return _HEADER + (_CELL_HEADER if sweep.library else ()) + _PATH_HEADER


def shown(row: Row) -> tuple[str, ...]:
    """A row for a reader, below `header`."""
    made, longest = row.synthesis, row.synthesis.gates.longest
    gates = made.gates
    texts = [
        row.block,
        str(row.params.score_bits),
        str(row.params.lanes),
        f"{gates.cells:,}",
        f"{gates.flip_flops:,}",
        f"{gates.nand2:,.0f}",
        str(longest.depth),
        f"{made.memory_bits:,}",
    ]
    if made.cells is not None:
        texts.append(f"{made.cells.area_um2:,.0f}")
        timing = made.timing
        texts += (
            [f"{timing.path_ns:.2f}", f"{timing.fmax_mhz:.0f}", f"{timing.power_mw:.1f}"]
            if timing
            else ["no sta"] * (len(_CELL_HEADER) - 1)
        )
    slowest = made.timing or longest
    return (*texts, slowest.start, slowest.end)


def csv_text(rows: Iterable[Row]) -> str:
    """All numbers of the rows; what there is no library or no OpenSTA for is empty."""
    stream = io.StringIO()
    records = [_record(row) for row in rows]
    writer = csv.DictWriter(stream, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _record(row: Row) -> dict[str, Any]:
    made, params = row.synthesis, row.params
    gates, cells, timing = made.gates, made.cells, made.timing
    return {
        "block": row.block,
        "lanes": params.lanes,
        "input_width": params.input_width,
        "score_bits": params.score_bits,
        "index_bits": params.index_bits,
        "capacity": params.capacity,
        "cells": gates.cells,
        "flip_flops": gates.flip_flops,
        "nand2": f"{gates.nand2:.1f}",
        "depth": gates.longest.depth,
        "depth_from": gates.longest.start,
        "depth_to": gates.longest.end,
        "memory_bits": made.memory_bits,
        "memories": " ".join(macro.name.removeprefix(PREFIX) for macro in made.macros),
        "library_cells": cells.cells if cells else "",
        "area_um2": f"{cells.area_um2:.0f}" if cells else "",
        "area_nand2": f"{cells.nand2:.1f}" if cells else "",
        "path_ns": f"{timing.path_ns:.4f}" if timing else "",
        "path_from": timing.start if timing else "",
        "path_to": timing.end if timing else "",
        "fmax_mhz": f"{timing.fmax_mhz:.1f}" if timing else "",
        "power_mw": f"{timing.power_mw:.3f}" if timing else "",
    }

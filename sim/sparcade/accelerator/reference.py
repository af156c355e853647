"""Reference runs of the released RTL: a folder of cases, replayed request by request on `spatten-release*`."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparcade._records import records
from sparcade.accelerator.plan import (
    JOB_PLAN,
    NO_WINDOW,
    ROW_PLAN,
    VALUES_BY_BEAT,
    VALUES_NONE,
    Plan,
    geometry_of,
    index_table,
    lines_of,
)
from sparcade.accelerator.selections import no_lists
from sparcade.accelerator.simulate import run_plan
from sparcade.arch import Arch, load_arch
from sparcade.errors import WorkloadError
from sparcade.topk.engine import shape_of

Ints = npt.NDArray[np.int64]
#: Most a case may differ: a fraction of its cycles, or one turn of the reader's retry loop.
TOLERANCE = {"ideal": 0.01, "hbm2-spatten": 0.03}
RETRY_CYCLES = 5
#: Base addresses of request i in the released bench, and what is added per request.
KEY_BASE, LSB_BASE, VALUE_BASE, STRIDE = 0x0AB10000, 0x0AB20000, 0x0CD10000, 0x10000
_COLUMNS = ("key_fetch_num", "value_fetch_num", "key_bits", "value_bits", "lsb_refetch", "topk_latency", "last")
#: Where `_table` puts the line of a row.
_LINE = "line number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case: cycles on the RTL and in the model, in total and until each listed request is accepted and answered."""

    case: str
    arch: str
    memory: str
    rtl_cycles: int
    cycles: int
    rtl_accepted: Ints
    accepted: Ints
    rtl_responses: Ints
    responses: Ints

    @property
    def difference(self) -> int:
        """Model minus RTL [cycles]."""
        return self.cycles - self.rtl_cycles

    @property
    def within(self) -> bool:
        """Total cycles agree within the tolerance of the memory."""
        return abs(self.difference) <= max(RETRY_CYCLES, TOLERANCE[self.memory] * self.rtl_cycles)

    @property
    def accepted_exactly(self) -> int:
        """Requests accepted in the very cycle: they show the K side cycle by cycle."""
        return int((self.accepted == self.rtl_accepted).sum())

    @property
    def responses_within(self) -> int:
        """Responses whose time agrees within the tolerance."""
        off = np.abs(self.responses - self.rtl_responses)
        return int((off <= np.maximum(RETRY_CYCLES, TOLERANCE[self.memory] * self.rtl_responses)).sum())


def requests_of(path: Path) -> dict[str, Ints]:
    """Columns of a case file.

    Raises
    ------
    WorkloadError
        When the file cannot be read, a column is missing or a field is no integer: with line and column.
    """
    rows = _table(path, _COLUMNS)
    return {name: np.array([_integer(path, row, name) for row in rows], np.int64) for name in _COLUMNS}


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file, plain or gzip, that has the columns."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _bad(str(path), "a readable CSV file", f"{type(error).__name__}: {error}") from error
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or ()
    for name in columns:
        if name not in names:
            raise _bad(f"{path}, line 1", f"a column {name!r}", ", ".join(names) or "an empty file")
    return [{**row, _LINE: str(reader.line_num)} for row in reader]


def _integer(path: Path, row: dict[str, str], column: str) -> int:
    field = row[column]
    if field is None or not field.isdecimal():
        raise _bad(f"{path}, line {row[_LINE]}, column {column}", "a whole number", repr(field))
    return int(field)


def _bad(where: str, expected: str, got: str) -> WorkloadError:
    return WorkloadError(
        "the reference folder is damaged",
        where=where,
        expected=expected,
        got=got,
        remedy="take the folder anew; its README says what it holds",
    )


def plan_requests(requests: dict[str, Ints], arch: Arch) -> Plan:
    """Requests as the released bench sends them: one query each, addresses by request number, ids of the table."""
    table, count = index_table(arch.fetch_ports), len(requests["last"])
    keys, values = requests["key_fetch_num"], requests["value_fetch_num"]
    numbers = np.arange(count)
    first = np.append(True, requests["last"][:-1] == 1)
    block = np.cumsum(first) - 1
    geometry = geometry_of(64, arch, {"q": 0, "out": 0})
    heads = np.where(requests["key_bits"] == 6, 2, 1)
    new = np.where(first, values, 0)
    key_lines = lines_of(keys, arch, geometry) * heads
    value_lines = lines_of(new, arch, geometry) * heads

    def base(start: int) -> Ints:
        return (start + STRIDE * numbers) % (1 << 32)

    rows = records(
        ROW_PLAN,
        block=block,
        first_of_block=first,
        last_of_block=requests["last"] == 1,
        keys=keys,
        new=new,
        job_start=numbers,
        jobs=np.ones(count, np.int64),
        query_bits=np.full(count, 12),
        msb_bits=requests["key_bits"],
        lsb_bits=np.full(count, 4),
        value_bits=requests["value_bits"],
        heads_fetched=heads,
        key_lines=key_lines,
        value_lines=value_lines,
        key_alloc=key_lines,
        value_alloc=value_lines,
        key_window=np.full(count, NO_WINDOW),
        value_window=np.full(count, NO_WINDOW),
        value_mode=np.where(new > 0, VALUES_BY_BEAT, VALUES_NONE),
        k_base=base(KEY_BASE),
        lsb_base=base(LSB_BASE),
        v_base=base(VALUE_BASE),
    )
    jobs = records(
        JOB_PLAN,
        row=numbers,
        visible=keys,
        values=values,
        beats=-(-keys // geometry.width),
        value_beats=-(-values // geometry.width),
        ranked=values < keys,
        topk_cycles=np.where(values < keys, requests["topk_latency"], 0),
        refetch=requests["lsb_refetch"] == 1,
        lsb_group=numbers,
    )
    nothing = no_lists()
    return Plan(geometry, rows, jobs, table, table, shape_of(arch.topk, int(geometry.width)), nothing, nothing.sizes)


def compare(folder: str | Path, prefix: str = "", most_requests: int = 1 << 40) -> Iterator[Comparison]:
    """Run the cases of a folder laid out as the reference (see its README) and compare, in the order of results.csv.

    Parameters
    ----------
    prefix : only cases whose name begins so; most_requests : only cases of at most so many requests.

    Raises
    ------
    WorkloadError
        When a file is missing or damaged, or an arch or memory has no model.
    """
    folder = Path(folder)
    path = folder / "results.csv"
    responses: dict[tuple[str, str], dict[str, list[tuple[int, int, int]]]] = {}
    for result in _table(path, ("case", "arch", "memory", "requests", "cycles")):
        case, name, memory = result["case"], result["arch"], result["memory"]
        if _integer(path, result, "requests") > most_requests or not case.startswith(prefix):
            continue
        if memory not in TOLERANCE or name not in ("spatten-release", "spatten-release-eighth"):
            known = f"{', '.join(TOLERANCE)} memory on spatten-release or spatten-release-eighth"
            raise _bad(f"{path}, line {result[_LINE]}", known, f"{memory} memory on {name}")
        arch = load_arch(name, ["dram.kind=ideal"] if memory == "ideal" else [])
        requests = requests_of(folder / "cases" / f"{case}.csv.gz")
        if (name, memory) not in responses:
            responses[name, memory] = _responses(folder / "responses" / f"{name}_{memory}.csv.gz")
        listed = responses[name, memory].get(case, [])
        if not listed or max(listed)[0] >= len(requests["last"]):
            raise _bad(f"responses of {case} on {name}, {memory}", f"some of {len(requests['last'])}", str(len(listed)))
        state = run_plan(plan_requests(requests, arch), arch)
        numbers, rtl_accepted, rtl_responses = np.array(listed, np.int64).T
        start = state.jobs.accepted[0]
        retired = state.jobs.retired - start
        yield Comparison(
            case=case,
            arch=name,
            memory=memory,
            rtl_cycles=_integer(path, result, "cycles"),
            cycles=int(retired[-1]),
            rtl_accepted=rtl_accepted,
            accepted=state.jobs.accepted[numbers] - start,
            rtl_responses=rtl_responses,
            responses=retired[numbers],
        )


def _responses(path: Path) -> dict[str, list[tuple[int, int, int]]]:
    """(request, cycle of acceptance, cycle of response) of each case."""
    columns = ("request", "accepted", "response")
    by_case: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for row in _table(path, ("case", *columns)):
        request, accepted, response = (_integer(path, row, column) for column in columns)
        by_case[row["case"]].append((request, accepted, response))
    return by_case

"""Reference runs of the released RTL: a folder of cases, replayed request by request on `spatten-release*`."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparcade._records import records
from sparcade.accelerator.plan import (
    JOB_PLAN,
    ROW_PLAN,
    VALUES_BY_BEAT,
    VALUES_NONE,
    Plan,
    geometry_of,
    index_table,
    lines_of,
)
from sparcade.accelerator.simulate import run_plan
from sparcade.arch import Arch, load_arch
from sparcade.errors import WorkloadError

Ints = npt.NDArray[np.int64]
#: Most a case may differ: a fraction of its cycles, or one turn of the reader's retry loop.
TOLERANCE = {"ideal": 0.01, "hbm2-spatten": 0.03}
RETRY_CYCLES = 5
#: Base addresses of request i in the released bench, and what is added per request.
KEY_BASE, LSB_BASE, VALUE_BASE, STRIDE = 0x0AB10000, 0x0AB20000, 0x0CD10000, 0x10000
_COLUMNS = ("key_fetch_num", "value_fetch_num", "key_bits", "value_bits", "lsb_refetch", "topk_latency", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case: cycles of the RTL and of the model, and the response times of single requests."""

    case: str
    arch: str
    memory: str
    requests: int
    rtl_cycles: int
    cycles: int
    responses: Ints  #: model minus RTL, of the requests the reference lists [cycles]
    worst_relative: float  #: largest difference of a response time, as a fraction of it

    @property
    def difference(self) -> int:
        """Model minus RTL [cycles]."""
        return self.cycles - self.rtl_cycles

    @property
    def exact(self) -> bool:
        """Total cycles are equal."""
        return self.difference == 0

    @property
    def within(self) -> bool:
        """Total cycles agree within the tolerance of the memory."""
        return abs(self.difference) <= max(RETRY_CYCLES, TOLERANCE[self.memory] * self.rtl_cycles)


def requests_of(path: Path) -> dict[str, Ints]:
    """Columns of a case file.

    Raises
    ------
    WorkloadError
        When a column is missing or a field is no integer: with line and column.
    """
    text = gzip.decompress(path.read_bytes()).decode()
    reader = csv.DictReader(text.splitlines())
    rows = list(reader)
    table = {}
    for name in _COLUMNS:
        if name not in (reader.fieldnames or ()):
            raise _bad(path, 1, name, f"a column {name!r}", ", ".join(reader.fieldnames or ()))
        values = []
        for line, row in enumerate(rows, start=2):
            field = row[name]
            if field is None or not field.isdigit():
                raise _bad(path, line, name, "an integer", repr(field))
            values.append(int(field))
        table[name] = np.array(values, np.int64)
    return table


def _bad(path: Path, line: int, column: str, expected: str, got: str) -> WorkloadError:
    return WorkloadError(
        "the reference case is damaged",
        where=f"{path}, line {line}, column {column}",
        expected=expected,
        got=got,
        remedy="take the folder anew",
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
        key_lines=lines_of(keys, arch, geometry) * heads,
        value_lines=lines_of(new, arch, geometry) * heads,
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
        topk_search=np.where(values < keys, requests["topk_latency"], 0),
        refetch=requests["lsb_refetch"] == 1,
        lsb_group=numbers,
    )
    return Plan(geometry, rows, jobs, table, table)


def compare(folder: str | Path, names: tuple[str, ...] = (), most_requests: int = 1 << 40) -> Iterator[Comparison]:
    """Run the cases of a folder laid out as the reference (see its README) and compare, in the order of results.csv."""
    folder = Path(folder)
    responses: dict[tuple[str, str], dict[str, list[tuple[int, int]]]] = {}
    with (folder / "results.csv").open() as file:
        results = list(csv.DictReader(file))
    for result in results:
        case, name, memory = result["case"], result["arch"], result["memory"]
        if int(result["requests"]) > most_requests or (names and case not in names):
            continue
        arch = load_arch(name, ["dram.kind=ideal"] if memory == "ideal" else [])
        run = run_plan(plan_requests(requests_of(folder / "cases" / f"{case}.csv.gz"), arch), arch)
        if (name, memory) not in responses:
            responses[name, memory] = _responses(folder / "responses" / f"{name}_{memory}.csv.gz")
        numbers, times = np.array(responses[name, memory][case], np.int64).T
        retired = run.jobs.retired - run.jobs.accepted[0]
        off = retired[numbers] - times
        yield Comparison(
            case=case,
            arch=name,
            memory=memory,
            requests=int(result["requests"]),
            rtl_cycles=int(result["cycles"]),
            cycles=int(retired[-1]),
            responses=off,
            worst_relative=float(np.max(np.maximum(np.abs(off) - RETRY_CYCLES, 0) / times)),
        )


def _responses(path: Path) -> dict[str, list[tuple[int, int]]]:
    by_case: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in csv.DictReader(gzip.decompress(path.read_bytes()).decode().splitlines()):
        by_case[row["case"]].append((int(row["request"]), int(row["response"])))
    return by_case

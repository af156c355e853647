"""Units of work of the literal pipeline, and their transactions: rows, jobs and blocks of a workload on an arch.

Written from "Units of work" and "Transactions" of docs/pipeline.md alone, and never from the kernel.
"""

import gzip
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from oracles.engine_literal import Candidates, alone, ceil_div
from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.arch.parameters import Arch, Sram
from sparcade.topk import TopKParams
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import QUERY, ROW

Q, K, LSB, V, OUT = Count.TX_Q, Count.TX_K_MSB, Count.TX_K_LSB, Count.TX_V, Count.TX_OUT  # what a transaction carries
REGION_ALIGN = 131072  # regions begin on multiples of 128 KiB
OUT_BITS = 12
CASCADE_BITS = 32  # of the scores of cascade selections
RELEASED_OVERHEAD = 3  # cycles of a pass of the released engine beyond its rows


# ---- Units of work


@dataclass(eq=False)
class Block:
    """Consecutive rows that share K and V in the buffers."""

    keys: list[int]
    rows: list["Row"] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # values some row fetches
    k_request: "Request | None" = None
    lsb_request: "Request | None" = None  # of all its queries, with share_lsb
    fused: bool = False  # its K and V vectors carry both heads of a fused pair
    keys_read: int = 0  # by Q x K
    values_read: int = 0  # by prob x V
    value_lines: int = 0  # held now
    value_rows: int = 0  # V allocations held now

    @property
    def heads(self) -> int:
        """Whose words a vector of K or V carries."""
        return 2 if self.fused else 1

    @property
    def single(self) -> bool:
        """It has one query."""
        return len(self.rows) == 1 and len(self.rows[0].jobs) == 1

    @property
    def recomputed(self) -> bool:
        return any(job.query["refetch"] for row in self.rows for job in row.jobs)


@dataclass(eq=False)
class Row:
    """One head of one layer of one step; `table` is its record in the workload."""

    index: int
    table: dict[str, Any]
    block: Block
    new: list[int]
    jobs: list["Job"] = field(default_factory=list)
    v_request: "Request | None" = None
    chosen_by: "Row | None" = None  # the row whose selections choose what it reads
    gate: int | None = None  # end of the cascade selections, once all are scheduled
    counts: dict[Count, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    @property
    def layer(self) -> tuple[int, int, int]:
        return self.table["sequence"], self.table["step"], self.table["layer"]

    @property
    def opens_block(self) -> bool:
        return self is self.block.rows[0]

    @property
    def selects(self) -> bool:
        return bool(self.table["token_passes"] or self.table["head_passes"])

    @property
    def value_bits(self) -> int:
        """Bits of a word of V, of both heads in a fused pair."""
        bits: int = self.table["value_bits"] * self.block.heads
        return bits

    @property
    def key_bits(self) -> int:
        """Bits of a word of the only or the MSB plane of K, of both heads in a fused pair."""
        bits: int = self.table["msb_bits"] * self.block.heads
        return bits


@dataclass(eq=False)
class Job:
    """One query of a row; `query` is its record in the workload."""

    row: Row
    query: dict[str, Any]
    passes: list[int]  # list lengths of the local V passes
    candidates: Candidates  # as a list for the top-k engine
    search: int  # cycles, of the released engine
    beats: int
    value_beats: int
    position: int  # in the row
    last_of_row: bool
    index: int = 0  # in the run
    q_request: "Request | None" = None
    lsb_request: "Request | None" = None
    final: int | None = None  # first beat in the reorder buffer
    key_free: int | None = None
    accepted: int | None = None
    entered: list[int] = field(default_factory=list)  # when each beat entered local V's engine
    selected: int | None = None  # start of its selection
    gone: int = 0  # beats out of the FIFO
    left_engine: int | None = None  # when its last row was taken
    emitted: int = 0
    first_probability: int | None = None
    retire: int | None = None

    @property
    def visible(self) -> int:
        return self.query["visible"]

    @property
    def last_of_block(self) -> bool:
        return self.last_of_row and self.row is self.row.block.rows[-1]

    @property
    def ranked(self) -> bool:
        return bool(self.passes) and self.query["values"] < self.visible

    @property
    def fetches(self) -> bool:
        return self.position == 0 and bool(self.row.new)

    @property
    def plane(self) -> bool:
        """Its keys have an LSB plane."""
        return self.row.table["lsb_bits"] > 0


@dataclass(eq=False)
class Pass:
    """A job on its way through Q x K, softmax and decision, for the first or the second time."""

    job: Job
    second: bool
    time: int  # issued; then ready for softmax; then complete
    mark: int = 0  # beats that had entered the decision with its last


# ---- Transactions


@dataclass(eq=False)
class Transaction:
    request: "Request"
    address: int
    completes: int = 0  # vectors that are complete with this transaction
    port: int = 0
    line: "AddressRow | None" = None
    done_at: int = 0


@dataclass(eq=False)
class Request:
    """Vectors to read or write; `rows` holds the transactions of each row of at most `fetch_ports` vectors."""

    row: Row
    kind: Count
    vectors: int
    tx: int
    rows: deque[tuple[int, list[Transaction]]] = field(default_factory=deque)  # (vectors in the row before, its own)
    from_cycle: int = 0
    begun: bool = False
    asked: int = 0  # vectors of rows that were handed to the fetcher
    ids: int = 0  # V: ids that are known
    joined: bool = False  # they follow the beats of probabilities
    left: int = 0  # transactions not out of realignment
    readable: int = 0  # vectors in the buffer
    there_at: int | None = None  # when the last one was


@dataclass(eq=False)
class AddressRow:
    """What the ports take at once."""

    request: Request
    transactions: list[Transaction]
    completes: int = 0  # vectors that lie in the transaction before the row
    number: int = 0  # in the order they were pushed
    missing: int = 0
    arrival: int = 0  # of the last word
    held: int = 0  # transactions in realignment


@cache
def index_table(ports: int) -> list[int]:
    """The ids of the released design with so many ports."""
    file = resources.files("sparcade.accelerator") / "key_index" / f"{ports}-ports.csv.gz"
    return [int(number) for line in gzip.decompress(file.read_bytes()).split() for number in line.split(b",")]


class Geometry:
    """Widths, lines and addresses of one workload on one arch."""

    def __init__(self, shape: WorkloadShape, arch: Arch) -> None:
        self.shape, self.arch, self.D, M = shape, arch, shape.head_dim, arch.multipliers
        self.width = max(1, min(M // self.D, arch.max_scores_per_cycle))
        self.dwell = ceil_div(self.D, M)
        self.per_line = max(1, M // self.D)
        self.T, self.packed, self.ports = arch.dram.transaction_bytes, arch.layout == "packed", arch.fetch_ports
        heads = [(layer, head) for layer in range(shape.layers) for head in range(shape.kv_heads)]
        tokens = shape.max_context
        if arch.key_ids == "index-table":
            tokens = max(tokens, max(index_table(arch.fetch_ports)) + 1)
        regions = [(kind, at, tokens, bits) for at in heads for kind, bits in ((K, 32), (LSB, 4), (V, 32))]
        vectors = shape.layers * shape.heads * shape.max_context
        self.bases, top = {}, 0
        for kind, at, count, bits in [*regions, (Q, (0, 0), vectors, 32), (OUT, (0, 0), vectors, OUT_BITS)]:
            self.bases[kind, at] = top
            size = count * ceil_div(self.D * bits, 8 * self.T) * self.T
            top = ceil_div(top + size, REGION_ALIGN) * REGION_ALIGN

    def lines(self, vectors: int) -> int:
        rounding = self.arch.line_rounding
        return ceil_div(ceil_div(vectors, self.per_line) * self.dwell, rounding) * rounding

    def key_lines(self, block: Block) -> int:
        """Of its K, the LSB plane in the same lines."""
        return self.lines(len(block.keys)) * block.heads

    def value_lines(self, row: Row) -> int:
        """Of its new values."""
        return self.lines(len(row.new)) * row.block.heads

    def ring(self, sram: Sram) -> int:
        """Vectors that a buffer holds, if those are enough to go through it as a ring."""
        vectors = sram.lines // self.dwell * self.per_line
        return vectors if vectors >= self.ports + self.width else 0

    def streams_keys(self, block: Block) -> bool:
        """Its K goes through the key SRAM as a ring."""
        sram = self.arch.key_sram
        one_pass = block.single and not block.recomputed
        return one_pass and self.key_lines(block) > sram.lines and self.ring(sram) > 0

    def streams_values(self, row: Row) -> bool:
        """Its V goes through the value SRAM as a ring."""
        sram = self.arch.value_sram
        return row.block.single and self.value_lines(row) > sram.lines and self.ring(sram) > 0

    def taken_key_lines(self, block: Block) -> int:
        """Of the key SRAM, by an open block."""
        return self.arch.key_sram.lines if self.streams_keys(block) else self.key_lines(block)

    def taken_value_lines(self, row: Row) -> int:
        """Of the value SRAM, by the new values of a row."""
        return self.arch.value_sram.lines if self.streams_values(row) else self.value_lines(row)

    def request(self, row: Row, kind: Count, ids: list[int], bits: int) -> Request:
        """The request of the vectors `ids`."""
        request = Request(row, kind, len(ids), ceil_div(self.D * bits, 8 * self.T))
        at = (row.table["layer"], row.table["kv_head"])
        if kind in (Q, OUT):
            first = (row.table["layer"] * self.shape.heads + row.table["head"]) * self.shape.max_context
            at, ids = (0, 0), [first + i for i in ids]
        last: Transaction | None = None
        for begin in range(0, len(ids), self.ports):
            chunk, transactions, before = ids[begin : begin + self.ports], list[Transaction](), 0
            if kind is V and len(chunk) == self.ports:
                shift = self.arch.value_rotation * self.width
                chunk = [chunk[(x + shift) % self.ports] for x in range(self.ports)]
            for i in chunk:
                for address in self._addresses(self.bases[kind, at], i, bits):
                    if not (self.packed and last and last.address == address):
                        last = Transaction(request, address)
                        transactions.append(last)
                if transactions:
                    transactions[-1].completes += 1
                else:
                    before += 1
            request.rows.append((before, transactions))
            request.left += len(transactions)
        return request

    def _addresses(self, base: int, i: int, bits: int) -> list[int]:
        size = self.D * bits
        if not self.packed:
            count = ceil_div(size, 8 * self.T)
            return [base + (i * count + n) * self.T for n in range(count)]
        begin, end = base + i * size // 8, base + ceil_div((i + 1) * size, 8)
        return [n * self.T for n in range(begin // self.T, ceil_div(end, self.T))]


def pass_sizes(workload: Workload, start: int, count: int) -> list[int]:
    return [int(workload.passes["size"][start + i]) for i in range(count)]


def engine_passes(params: TopKParams, sizes: list[int], n: int, bits: int) -> list[int]:
    """List length of each pass of the engine over n scores, where a quick-select has passes of `sizes`."""
    if params.engine == "radix-select" and sizes:
        return [n] * ceil_div(bits, params.radix_bits)
    return sizes


@cache
def released_draws(places: int) -> np.ndarray:
    """[passes, places] where the released engine takes its pivots: of each selection in the workload, at its place."""
    return np.random.default_rng(1).random((200, places))


def released_passes(n: int, k: int, place: int, places: int) -> list[int]:
    """List length of each pass over n distinct numbers, until the pivot is the one with k below it."""
    numbers, sizes = list(range(n)), []
    for draw in released_draws(places)[:, place].tolist():
        sizes.append(len(numbers))
        pivot = numbers[int(draw * len(numbers))]
        if pivot == k:
            return sizes
        numbers = [number for number in numbers if (number > pivot) == (k > pivot) and number != pivot]
    raise AssertionError("more passes than were drawn")


def released_search(params: TopKParams, sizes: list[int]) -> int:
    """Cycles from the start of a selection to its first probability in the released engine."""
    return sum(ceil_div(size, params.lanes) + RELEASED_OVERHEAD for size in sizes)


def cascade_cycles(params: TopKParams, n: int, passes: list[int]) -> int:
    """Cycles of a cascade selection on the second engine."""
    if not passes:
        return 0
    if params.engine == "released-serial":
        return released_search(params, passes) + ceil_div(n, params.input_width)
    return alone(params.lanes, params.input_width, params.engine == "radix-select", n, passes) + 1


def count_passes(row: Row, sizes: list[int], n: int) -> None:
    if sizes:
        row.counts[Count.TOPK_PASSES] += len(sizes)
        row.counts[Count.TOPK_ELEMENTS] += sum(sizes) + n


class Changes:
    """What only the `spatten-release*` presets do to counts, words and ids, before anything else."""

    def __init__(self, workload: Workload, arch: Arch) -> None:
        self.workload, self.arch = workload, arch

    def row(self, record: np.void) -> dict[str, Any]:
        table = {name: record[name].item() for name in ROW.names or ()}
        table |= {name: self._rounded(table[name]) for name in ("keys", "values")}
        if self._splits(table):
            table |= {"msb_bits": 8, "lsb_bits": 4}
        if self.arch.wide_words == "8+4" and table["value_bits"] > 8:
            table["value_bits"] = 8
        if not self.arch.cascade_engine:
            table |= {"token_passes": 0, "head_passes": 0}
        return table

    def query(self, record: np.void, n: int) -> dict[str, Any]:
        """Of query n of the row."""
        query = {name: self.workload.queries[name][int(record["query_start"]) + n].item() for name in QUERY.names or ()}
        query |= {name: self._rounded(query[name]) for name in ("visible", "values")}
        if self._splits({"msb_bits": int(record["msb_bits"])}):
            query["refetch"] = True
        return query

    def ids(self, record: np.void, what: str) -> list[int]:
        """Of the keys or the values of the row."""
        if self.arch.key_ids == "index-table":
            return index_table(self.arch.fetch_ports)[: self._rounded(int(record[f"{what}s"]))]
        ids: np.ndarray = {"key": self.workload.key_ids, "value": self.workload.value_ids}[what]
        return ids[int(record[f"{what}_start"]) :][: int(record[f"{what}s"])].tolist()

    def pair(self, row: dict[str, Any], before: dict[str, Any]) -> bool:
        """Two consecutive rows form a fused pair."""
        equal = ("sequence", "step", "layer", "keys", "values", "value_bits")
        both = all(row[name] == before[name] for name in equal)
        return (
            self.arch.fused_pairs
            and both
            and all(one["msb_bits"] == 6 and one["queries"] == 1 for one in (row, before))
        )

    def _rounded(self, count: int) -> int:
        return ceil_div(count, self.arch.count_rounding) * self.arch.count_rounding

    def _splits(self, table: dict[str, Any]) -> bool:
        """Its words of K become 8 + 4."""
        return self.arch.wide_words == "8+4" and table["msb_bits"] > 8


def kept_where(keys: list[int], values: set[int], query: dict[str, Any]) -> list[bool]:
    """Elements that local V keeps of what a query sees, where it is the only one of its row."""
    return [key in values for key in keys[: query["visible"]]]


def kept_spread(query: dict[str, Any]) -> list[bool]:
    """Elements that local V keeps where the workload does not say which."""
    n, k = query["visible"], query["values"]
    return [(i + 1) * k // n > i * k // n for i in range(n)]


def plan(workload: Workload, arch: Arch, geometry: Geometry) -> list[Row]:
    """The rows with their jobs and blocks."""
    changes = Changes(workload, arch)
    rows: list[Row] = []
    index = 0
    for position, record in enumerate(workload.rows):
        table, keys, needed = changes.row(record), changes.ids(record, "key"), changes.ids(record, "value")
        last = rows[-1] if rows else None
        shared = ("sequence", "step", "layer", "kv_head")
        same = last is not None and arch.gqa_share and all(last.table[name] == table[name] for name in shared)
        fused = last is not None and last.opens_block and changes.pair(table, last.table)
        block = last.block if last and (same or fused) else Block(keys)
        block.fused |= fused
        row = Row(position, table, block, [i for i in needed if i not in block.seen])
        block.rows.append(row)
        block.seen.update(needed)
        row.chosen_by = last
        if "key" in workload.shape.persistent and not (last and last.table["head_passes"]):
            step_before = [
                one
                for one in rows
                if all(one.table[name] == table[name] for name in ("sequence", "layer", "kv_head"))
                and one.table["step"] < table["step"]
            ]
            row.chosen_by = step_before[-1] if step_before else None
        for n in range(table["queries"]):
            query = changes.query(record, n)
            sizes = pass_sizes(workload, query["pass_start"], query["passes"])
            passes = engine_passes(arch.topk, sizes, query["visible"], arch.topk.score_bits)
            if arch.topk.engine == "released-serial" and sizes:
                place = table["query_start"] + n
                asked = workload.queries[place]  # its counts as they are
                passes = released_passes(int(asked["visible"]), int(asked["values"]), place, len(workload.queries))
            known = table["queries"] == 1 and arch.key_ids == "workload" and arch.count_rounding == 1
            keeps = kept_where(keys, set(needed), query) if known else kept_spread(query)
            kept = [sum(keeps[i : i + geometry.width]) for i in range(0, len(keeps), geometry.width)]
            over_all = [query["visible"], *passes[1:]] if passes else []  # the first, whatever a count's rounding
            candidates = Candidates(query["visible"], query["values"], over_all, kept)
            search = 0 if fused else released_search(arch.topk, passes)
            beats, value_beats = (ceil_div(query[name], geometry.width) for name in ("visible", "values"))
            last_of_row = n + 1 == table["queries"]
            row.jobs.append(Job(row, query, passes, candidates, search, beats, value_beats, n, last_of_row, index))
            index += 1
        rows.append(row)
    return rows

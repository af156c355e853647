"""Literal, slow model of the accelerator pipeline: the oracle of the kernel tests.

Written from the text of docs/pipeline.md alone, and never from the kernel. One class per module of that page, stepped
once a cycle in the order of that page.
"""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.arch.parameters import Arch
from sparcade.dram import DramSystem
from sparcade.dram.commands import Command
from sparcade.dram.state import Count as Served
from sparcade.topk import TopKParams, query_cycles
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import QUERY, ROW

Q, K, LSB, V, OUT = Count.TX_Q, Count.TX_K_MSB, Count.TX_K_LSB, Count.TX_V, Count.TX_OUT  # what a transaction carries
REGION_ALIGN = 131072  # regions begin on multiples of 128 KiB
OUT_BITS = 12
PATIENCE = 10**6  # cycles without a retirement that count as a deadlock


@dataclass
class Result:
    """Cycles of the run, one dict of counters per workload row, and their sums."""

    cycles: int
    rows: list[dict[str, int]]
    totals: dict[str, int]  # rows summed; commands of DRAM controllers are counted here only


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(eq=False)
class Block:
    """Consecutive rows that share K and V in the buffers."""

    keys: list[int]
    rows: list["Row"] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # values some row fetches
    usable: dict[Count, int] = field(default_factory=lambda: {K: 0, LSB: 0})
    lsb_queued: bool = False
    value_lines: int = 0  # held now
    value_rows: int = 0  # V allocations held now


@dataclass(eq=False)
class Row:
    """One head of one layer of one step; `table` is its record in the workload."""

    index: int
    table: dict[str, Any]
    block: Block
    new: list[int]
    jobs: list["Job"] = field(default_factory=list)
    started: bool = False
    usable: dict[Count, int] = field(default_factory=lambda: {Q: 0, V: 0})
    token_end: int = 0
    gate: int | None = None  # end of the cascade selections, once all are scheduled
    counts: dict[Count, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    @property
    def layer(self) -> tuple[int, int, int]:
        return self.table["sequence"], self.table["step"], self.table["layer"]


@dataclass(eq=False)
class Job:
    """One query of a row; `query` is its record in the workload."""

    row: Row
    query: dict[str, Any]
    passes: list[int]  # sizes of the local V pass list
    topk_cycles: int
    beats: int
    value_beats: int
    position: int  # in the row
    last_of_row: bool
    second_pass: bool = False
    known: int | None = None
    retire: int | None = None

    @property
    def last_of_block(self) -> bool:
        return self.last_of_row and self.row is self.row.block.rows[-1]


@dataclass(eq=False)
class Transaction:
    request: "Request"
    kind: Count
    address: int
    completes: int = 0  # vectors that are complete with this transaction
    done_at: int = 0
    done: bool = False


@dataclass(eq=False)
class Request:
    row: Row
    transactions: deque[Transaction] = field(default_factory=deque)


class Geometry:
    """Widths, lines and addresses of one workload on one arch."""

    def __init__(self, shape: WorkloadShape, arch: Arch) -> None:
        self.shape, self.D, M = shape, shape.head_dim, arch.multipliers
        self.width = max(1, min(M // self.D, arch.max_scores_per_cycle))
        self.dwell = ceil_div(self.D, M)
        self.per_line = max(1, M // self.D)
        self.T, self.packed = arch.dram.transaction_bytes, arch.layout == "packed"
        heads = [(layer, head) for layer in range(shape.layers) for head in range(shape.kv_heads)]
        regions = [(kind, at, shape.max_context, bits) for at in heads for kind, bits in ((K, 32), (LSB, 4), (V, 32))]
        vectors = shape.layers * shape.heads * shape.max_context
        self.bases, top = {}, 0
        for kind, at, count, bits in [*regions, (Q, (0, 0), vectors, 32), (OUT, (0, 0), vectors, OUT_BITS)]:
            self.bases[kind, at] = top
            size = count * ceil_div(self.D * bits, 8 * self.T) * self.T
            top = ceil_div(top + size, REGION_ALIGN) * REGION_ALIGN

    def lines(self, vectors: int) -> int:
        return ceil_div(vectors, self.per_line) * self.dwell

    def append(self, request: Request, kind: Count, ids: list[int], bits: int) -> int:
        """Append the transactions of the vectors `ids` to a request; the bits they hold."""
        table, queue = request.row.table, request.transactions
        at = (table["layer"], table["kv_head"])
        if kind in (Q, OUT):
            first = (table["layer"] * self.shape.heads + table["head"]) * self.shape.max_context
            at, ids = (0, 0), [first + i for i in ids]
        for i in ids:
            for address in self._addresses(self.bases[kind, at], i, bits):
                if not (self.packed and queue and queue[-1].address == address):
                    queue.append(Transaction(request, kind, address))
            queue[-1].completes += 1
        return len(ids) * self.D * bits

    def _addresses(self, base: int, i: int, bits: int) -> list[int]:
        size = self.D * bits
        if not self.packed:
            count = ceil_div(size, 8 * self.T)
            return [base + (i * count + n) * self.T for n in range(count)]
        begin, end = base + i * size // 8, base + ceil_div((i + 1) * size, 8)
        return [n * self.T for n in range(begin // self.T, ceil_div(end, self.T))]


def pass_sizes(workload: Workload, start: int, count: int) -> list[int]:
    return [int(workload.passes["size"][start + i]) for i in range(count)]


def selection_cycles(params: TopKParams, n: int, sizes: list[int], width: int) -> int:
    n_, sizes_, offsets = (np.array(values, np.int64) for values in ([n], sizes, [0, len(sizes)]))
    return int(query_cycles(params, n_, sizes_, offsets, width)[0])


def count_passes(row: Row, sizes: list[int], n: int) -> None:
    if sizes:
        row.counts[Count.TOPK_PASSES] += len(sizes)
        row.counts[Count.TOPK_ELEMENTS] += sum(sizes) + n


def plan(workload: Workload, arch: Arch, geometry: Geometry) -> list[Row]:
    """The rows with their jobs and blocks."""
    rows: list[Row] = []
    for index, record in enumerate(workload.rows):
        table = {name: record[name].item() for name in ROW.names or ()}
        keys, needed = (
            ids[table[f"{what}_start"] :][: table[f"{what}s"]].tolist()
            for what, ids in (("key", workload.key_ids), ("value", workload.value_ids))
        )
        shared = ("sequence", "step", "layer", "kv_head")
        same = index > 0 and arch.gqa_share and all(rows[-1].table[name] == table[name] for name in shared)
        block = rows[-1].block if same else Block(keys)
        row = Row(index, table, block, [i for i in needed if i not in block.seen])
        block.rows.append(row)
        block.seen.update(needed)
        for n in range(table["queries"]):
            query = {name: workload.queries[name][table["query_start"] + n].item() for name in QUERY.names or ()}
            sizes = pass_sizes(workload, query["pass_start"], query["passes"])
            cycles = selection_cycles(arch.topk, query["visible"], sizes, geometry.width)
            beats, value_beats = (ceil_div(query[name], geometry.width) for name in ("visible", "values"))
            row.jobs.append(Job(row, query, sizes, cycles, beats, value_beats, n, n + 1 == table["queries"]))
        rows.append(row)
    return rows


class Memory:
    """1. Channels with an address queue and transactions in flight: the ideal memory."""

    def __init__(self, arch: Arch) -> None:
        self.dram = arch.dram
        self.capacity = arch.address_fifo * arch.fetch_ports // arch.dram.channels
        self.queues: list[deque[Transaction]] = [deque() for _ in range(arch.dram.channels)]
        self.flights: list[deque[Transaction]] = [deque() for _ in range(arch.dram.channels)]

    @property
    def empty(self) -> bool:
        return not any(self.queues) and not any(self.flights)

    def commands(self) -> dict[str, int]:
        """DRAM commands and row results, by counter name."""
        return {}

    def queue_of(self, transaction: Transaction) -> deque[Transaction]:
        return self.queues[(transaction.address // self.dram.transaction_bytes) % self.dram.channels]

    def step(self, t: int) -> None:
        for queue, flight in zip(self.queues, self.flights, strict=True):
            if flight and flight[0].done_at <= t:
                flight.popleft().done = True
            if queue and len(flight) < self.dram.ideal.outstanding:
                queue[0].done_at = t + self.dram.ideal.latency
                flight.append(queue.popleft())


class ControllerMemory(Memory):
    """1. The same address queues before DRAM controllers; what a controller does is the concern of other tests."""

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)
        self.system = DramSystem(self.dram.device, channels=self.dram.channels, mapping=self.dram.mapping)
        self.cycle_ps = 1000 / Fraction(str(arch.clock_ghz))
        self.sent: list[tuple[Transaction, int]] = []  # with its channel
        self.under_way = [0] * self.dram.channels

    @property
    def empty(self) -> bool:
        return not any(self.queues) and not any(self.under_way)

    def commands(self) -> dict[str, int]:
        result = self.system.result()
        rows = {f"dram_row_{outcome}": result.rows("", outcome) for outcome in ("hits", "misses", "conflicts")}
        served = {
            "dram_forwarded": result.statistics[Served.FORWARDED],
            "dram_coalesced": result.statistics[Served.COALESCED],
        }
        return rows | served | {"dram_activations": result.commands[Command.ACT]}

    def step(self, t: int) -> None:
        self.system.tick(until=floor(t * self.cycle_ps / self.dram.device.tick_ps))
        for tag in self.system.completions():
            transaction, channel = self.sent[tag]
            transaction.done = True
            self.under_way[channel] -= 1
        for channel, queue in enumerate(self.queues):
            if queue and self.under_way[channel] < self.dram.outstanding:
                write = queue[0].kind == OUT
                if self.system.send(queue[0].address, write=write, tag=len(self.sent)):
                    self.sent.append((queue.popleft(), channel))
                    self.under_way[channel] += 1


class ReturnPath:
    """2. Data FIFOs, and the registers from there to the buffers."""

    def __init__(self, arch: Arch, geometry: Geometry) -> None:
        self.arch, self.capacity = arch, arch.data_fifo * arch.fetch_ports
        self.vectors_per_cycle = max(1, arch.converter_lines * geometry.per_line // geometry.dwell)
        self.issued: deque[Transaction] = deque()  # reads not returned, in order of issue
        self.underway: deque[tuple[int, Transaction]] = deque()  # (usable at, transaction)

    def step(self, t: int) -> None:
        while self.underway and self.underway[0][0] <= t:
            arrived = self.underway.popleft()[1]
            row = arrived.request.row
            (row if arrived.kind in (Q, V) else row.block).usable[arrived.kind] += arrived.completes
        first, left, vectors = None, 0, 0
        while self.issued and self.issued[0].done and left < self.arch.fetch_ports:
            head = self.issued[0]
            first = first or head
            same_plane = head.request is first.request and head.kind is first.kind
            if left and (not same_plane or vectors + head.completes > self.vectors_per_cycle):
                break  # the first of a cycle always leaves, however many packed vectors it completes
            left, vectors = left + 1, vectors + head.completes
            self.underway.append((t + self.arch.fetch_latency, self.issued.popleft()))


class Buffer:
    """Lines and allocations of the key or the value SRAM."""

    def __init__(self, lines: int, allocations: int) -> None:
        self.lines, self.allocations = lines, allocations  # free

    def fits(self, lines: int) -> bool:
        return lines <= self.lines and self.allocations > 0

    def give(self, lines: int, allocations: int) -> None:
        self.lines += lines
        self.allocations += allocations


class Cascade:
    """The second top-k engine: selections between layers."""

    def __init__(self, workload: Workload, arch: Arch) -> None:
        self.workload, self.params = workload, arch.topk

    def tokens(self, row: Row, start: int) -> None:
        row.token_end = start + self._charge(row, "token")
        if not row.table["head_passes"]:
            row.gate = row.token_end

    def heads(self, row: Row, start: int) -> None:
        row.gate = max(start, row.token_end) + self._charge(row, "head")

    def _charge(self, row: Row, what: str) -> int:
        n = row.table[f"{what}_n"]
        sizes = pass_sizes(self.workload, row.table[f"{what}_pass_start"], row.table[f"{what}_passes"])
        cycles = selection_cycles(self.params, n, sizes, self.params.input_width)
        row.counts[Count.CASCADE_BUSY] += cycles
        count_passes(row, sizes, n)
        return cycles


class ProbV:
    """3. prob x V."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.queue = machine, deque[Job]()
        self.job: Job | None = None
        self.beat = self.phase = 0  # beat of the job, cycle of the beat

    def step(self, t: int) -> None:
        if self.job is None:
            if not self.queue:
                return
            self.job, self.beat, self.phase = self.queue.popleft(), 0, 0
        job, counts = self.job, self.job.row.counts
        if job.value_beats:
            if self.phase == 0 and not self._ready(job):
                counts[Count.PV_WAIT_V] += 1
                return
            counts[Count.PV_BUSY] += 1
            counts[Count.VALUE_SRAM_READS] += 1
            self.phase = (self.phase + 1) % self.m.geometry.dwell
            self.beat += self.phase == 0
        if self.beat == job.value_beats:
            self._finish(job, t)

    def _ready(self, job: Job) -> bool:
        new, row = len(job.row.new), job.row
        needs_all = len(row.jobs) > 1 and job.query["values"] < job.query["visible"]
        return row.usable[V] >= (new if needs_all else min(new, (self.beat + 1) * self.m.geometry.width))

    def _finish(self, job: Job, t: int) -> None:
        m, row, block = self.m, job.row, job.row.block
        self.job = None
        row.counts[Count.MACS_PV] += job.query["values"] * m.geometry.D
        m.probabilities -= 1
        job.retire = m.last_retire = t + m.arch.pv_latency
        if m.arch.write_outputs:
            m.fetcher.outputs.append((job.retire, job))
        if job.last_of_block:
            m.value_sram.give(block.value_lines, block.value_rows)
        if job.last_of_row and row.table["head_passes"]:
            m.cascade.heads(row, job.retire)


class LocalTopK:
    """4. Local V top-k."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.queue = machine, deque[Job]()
        self.job: Job | None = None
        self.cycles_left = 0

    def step(self, t: int) -> None:
        if self.job is None:
            if not self.queue:
                return
            self.job = self.queue.popleft()
            self.cycles_left = self.job.topk_cycles
            count_passes(self.job.row, self.job.passes, self.job.query["visible"])
        if self.cycles_left:
            self.job.row.counts[Count.TOPK_BUSY] += 1
            self.cycles_left -= 1
        if not self.cycles_left:
            if self.job.position == 0 and self.job.row.new:
                self.m.fetcher.values.append(self.job.row)
            self.m.prob_v.queue.append(self.job)
            self.job = None


class Decision:
    """5. Jobs pass in order once their final pass is known."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.waiting, self.release = machine, deque(machine.jobs), 0

    def step(self, t: int) -> None:
        m, job = self.m, self.waiting[0] if self.waiting else None
        if job is None or job.known is None or job.known > t or t < self.release:
            return
        if m.probabilities >= m.arch.probability_queries:
            return
        row = self.waiting.popleft().row
        self.release = t + job.beats
        m.topk.queue.append(job)
        m.probabilities += 1
        m.window -= row.table["lsb_bits"] > 0
        if job.last_of_block:
            m.key_sram.give(m.geometry.lines(len(row.block.keys)), 1)
        if job.last_of_row and row.table["token_passes"]:
            m.cascade.tokens(row, t + job.beats)
        if row.table["accumulate"]:
            row.counts[Count.ACCUMULATOR_BUSY] += job.beats
            row.counts[Count.IMPORTANCE_UPDATES] += job.query["visible"]


class SoftmaxUnit:
    """6. Softmax and LSB decision."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.credits = machine, machine.arch.softmax.fifo_beats
        self.queue: deque[tuple[int, Job]] = deque()  # (ready time, job)
        self.dropped: deque[tuple[int, Job]] = deque()  # (decision time, job)
        self.job: Job | None = None
        self.beat = 0

    def step(self, t: int) -> None:
        while self.dropped and self.dropped[0][0] <= t:
            self._recompute(self.dropped.popleft()[1])
        if self.job is None:
            if not self.queue or self.queue[0][0] > t:
                return
            self.job, self.beat = self.queue.popleft()[1], 0
        job, decided = self.job, t + self.m.arch.decision_latency
        job.row.counts[Count.SOFTMAX_BUSY] += 1
        self.credits += 1
        self.beat += 1
        if self.beat == job.beats:
            self.job = None
            if job.query["refetch"] and not job.second_pass:
                self.dropped.append((decided, job))
            else:
                job.known = decided

    def _recompute(self, job: Job) -> None:
        job.second_pass = True
        job.row.counts[Count.REFETCHES] += 1
        self.m.qk.recompute.append(job)
        if not job.row.block.lsb_queued:
            job.row.block.lsb_queued = True
            self.m.fetcher.lsb.append(job.row)


class QK:
    """7. Q x K."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.waiting, self.recompute = machine, deque(machine.jobs), deque[Job]()
        self.job: Job | None = None
        self.beat = self.phase = 0  # beat of the job, cycle of the beat

    def step(self, t: int) -> None:
        if self.job is None:
            self.job, self.beat, self.phase = self._take(), 0, 0
        if self.job is None:
            return
        job, counts = self.job, self.job.row.counts
        stall = self._stall(job) if self.phase == 0 else None
        if stall is not None:
            counts[stall] += 1
            return
        counts[Count.QK_BUSY] += 1
        counts[Count.KEY_SRAM_READS] += 1
        self.phase = (self.phase + 1) % self.m.geometry.dwell
        if self.phase == 0:
            self.m.softmax.credits -= 1
            self.beat += 1
            if self.beat == job.beats:
                self._finish(job, t)

    def _take(self) -> Job | None:
        if self.recompute and self._usable(LSB, self.recompute[0], 0):
            return self.recompute.popleft()
        if not self.waiting or not self.waiting[0].row.started:
            if self.recompute:
                self.recompute[0].row.counts[Count.QK_WAIT_LSB] += 1
            return None
        if self.waiting[0].row.table["lsb_bits"] > 0:
            if self.m.window >= self.m.arch.decision_queries:
                self.waiting[0].row.counts[Count.QK_WINDOW] += 1
                return None
            self.m.window += 1
        return self.waiting.popleft()

    def _usable(self, plane: Count, job: Job, beat: int) -> bool:
        needed: int = min(job.query["visible"], (beat + 1) * self.m.geometry.width)
        return job.row.block.usable[plane] >= needed

    def _stall(self, job: Job) -> Count | None:
        if self.m.arch.fetch_queries and job.row.usable[Q] <= job.position:
            return Count.QK_WAIT_Q
        if not self._usable(K, job, self.beat):
            return Count.QK_WAIT_K
        if job.second_pass and not self._usable(LSB, job, self.beat):
            return Count.QK_WAIT_LSB
        return Count.QK_SOFTMAX_FULL if self.m.softmax.credits < 1 else None

    def _finish(self, job: Job, t: int) -> None:
        m, visible = self.m, job.query["visible"]
        self.job = None
        job.row.counts[Count.MACS_QK] += visible * m.geometry.D
        job.row.counts[Count.SOFTMAX_ELEMENTS] += visible
        m.softmax.queue.append((t + m.arch.qk_latency + m.arch.softmax.latency, job))
        if job.last_of_row and not job.second_pass:
            m.k_phases -= 1


class Fetcher:
    """8. One request at a time, from three sources in turn."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.open = machine, Request(machine.rows[0])
        self.rows = deque(machine.rows)  # source 0
        self.lsb: deque[Row] = deque()  # source 0, first
        self.values: deque[Row] = deque()  # source 1
        self.outputs: deque[tuple[int, Job]] = deque()  # source 2: (visible from, job)
        self.served = 2

    @property
    def idle(self) -> bool:
        return not (self.open.transactions or self.rows or self.lsb or self.values or self.outputs)

    def step(self, t: int) -> None:
        if not self.open.transactions:
            stall = self._pick(t)
            if stall is not None:
                stall[1].counts[stall[0]] += 1
        m, queue, counts, issued, reason = self.m, self.open.transactions, self.open.row.counts, 0, None
        while queue and issued < m.arch.fetch_ports and reason is None:
            address_queue = m.memory.queue_of(queue[0])
            if len(address_queue) >= m.memory.capacity:
                reason = Count.FETCH_ADDRESS_FIFO
            elif queue[0].kind != OUT and len(m.returns.issued) >= m.returns.capacity:
                reason = Count.FETCH_DATA_FIFO
            else:
                counts[queue[0].kind] += 1
                issued += 1
                if queue[0].kind != OUT:
                    m.returns.issued.append(queue[0])
                address_queue.append(queue.popleft())
        if issued:
            counts[Count.FETCH_BUSY] += 1
        elif reason is not None:
            counts[reason] += 1

    def _pick(self, t: int) -> tuple[Count, Row] | None:
        """Open a request that may start; else the reason and the row that waits."""
        again = True
        while again:
            again, stalls = False, dict[int, tuple[Count, Row]]()
            for source in [(self.served + i) % 3 for i in (1, 2, 3)]:
                result = (self._rows, self._values, self._outputs)[source](t)
                if isinstance(result, Request):
                    self.open = result
                    self.served = source if result.transactions else self.served
                    again = not result.transactions  # a row without a request
                    break
                if result is not None:
                    stalls[source] = result
            else:
                return stalls.get(0) or stalls.get(1)
        return None

    def _rows(self, t: int) -> Request | tuple[Count, Row] | None:
        if self.lsb:
            row, geometry = self.lsb.popleft(), self.m.geometry
            request, keys = Request(row), row.block.keys
            row.counts[Count.BITS_K_LSB] += geometry.append(request, LSB, keys, row.table["lsb_bits"])
            row.counts[Count.KEY_SRAM_WRITES] += geometry.lines(len(keys))
            return request
        if not self.rows:
            return None
        stall = self._row_stall(self.rows[0], t)
        return self._start(self.rows.popleft()) if stall is None else (stall, self.rows[0])

    def _row_stall(self, row: Row, t: int) -> Count | None:
        m = self.m
        if row.index:
            before = m.rows[row.index - 1]
            retire = before.jobs[-1].retire
            if not m.arch.layers_overlap and before.layer != row.layer and (retire is None or retire > t):
                return Count.FETCH_LAYER
            selects = before.table["token_passes"] or before.table["head_passes"]
            if selects and (before.gate is None or before.gate > t):
                return Count.FETCH_CASCADE
        if m.k_phases >= m.arch.k_phases:
            return Count.FETCH_K_PHASES
        if row is row.block.rows[0] and not m.key_sram.fits(m.geometry.lines(len(row.block.keys))):
            return Count.FETCH_KEY_SRAM
        return None

    def _start(self, row: Row) -> Request:
        m, request, keys = self.m, Request(row), row.block.keys
        row.started = True
        m.k_phases += 1
        if m.arch.fetch_queries:
            tokens = [job.query["token"] for job in row.jobs]
            row.counts[Count.BITS_Q] += m.geometry.append(request, Q, tokens, row.table["query_bits"])
        if row is row.block.rows[0]:
            row.counts[Count.BITS_K_MSB] += m.geometry.append(request, K, keys, row.table["msb_bits"])
            row.counts[Count.KEY_SRAM_WRITES] += m.geometry.lines(len(keys))
            m.key_sram.give(-m.geometry.lines(len(keys)), -1)
        return request

    def _values(self, t: int) -> Request | tuple[Count, Row] | None:
        if not self.values:
            return None
        row, geometry = self.values[0], self.m.geometry
        lines, request = geometry.lines(len(row.new)), Request(row)
        if not self.m.value_sram.fits(lines):
            return Count.FETCH_VALUE_SRAM, row
        self.values.popleft()
        self.m.value_sram.give(-lines, -1)
        row.block.value_lines += lines
        row.block.value_rows += 1
        row.counts[Count.VALUE_SRAM_WRITES] += lines
        row.counts[Count.BITS_V] += geometry.append(request, V, row.new, row.table["value_bits"])
        return request

    def _outputs(self, t: int) -> Request | None:
        if not self.outputs or self.outputs[0][0] > t:
            return None
        job = self.outputs.popleft()[1]
        request = Request(job.row)
        job.row.counts[Count.BITS_OUT] += self.m.geometry.append(request, OUT, [job.query["token"]], OUT_BITS)
        return request


class Machine:
    """All modules, and what they share."""

    def __init__(self, workload: Workload, arch: Arch) -> None:
        self.arch, self.geometry = arch, Geometry(workload.shape, arch)
        self.rows = plan(workload, arch, self.geometry)
        self.jobs = [job for row in self.rows for job in row.jobs]
        self.k_phases = 0  # rows started, not through the first pass of their last job
        self.window = 0  # jobs started in Q x K, not passed
        self.probabilities = 0  # jobs passed, not finished in prob x V
        self.last_retire = 0
        self.key_sram = Buffer(arch.key_sram.lines, arch.live_allocations)
        self.value_sram = Buffer(arch.value_sram.lines, arch.live_allocations)
        self.memory = ControllerMemory(arch) if arch.dram.kind == "controller" else Memory(arch)
        self.returns = ReturnPath(arch, self.geometry)
        self.cascade = Cascade(workload, arch)
        self.prob_v, self.topk, self.decision = ProbV(self), LocalTopK(self), Decision(self)
        self.softmax, self.qk, self.fetcher = SoftmaxUnit(self), QK(self), Fetcher(self)

    def run(self) -> int:
        """Cycles until every job has retired and the memory is empty."""
        first = (self.memory, self.returns, self.prob_v, self.topk)
        order, end, t = (*first, self.decision, self.softmax, self.qk, self.fetcher), self.jobs[-1], 0
        while True:
            for module in order:
                module.step(t)
            if end.retire is not None and end.retire <= t and self.memory.empty and self.fetcher.idle:
                return t + 1
            if t - self.last_retire > PATIENCE:
                raise RuntimeError(f"deadlock: no job has retired since cycle {self.last_retire}")
            t += 1


def run(workload: Workload, arch: Arch) -> Result:
    """Simulate a workload on an arch."""
    machine = Machine(workload, arch)
    cycles = machine.run()
    ends = [row.jobs[-1].retire or 0 for row in machine.rows[:-1]] + [cycles]
    for row, begin, end in zip(machine.rows, [0, *ends[:-1]], ends, strict=True):
        row.counts[Count.CYCLES] = end - begin
    rows = [{counter.name: row.counts[count] for count, counter in COUNTERS.items()} for row in machine.rows]
    totals = {name: sum(row[name] for row in rows) for name in rows[0]}
    return Result(cycles, rows, totals | machine.memory.commands())

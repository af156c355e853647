"""Literal, slow model of the accelerator pipeline: the oracle of the kernel tests.

Written from the text of docs/pipeline.md alone, and never from the kernel. One class per module of that page, stepped
once a cycle in the order of that page.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from oracles.engine_literal import Engine
from oracles.pipeline_work import (
    CASCADE_BITS,
    LSB,
    OUT,
    OUT_BITS,
    AddressRow,
    Geometry,
    Job,
    K,
    Pass,
    Q,
    Request,
    Row,
    Transaction,
    V,
    cascade_cycles,
    count_passes,
    engine_passes,
    pass_sizes,
    plan,
    released_passes,
)
from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.arch.parameters import Arch
from sparcade.dram import DramSystem
from sparcade.dram.commands import Command
from sparcade.dram.state import Count as Served
from sparcade.workload.store import Workload

LISTED_ROWS = 63  # at most in realignment
PATIENCE = 200_000  # cycles without a retirement that count as a deadlock


@dataclass
class Result:
    """Cycles of the run, one dict of counters per workload row, and their sums."""

    cycles: int
    rows: list[dict[str, int]]
    totals: dict[str, int]  # rows summed; commands of DRAM controllers are counted here only


# ---- The modules, in the order of a cycle


class Buffers:
    """1. Vectors on their way from conversion into the buffers."""

    def __init__(self) -> None:
        self.underway: deque[tuple[int, Request, int]] = deque()  # (readable at, request, vectors)

    def step(self, t: int) -> None:
        while self.underway and self.underway[0][0] <= t:
            _, request, vectors = self.underway.popleft()
            request.readable += vectors
            if request.readable == request.vectors:
                request.there_at = t


class ProbV:
    """2. prob x V."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.waiting = machine, deque(machine.jobs)
        self.job: Job | None = None
        self.beat = self.phase = 0  # beat of the job, cycle of the beat
        self.next_try = 0
        self.last_read = -1
        self.beats_read = 0

    def step(self, t: int) -> None:
        m = self.m
        if self.job is None:
            job = self.waiting[0] if self.waiting else None
            if job is None or job.first_probability is None:
                return
            if t < max(job.first_probability + m.arch.pv_start, self.last_read + 1):
                return
            self.job, self.beat, self.phase, self.next_try = self.waiting.popleft(), 0, 0, t
        job, counts = self.job, self.job.row.counts
        if self.phase == 0:
            lacks = self._lacks(job)
            if lacks is not None or t < self.next_try:
                counts[lacks or Count.PV_WAIT_V] += 1  # what is there by now is taken at the next try: wait V
                if t >= self.next_try:
                    self.next_try = t + m.arch.read_retry
                return
        counts[Count.PV_BUSY] += 1
        counts[Count.VALUE_SRAM_READS] += 1
        self.phase = (self.phase + 1) % m.geometry.dwell
        if self.phase == 0:
            m.local_v.read_probabilities(t)
            self.beat += 1
            job.row.block.values_read += m.geometry.width
            self.beats_read += 1
            self.next_try = t + 1
            if self.beat == job.value_beats:
                self._finish(job, t)

    def _lacks(self, job: Job) -> Count | None:
        row, new, width = job.row, len(job.row.new), self.m.geometry.width
        several = len(row.jobs) > 1 and not self.m.arch.shared_value_ids
        needs_all = several and job.query["values"] < job.visible
        needed = new if needs_all else min(new, (self.beat + 1) * width)
        if (row.v_request.readable if row.v_request else 0) < needed:
            return Count.PV_WAIT_V
        return Count.PV_WAIT_PROBABILITIES if job.emitted <= self.beat else None

    def _finish(self, job: Job, t: int) -> None:
        m, row, block = self.m, job.row, job.row.block
        self.job, self.last_read = None, t
        row.counts[Count.MACS_PV] += job.query["values"] * m.geometry.D
        job.retire = m.last_retire = t + m.arch.pv_latency
        if m.arch.write_outputs:
            m.fetcher.output(job)
        if job.last_of_block:
            m.value_sram.give(block.value_lines, block.value_rows)
        if job.last_of_row and row.table["head_passes"]:
            m.cascade.heads(row, job.retire)


class RtlEngine:
    """3b, 3c: the top-k engine of docs/rtl.md; its lists are the ranked jobs."""

    def __init__(self, machine: "Machine") -> None:
        self.m, topk = machine, machine.arch.topk
        radix = topk.engine == "radix-select"
        self.engine = Engine(topk.lanes, machine.geometry.width, topk.capacity, radix)
        self.unasked = deque(job for job in machine.jobs if job.ranked)
        self.inside: deque[Job] = deque()  # lists whose first beat has entered and whose last row is not taken

    def step(self, t: int) -> bool:
        """What leaves; whether a beat was tried to be emitted."""
        if self.inside:
            self.inside[0].row.counts[Count.TOPK_BUSY] += 1
        row, self.row_taken, self.entering = self.engine.output, False, False
        if row is None:
            return False
        job = self.inside[0]
        self.row_taken = not row.elements or self.m.local_v.emit(job, job.emitted, t)
        if self.row_taken and row.last:
            job.left_engine = t
            self.inside.popleft()
        return row.elements > 0

    def has_room(self) -> bool:
        return self.engine.takes_beat

    def enter(self, job: Job) -> None:
        self.entering = True
        if len(job.entered) == 1:
            self.inside.append(job)

    def done_with(self, job: Job, t: int) -> bool:
        """The job is out of the engine since an earlier cycle."""
        return job.left_engine is not None and job.left_engine < t

    def end(self, t: int) -> None:
        """The engine's cycle, when all is known that enters and leaves in it."""
        job = self.unasked[0] if self.unasked else None
        request = job.candidates if job and job.accepted is not None and job.accepted < t else None
        if request and self.engine.takes_request:
            self.unasked.popleft()
        self.engine.step(request, self.entering, self.row_taken)


class ReleasedEngine:
    """3c: the released engine, a delay: selections one after the other."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.fifo: deque[Job] = deque()
        self.room = max(1, machine.arch.topk.capacity // machine.geometry.width)  # beats

    def step(self, t: int) -> bool:
        """Start a selection, and what leaves; whether a beat was tried to be emitted."""
        job = self.fifo[0] if self.fifo else None
        if job is None:
            return False
        if job.selected is None and job.entered[0] <= t - self.m.arch.topk.latency:
            job.selected = t
        if job.selected is None:
            return False
        job.row.counts[Count.TOPK_BUSY] += 1
        if job.selected + job.search > t or len(job.entered) <= job.gone:
            return False
        tried = job.gone < job.value_beats
        if tried and not self.m.local_v.emit(job, job.gone, t):
            return True
        job.gone += 1
        self.room += 1
        if job.gone == job.beats:
            self.fifo.popleft()
        return tried

    def has_room(self) -> bool:
        return self.room > 0

    def enter(self, job: Job) -> None:
        self.room -= 1
        if len(job.entered) == 1:
            self.fifo.append(job)

    def done_with(self, job: Job, t: int) -> bool:
        """The job has emitted all its value beats."""
        return job.emitted == job.value_beats

    def end(self, t: int) -> None:
        pass


class LocalV:
    """3. Local V: the engine, the way around it, and the probability FIFO."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.freed: deque[int] = deque()  # when places of the probability FIFO become free
        self.places = machine.arch.probability_fifo
        released = machine.arch.topk.engine == "released-serial"
        self.engine = ReleasedEngine(machine) if released else RtlEngine(machine)
        self.waiting = deque(machine.jobs)  # next to leave the reorder buffer
        self.beat = 0
        self.ranked = deque[Job]()  # that have left the reorder buffer, or begun to, and may be in the engine
        self.joining: Request | None = None  # whose emitted beat waits to join its group

    def read_probabilities(self, t: int) -> None:
        self.freed.append(t + self.m.arch.probability_latency)

    def step(self, t: int) -> None:
        while self.freed and self.freed[0] <= t:
            self.freed.popleft()
            self.places += 1
        self.m.decision.drain(t)
        tried = self.engine.step(t)
        self._out_of_reorder(t, tried)
        self.engine.end(t)

    def _out_of_reorder(self, t: int, tried: bool) -> None:
        job = self.waiting[0] if self.waiting else None
        decision = self.m.decision
        if job is None:
            return
        if decision.waits(job):
            if not decision.offers(job, t):
                return
        elif job.final is None or job.final + self.beat > t:
            return
        if job.ranked:
            if not self.engine.has_room():
                return
            job.entered.append(t)
            self.engine.enter(job)
            if self.beat == 0:
                self.ranked.append(job)
        else:
            while self.ranked and self.engine.done_with(self.ranked[0], t):
                self.ranked.popleft()
            if tried or self.ranked:
                return
            if self.beat < job.value_beats and not self.emit(job, self.beat, t):
                return
        if decision.waits(job):
            decision.take(t)
        if self.beat == 0:
            self._accumulate(job, t)
        self.beat += 1
        if self.beat == job.beats:
            self.m.issue.reorder_free += job.beats
            self.waiting.popleft()
            self.beat = 0

    def _accumulate(self, job: Job, t: int) -> None:
        row = job.row
        if row.table["accumulate"]:
            row.counts[Count.ACCUMULATOR_BUSY] += job.beats
            row.counts[Count.IMPORTANCE_UPDATES] += job.visible
        count_passes(row, job.passes, job.visible)
        if job.last_of_row and row.table["token_passes"]:
            self.m.cascade.tokens(row, t + job.beats)

    def emit(self, job: Job, beat: int, t: int) -> bool:
        m, row = self.m, job.row
        if beat == 0 and job.first_probability is None:
            job.first_probability = t
        lines = m.geometry.taken_value_lines(row)
        if beat == 0 and job.fetches:
            if m.arch.value_overlap_lines < m.arch.value_sram.lines:
                unread = sum(one.value_beats for one in m.jobs[: job.index]) - m.prob_v.beats_read
                fetched = [r for other in m.jobs[: job.index] if other.fetches and (r := other.row.v_request)]
                if unread > m.arch.value_overlap_lines or any(r.there_at is None or r.there_at >= t for r in fetched):
                    return False
            if not m.value_sram.fits(lines):
                return False
        if self.joining is not None or not self.places:
            return False
        self.places -= 1
        job.emitted += 1
        if beat == 0 and job.fetches:
            m.value_sram.give(-lines, -1)
            row.block.value_lines += lines
            row.block.value_rows += 1
            row.counts[Count.VALUE_SRAM_WRITES] += m.geometry.value_lines(row)
            m.fetcher.value(row)
        if job.fetches:
            assert row.v_request
            if job.query["values"] == len(row.new):
                self.joining = row.v_request
            elif beat == (0 if len(row.jobs) > 1 else job.value_beats - 1):
                row.v_request.ids = len(row.new)
        return True

    def join(self) -> None:
        """End of step 12: an emitted beat that waits joins its group."""
        request = self.joining
        if request is None or any(other.joined and other is not request for other in self.m.fetcher.sources[1]):
            return
        room = self.m.arch.fetch_ports * (1 if request.asked else 2)
        if request.ids - request.asked < room:
            request.joined = True
            request.ids = min(request.vectors, request.ids + self.m.geometry.width)
            self.joining = None


class DecidedBeat:
    """A beat of a row in the pipeline between decision and reorder buffer."""

    def __init__(self, one: Pass, index: int, entered: int) -> None:
        self.one, self.index, self.entered = one, index, entered
        self.dropped = bool(one.job.query["refetch"]) and not one.second
        self.concluded = index > 0


class Decision:
    """4. Rows of scores leave, through an elastic pipeline."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.queue = machine, deque[Pass]()
        self.leaving: Pass | None = None
        self.beat = self.release = 0
        self.pipe: deque[DecidedBeat] = deque()
        self.left_at = -1
        self.entered = 0  # beats

    def complete(self, one: Pass, t: int) -> None:
        one.time, one.mark = t, self.entered
        self.queue.append(one)

    def full(self, t: int, skid: int) -> bool:
        arch = self.m.arch
        if len(self.queue) < arch.decision_maxima or (self.leaving is None and self.release <= t):
            return False
        row = self.queue[arch.decision_maxima - 1]
        return row.time <= t and self.entered - row.mark >= skid

    def step(self, t: int) -> None:
        arch = self.m.arch
        if self.leaving is None and self.queue and self.queue[0].time + arch.decision_latency <= t:
            self.leaving, self.beat = self.queue.popleft(), 0
        if self.leaving is not None and len(self.pipe) < arch.decided_stages:
            self.pipe.append(DecidedBeat(self.leaving, self.beat, t))
            self.beat += 1
            if self.beat == self.leaving.job.beats:
                self.leaving, self.release = None, t + 1
        for ahead, beat in enumerate(self.pipe):
            if not beat.concluded and ahead < arch.decided_stages - arch.requantise_latency:
                self._conclude(beat, t)

    def _conclude(self, beat: DecidedBeat, t: int) -> None:
        m, arch, job = self.m, self.m.arch, beat.one.job
        beat.concluded = True
        at = max(t, beat.entered + arch.requantise_latency)
        if beat.dropped:
            job.row.counts[Count.REFETCHES] += 1
            m.issue.recompute.append((at, job))
        else:
            job.key_free = at + arch.key_free_latency
            m.issue.window -= job.plane

    def waits(self, job: Job) -> bool:
        """The job's final row stays in the pipeline until its turn."""
        return bool(job.query["refetch"]) and not self.m.arch.reorder_recomputed

    def drain(self, t: int) -> None:
        """First of step 3: the oldest beat reaches the reorder buffer, or is dropped."""
        if not self.pipe or self.pipe[0].entered + self.m.arch.decided_stages > t:
            return
        beat = self.pipe[0]
        if beat.dropped or not self.waits(beat.one.job):
            if beat.index == 0 and not beat.dropped:
                beat.one.job.final = t + self.m.arch.reorder_latency
            self.take(t)

    def take(self, t: int) -> None:
        self.pipe.popleft()
        self.left_at = t

    def offers(self, job: Job, t: int) -> bool:
        """The oldest beat is of this job's final row, may leave, and none left in this cycle."""
        if not self.pipe or self.left_at == t:
            return False
        beat = self.pipe[0]
        return beat.one.job is job and not beat.dropped and beat.entered + self.m.arch.decided_stages <= t


class SoftmaxUnit:
    """5. Softmax."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.credits = machine, machine.arch.softmax.fifo_beats
        self.queue: deque[Pass] = deque()
        self.row: Pass | None = None
        self.beat = 0

    def step(self, t: int) -> None:
        if self.row is None:
            if not self.queue or self.queue[0].time > t:
                return
            self.row, self.beat = self.queue.popleft(), 0
        row, decision = self.row, self.m.decision
        if decision.full(t, self.m.arch.decision_skid):
            row.job.row.counts[Count.SOFTMAX_DECISION_FULL] += 1
            return
        row.job.row.counts[Count.SOFTMAX_BUSY] += 1
        self.credits += 1
        self.beat += 1
        decision.entered += 1
        if self.beat == row.job.beats:
            decision.complete(row, t)
            self.row = None


class QK:
    """6. Q x K."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.queue = machine, deque[Pass]()
        self.one: Pass | None = None
        self.beat = self.phase = 0  # beat of the pass, cycle of the beat
        self.next_try = 0
        self.cause: Count | None = None  # of the cycles until the next try
        self.held = False  # the line that lacked is stuck before the decision
        self.last_read = -1

    def step(self, t: int) -> None:
        m = self.m
        if self.one is None:
            if not self.queue or t < max(self.queue[0].time + m.arch.read_latency, self.last_read + 1):
                return
            self.one, self.beat, self.phase, self.next_try, self.cause = self.queue.popleft(), 0, 0, t, None
        one, counts = self.one, self.one.job.row.counts
        if self.phase == 0:
            skid = m.arch.decision_skid
            if self.held and not m.decision.full(t, skid - 1):
                self.held, self.next_try = False, t + m.arch.read_retry
            if t >= self.next_try and not self.held:
                self.cause = self._lacks(one, t)
                data = self.cause in (Count.QK_WAIT_Q, Count.QK_WAIT_K, Count.QK_WAIT_LSB)
                self.next_try = t + (m.arch.read_retry if data else 1)
                if data and not m.arch.softmax.latency:
                    self.held = m.decision.full(t, skid - 1) and not m.decision.full(t, skid)
            if self.cause is not None:
                counts[self.cause] += 1
                return
        counts[Count.QK_BUSY] += 1
        counts[Count.KEY_SRAM_READS] += 1
        self.phase = (self.phase + 1) % m.geometry.dwell
        if self.phase == 0:
            self.beat += 1
            one.job.row.block.keys_read += m.geometry.width
            self.next_try = t + 1
            if m.arch.softmax.latency:
                m.softmax.credits -= 1
            else:
                m.decision.entered += 1
            if self.beat == one.job.beats:
                self._finish(one, t)

    def _lacks(self, one: Pass, t: int) -> Count | None:
        m, job = self.m, one.job
        needed = min(job.visible, (self.beat + 1) * m.geometry.width)
        if m.arch.fetch_queries and not (job.q_request and job.q_request.readable):
            return Count.QK_WAIT_Q
        if not job.row.block.k_request or job.row.block.k_request.readable < needed:
            return Count.QK_WAIT_K
        if one.second and (not job.lsb_request or job.lsb_request.readable < needed):
            return Count.QK_WAIT_LSB
        if m.arch.softmax.latency:
            return Count.QK_SOFTMAX_FULL if m.softmax.credits < 1 else None
        return Count.QK_DECISION_FULL if m.decision.full(t, m.arch.decision_skid) else None

    def _finish(self, one: Pass, t: int) -> None:
        m, arch, job = self.m, self.m.arch, one.job
        self.one, self.last_read = None, t
        job.row.counts[Count.MACS_QK] += job.visible * m.geometry.D
        job.row.counts[Count.SOFTMAX_ELEMENTS] += job.visible
        m.issue.phase_ends.append(t + arch.phase_gap)
        if arch.softmax.latency:
            one.time = t + arch.qk_latency + arch.softmax.latency
            m.softmax.queue.append(one)
        else:
            m.decision.complete(one, t + arch.qk_latency)


class Issue:
    """7. Issue."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.phases = 0  # under way
        self.phase_ends: deque[int] = deque()
        self.window = 0
        self.reorder_free = machine.arch.reorder_beats
        self.recompute: deque[tuple[int, Job]] = deque()  # (from cycle, job)
        self.selected: tuple[Job, bool] | None = None  # and whether it is a recomputation

    @property
    def phases_full(self) -> bool:
        return self.phases >= self.m.arch.k_phases

    def cause(self, job: Job) -> Count | None:
        """What keeps a job from being selected."""
        if job.plane and self.window >= self.m.arch.decision_queries:
            return Count.FETCH_WINDOW
        return Count.FETCH_REORDER if self.reorder_free < job.beats else None

    def step(self, t: int) -> None:
        m = self.m
        while self.phase_ends and self.phase_ends[0] <= t:
            self.phase_ends.popleft()
            self.phases -= 1
        if self.selected is None:
            accepted = m.accept.job
            if self.recompute and self.recompute[0][0] <= t:
                self.selected = self.recompute.popleft()[1], True
            elif accepted is not None and self.cause(accepted) is None:
                self.selected = accepted, False
        if self.selected is None or self.phases_full:
            return
        job, second = self.selected
        self.selected = None
        self.phases += 1
        m.qk.queue.append(Pass(job, second, t))
        if second:
            self._ask_lsb(job, t)
            return
        m.accept.job = None
        self.reorder_free -= job.beats
        self.window += job.plane
        table, block, counts = job.row.table, job.row.block, job.row.counts
        if m.arch.fetch_queries:
            counts[Count.BITS_Q] += m.geometry.D * table["query_bits"]
            job.q_request = self._ask(job.row, Q, [job.query["token"]], table["query_bits"], t)
        if job.position == 0 and job.row.opens_block:
            counts[Count.BITS_K_MSB] += len(block.keys) * m.geometry.D * job.row.key_bits
            block.k_request = self._ask(job.row, K, block.keys, job.row.key_bits, t)

    def _ask_lsb(self, job: Job, t: int) -> None:
        m, block, counts, bits = self.m, job.row.block, job.row.counts, job.row.table["lsb_bits"]
        if block.lsb_request is None or not m.arch.share_lsb:
            counts[Count.BITS_K_LSB] += len(block.keys) * m.geometry.D * bits
            counts[Count.KEY_SRAM_WRITES] += m.geometry.lines(len(block.keys))
            block.lsb_request = self._ask(job.row, LSB, block.keys, bits, t)
        job.lsb_request = block.lsb_request

    def _ask(self, row: Row, kind: Count, ids: list[int], bits: int, t: int) -> Request:
        request = self.m.geometry.request(row, kind, ids, bits)
        request.from_cycle = t + self.m.arch.issue_latency
        self.m.fetcher.sources[0].append(request)
        return request


class Buffer:
    """Lines and allocations of the key or the value SRAM."""

    def __init__(self, lines: int, allocations: int) -> None:
        self.lines, self.allocations = lines, allocations  # free

    def fits(self, lines: int) -> bool:
        return lines <= self.lines and self.allocations > 0

    def give(self, lines: int, allocations: int) -> None:
        self.lines += lines
        self.allocations += allocations


class Accept:
    """8. Accept."""

    def __init__(self, machine: "Machine") -> None:
        self.m, self.waiting, self.in_use = machine, deque(machine.jobs), deque(machine.jobs)
        self.job: Job | None = None  # accepted, not issued

    def step(self, t: int) -> None:
        m = self.m
        while self.in_use and self.in_use[0].key_free is not None and self.in_use[0].key_free <= t:
            job = self.in_use.popleft()
            if job.last_of_block:
                m.key_sram.give(m.geometry.taken_key_lines(job.row.block), 1)
                break
        if self.job is not None or not self.waiting or self.cause(t) is not None:
            return
        job = self.job = self.waiting.popleft()
        job.accepted = t
        if job.position == 0 and job.row.opens_block:
            m.key_sram.give(-m.geometry.taken_key_lines(job.row.block), -1)
            job.row.counts[Count.KEY_SRAM_WRITES] += m.geometry.key_lines(job.row.block)

    def cause(self, t: int) -> Count | None:
        """What keeps the next job from being accepted."""
        m, job = self.m, self.waiting[0]
        row = job.row
        if job.position:
            return None
        if row.index:
            before = m.rows[row.index - 1]
            retire = before.jobs[-1].retire
            if not m.arch.layers_overlap and before.layer != row.layer and (retire is None or retire > t):
                return Count.FETCH_LAYER
        chosen_by = row.chosen_by
        if chosen_by is not None and chosen_by.selects and (chosen_by.gate is None or chosen_by.gate > t):
            return Count.FETCH_CASCADE
        if row.opens_block and not m.key_sram.fits(m.geometry.taken_key_lines(row.block)):
            return Count.FETCH_KEY_SRAM
        return None


class Realign:
    """9. Realignment and conversion."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.rows: deque[AddressRow] = deque()
        self.held = 0  # as the step began

    def step(self, t: int) -> None:
        arch, geometry = self.m.arch, self.m.geometry
        self.held = sum(row.held for row in self.rows)
        if not self.rows:
            return
        request = self.rows[0].request
        heads = request.row.block.heads if request.kind in (K, V) else 1
        converted = max(1, max(1, arch.converter_lines * geometry.per_line // geometry.dwell) // heads)
        g = min(converted, max(1, arch.realign_rows - 1) * arch.fetch_ports // request.tx)
        if g == 0 or geometry.packed:
            count = self.rows[0].held
        else:
            count = min(g * request.tx, request.left)
            if sum(row.held for row in self.rows if row.request is request) < count:
                return
        request.left -= count
        vectors = self.rows[0].completes
        if count == 0:  # packed, and all its vectors lie in the transaction before it
            self.rows.popleft()
        for _ in range(count):
            row = self.rows[0]
            vectors += row.transactions[len(row.transactions) - row.held].completes
            row.held -= 1
            if not row.held:
                self.rows.popleft()
        if vectors:
            self.m.buffers.underway.append((t + arch.convert_latency, request, vectors))


class DataFifos:
    """10. Data FIFOs and data crossbar."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.rows: deque[AddressRow] = deque()  # pushed for reading, in the data FIFOs or before
        self.expecting: list[deque[AddressRow]] = [deque() for _ in range(machine.arch.fetch_ports)]

    def push(self, row: AddressRow) -> None:
        row.missing = len(row.transactions)
        self.rows.append(row)
        for port in range(row.missing):
            self.expecting[port].append(row)

    def step(self, t: int) -> None:
        m, arch = self.m, self.m.arch
        if self.rows and not self.rows[0].missing and self.rows[0].arrival <= t - arch.fifo_latency:
            room = m.realign.held <= (arch.realign_rows - 1) * arch.fetch_ports
            if room and len(m.realign.rows) < LISTED_ROWS:
                row = self.rows.popleft()
                row.held = len(row.transactions)
                m.realign.rows.append(row)
                for port in range(row.held):
                    m.ports.reads[port] -= 1
        taken = set[int]()
        m.memory.waiting = [max(0, len(completed) - 1) for completed in m.memory.completed]
        for completed in m.memory.completed:
            if completed and completed[0].port not in taken:
                read = completed.popleft()
                taken.add(read.port)
                row = read.line
                if arch.dram.pairing == "in order of arrival":
                    row = self.expecting[read.port].popleft()
                assert row
                row.missing -= 1
                row.arrival = t


class Memory:
    """11. Channels with a register each and transactions under way: the ideal memory."""

    def __init__(self, arch: Arch) -> None:
        self.dram, channels = arch.dram, range(arch.dram.channels)
        self.in_order = arch.dram.pairing == "in order of arrival"
        self.registers: list[Transaction | None] = [None for _ in channels]
        self.sent: list[deque[Transaction]] = [deque() for _ in channels]  # reads
        self.completed: list[deque[Transaction]] = [deque() for _ in channels]  # reads, not in a data FIFO
        self.waiting = [0 for _ in channels]  # of them, before step 10, those behind the response register
        self.flights: list[deque[Transaction]] = [deque() for _ in channels]

    @property
    def empty(self) -> bool:
        return not any(self.registers) and not any(self.flights)

    def commands(self) -> dict[str, int]:
        """DRAM commands and row results, by counter name."""
        return {}

    def send(self, transaction: Transaction) -> bool:
        """Into the channel's register, if that is empty."""
        channel = self.channel_of(transaction)
        if self.registers[channel] is not None:
            return False
        self.registers[channel] = transaction
        if transaction.request.kind != OUT:
            self.sent[channel].append(transaction)
        return True

    def channel_of(self, transaction: Transaction) -> int:
        return (transaction.address // self.dram.transaction_bytes) % self.dram.channels

    def complete(self, channel: int, transaction: Transaction) -> None:
        if transaction.request.kind != OUT:
            self.completed[channel].append(self.sent[channel].popleft() if self.in_order else transaction)

    def step(self, t: int) -> None:
        for channel, flight in enumerate(self.flights):
            at_start = len(flight) + self.waiting[channel]
            if flight and flight[0].done_at <= t:
                self.complete(channel, flight.popleft())
            under_way = len(flight) if self.dram.early_reuse else at_start
            transaction = self.registers[channel]
            if transaction is not None and under_way < self.dram.ideal.outstanding:
                transaction.done_at = t + self.dram.ideal.latency
                flight.append(transaction)
                self.registers[channel] = None


class ControllerMemory(Memory):
    """11. The same registers before DRAM controllers; what a controller does is the concern of other tests."""

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)
        self.system = DramSystem(self.dram.device, channels=self.dram.channels, mapping=self.dram.mapping)
        self.cycle_ps = 1000 / Fraction(str(arch.clock_ghz))
        self.accepted: list[tuple[Transaction, int]] = []  # with its channel
        self.under_way = [0] * self.dram.channels

    @property
    def empty(self) -> bool:
        return not any(self.registers) and not any(self.under_way)

    def commands(self) -> dict[str, int]:
        result = self.system.result()
        rows = {f"dram_row_{outcome}": result.rows("", outcome) for outcome in ("hits", "misses", "conflicts")}
        served = {
            "dram_forwarded": result.statistics[Served.FORWARDED],
            "dram_coalesced": result.statistics[Served.COALESCED],
        }
        return rows | served | {"dram_activations": result.commands[Command.ACT]}

    def step(self, t: int) -> None:
        at_start = [a + b for a, b in zip(self.under_way, self.waiting, strict=True)]
        self.system.tick(until=floor(t * self.cycle_ps / self.dram.device.tick_ps))
        self._collect()
        for channel, transaction in enumerate(self.registers):
            under_way = (self.under_way if self.dram.early_reuse else at_start)[channel]
            if transaction is not None and under_way < self.dram.outstanding:
                write = transaction.request.kind == OUT
                if self.system.send(transaction.address, write=write, tag=len(self.accepted)):
                    self.accepted.append((transaction, channel))
                    self.under_way[channel] += 1
                    self.registers[channel] = None
                    if write:
                        self._collect()  # a write that a queued one absorbs is complete at once

    def _collect(self) -> None:
        for tag in self.system.completions():
            transaction, channel = self.accepted[tag]
            self.complete(channel, transaction)
            self.under_way[channel] -= 1


class Ports:
    """11. Address FIFOs, port registers and address crossbar."""

    def __init__(self, machine: "Machine") -> None:
        self.m, ports = machine, range(machine.arch.fetch_ports)
        self.fifos: list[deque[tuple[int, Transaction | None]]] = [deque() for _ in ports]  # (pushed at, address)
        self.registers: list[Transaction | None] = [None for _ in ports]
        self.occupied = [False for _ in ports]  # with padding, too
        self.reads = [0 for _ in ports]  # sent, and not out of the data FIFOs
        self.taken = [0 for _ in ports]
        self.pushed = 0
        self.turns: dict[int, int] = {}  # channel: the port whose turn it is
        self.before: deque[list[int]] = deque([self.taken, self.taken], maxlen=3)  # taken, after the last cycles

    @property
    def empty(self) -> bool:
        return not any(self.fifos) and not any(self.occupied)

    def push(self, row: AddressRow, t: int) -> None:
        self.pushed += 1
        row.number = self.pushed
        for port, fifo in enumerate(self.fifos):
            transaction = row.transactions[port] if port < len(row.transactions) else None
            if transaction is not None:
                transaction.port, transaction.line = port, row
            fifo.append((t, transaction))
        if row.request.kind != OUT:
            self.m.data_fifos.push(row)

    def full(self) -> Count | None:
        """The cause, if some port's FIFO was full (step 12)."""
        taken = self.before[0]
        oldest = min(taken)
        if self.pushed - oldest < self.m.arch.address_fifo:
            return None
        port = self.taken.index(min(self.taken))  # that one may be on its way out: by now
        register = self.registers[port]
        read = register is not None and register.request.kind != OUT
        return Count.FETCH_DATA_FIFO if read and self.reads[port] >= self.m.arch.data_fifo else Count.FETCH_ADDRESS_FIFO

    def step(self, t: int) -> None:
        m = self.m
        oldest_first = m.arch.crossbar == "oldest row first"
        offers: dict[int, list[tuple[int, int]]] = {}  # by channel: (age, port); the oldest row was pushed first
        for port, transaction in enumerate(self.registers):
            if transaction is None:
                self.occupied[port] = False
            elif transaction.request.kind == OUT or self.reads[port] < m.arch.data_fifo:
                assert transaction.line
                age = transaction.line.number if oldest_first else 0
                offers.setdefault(m.memory.channel_of(transaction), []).append((age, port))
        for channel, offered in offers.items():
            port = self.turns.pop(channel, min(offered)[1])
            transaction = self.registers[port]
            assert transaction
            if m.memory.send(transaction):
                transaction.request.row.counts[transaction.request.kind] += 1
                self.reads[port] += transaction.request.kind != OUT
                self.registers[port], self.occupied[port] = None, False
            elif not oldest_first:
                self.turns[channel] = port
        for port, fifo in enumerate(self.fifos):
            if not self.occupied[port] and fifo and fifo[0][0] <= t + 1 - m.arch.fifo_latency:
                self.registers[port], self.occupied[port] = fifo.popleft()[1], True
                self.taken[port] += 1
        self.before.append(list(self.taken))


class Fetcher:
    """12. Rows of addresses from three sources in turn."""

    def __init__(self, machine: "Machine") -> None:
        self.m = machine
        self.sources: tuple[deque[Request], ...] = (deque(), deque(), deque())  # keys, values, outputs
        self.jobs: dict[Request, Job] = {}  # of outputs
        self.split: AddressRow | None = None
        self.aside: AddressRow | None = None  # split, and found the FIFOs full
        self.request: Request | None = None  # of the row in preparation
        self.prepared: list[Transaction] | None = None
        self.before = 0
        self.served = 2

    @property
    def idle(self) -> bool:
        return self.aside is None and self.split is None and self.prepared is None and not any(self.sources)

    def value(self, row: Row) -> None:
        geometry, bits = self.m.geometry, row.value_bits
        row.counts[Count.BITS_V] += len(row.new) * geometry.D * bits
        row.v_request = geometry.request(row, V, row.new, bits)
        self.sources[1].append(row.v_request)

    def output(self, job: Job) -> None:
        geometry = self.m.geometry
        job.row.counts[Count.BITS_OUT] += geometry.D * OUT_BITS
        request = geometry.request(job.row, OUT, [job.query["token"]], OUT_BITS)
        assert job.retire is not None
        request.from_cycle = job.retire
        self.sources[2].append(request)

    def step(self, t: int) -> None:
        m = self.m
        if self.aside is None and self.split is None and self.prepared is None and not self.sources[0]:
            self._starve(t)
        oldest = self.aside or self.split
        if oldest is not None:
            full = m.ports.full()
            oldest.request.row.counts[Count.FETCH_BUSY if full is None else full] += 1
            if full is not None:
                if self.aside is None and m.arch.split_register:
                    self.aside, self.split = self.split, None
            else:
                m.ports.push(oldest, t)
                if self.aside is not None:
                    self.aside = None
                else:
                    self.split = None
        if self.split is None and self.prepared is not None:
            assert self.request
            ports = m.arch.fetch_ports
            row, self.prepared = self.prepared[:ports], self.prepared[ports:] or None
            self.split = AddressRow(self.request, row, self.before)
            self.before = 0
        if self.prepared is None:
            self._ask(t)
        m.local_v.join()

    def _starve(self, t: int) -> None:
        m = self.m
        job = m.accept.job
        if job is not None:
            cause = Count.FETCH_K_PHASES if m.issue.phases_full else m.issue.cause(job)
        elif m.accept.waiting:
            job = m.accept.waiting[0]
            cause = m.accept.cause(t)
        if job is not None and cause is not None:
            job.row.counts[cause] += 1

    def _ask(self, t: int) -> None:
        order = [(self.served + i) % 3 for i in (1, 2, 3)]
        if self.sources[self.served] and self.sources[self.served][0].begun:
            order = [self.served]
        for source in order:
            request = self.sources[source][0] if self.sources[source] else None
            if request is None or not self._there(request, t):
                continue
            self.request, (self.before, self.prepared) = request, request.rows.popleft()
            request.begun, self.served = True, source
            request.asked = min(request.vectors, request.asked + self.m.arch.fetch_ports)
            if not request.rows:
                self.sources[source].popleft()
            return

    def _there(self, request: Request, t: int) -> bool:
        if request.from_cycle > t or (request.kind is V and not self.makes_row(request)):
            return False
        return request.kind not in (K, V) or self._ring_has_room(request)

    def _ring_has_room(self, request: Request) -> bool:
        """The next row of vectors has a place in the buffer, if they go through it as a ring."""
        geometry, arch, row = self.m.geometry, self.m.arch, request.row
        after = request.asked + arch.fetch_ports
        if request.kind is K:
            return not geometry.streams_keys(row.block) or after <= row.block.keys_read + geometry.ring(arch.key_sram)
        return not geometry.streams_values(row) or after <= row.block.values_read + geometry.ring(arch.value_sram)

    def makes_row(self, request: Request) -> bool:
        """The known ids of a V request are a row, or its rest."""
        return request.ids - request.asked >= self.m.arch.fetch_ports or request.ids == request.vectors


class Cascade:
    """The second top-k engine: selections between layers."""

    def __init__(self, workload: Workload, arch: Arch) -> None:
        self.workload, self.params = workload, arch.topk
        self.free = 0  # it does one selection after the other

    def tokens(self, row: Row, start: int) -> None:
        self.free = max(start, self.free) + self._charge(row, "token")
        if not row.table["head_passes"]:
            row.gate = self.free

    def heads(self, row: Row, start: int) -> None:
        row.gate = self.free = max(start, self.free) + self._charge(row, "head")

    def _charge(self, row: Row, what: str) -> int:
        n = row.table[f"{what}_n"]
        sizes = pass_sizes(self.workload, row.table[f"{what}_pass_start"], row.table[f"{what}_passes"])
        passes = engine_passes(self.params, sizes, n, CASCADE_BITS)
        if self.params.engine == "released-serial" and sizes:
            passes = released_passes(n, row.table[f"{what}_k"], row.index, len(self.workload.rows))
        cycles = cascade_cycles(self.params, n, passes)
        row.counts[Count.CASCADE_BUSY] += cycles
        count_passes(row, passes, n)
        return cycles


class Machine:
    """All modules, and what they share."""

    def __init__(self, workload: Workload, arch: Arch) -> None:
        self.arch, self.geometry = arch, Geometry(workload.shape, arch)
        self.rows = plan(workload, arch, self.geometry)
        self.jobs = [job for row in self.rows for job in row.jobs]
        self.last_retire = 0
        self.key_sram = Buffer(arch.key_sram.lines, arch.live_allocations)
        self.value_sram = Buffer(arch.value_sram.lines, arch.live_allocations)
        self.cascade = Cascade(workload, arch)
        self.buffers, self.prob_v, self.local_v = Buffers(), ProbV(self), LocalV(self)
        self.decision, self.softmax, self.qk = Decision(self), SoftmaxUnit(self), QK(self)
        self.issue, self.accept = Issue(self), Accept(self)
        self.realign, self.data_fifos = Realign(self), DataFifos(self)
        self.memory = ControllerMemory(arch) if arch.dram.kind == "controller" else Memory(arch)
        self.ports, self.fetcher = Ports(self), Fetcher(self)

    def run(self) -> int:
        """Cycles until every job has retired and the memory is empty."""
        datapath = (self.buffers, self.prob_v, self.local_v, self.decision, self.softmax, self.qk)
        fetch = (self.realign, self.data_fifos, self.memory, self.ports, self.fetcher)
        order = (*datapath, self.issue, self.accept, *fetch)
        end, t = self.jobs[-1], 0
        while True:
            for module in order:
                module.step(t)
            idle = self.fetcher.idle and self.ports.empty and not self.data_fifos.rows and self.memory.empty
            if end.retire is not None and end.retire <= t and idle:
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

"""Literal, slow model of the top-k engine's control: the oracle of `sparcade.topk.cycles` and of local V.

Written from "One cycle" and "Cycles" of docs/rtl.md alone, and never from `sparcade.topk.engine` or the RTL. Registers
hold what they held as the cycle began until `step` has decided everything; then all change at once.
"""

from collections import deque
from dataclasses import dataclass, field

QUICK_OVERHEAD, RADIX_OVERHEAD = 5, 4  # cycles of a pass beyond its rows
SETS_THRESHOLD = 4  # cycles from the last row of the last pass
STAGES = ("compare", "rank", "keep", "count", "move")


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(eq=False)
class Candidates:
    """A list to select from."""

    size: int
    k: int
    passes: list[int]  # list length of each pass
    kept: list[int]  # elements kept of each beat

    @property
    def needs_passes(self) -> bool:
        return 0 < self.k < self.size


@dataclass(eq=False)
class Beat:
    """Elements of a list on their way through FIFO and filter."""

    kept: int
    last: bool


@dataclass(eq=False)
class Row:
    """A row of the list buffer."""

    of: Candidates
    elements: int
    read: int = 0  # elements, in this pass


@dataclass(eq=False)
class Output:
    """What the output register holds."""

    elements: int
    last: bool


@dataclass(eq=False)
class Selection:
    """The list whose passes are under way."""

    of: Candidates
    left: int  # scores of the pass
    number: int = 0  # of the pass
    from_cycle: int = 0  # in which the pass may read
    sets_from: int | None = None  # the cycle in which its threshold may be set

    @property
    def last_pass(self) -> bool:
        return self.number + 1 == len(self.of.passes)


@dataclass(eq=False)
class Engine:
    """Quick-select or radix-select, with W elements per beat and rows of L scores."""

    L: int
    W: int
    capacity: int
    radix: bool = False
    t: int = 0
    waiting: Candidates | None = None  # request taken, not started
    due: deque[tuple[Candidates, int]] = field(default_factory=deque)  # beats (of, number) that the engine expects
    next_list: Candidates | None = None
    filling: int = 0  # elements in the row of the list buffer that fills
    rows: deque[Row] = field(default_factory=deque)  # of the list buffer, in use
    memory: deque[Beat] = field(default_factory=deque)  # of the delay FIFO
    delayed: Beat | None = None  # output register of the delay FIFO
    selection: Selection | None = None
    threshold: bool = False
    filters: bool = False  # the filter has a list
    stages: list[Beat | None] = field(default_factory=lambda: [None] * len(STAGES))
    held: int = 0  # kept elements in the packer
    flush: bool = False
    output: Output | None = None

    @property
    def takes_request(self) -> bool:
        return self.waiting is None

    @property
    def takes_beat(self) -> bool:
        if not self.due or len(self.memory) >= max(2, ceil_div(self.capacity, self.W)) - 1:
            return False
        rows = ceil_div(self.capacity, max(self.L, self.W))
        return not self.due[0][0].needs_passes or len(self.rows) < rows

    def step(self, request: Candidates | None, beat_offered: bool, row_taken: bool) -> None:
        """One cycle.

        request : the list that is offered; taken if `takes_request`. A beat that is offered is taken if `takes_beat`,
        and the row in `output`, if there is one, by `row_taken`.
        """
        # What happens in this cycle, from the registers alone, backwards through the filter.
        output_free = self.output is None or row_taken
        room = [False] * len(STAGES) + [output_free and not self.flush]  # for a beat, in each stage and the packer
        for i in reversed(range(len(STAGES))):
            room[i] = self.stages[i] is None or room[i + 1]
        reads = self.delayed if self.filters and room[0] else None
        threshold_taken = self.threshold and (not self.filters or (reads is not None and reads.last))
        threshold_free = not self.threshold or threshold_taken
        beat_taken = beat_offered and self.takes_beat
        idle = self.selection is None
        begins = self.next_list if idle else None
        if begins is not None and not begins.needs_passes and not threshold_free:
            begins = None
        starts = self.waiting
        if (self.due and not (beat_taken and len(self.due) == 1)) or (self.next_list is not None and begins is None):
            starts = None

        self._pack(output_free)
        self._advance(room, reads)
        if threshold_taken:
            self.filters = True
        elif reads is not None and reads.last:
            self.filters = False
        sets = self._select(threshold_free)
        self.threshold = sets or not threshold_free
        if begins is not None:
            self._begin(begins)
        self._fifo(reads)
        if beat_taken:
            self._take_beat()
        if begins is not None:
            self.next_list = None
        if starts is not None:
            self.next_list, self.waiting = starts, None
            self.due.extend((starts, i) for i in range(len(starts.kept)))
        elif request is not None and self.waiting is None:
            self.waiting = request
        self.t += 1

    def _pack(self, output_free: bool) -> None:
        """8."""
        if not output_free:
            return
        self.output = None
        beat = self.stages[-1]
        if self.flush:
            self.output, self.held, self.flush = Output(self.held, True), 0, False
        elif beat is not None:
            self.held += beat.kept
            if self.held >= self.W or beat.last:
                elements = min(self.W, self.held)
                self.held -= elements
                self.output = Output(elements, beat.last and not self.held)
                self.flush = beat.last and self.held > 0

    def _advance(self, room: list[bool], reads: Beat | None) -> None:
        """7, and what the filter reads (6)."""
        for i in reversed(range(len(STAGES))):
            if room[i]:
                self.stages[i] = self.stages[i - 1] if i else reads

    def _select(self, threshold_free: bool) -> bool:
        """4; whether the threshold is set."""
        one = self.selection
        if one is None:
            return False
        if one.sets_from is not None:
            if self.t < one.sets_from or not threshold_free:
                return False
            self.selection = None
            return True
        if self.t < one.from_cycle:
            return False
        scores = min(self.L, one.left)
        if one.number == 0 or self.radix:
            scores = self._read_buffer(one, scores)
            if not scores:
                return False
        one.left -= scores
        if one.left:
            return False
        if one.last_pass:
            one.sets_from = self.t + SETS_THRESHOLD
            return False
        one.number += 1
        one.left = one.of.passes[one.number]
        one.from_cycle = self.t + 1 + (RADIX_OVERHEAD if self.radix else QUICK_OVERHEAD)
        if self.radix:
            for row in self.rows:
                if row.of is one.of:
                    row.read = 0
        return False

    def _read_buffer(self, one: Selection, most: int) -> int:
        """Scores read: all that are asked for, if they are unread in rows in use, else none."""
        unread = [row for row in self.rows if row.of is one.of and row.read < row.elements]
        if sum(row.elements - row.read for row in unread) < most:
            return 0
        missing = most
        for row in unread:
            scores = min(missing, row.elements - row.read)
            row.read += scores
            missing -= scores
            if row.read == row.elements and (one.last_pass or not self.radix):
                self.rows.remove(row)
        return most

    def _begin(self, begins: Candidates) -> None:
        """5."""
        if begins.needs_passes:
            self.selection = Selection(begins, begins.passes[0], from_cycle=self.t + 1)
        else:
            self.threshold = True

    def _fifo(self, reads: Beat | None) -> None:
        """3."""
        if self.delayed is None or reads is not None:
            self.delayed = self.memory.popleft() if self.memory else None

    def _take_beat(self) -> None:
        """2."""
        of, number = self.due.popleft()
        last = number + 1 == len(of.kept)
        self.memory.append(Beat(of.kept[number], last))
        if of.needs_passes:
            self.filling += min(self.W, of.size - number * self.W)
            longest = max(self.L, self.W)
            while self.filling >= longest or (last and self.filling):
                self.rows.append(Row(of, min(self.filling, longest)))
                self.filling -= self.rows[-1].elements


def alone(L: int, W: int, radix: bool, size: int, passes: list[int]) -> int:
    """Cycles of a list alone, its beats one a cycle, from the first taken to the last row out, both counted.

    For a last row that does not overflow.
    """
    beats = ceil_div(size, W)
    a = beats - 1  # the first is taken in cycle 0
    threshold = 1
    if passes:
        first_read = ceil_div(min(size, max(L, W)), W)  # the beat that fills the first row is taken a cycle before
        last_beat = size - a * W
        e = max(first_read + ceil_div(size, L) - 1, a + ceil_div(last_beat, L))
        overhead = RADIX_OVERHEAD if radix else QUICK_OVERHEAD
        threshold = e + SETS_THRESHOLD + 1 + sum(ceil_div(one, L) + overhead for one in passes[1:])
    last_read = threshold + beats
    return last_read + len(STAGES) + 1 + 1


def interval(L: int, W: int, radix: bool, size: int, passes: list[int]) -> int:
    """Cycles from list to list, back to back."""
    overhead = RADIX_OVERHEAD if radix else QUICK_OVERHEAD
    selection = sum(ceil_div(one, L) + overhead for one in passes) + (radix if passes else 0)
    return max(ceil_div(size, W), selection)

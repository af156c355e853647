"""Literal, slow model of a DRAM controller: the oracle of the memory tests.

Written from the text of dram.md (sections 1 to 4 and 8) and of the reference data's README, and never from the
simulator, of which only the parameters (a `Device`) are used. Every tick is executed and every buffer is scanned in
full: no event is skipped. One object is one node of the hierarchy, one bank, one request, one channel.
"""

import math
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from sparcade.dram.commands import Command
from sparcade.dram.device import Device, Organisation

ACT, PRE, PREAB, ACT2 = Command.ACT, Command.PRE, Command.PREAB, Command.ACT2
RD, WR, RDA, WRA = Command.RD, Command.WR, Command.RDA, Command.WRA
REFAB, REFPB = Command.REFAB, Command.REFPB
READS, WRITES, PRECHARGES = (RD, RDA), (WR, WRA), (PRE, PREAB)
ROW = (ACT, PRE, PREAB, REFAB, REFPB)
COLUMN = READS + WRITES
ANY = ROW + COLUMN

CHANNEL, UPPER, SID, GROUP, BANK = range(5)  # levels of the hierarchy; upper: pseudo-channel or rank
STUCK_TICKS = 200_000
EVEN_BITS = int("01" * 32, 2)

LogEntry = tuple[int, str, int, tuple[int, ...], int, int, int, int]


#: The row result of a request, by the first command on its behalf; the CAS of LPDDR5 stands for its RD or WR.
ROW_RESULTS = {RD: "hits", RDA: "hits", WR: "hits", WRA: "hits", ACT: "misses", PRE: "conflicts"}
ROW_RESULTS |= {Command.CAS_RD: "hits", Command.CAS_WR: "hits"}


@dataclass
class Result:
    """What a run measured."""

    cycles: int = 0
    latencies: list[int] = field(default_factory=list)  # of reads, in completion order [ticks]
    row: dict[str, int] = field(default_factory=dict)  # read_hits, write_conflicts, ...: requests by row result
    commands: dict[str, int] = field(default_factory=Counter)
    log: list[LogEntry] = field(default_factory=list)  # tick, command, channel, levels, row, column, type, source


# ---------------------------------------------------------------------------------------------- addresses (section 3)


class Place(NamedTuple):
    """A decoded address."""

    channel: int
    upper: int
    sid: int
    group: int
    bank: int
    row: int
    column: int


#: Fields of an address inside a channel, least significant first; low and high are the parts of a split column.
LAYOUTS = {
    "RoBaRaCoCh": "step column pc rank sid group bank row",
    "ChRaBaRoCo": "step column row bank group sid rank pc",
    "MOP4CLXOR": "step low pc rank sid group bank high row",
    "PcBgCo": "step pc group column bank rank sid row",
}


def decode(address: int, organisation: Organisation, channels: int, mapping: str) -> Place:
    """Where an address lies."""
    if not 0 <= address < channels * organisation.channel_bytes:
        raise ValueError(f"address {address:#x} is outside the memory")
    if mapping == "ChRaBaRoCo":
        channel, address = divmod(address, organisation.channel_bytes)
    else:  # the bits above the transaction choose the channel and are cut out
        above, offset = divmod(address, organisation.transaction_bytes)
        above, channel = divmod(above, channels)
        address = above * organisation.transaction_bytes + offset
    columns = organisation.columns // organisation.prefetch
    sizes = {
        "step": organisation.step_bytes,
        "column": columns,
        "low": min(4, columns),
        "high": max(1, columns // 4),
        "pc": organisation.pseudo_channels,
        "rank": organisation.ranks,
        "sid": organisation.stack_ids,
        "group": organisation.bank_groups,
        "bank": organisation.banks,
        "row": organisation.rows,
    }
    values = dict.fromkeys(sizes, 0)
    for name in LAYOUTS[mapping].split():
        address, values[name] = divmod(address, sizes[name])
    if mapping == "MOP4CLXOR":
        values["column"] = remaining = values["high"] * sizes["low"] + values["low"]
        for name in ("pc", "rank", "sid", "group", "bank", "row"):
            remaining, key = divmod(remaining, sizes[name])
            values[name] ^= key
    if mapping == "PcBgCo":
        for bit in range(2 if organisation.banks > 2 else organisation.banks - 1):
            values["bank"] ^= (values["row"] >> bit & EVEN_BITS).bit_count() % 2 << bit
    upper = values["pc"] + values["rank"]  # a device has one of them
    return Place(channel, upper, *(values[name] for name in ("sid", "group", "bank", "row", "column")))


# ------------------------------------------------------------------------------------------------ timings (section 2)


class Rule(NamedTuple):
    """`then` not before `ticks` after `first`, at one node of the level (or at its siblings)."""

    first: Command
    then: Command
    ticks: int
    level: int
    siblings: bool = False
    window: int = 1  # counted from the window-th last `first`


def timing_rules(device: Device) -> list[Rule]:
    """Every constraint of the device."""
    t, protocol = device.timing, device.protocol
    rules: list[Rule] = []

    def cycles(command: Command) -> int:
        return device.rules.cycles_of(command)

    def add(level: int, first: Collection[Command], then: Collection[Command], ck: int | None, *,
            siblings: bool = False, window: int = 1) -> None:  # fmt: skip
        for a, b in product(first, then) if ck is not None else ():
            longer = cycles(a) - cycles(b) if device.rules.adjusts_for_cycles else 0
            rules.append(Rule(a, b, ck * device.rules.ticks_per_ck + longer, level, siblings, window))

    # The command bus: occupied as long as the command is, no adjustment.
    for command in ANY:
        if cycles(command) > 1:
            if protocol == "HBM2-release":
                blocked: Collection[Command] = (ACT, PRE, PREAB)
            elif device.rules.row_and_column_bus:
                blocked = ROW if command in ROW else COLUMN
            else:
                blocked = ANY
            rules += [Rule(command, other, cycles(command), CHANNEL) for other in blocked]

    # Column commands among themselves.
    ccd_s_wr, ccd_l_wr = t.n_ccd_s_wr or t.n_ccd_s, t.n_ccd_l_wr or t.n_ccd_l
    data_bus = CHANNEL if "Rank" in device.rules.levels else UPPER
    short = SID if protocol == "HBM3" else UPPER
    add(data_bus, READS, READS, t.n_bl)
    add(data_bus, WRITES, WRITES, t.n_bl)
    add(short, READS, READS, t.n_ccd_s)
    add(short, WRITES, WRITES, ccd_s_wr)
    add(GROUP, READS, READS, t.n_ccd_l)
    add(GROUP, WRITES, WRITES, ccd_l_wr)
    add(UPPER, READS, WRITES, t.n_rtw or t.n_cl + t.n_bl + 2 - t.n_cwl)
    add(UPPER, WRITES, READS, t.n_cwl + t.n_bl + t.n_wtr_s)
    add(GROUP, WRITES, READS, t.n_cwl + (t.n_bl_max or t.n_bl) + t.n_wtr_l)
    if "Rank" in device.rules.levels:
        add(UPPER, READS, COLUMN, t.n_bl + t.n_cs, siblings=True)
        add(UPPER, WRITES, READS, t.n_cwl + t.n_bl + t.n_cs - t.n_cl, siblings=True)
    if protocol == "HBM3":
        add(SID, READS, READS, t.n_ccd_r, siblings=True)
        add(SID, WRITES, WRITES, t.n_ccd_r, siblings=True)

    # Row commands, between row and column commands, refresh of a bank.
    written = t.n_cwl + t.n_bl + t.n_wr
    add(UPPER, [ACT], [ACT, REFPB], t.n_rrd_s)
    add(UPPER, [ACT], [ACT], t.n_faw, window=4)
    add(UPPER, [PREAB], [ACT], t.n_rp_ab or t.n_rp)
    add(UPPER, PRECHARGES, PRECHARGES, t.n_ppd)
    add(UPPER, [REFPB], [ACT], t.n_rrefd)
    add(UPPER, [REFPB], [REFPB], t.n_refpb or t.n_rrefd)
    add(GROUP, [ACT], [ACT], t.n_rrd_l)
    add(BANK, [ACT], READS, t.n_rcd_rd)
    add(BANK, [ACT], WRITES, t.n_rcd_wr)
    add(BANK, [ACT], [ACT, REFPB], t.n_rc)
    add(BANK, [PRE], [ACT, REFPB], t.n_rp)
    add(BANK, [RDA], [ACT, REFPB], t.n_rtp + t.n_rp)
    add(BANK, [WRA], [ACT, REFPB], written + t.n_rp)
    add(BANK, [REFPB], [ACT, REFPB], t.n_rfc_pb)
    for level, precharge in ((BANK, PRE), (UPPER, PREAB)):
        add(level, [ACT], [precharge], t.n_ras)
        add(level, [RD], [precharge], t.n_rtp)
        add(level, [WR], [precharge], written)

    # Refresh of an upper level.
    add(UPPER, [ACT], [REFAB], t.n_rc)
    add(UPPER, [PREAB] if protocol == "GDDR6" else PRECHARGES, [REFAB], t.n_rp)
    add(UPPER, [RDA], [REFAB], t.n_rtp + t.n_rp)
    add(UPPER, [WRA], [REFAB], written + t.n_rp)
    held = {"GDDR6": ANY, "LPDDR5": (ACT, PREAB, REFAB, REFPB)}.get(protocol, (ACT, PREAB))
    add(UPPER, [REFAB], held, t.n_rfc)
    return rules


class Node:
    """A channel, pseudo-channel or rank, SID, bank group or bank: when each command may come at the earliest."""

    def __init__(self) -> None:
        self.not_before = [0] * len(Command)
        self.siblings: list[Node] = []
        self.issued: dict[Command, deque[int]] = {command: deque(maxlen=4) for command in Command}

    def children(self, count: int) -> list["Node"]:
        """New nodes one level below."""
        nodes = [Node() for _ in range(count)]
        for node in nodes:
            node.siblings = [other for other in nodes if other is not node]
        return nodes


# --------------------------------------------------------------------------------------------- controller (section 4)


@dataclass(eq=False)
class Bank:
    """State of a bank."""

    levels: tuple[int, ...]  # upper, SID, bank group, bank
    nodes: list[Node]  # from the channel down to the bank
    open_row: int | None = None
    active: int = 0  # requests in the active buffer
    accesses: int = 0  # RD and WR since the last closing
    precharge_queued: bool = False  # by the row policy, since the last closing

    def close(self) -> None:
        """Precharged."""
        self.open_row, self.accesses, self.precharge_queued = None, 0, False


@dataclass(eq=False)
class Request:
    """An accepted request."""

    is_write: bool
    address: int
    place: Place
    bank: Bank
    arrival: int
    started: bool = False  # a command was issued on its behalf


class Job(NamedTuple):
    """An entry of the priority queue: a refresh, or the precharge of the row policy."""

    goal: Command
    banks: list[Bank]

    def next_command(self) -> Command:
        """A refresh needs its banks closed; a precharge is issued whatever the state."""
        if self.goal is PRE or all(bank.open_row is None for bank in self.banks):
            return self.goal
        return PREAB if self.goal is REFAB else PRE


class Channel:
    """One channel: its banks and its controller."""

    def __init__(self, number: int, device: Device, result: Result) -> None:
        self.number, self.device, self.result = number, device, result
        self.controller, self.protocol, organisation = device.controller, device.rules, device.organisation
        self.rules: dict[Command, list[Rule]] = {command: [] for command in Command}
        for rule in timing_rules(device):
            self.rules[rule.first].append(rule)
        tree: list[tuple[tuple[int, ...], list[Node]]] = [((), [Node()])]
        for count in (organisation.uppers, organisation.stack_ids, organisation.bank_groups, organisation.banks):
            tree = [((*at, i), [*path, node]) for at, path in tree for i, node in enumerate(path[-1].children(count))]
        self.banks = [Bank(at, path) for at, path in tree]  # in flat order
        self.bank_at = {bank.levels: bank for bank in self.banks}

        self.clk = 0
        self.falling_edge = False  # HBM3: an even tick
        self.reads: list[Request] = []
        self.writes: list[Request] = []
        self.active: list[Request] = []
        self.priority: deque[Job] = deque()
        self.pending: deque[tuple[int, Request]] = deque()  # departure tick and read
        self.write_mode = False
        self.outstanding = 0
        self.events = 0  # completions, and commands not of refresh
        self.per_bank_refreshes = 0
        self.rising_row: tuple[int, Command, Bank] | None = None  # HBM3: last row command of a rising edge
        self.activation: Request | None = None  # LPDDR5: ACT1 issued, ACT2 not yet
        self.deadline = 0  # of that ACT2
        self.after_cas: Request | None = None  # LPDDR5: CAS issued in the last tick
        self.wck_expiry = 0  # LPDDR5: first tick without data clock

    # Requests.

    def send(self, is_write: bool, address: int, place: Place) -> bool:
        """Take a request, unless its queue is full."""
        request = Request(is_write, address, place, self.bank_at[place[1:5]], self.clk)
        queued = any(write.address == address for write in self.writes)
        if queued and is_write and self.protocol.coalesces_writes:
            self.events += 1
            return True
        if queued and not is_write:
            self.pending.append((self.clk + 1, request))
        elif is_write and len(self.writes) < self.controller.write_queue:
            self.writes.append(request)
        elif not is_write and len(self.reads) < self.controller.read_queue:
            self.reads.append(request)
        else:
            return False
        self.outstanding += 1
        return True

    def complete(self) -> None:
        """Reads leave in the order of the pending queue."""
        while self.pending and self.pending[0][0] <= self.clk:
            departure, request = self.pending.popleft()
            self.result.latencies.append(departure - request.arrival)
            self.outstanding -= 1
            self.events += 1
            if self.protocol.one_completion_per_tick:
                break

    # One tick.

    def tick(self) -> None:
        """Advance by one tick."""
        self.clk += 1
        self.falling_edge = self.protocol.ticks_per_ck == 2 and self.clk % 2 == 0
        self.complete()
        self.request_refreshes()
        if self.controller.row_policy == "closed":
            self.request_precharges()
        if self.protocol.split_activate:
            self.split_activate_slot()
        elif not self.protocol.row_and_column_bus:
            self.slot(ANY)
        elif self.falling_edge:
            self.slot(PRECHARGES, use_active=False)
        else:
            self.slot(COLUMN)
            self.slot(ROW, use_active=False)

    def request_refreshes(self) -> None:
        """Refreshes that fall due in this tick."""
        interval = self.device.timing.n_refi * self.protocol.ticks_per_ck
        if self.controller.refresh == "all-bank" and self.clk % interval == 0:
            for upper in range(self.device.organisation.uppers):
                self.priority.append(Job(REFAB, [bank for bank in self.banks if bank.levels[0] == upper]))
        if self.controller.refresh == "per-bank":
            while (self.per_bank_refreshes + 1) * interval // len(self.banks) <= self.clk:
                self.priority.append(Job(REFPB, [self.banks[self.per_bank_refreshes % len(self.banks)]]))
                self.per_bank_refreshes += 1

    def request_precharges(self) -> None:
        """The closed row policy closes rows that had their share."""
        for bank in self.banks:
            if bank.accesses >= self.controller.cap and not bank.precharge_queued and self.ready(PRE, bank):
                bank.precharge_queued = True
                self.priority.append(Job(PRE, [bank]))

    def slot(self, kinds: Collection[Command], *, use_active: bool = True) -> bool:
        """Issue at most one command of the given kinds."""
        chosen = self.choose(self.active, kinds) if use_active else None
        if chosen is None and self.priority:
            return self.serve_priority(kinds)
        if chosen is None:
            chosen = self.choose(self.queue_to_serve(), kinds)
        if chosen is None:
            return False
        request, command = chosen
        if command is PRE and request.bank.active:
            return False  # HBM2-release: no second choice
        return self.serve(request, command)

    def queue_to_serve(self) -> list[Request]:
        """The write drain."""
        if not self.write_mode:
            self.write_mode = len(self.writes) >= self.controller.write_high or not self.reads
        elif len(self.writes) <= self.controller.write_low and self.reads:
            self.write_mode = False
        return self.writes if self.write_mode else self.reads

    def choose(self, buffer: list[Request], kinds: Collection[Command]) -> tuple[Request, Command] | None:
        """FR-FCFS: of the eligible requests whose next command is ready, the one that arrived first."""
        best: tuple[Request, Command] | None = None
        for request in buffer:
            if best is not None and request.arrival >= best[0].arrival:
                continue
            command = self.next_command(request)
            if command is None or command not in kinds or not self.may_issue(command, request.bank):
                continue
            if command is not PRE or self.may_close(request, buffer):
                best = request, command
        return best

    def next_command(self, request: Request) -> Command | None:
        """What a request needs next, by the state of its bank."""
        if self.activation is not None and request.bank is self.activation.bank:
            return None
        if request.bank.open_row is None:
            return ACT
        if request.bank.open_row != request.place.row:
            return PRE
        return WR if request.is_write else RD

    def may_issue(self, command: Command, bank: Bank) -> bool:
        """Timings and, in HBM3, the row command of the rising edge allow it."""
        return self.ready(command, bank) and (not self.falling_edge or self.falling_edge_allows(command, bank))

    def may_close(self, request: Request, buffer: list[Request]) -> bool:
        """A request may close the row of its bank: no active request, no hit of this buffer that came first."""
        bank = request.bank
        if bank.active and not self.protocol.blocked_precharge_loses_tick:
            return False
        return self.controller.scheduler == "fr-fcfs" or not any(
            other.bank is bank and other.place.row == bank.open_row and other.arrival <= request.arrival
            for other in buffer
        )

    def ready(self, command: Command, bank: Bank) -> bool:
        """The timing of a command is satisfied; no rule of an all-bank command lies below the upper level."""
        for node in bank.nodes:  # noqa: SIM110 (the innermost loop)
            if node.not_before[command] > self.clk:
                return False
        return True

    def serve_priority(self, kinds: Collection[Command]) -> bool:
        """Only the head is looked at; it waits rather than close the row of an active request."""
        job = self.priority[0]
        command, activating = job.next_command(), self.activation.bank if self.activation else None
        if command not in kinds or not self.may_issue(command, job.banks[0]):
            return False
        if command in PRECHARGES and any(bank.active or bank is activating for bank in job.banks):
            return False
        self.issue(command, job.banks)
        self.events += job.goal is PRE
        if command is job.goal:
            self.priority.popleft()
        return True

    def serve(self, request: Request, command: Command) -> bool:
        """Issue the chosen command of a request, or what must come before it."""
        column = command in (RD, WR)
        if column and self.protocol.split_activate and self.clk >= self.wck_expiry:
            if self.activation is not None and self.deadline <= self.clk + 1:
                self.finish_activation()
            else:
                self.issue_for(request, Command.CAS_WR if request.is_write else Command.CAS_RD)
                self.after_cas = request
            return True
        if column and self.controller.row_policy == "closed" and request.bank.accesses >= self.controller.cap:
            closing = WRA if request.is_write else RDA
            if self.ready(closing, request.bank):
                command = closing
        self.issue_for(request, command)
        return True

    # LPDDR5 and HBM3.

    def split_activate_slot(self) -> None:
        """LPDDR5: ACT2 at its deadline, the column command of a CAS, any command, or else ACT2."""
        if self.activation is not None and self.clk >= self.deadline:
            self.finish_activation()
        elif self.after_cas is not None:
            request, self.after_cas = self.after_cas, None
            command = WR if request.is_write else RD
            if self.ready(command, request.bank):
                self.issue_for(request, command)
        elif self.activation is None:
            self.slot(ANY)
        elif not self.slot((PRE, PREAB, *COLUMN)):
            self.finish_activation()

    def finish_activation(self) -> None:
        """ACT2: the row is open."""
        request, self.activation = self.activation, None
        assert request is not None
        self.issue_for(request, ACT2)

    def falling_edge_allows(self, command: Command, bank: Bank) -> bool:
        """HBM3: which precharge may share a clock with the row command of the rising edge."""
        if self.rising_row is None:
            return True
        tick, previous, other = self.rising_row
        if self.clk != tick + (3 if previous is ACT else 1) or other.levels[0] != bank.levels[0]:
            return True
        return command is PRE and previous not in (PREAB, REFAB) and other is not bank

    # Commands.

    def issue_for(self, request: Request, command: Command) -> None:
        """Issue a command of a request; its state follows."""
        self.events += 1
        if not request.started:
            self.result.row[f"{'write' if request.is_write else 'read'}_{ROW_RESULTS[command]}"] += 1
            request.started = True
        self.issue(command, [request.bank], request)
        queue = self.writes if request.is_write else self.reads
        if command is ACT and request in queue and len(self.active) < len(self.banks):
            queue.remove(request)
        if command is ACT and self.protocol.split_activate:
            self.activation, self.deadline = request, self.clk + self.device.timing.n_aad
        elif command in (ACT, ACT2):
            request.bank.open_row = request.place.row
            if request not in queue and request not in self.active:
                self.active.append(request)
                request.bank.active += 1
        elif command in COLUMN:
            self.finish(request)

    def finish(self, request: Request) -> None:
        """The column command of a request was issued."""
        timing = self.device.timing
        if request in self.active:
            self.active.remove(request)
            request.bank.active -= 1
        else:
            (self.writes if request.is_write else self.reads).remove(request)
        if request.is_write:
            self.outstanding -= 1
        else:
            self.pending.append((self.clk + self.device.read_latency, request))
        latency = timing.n_cwl if request.is_write else timing.n_cl
        self.wck_expiry = max(self.wck_expiry, self.clk + latency + timing.n_bl + timing.n_wck_pst)

    def issue(self, command: Command, banks: list[Bank], request: Request | None = None) -> None:
        """Put a command on the bus: timings, state of the banks, log."""
        for node in banks[0].nodes:
            node.issued[command].append(self.clk)
        for rule in self.rules[command]:
            node = banks[0].nodes[rule.level]
            if len(node.issued[command]) >= rule.window:
                earliest = node.issued[command][-rule.window] + rule.ticks
                for other in node.siblings if rule.siblings else [node]:
                    other.not_before[rule.then] = max(other.not_before[rule.then], earliest)
        if command in (RD, WR):
            banks[0].accesses += 1
        if command in (PRE, PREAB, RDA, WRA):
            for bank in banks:
                bank.close()
        if command in ROW and not self.falling_edge:
            self.rising_row = self.clk, command, banks[0]
        self.record(command, banks[0], request)

    def record(self, command: Command, bank: Bank, request: Request | None) -> None:
        """Count and log a command."""
        upper, sid, group, number = bank.levels
        if command in (PREAB, REFAB):
            sid = group = number = -1
        level = {"PseudoChannel": upper, "Rank": upper, "Sid": sid, "BankGroup": group, "Bank": number}
        row, column, kind, source = -1, -1, -1, -1
        if request is not None:
            row, column, kind, source = request.place.row, request.place.column, int(request.is_write), 0
        name, levels = self.protocol.command_name(command), tuple(level[key] for key in self.protocol.levels)
        self.result.commands[name] += 1
        self.result.log.append((self.clk, name, self.number, levels, row, column, kind, source))


def run(
    requests: list[tuple[bool, int]],
    device: Device,
    *,
    channels: int = 1,
    mapping: str = "RoBaRaCoCh",
    period: float | None = None,
    max_outstanding: int | None = None,
    max_outstanding_per_channel: int | None = None,
) -> Result:
    """Send (is write, address) in order, as the protocol of the reference data does, until all are complete.

    Raises
    ------
    RuntimeError
        "stuck", when requests wait and nothing but refresh happened for 200,000 ticks.
    """
    result = Result(row={f"{kind}_{what}": 0 for what in ROW_RESULTS.values() for kind in ("read", "write")})
    memory = [Channel(number, device, result) for number in range(channels)]
    places = [decode(address, device.organisation, channels, mapping) for _, address in requests]
    head = quiet = events = 0
    while head < len(requests) or any(channel.outstanding for channel in memory):
        while head < len(requests):
            target = memory[places[head].channel]
            if period is not None and result.cycles < math.floor(head * period):
                break
            if max_outstanding and sum(channel.outstanding for channel in memory) >= max_outstanding:
                break
            if max_outstanding_per_channel and target.outstanding >= max_outstanding_per_channel:
                break
            if not target.send(*requests[head], places[head]):
                break
            head += 1
        for channel in memory:
            channel.tick()
        result.cycles += 1
        happened = sum(channel.events for channel in memory)
        waiting = any(channel.outstanding for channel in memory)
        quiet = quiet + 1 if happened == events and waiting else 0
        events = happened
        if quiet >= STUCK_TICKS:
            raise RuntimeError("stuck")
    return result

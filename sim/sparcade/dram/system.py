"""`DramSystem`: channels of one device behind an address mapping, cycle-exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade._records import record, zeros
from sparcade.dram.commands import Command
from sparcade.dram.controller import ACCEPTED, PENDING_FULL, send, tick, wake_of
from sparcade.dram.device import Device, load_device
from sparcade.dram.inject import DONE, INJECTION, LOG_FULL, NEEDS_PENDING, NEEDS_REQUESTS, Injection, inject
from sparcade.dram.mapping import AddressMap, address_map, check_channels, parse_mapping, place_of
from sparcade.dram.result import DramResult
from sparcade.dram.state import NEVER, NONE, PENDING, Count, Dram, new_dram
from sparcade.errors import ConfigError, StreamError

Ints = npt.NDArray[np.int64]

#: Commands logged before they are handed over.
_LOG = 1 << 16
#: Completed transactions of a channel that `DramSystem` has room for, to begin with.
_TAGS = 64


class DramSystem:
    """Channels of one device. Feed it a stream (`run`), or drive it tick by tick (`send`, `tick`, `completions`).

    >>> from sparcade.dram import DramSystem
    >>> memory = DramSystem("hbm2", channels=2)
    >>> memory.send(0x40, tag=7)
    True
    >>> while not (done := memory.completions()):
    ...     memory.tick(memory.next_event())
    >>> done, memory.now
    ([7], 32)
    """

    def __init__(self, device: Device | str = "hbm2", *, channels: int = 1, mapping: str = "PcBgCo") -> None:
        self.device = load_device(device) if isinstance(device, str) else device
        check_channels(channels, where="channels")
        self.channels, self.mapping = channels, mapping
        self.address_map: AddressMap = address_map(parse_mapping(mapping, self.device, channels), self.device, channels)
        self.now = 0  #: ticks executed
        self._dram = new_dram(self.device, self.address_map, channels, tags=_TAGS + 1)

    def send(self, address: int, *, write: bool = False, tag: int = 0) -> bool:
        """Offer a transaction; False when its queue is full. Its tag (>= 0) comes back from `completions`."""
        if not 0 <= address < self.address_map.address_limit:
            raise _beyond(address, self.address_map.address_limit, "send")
        if tag < 0:
            raise StreamError(
                "the tag is negative",
                where="send",
                expected="0 or more: it comes back from completions()",
                got=str(tag),
                remedy="number the transactions from 0",
            )
        place = int(place_of(self.address_map.table, address))
        channel = place >> self.address_map.bank_shift
        if self._dram.channels[channel].outstanding + self._dram.done[channel, 0] + 1 >= self._dram.done.shape[1]:
            self._dram = self._dram._replace(done=np.concatenate([self._dram.done, 0 * self._dram.done], axis=1))
        status = send(self._dram, place, int(bool(write)), tag, 0, self.now)
        if status == PENDING_FULL:
            self._dram = _grow_pending(self._dram)
            status = send(self._dram, place, int(bool(write)), tag, 0, self.now)
        return bool(status == ACCEPTED)

    def tick(self, until: int | None = None) -> None:
        """Execute the next tick, or all up to and including tick `until`."""
        until = self.now + 1 if until is None else until
        while self.now < until < NEVER:
            self.now = min(until, max(self.now + 1, wake_of(self._dram)))
            for channel in range(self.channels):
                tick(self._dram, channel, self.now)

    def next_event(self) -> int:
        """The next tick in which something may happen (a command, a completion, a refresh); 2^62 when nothing will."""
        return int(wake_of(self._dram))

    def completions(self) -> list[int]:
        """Tags of the transactions completed since the last call: reads in order of their data, channel by channel."""
        done = self._dram.done
        tags = [int(tag) for channel in range(self.channels) for tag in done[channel, 1 : done[channel, 0] + 1]]
        done[:, 0] = 0
        return tags

    @property
    def outstanding(self) -> int:
        """Transactions sent and not completed."""
        return int(self._dram.system.outstanding)

    def result(self) -> DramResult:
        """Statistics so far."""
        return self._result(self._dram, self.now, None)

    def run(
        self,
        stream: Iterable[Ints],
        injection: Injection | None = None,
        log: Callable[[pd.DataFrame], None] | None = None,
    ) -> DramResult:
        """Feed a stream of requests to fresh channels and wait for the last; memory use does not grow with its length.

        Parameters
        ----------
        stream : chunks of int64, each request as address * 2 + write (`read_stream`, `requests`).
        log : called with the command log, some rows at a time (see `log_frame`).

        Raises
        ------
        ConfigError
            When the controller can never serve the rest (a closed row policy may lock a row away from a request).
        StreamError
            For an address beyond the device.
        """
        injection = injection or Injection()
        dram = new_dram(
            self.device, self.address_map, self.channels, log=0 if log is None else _LOG + 4 * self.channels
        )
        progress = record(
            INJECTION,
            max_outstanding=injection.max_outstanding or 0,
            max_outstanding_per_channel=injection.max_outstanding_per_channel or 0,
            place=NONE,
        )
        progress.period = injection.period
        for chunk, last in _with_last(stream):
            self._check_addresses(chunk)
            base, status = int(progress.sent), NEEDS_PENDING
            while status not in (DONE, NEEDS_REQUESTS):
                status = inject(dram, progress, chunk, int(progress.sent) - base, last)
                if status == NEEDS_PENDING:
                    dram = _grow_pending(dram)
                elif log is not None and (status == LOG_FULL or dram.system.logged):
                    log(log_frame(dram, self.device))
                    dram.system.logged = 0
                if status not in (DONE, NEEDS_REQUESTS, NEEDS_PENDING, LOG_FULL):
                    raise stuck_error(self.device, dram, int(progress.now))
        if log is not None and not any(dram.counts[0, command] for command in Command):
            log(log_frame(dram, self.device))  # the header of an empty log
        return self._result(dram, int(progress.now), injection)

    def _check_addresses(self, chunk: Ints) -> None:
        limit = self.address_map.address_limit
        if len(chunk) and not 0 <= chunk.min() <= chunk.max() < 2 * limit:
            worst = int(chunk.min() if chunk.min() < 0 else chunk.max()) // 2
            raise _beyond(worst, limit, "a request of the stream")

    def _result(self, dram: Dram, ticks: int, injection: Injection | None) -> DramResult:
        shape = (self.channels, self.device.organisation.channel_banks)
        return DramResult(
            device=self.device,
            channels=self.channels,
            mapping=self.mapping,
            injection=injection,
            ticks=ticks,
            commands={command: int(dram.counts[:, command].sum()) for command in Command},
            statistics={count: int(dram.counts[:, count].sum()) for count in Count},
            latency=dram.latency[: int(dram.system.latency_max) + 1].copy(),
            latency_sum=int(dram.system.latency_sum),
            latency_max=int(dram.system.latency_max),
            bank_reads=dram.banks.reads.reshape(shape).copy(),
            bank_writes=dram.banks.writes.reshape(shape).copy(),
            bank_activations=dram.banks.activations.reshape(shape).copy(),
        )


def requests(addresses: Any, *, write: Any = False) -> Ints:
    """A chunk of requests from byte addresses; `write` is one flag or one per address."""
    places = np.asarray(addresses)
    if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
        raise StreamError(
            "the addresses are not a list of integers",
            where="requests",
            expected="one dimension of integers",
            got=f"{places.ndim} dimensions of {places.dtype}",
            remedy="give byte addresses",
        )
    return places.astype(np.int64) * 2 + np.asarray(write, np.bool_)


def log_frame(dram: Dram, device: Device) -> pd.DataFrame:
    """The logged commands as a table: clock, command, Channel, levels, Row, Column, type, source (-1: all)."""
    log, organisation, rules = dram.log[: dram.system.logged], device.organisation, device.rules
    sizes = {
        "PseudoChannel": organisation.pseudo_channels,
        "Rank": organisation.ranks,
        "Sid": organisation.stack_ids,
        "BankGroup": organisation.bank_groups,
        "Bank": organisation.banks,
    }
    names = np.array([rules.command_name(command) for command in Command])
    whole = (log.command == Command.PREAB) | (log.command == Command.REFAB)
    columns: dict[str, Any] = {"clock": log.clock, "command": names[log.command]}
    columns["Channel"] = log.bank // organisation.channel_banks
    left = organisation.channel_banks
    for level in rules.levels:
        left //= sizes[level]
        place = log.bank // left % sizes[level]
        columns[level] = place if level in ("PseudoChannel", "Rank") else np.where(whole, -1, place)
    columns |= {"Row": log.row, "Column": log.column, "type": log.type, "source": np.where(log.type < 0, -1, 0)}
    return pd.DataFrame(columns)


def _with_last(stream: Iterable[Ints]) -> Iterator[tuple[Ints, bool]]:
    """The chunks, then an empty one marked as the last."""
    for chunk in stream:
        yield np.ascontiguousarray(chunk, np.int64), False
    yield np.empty(0, np.int64), True


def _beyond(address: int, limit: int, where: str) -> StreamError:
    return StreamError(
        "the address is beyond the device",
        where=where,
        expected=f"0 to {limit - 1:#x}",
        got=hex(address),
        remedy="use more channels or a larger device",
    )


def _grow_pending(dram: Dram) -> Dram:
    """Twice the room for reads on their way: many reads of one queued write were forwarded."""
    channels = len(dram.channels)
    old = dram.pending.reshape(channels, -1)
    size = old.shape[1]
    fresh = zeros(2 * channels * size, PENDING)
    for channel in range(channels):
        order = (dram.channels[channel].pending_head + np.arange(size)) % size
        fresh.reshape(channels, -1)[channel, :size] = old[channel, order]
        dram.channels[channel].pending_head = 0
    return dram._replace(pending=fresh)


def stuck_error(device: Device, dram: Dram, now: int) -> ConfigError:
    """The error for requests that will never be served."""
    waiting, where = int(dram.system.outstanding), f"{device.name!r}, tick {now:,}"
    if dram.system.overflow and device.controller.row_policy == "open":
        return ConfigError(
            "refreshes cannot keep up: requests hold rows open for too long",
            where=f"timing of {where}",
            expected="timings that let every refresh issue before the next is due",
            got=f"a full queue of refreshes, {waiting} requests waiting",
            remedy="raise timing.n_refi, lower the turnaround timings, or controller.refresh=none",
        )
    return ConfigError(
        "the controller is stuck: a request whose row was closed again can never be served",
        where=f"controller.row_policy of {where}",
        expected="a row policy that serves every request",
        got=f"{waiting} requests that wait for ever under {device.controller.row_policy!r}",
        remedy="use the open row policy, or a larger controller.cap",
    )

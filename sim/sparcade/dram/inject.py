"""Feeding a request stream to a DRAM: in order, as fast as it accepts or at a given pace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparcade._jit import kernel
from sparcade._records import Record
from sparcade.dram.controller import PENDING_FULL, REFUSED, send, tick, wake_of
from sparcade.dram.mapping import place_of
from sparcade.dram.state import NEVER, NONE, UNTAGGED, Dram, Ints
from sparcade.errors import ConfigError

#: Why `inject` returned.
DONE, NEEDS_REQUESTS, NEEDS_PENDING, LOG_FULL, STUCK = range(5)

#: Refresh intervals without a command or completion of a request after which waiting requests will wait for ever.
_PATIENCE = 16

#: Progress of an injection.
INJECTION = np.dtype(
    [
        ("period", "f8"),  # ticks between releases; 0: as soon as accepted
        ("max_outstanding", "i8"),  # 0: no limit
        ("max_outstanding_per_channel", "i8"),
        ("now", "i8"),  # ticks executed
        ("sent", "i8"),  # requests accepted
        ("place", "i8"),  # of the next request; NONE: not looked up
        ("released", "i8"),  # tick of the last release that had to be waited for
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """How a stream is fed: as soon as accepted, or at a pace; with limits on outstanding transactions."""

    period: float = 0.0  #: ticks between two requests; 0: as soon as they are accepted
    max_outstanding: int | None = None
    max_outstanding_per_channel: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.period <= 10**7:
            raise ConfigError(
                "the pace is not possible",
                where="--pace",
                expected="0 to 10^7 ticks a request",
                got=repr(self.period),
                remedy="leave it out to send as soon as possible",
            )
        for name in ("max_outstanding", "max_outstanding_per_channel"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 1 << 40:
                raise ConfigError(
                    f"{name} is out of range",
                    where=f"--{name.replace('_', '-')}",
                    got=str(value),
                    expected="1 or more transactions",
                    remedy="leave it out for no limit",
                )


@kernel
def inject(dram: Dram, progress: Record, requests: Ints, begin: int, last: bool) -> int:
    """Send requests[begin:] (address * 2 + write) until the chunk, or after the last one everything, is done.

    In each tick, before it: the next request of the stream is sent until one is refused, not released yet, or held
    back by a limit on outstanding requests. Ticks in which nothing can happen are skipped.
    """
    channels, head = dram.channels, begin
    room, patience = dram.log.shape[0] - 2 * dram.spec.channels, _PATIENCE * dram.spec.refresh_interval
    while True:
        release = NEVER
        while head < len(requests):
            if progress.period > 0.0:
                release = int(np.floor(progress.sent * progress.period))
                if progress.now < release:
                    break
                release = NEVER
            if progress.max_outstanding > 0 and dram.system.outstanding >= progress.max_outstanding:
                break
            if progress.place == NONE:
                progress.place = place_of(dram.places, requests[head] >> 1)
            limit = progress.max_outstanding_per_channel
            if limit > 0 and channels[progress.place >> dram.spec.bank_shift].outstanding >= limit:
                break
            status = send(dram, progress.place, requests[head] & 1, UNTAGGED, 0, progress.now)
            if status == PENDING_FULL:
                return NEEDS_PENDING
            if status == REFUSED:
                break
            progress.sent += 1
            progress.place = NONE
            head += 1
        if head == len(requests):
            if not last:
                return NEEDS_REQUESTS
            if dram.system.outstanding == 0:
                return DONE
        if dram.log.shape[0] > 0 and dram.system.logged > room:
            return LOG_FULL
        wake = wake_of(dram)
        if release < wake:
            progress.now = release
            progress.released = release
            continue
        quiet = wake - max(dram.system.progress, progress.released)
        if wake == NEVER or dram.system.overflow or (dram.system.outstanding > 0 and quiet > patience):
            return STUCK
        progress.now = wake
        for channel in range(dram.spec.channels):
            tick(dram, channel, wake)

"""The progress line of a sweep: done, failed, rate, time left, best so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a sweep is."""

    total: int  #: points of the sweep (of this part, with --shard; at most, with Optuna)
    done: int  #: finished, earlier ones included
    failed: int
    skipped: int  #: dominated, not computed
    fresh: int  #: finished since then, by this call
    seconds: float  #: since the kernels were compiled
    best: str  #: the first objective's best value so far, "" before there is one

    @property
    def ended(self) -> int:
        """Points that need nothing more."""
        return self.done + self.failed + self.skipped

    def __str__(self) -> str:
        rate = self.fresh / self.seconds if self.seconds > 0 else 0.0
        left = self.total - self.ended
        parts = [f"{self.done:,} of {self.total:,} done"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.skipped:,} skipped"] if self.skipped else []
        parts += [f"{rate:.1f}/s"] if self.fresh else []
        parts += [f"{_duration(left / rate)} left"] if rate and left else []
        return ", ".join([*parts, *([f"best {self.best}"] if self.best else [])])


def progress_line(stream: TextIO = sys.stderr) -> Callable[[Progress], None]:
    """A function that shows progress: one line drawn over on a terminal, else a plain line every ten seconds."""
    terminal = stream.isatty()
    every = 0.1 if terminal else 10.0
    last, width = 0.0, 0

    def show(progress: Progress) -> None:
        nonlocal last, width
        now = time.monotonic()
        ended = progress.ended == progress.total
        if now - last < every and not ended:
            return
        last, text = now, str(progress)
        stream.write(f"\r{text:<{width}}" + ("\n" if ended else "") if terminal else f"{text}\n")
        stream.flush()
        width = len(text)

    return show


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""A progress bar that appears only when a command takes longer than two seconds."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_DELAY_SECONDS = 2.0


class Stages:
    """Context manager; call `step(stage, fraction)` to report. Draws on standard error, on terminals only."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._timer = threading.Timer(_DELAY_SECONDS, self._progress.start)
        self._timer.daemon = True

    def __enter__(self) -> Stages:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._progress.live.is_started:
            self._progress.stop()

    def step(self, stage: str, fraction: float) -> None:
        """Report the fraction done of a stage."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=1.0)
        self._progress.update(self._tasks[stage], completed=fraction)

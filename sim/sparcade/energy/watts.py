"""Power over a run: the average, and the peak over windows of cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sparcade.accelerator.counters import COUNTERS, Count
from sparcade.accelerator.result import RunResult
from sparcade.arch import Arch
from sparcade.energy.estimate import Estimate, total
from sparcade.energy.model import elapsed_seconds, energy_estimates
from sparcade.energy.profile import EnergyProfile
from sparcade.errors import ConfigError

#: Cycles of a window unless another number is asked for.
WINDOW_CYCLES = 1000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Power of a run [W]."""

    average: Estimate
    peak: Estimate  #: of the window with the largest of `watts`
    peak_at_cycle: int  #: where that window begins
    window_cycles: int
    edges: npt.NDArray[np.int64]  #: [windows + 1] cycle at which each begins, and the end
    watts: Floats  #: [windows] average of each

    def to_dict(self) -> dict[str, Any]:
        """What result.json keeps."""
        return {
            "average": self.average.value,
            "average_low": self.average.low,
            "average_high": self.average.high,
            "peak": self.peak.value,
            "peak_low": self.peak.low,
            "peak_high": self.peak.high,
            "peak_at_cycle": self.peak_at_cycle,
            "window_cycles": self.window_cycles,
        }


def power(run: RunResult, profile: EnergyProfile, window_cycles: int = WINDOW_CYCLES) -> Power:
    """Average power, and the peak over windows that divide the run; the last one takes the remainder.

    The energy of a row is spread evenly over the cycles between the end of the row before and its own end; work done
    ahead of that, such as fetching, counts there too. A window shorter than a few rows shows that smoothing.

    Raises
    ------
    ConfigError
        For a window of less than one cycle.
    """
    check_window(window_cycles)
    columns = {counter.name: run.counts[:, column] for column, counter in COUNTERS.items()}
    rows = total(energy_estimates(cast(dict[str, int], columns), arch=run.arch, profile=profile).values())
    ends = run.counts[:, Count.CYCLES].cumsum()
    windows = max(1, run.cycles // window_cycles)
    edges = np.append(np.arange(windows, dtype=np.int64) * window_cycles, run.cycles)
    value, low, high = (_watts(ends, joules, edges, run.arch) for joules in (rows.value, rows.low, rows.high))
    at = int(value.argmax())
    energy = Estimate(value=float(np.sum(rows.value)), low=float(np.sum(rows.low)), high=float(np.sum(rows.high)))
    return Power(
        average=energy / elapsed_seconds(run.total(), run.arch),
        peak=Estimate(value=float(value[at]), low=float(low[at]), high=float(high[at])),
        peak_at_cycle=int(edges[at]),
        window_cycles=window_cycles,
        edges=edges,
        watts=value,
    )


def check_window(window_cycles: int) -> None:
    """Raise a `ConfigError` for a window of less than one cycle."""
    if window_cycles < 1:
        raise ConfigError(
            "a window of power has at least one cycle",
            where="power window",
            expected="1 or more cycles",
            got=repr(window_cycles),
            remedy=f"{WINDOW_CYCLES} is the default",
        )


def _watts(ends: npt.NDArray[np.int64], joules: Any, edges: npt.NDArray[np.int64], arch: Arch) -> Floats:
    """[windows] power between edges, the energy of each row spread over the cycles up to its end."""
    last = np.append(np.diff(ends) > 0, True) & (ends > 0)  # rows that end together are one
    spent = np.interp(edges, np.append(0, ends[last]), np.append(0.0, np.cumsum(joules)[last]))
    watts: Floats = np.diff(spent) / (np.diff(edges) / (arch.clock_ghz * 1e9))
    return watts

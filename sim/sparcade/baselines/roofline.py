"""GPUs and CPUs by roofline: the best that a fused attention kernel could do on them, as a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparcade.baselines.record import Part, Record
from sparcade.baselines.work import DenseWork
from sparcade.config import read_toml
from sparcade.errors import ConfigError, did_you_mean, unknown_name

#: Share of either peak that a fused kernel reaches: what it is held to, low and high (assumed).
EFFICIENCY = (0.60, 0.75)
TAGS = {
    "P": "read in the primary source",
    "V": "read in a second source",
    "K": "from memory, not read again",
    "D": "derived",
    "A": "assumed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A GPU or CPU."""

    name: str
    label: str
    peak_tflops: Mapping[int, float]  #: by element width [bit]
    bandwidth_gbps: float
    tdp_watts: float
    element_bits: int  #: of Q, K, V and outputs, by default
    launch_us: tuple[float, float]  #: per kernel, one per layer of a step; assumed
    source: str
    tag: str  #: of the peaks, one of `TAGS`


def platforms() -> dict[str, Platform]:
    """The platforms by name."""
    table = read_toml(Path(__file__).parent / "data" / "platforms.toml")
    return {name: _platform(name, values) for name, values in table.items()}


def find_platform(name: str) -> Platform:
    """A platform by name.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    known = platforms()
    if name not in known:
        raise unknown_name(f"there is no platform {name!r}", name, known, where=f"--platform {name}")
    return known[name]


def _platform(name: str, values: dict[str, Any]) -> Platform:
    peaks = {int(bits): float(peak) for bits, peak in values.pop("peak_tflops").items()}
    low, high = values.pop("launch_us")
    return Platform(name=name, peak_tflops=peaks, launch_us=(float(low), float(high)), **values)


def evaluate(
    work: DenseWork,
    platform: Platform,
    *,
    element_bits: int | None = None,
    efficiency: tuple[float, float] = EFFICIENCY,
) -> Record:
    """Per layer of each step max(FLOP / (efficiency peak), bytes / (efficiency bandwidth)) + one launch.

    FLOP are 2 per MAC of Q x K and prob x V; softmax is not counted. K, V, Q and outputs cross the memory bus once.

    Parameters
    ----------
    efficiency : the worst and the best share of both peaks.

    Raises
    ------
    ConfigError
        When the platform's peak is not known at that width, or the efficiency is no share.
    """
    bits = element_bits or platform.element_bits
    if bits not in platform.peak_tflops:
        raise ConfigError(
            f"the peak of {platform.label} is not known for {bits}-bit elements",
            where="--element-bits",
            expected=f"one of: {', '.join(map(str, sorted(platform.peak_tflops)))}",
            got=str(bits),
            remedy=did_you_mean(str(bits), map(str, platform.peak_tflops)),
        )
    worst, best = efficiency
    if not 0 < worst <= best <= 1:
        raise ConfigError(
            "the efficiency is no range of shares",
            where="--efficiency",
            expected="LOW,HIGH with 0 < LOW <= HIGH <= 1",
            got=f"{worst:g},{best:g}",
            remedy="0.6,0.75",
        )
    dram_bytes = work.dram_bytes(bits)
    least = np.maximum(
        2 * work.macs / (platform.peak_tflops[bits] * 1e12), dram_bytes / (platform.bandwidth_gbps * 1e9)
    )
    parts = {}
    for phase, steps in work.phases.items():
        launches = work.layers * int(np.count_nonzero(steps))
        seconds = work.layers * float(np.add.accumulate(least[steps])[-1])
        macs = work.layers * int(work.macs[steps].sum())
        parts[phase] = Part(
            seconds=seconds / best + launches * platform.launch_us[0] * 1e-6,
            seconds_high=seconds / worst + launches * platform.launch_us[1] * 1e-6,
            macs=macs,
            dense_macs=macs,
            dram_bytes=work.layers * int(dram_bytes[steps].sum()),
            softmax_elements=work.layers * int(work.softmax_elements[steps].sum()),
        )
    return Record(
        name=platform.name,
        method="roofline",
        parts=parts,
        counts="dense",
        details={
            "label": platform.label,
            "element_bits": bits,
            "peak_tflops": platform.peak_tflops[bits],
            "bandwidth_gbps": platform.bandwidth_gbps,
            "tdp_watts": platform.tdp_watts,
            "efficiency": [worst, best],
            "launch_us": list(platform.launch_us),
            "source": f"{platform.source} [{platform.tag}: {TAGS[platform.tag]}]; launch: assumed",
        },
    )

"""SpAtten's own GPU and CPU measurements, as published: labelled, never mixed with what is modelled here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparcade.baselines.record import Part, Record
from sparcade.baselines.roofline import TAGS, evaluate, platforms
from sparcade.baselines.work import DenseWork
from sparcade.config import read_toml
from sparcade.errors import ConfigError, did_you_mean
from sparcade.paper.published import of_figure

NOTE = "paper measurement, 2020 PyTorch FP32, not reproducible here"
#: The paper's platforms by the names in its figures.
_PLATFORMS = {"TITAN_Xp": "titan-xp", "Xeon": "xeon-e5-2640v4", "Nano": "jetson-nano", "RPi": "raspberry-pi"}
_FIT = "fit to the paper's Table IV and Fig. 14: framework overhead of 2020 PyTorch, no property of the hardware"


def _published() -> dict[str, Any]:
    return read_toml(Path(__file__).parent / "data" / "spatten_measured.toml")


def published_speedups() -> dict[str, dict[str, float]]:
    """SpAtten's speedup over each platform, by benchmark: Fig. 14 of the paper."""
    speedups: dict[str, dict[str, float]] = {}
    for each in of_figure("Fig. 14"):
        benchmark, bar = each.name.split("/")
        platform = _PLATFORMS.get(bar.removeprefix("speedup_over_"))
        if platform and benchmark != "GEOMEAN":
            speedups.setdefault(benchmark, {})[platform] = each.amount
    return speedups


def paper_table(work: DenseWork) -> list[Record]:
    """The paper's platforms on one of its 30 benchmarks: time where it can be derived, else only the printed ratio.

    GPT-2-Medium: Table IV's absolute time of TITAN Xp times the ratios of Fig. 14; GPT-2-Small: an absolute time that
    is derived, not printed; BERT: no absolute time is published.

    Raises
    ------
    ConfigError
        When the workload is none of the 30 benchmarks.
    """
    published, speedups = _published(), published_speedups()
    if work.name not in speedups:
        raise ConfigError(
            "the paper measured its own 30 benchmarks only",
            where=f"--paper with {work.name}",
            expected="a benchmark of the paper, such as gpt2-medium-wikitext2",
            got=repr(work.name),
            remedy=did_you_mean(work.name, speedups, "leave --paper out"),
        )
    anchor = published.get(work.name.rsplit("-", 1)[0])
    known, records = platforms(), []
    for name, ratio in speedups[work.name].items():
        details: dict[str, Any] = {
            "label": known[name].label,
            "spatten_speedup_published": ratio,
            "source": f"Fig. 14 [P: {TAGS['P']}]",
        }
        parts = {}
        if anchor is not None:
            seconds = anchor["attention_ms"] * 1e-3 * ratio / speedups[work.name]["titan-xp"]
            parts = _timed(work, dict.fromkeys(work.phases, seconds), element_bits=32)
            details["source"] += f"; absolute: {anchor['source']} [{anchor['tag']}: {TAGS[anchor['tag']]}]"
        records.append(
            Record(
                name=f"{name} (paper)",
                method="paper measurement",
                parts=parts,
                counts="dense",
                details=details,
                notes=(NOTE,) if parts else (NOTE, "no absolute time is published or can be derived"),
            )
        )
    return records


def framework_overhead(work: DenseWork) -> list[Record]:
    """Platforms of the paper with its framework's overhead: max(0.48 ms, roofline) per layer of a step on TITAN Xp."""
    published = _published()["framework"]
    known = platforms()
    best = evaluate(work, known["titan-xp"], efficiency=(1.0, 1.0)).parts
    launches = {phase: work.layers * int(np.count_nonzero(steps)) for phase, steps in work.phases.items()}
    records = []
    for name, ratio in published["ratio"].items():
        seconds = {
            phase: ratio * max(published["layer_step_ms"] * 1e-3 * count, best[phase].seconds)
            for phase, count in launches.items()
        }
        records.append(
            Record(
                name=f"{name} (framework)",
                method="fit to the paper",
                parts=_timed(work, seconds, element_bits=32),
                counts="dense",
                details={
                    "label": known[name].label,
                    "layer_step_ms": published["layer_step_ms"],
                    "ratio_over_titan_xp": ratio,
                    "source": f"{published['source']} [{published['tag']}: {TAGS[published['tag']]}]",
                },
                notes=(_FIT,),
            )
        )
    return records


def _timed(work: DenseWork, seconds: dict[str, float], *, element_bits: int) -> dict[str, Part]:
    """Dense parts that take a given time."""
    dram_bytes = work.dram_bytes(element_bits)
    return {
        phase: Part(
            seconds=seconds[phase],
            macs=work.layers * int(work.macs[steps].sum()),
            dense_macs=work.layers * int(work.macs[steps].sum()),
            dram_bytes=work.layers * int(dram_bytes[steps].sum()),
            softmax_elements=work.layers * int(work.softmax_elements[steps].sum()),
        )
        for phase, steps in work.phases.items()
    }

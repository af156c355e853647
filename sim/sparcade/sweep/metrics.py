"""What a point measures: names, units, and `measure`, which computes them from a run."""

from __future__ import annotations

from typing import Any

from sparcade.accelerator import RunResult, simulate
from sparcade.accelerator.bounds import BOUNDS, bound_cycles, least_counters
from sparcade.accelerator.plan import make_plan
from sparcade.accelerator.result import KINDS, bits_needed, bytes_moved
from sparcade.accelerator.simulate import simulate_plan
from sparcade.arch import Arch
from sparcade.energy import PARTS, EnergyProfile, area_mm2, elapsed_seconds, energy_estimates, power, total
from sparcade.evaluation import KV, Evaluation, compare_parts
from sparcade.workload import Workload

#: Columns of the comparison with another policy on the same arch; empty without one.
COMPARED = ("speedup", "energy_reduction", "kv_bytes_moved_reduction", "baseline_cycles", "baseline_achieved_gbps")
#: Distances from the unpruned float model, open loop: later layers saw the model's unpruned inputs.
ACCURACY = ("output_cosine", "output_cosine_min", "output_max_abs_error")
#: Metrics by name, with unit.
METRICS: dict[str, str] = {
    "cycles": "cycles",
    "prefill_cycles": "cycles",
    "decode_cycles": "cycles",
    "seconds": "s",
    "energy_total_joules": "J",
    "energy_total_low_joules": "J, all constants low",
    "energy_total_high_joules": "J, all constants high",
    **{f"energy_{part}_joules": "J" for part in PARTS},
    "area_mm2": "mm2, chip without DRAM",
    "area_low_mm2": "mm2, all constants low",
    "area_high_mm2": "mm2, all constants high",
    "power_average_watts": "W, with DRAM",
    "power_peak_watts": "W, with DRAM, over 1,000 cycles",
    "bytes_moved": "bytes of whole DRAM transactions, all kinds",
    **{f"bytes_moved_{kind}": "bytes" for kind in KINDS},
    "kv_bytes_moved": "bytes, K and V",
    "kv_bits_needed": "bits, K and V without padding",
    "kv_reduction_vs_dense_12_bit": "x, bits needed",
    "kv_reduction_vs_dense_fp32": "x, bits needed",
    "achieved_gbps": "GB/s",
    "peak_gbps": "GB/s",
    "executed_tops": "TOPS, MACs x 2",
    **{f"bound_{name}_cycles": "cycles, least that the work needs of it" for name in BOUNDS},
    "bound_share": "largest bound / cycles",
    "output_cosine": "mean over all rows and heads, open loop",
    "output_cosine_min": "least row, open loop",
    "output_max_abs_error": "largest element, open loop",
    "speedup": "x, over the compared policy on the same arch",
    "energy_reduction": "x, likewise",
    "kv_bytes_moved_reduction": "x, likewise",
    "baseline_cycles": "cycles of the compared policy",
    "baseline_achieved_gbps": "GB/s of the compared policy",
}

#: Known before the run, exactly: of the functional work, or of the arch.
EXACT = (*ACCURACY, "kv_bits_needed", "peak_gbps", "area_mm2", "area_low_mm2", "area_high_mm2")
#: With a closed-form lower bound before the run.
BOUNDED = tuple(
    name
    for name in METRICS
    if name in ("cycles", "seconds", "kv_bytes_moved") or name.startswith(("energy_", "bytes_moved"))
    if name not in COMPARED
)


def least(workload: Workload, accuracy: dict[str, float], arch: Arch, profile: EnergyProfile) -> dict[str, Any]:
    """Lower bounds of the metrics in `BOUNDED`, and the value of those in `EXACT`, in closed form.

    Raises
    ------
    SparcadeError
        When the workload does not fit the arch.
    """
    plan = make_plan(workload, arch)
    counters = least_counters(plan, arch, workload.shape.head_dim)
    energy = energy_estimates(counters, arch=arch, profile=profile)
    whole = total(energy.values())
    return {
        "cycles": counters["cycles"],
        "seconds": elapsed_seconds(counters, arch),
        "energy_total_joules": whole.value,
        "energy_total_low_joules": whole.low,
        "energy_total_high_joules": whole.high,
        **{f"energy_{name}_joules": joules.value for name, joules in energy.items()},
        **_area(arch, profile),
        "bytes_moved": bytes_moved(counters, arch),
        **{f"bytes_moved_{kind}": bytes_moved(counters, arch, (kind,)) for kind in KINDS},
        "kv_bytes_moved": bytes_moved(counters, arch, KV),
        "kv_bits_needed": bits_needed(counters, KV),
        "peak_gbps": arch.peak_gbps,
        **accuracy,
    }


def measure(
    workload: Workload,
    accuracy: dict[str, float],
    arch: Arch,
    baseline: dict[str, Any] | None,
    profile: EnergyProfile,
) -> dict[str, Any]:
    """Metrics of one point: a run, its energy and its bounds; what does not apply is None.

    Parameters
    ----------
    accuracy : values of `ACCURACY`, from the replay; empty for a workload without its trace.
    baseline : `figures` of the compared policy on the same arch.
    profile : constants of energy and area.

    Raises
    ------
    SparcadeError
        When the workload does not fit the arch.
    """
    plan = make_plan(workload, arch)
    run = simulate_plan(plan, workload, arch)
    part, watts = _figures(run, profile), power(run, profile)
    bounds = bound_cycles(run, plan)
    return {
        "cycles": run.cycles,
        "prefill_cycles": _phase_cycles(run, "prefill"),
        "decode_cycles": _phase_cycles(run, "decode"),
        "seconds": part["seconds"],
        **{f"energy_total_{end}joules": part[f"energy_total_{end}joules"] for end in ("", "low_", "high_")},
        **{f"energy_{name}_joules": joules for name, joules in part["energy_joules"].items()},
        **_area(arch, profile),
        "power_average_watts": watts.average.value,
        "power_peak_watts": watts.peak.value,
        "bytes_moved": part["bytes_moved"],
        **{f"bytes_moved_{kind}": moved for kind, moved in part["bytes_by_kind"].items()},
        **{
            name: part[name]
            for name in (
                "kv_bytes_moved",
                "kv_bits_needed",
                "kv_reduction_vs_dense_12_bit",
                "kv_reduction_vs_dense_fp32",
                "achieved_gbps",
                "peak_gbps",
                "executed_tops",
            )
        },
        **{f"bound_{name}_cycles": cycles for name, cycles in bounds.items()},
        "bound_share": max(bounds.values()) / run.cycles,
        **{name: accuracy.get(name) for name in ACCURACY},
        **(dict.fromkeys(COMPARED) | (compare_parts(part, baseline) if baseline else {})),
    }


def figures(workload: Workload, arch: Arch, profile: EnergyProfile) -> dict[str, Any]:
    """Counters and derived figures of a run, as `Evaluation.part` gives them."""
    return _figures(simulate(workload, arch), profile)


def _figures(run: RunResult, profile: EnergyProfile) -> dict[str, Any]:
    return Evaluation(run=run, profile=profile).part(run, None)


def _area(arch: Arch, profile: EnergyProfile) -> dict[str, float]:
    whole = total(area_mm2(arch, profile).values())
    return {"area_mm2": whole.value, "area_low_mm2": whole.low, "area_high_mm2": whole.high}


def _phase_cycles(run: RunResult, phase: str) -> int:
    return run.total(run.phase(phase))["cycles"]

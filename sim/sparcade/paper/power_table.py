"""Table II and Fig. 13: power and area, by a profile that nothing was fitted in, and by one that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from sparcade.arch import load_arch
from sparcade.energy import EnergyProfile, Estimate, area_mm2, block_power, load_profile, total
from sparcade.paper.benchmarks import ALL, found
from sparcade.paper.comparison import Row, Table, calibrated, measured
from sparcade.paper.figures import draw_bars
from sparcade.paper.published import Number, number
from sparcade.paper.runs import Measured, Runs

POWER = 0.20
FITTED = "spatten40nm-calibrated"
#: Our blocks by the paper's names.
BLOCKS = {
    "QKV_fetcher": "qkv_fetcher",
    "QxK": "qk",
    "softmax": "softmax",
    "topk": "topk",
    "probxV": "pv",
    "others": "others",
}
_WHY = "published circuits at 40 nm, nothing fitted; over what the paper's power is averaged is not said"
_WHY_AREA = (
    "published circuits and CACTI memories at 40 nm, nothing fitted; buffers as 12 banks of 512 bits: one row "
    "of 6,144 bits, as drawn, would be larger (docs/energy.md)"
)
_FITTED = "constants of this profile were fitted to this very number: agreement is no result"
Estimates = Mapping[str, Estimate]


def power_table(runs: Runs) -> Table:
    """Power averaged over the benchmarks, and area, block by block."""
    group = found(runs, ALL)
    rows: list[Row] = []
    for profile in (load_profile(), load_profile(FITTED)):
        powers = None if group is None else _average_power(group, profile)
        rows += _rows(powers, area_mm2(load_arch("spatten"), profile), profile)
    shown = [row for row in rows if row.counted and "pct" not in row.name and row.unit == "W"]
    return Table(
        key="table2",
        title="Table II and Fig. 13: power and area",
        rows=tuple(rows),
        notes=(
            "Mean power of the 30 benchmarks, each over its own time. Counted: the profile `first-principles`. Rows "
            f"of `{FITTED}` stand below and are not counted: that profile was fitted to Table II and Fig. 13. Ranges: "
            "all constants low, all high. A share that agrees where its powers do not says little.",
        ),
        draw=partial(draw_bars, rows=tuple(shown), label="power [W], first-principles"),
    )


def _average_power(group: list[Measured], profile: EnergyProfile) -> dict[str, Estimate]:
    """Mean power by block, by kind and in all [W]."""
    arch = load_arch("spatten")
    each = []
    for run in group:
        power = block_power(run.counters, arch=arch, profile=profile)
        each.append({**power.blocks, **power.kinds, "overall": total(power.kinds.values())})
    return {name: total(one[name] for one in each) / len(each) for name in each[0]}


def _rows(powers: Estimates | None, areas: Estimates, profile: EnergyProfile) -> list[Row]:
    chip = total(areas.values())
    area = {f"area_{name}": areas[block] for name, block in BLOCKS.items()} | {"area_total": chip}
    shares = {f"area_pct_{name}": 100 * areas[block].value / chip.value for name, block in BLOCKS.items()}
    rows = [_estimate(number("Fig. 13", name), value, profile) for name, value in area.items()]
    rows += [_share(number("Fig. 13", name), value, profile) for name, value in shares.items()]
    rows += [
        _estimate(number("text", "area"), chip, profile),
        _share(number("text", "topk_area_share"), shares["area_pct_topk"], profile),
    ]

    def power(name: str) -> Estimate | None:
        return None if powers is None else powers[name]

    def share(name: str, of: tuple[str, ...]) -> float | None:
        return None if powers is None else 100 * powers[name].value / total(powers[each] for each in of).value

    for name, block in BLOCKS.items():
        rows.append(_estimate(number("Fig. 13", f"power_{name}"), power(block), profile))
        rows.append(_share(number("Fig. 13", f"power_pct_{name}"), share(block, tuple(BLOCKS.values())), profile))
    rows.append(_estimate(number("Fig. 13", "power_QKV_fetcher_raw"), power("qkv_fetcher"), profile))
    for name, kind in (("logic", "logic"), ("SRAM", "sram"), ("DRAM", "dram"), ("overall", "overall")):
        rows.append(_estimate(number("Table II", f"power_{name}"), power(kind), profile))
    rows += [
        _estimate(number("text", "power"), power("overall"), profile),
        _share(number("text", "topk_power_share_overall"), share("topk", ("overall",)), profile),
        _share(number("text", "dram_power_share"), share("dram", ("overall",)), profile),
    ]
    return rows


def _estimate(published: Number, ours: Estimate | None, profile: EnergyProfile) -> Row:
    if ours is None:
        return _row(published, None, None, None, profile)
    return _row(published, ours.value, ours.low, ours.high, profile)


def _share(published: Number, ours: float | None, profile: EnergyProfile) -> Row:
    return _row(published, ours, None, None, profile)


def _row(published: Number, ours: float | None, low: float | None, high: float | None, profile: EnergyProfile) -> Row:
    if not profile.is_calibrated:
        reason = _WHY_AREA if "area" in published.name else _WHY
        return measured(published, ours, tolerance=POWER, reason=reason, low=low, high=high)
    name = f"{published.name}, {profile.name}"
    return replace(calibrated(published, ours, _FITTED, name=name, low=low, high=high), counted=False)

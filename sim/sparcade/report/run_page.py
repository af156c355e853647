"""The page of a run, made of what its folder holds."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd
from matplotlib.ticker import EngFormatter

from sparcade.accelerator.counters import COUNTERS
from sparcade.accelerator.result import KINDS, MODULES
from sparcade.energy import PARTS
from sparcade.report.accuracy_report import AccuracyReport, curve_part
from sparcade.report.detail import Detail
from sparcade.report.html import (
    html_command,
    html_figure,
    html_list,
    html_page,
    html_parts,
    html_table,
    html_tiles,
    shown,
)
from sparcade.report.layer_figure import draw_layers
from sparcade.report.pipeline_figure import pipeline_figure
from sparcade.report.run_figures import (
    BOUND_LABELS,
    KIND_LABELS,
    MODULE_LABELS,
    Result,
    draw_bounds,
    draw_energy,
    draw_roofline,
    draw_stalls,
    draw_traffic,
    module_states,
    ops,
    peak_tops,
    phase_bounds,
)
from sparcade.report.sentence import sentences
from sparcade.report.survival_figure import MOST_COLUMNS, draw_survival, draw_tokens

_DESCRIPTIONS = {counter.name: counter.description for counter in COUNTERS.values()}
_LAYER_COLUMNS = {
    "phase": "phase", "layer": "layer", "cycles": "cycles", "bound": "bound", "bound_share": "share of cycles",
    "tx_k_msb": "K [transactions]", "tx_k_lsb": "K LSB [transactions]", "tx_v": "V [transactions]",
    "dram_row_hits": "row hits", "dram_row_conflicts": "row conflicts", "refetches": "LSB refetches",
    "macs_qk": "Q x K [MACs]", "macs_pv": "prob x V [MACs]",
}  # fmt: skip
_HEAD_COLUMNS = {
    "layer": "layer", "head": "head", "cycles": "cycles", "tx_k_msb": "K [transactions]",
    "tx_k_lsb": "K LSB [transactions]", "tx_v": "V [transactions]", "refetches": "LSB refetches",
    "macs_qk": "Q x K [MACs]", "macs_pv": "prob x V [MACs]",
}  # fmt: skip
_ERROR_COLUMNS = ("layer", "head", "queries", "coverage", "cosine_mean", "cosine_min", "max_abs_error")
_SURVIVAL_COLUMNS = {
    "phase": "phase", "layer": "layer", "tokens": "tokens read / context", "heads": "heads / all",
    "values": "values weighed / visible keys",
}  # fmt: skip


def title_of(result: Result) -> str:
    """Workload, policy and arch."""
    work = result["workload"]
    return f"{work['name']}: {work['policy']} on {result['arch']['name']}"


def run_page(result: Result, detail: Detail | None, accuracy: AccuracyReport | None) -> str:
    """The page.

    Parameters
    ----------
    result : result.json.
    detail : of detail.json.gz, None where there is none: the page leaves out what it holds.
    accuracy : closed loop, measured by `sparcade accuracy`, None where there is none.
    """
    parts = {
        "Headline": html_tiles(tiles(result)) + _phases(result),
        "What bounds the run": _bounds(result),
        "DRAM traffic": _traffic(result),
        "Energy and area": _energy(result),
        "Stalls": _stalls(result),
        "Pipeline": _pipeline(detail),
        "Layers": _layers(result, detail),
        "Survivors": _survivors(result, detail),
        "Accuracy": _accuracy(result, accuracy),
        "Invariants": f"<p>Checked in this run; a violation stops it.</p>{html_list(result['invariants_held'])}",
        "Assumptions and sources": _assumptions(result),
        "Provenance": _provenance(result),
        "Make it again": _again(detail),
    }
    return html_page(title_of(result), html_parts(parts))


def quantity(value: float, unit: str) -> str:
    """A number with an SI prefix."""
    return EngFormatter(unit, places=2, sep=" ")(value)


def tiles(result: Result) -> Iterator[tuple[str, str, str]]:
    """Headline numbers: what, number with unit, note."""
    total, comparison = result["total"], result["comparison"]
    cycles = total["counters"]["cycles"]
    yield "elapsed", quantity(total["seconds"], "s"), f"{cycles:,} cycles at {result['arch']['clock_ghz']:g} GHz"
    if comparison:
        yield "speedup", f"{comparison['total']['speedup']:.2f} x", f"over {comparison['policy']}, same hardware"
    yield (
        "K+V needed, reduction",
        f"{total['kv_reduction_vs_dense_12_bit']:.2f} x",
        f"over dense 12 bit; {total['kv_reduction_vs_dense_fp32']:.2f} x over fp32",
    )
    yield "DRAM moved", quantity(total["bytes_moved"], "B"), f"K+V {quantity(total['kv_bytes_moved'], 'B')}"
    yield (
        "DRAM bandwidth",
        quantity(total["achieved_gbps"] * 1e9, "B/s"),
        f"{total['achieved_gbps'] / total['peak_gbps']:.1%} of {total['peak_gbps']:,.0f} GB/s",
    )
    yield "energy", quantity(total["energy_total_joules"], "J"), _range(total)
    yield (
        "executed",
        f"{total['executed_tops']:.3g} TOPS",
        f"{total['executed_tops'] / peak_tops(result['arch']):.1%} of both arrays",
    )
    if "power_watts" in result:
        power = result["power_watts"]
        note = f"{power['average_low']:.3g} to {power['average_high']:.3g} W; peak {power['peak']:.3g} W"
        yield "average power", f"{power['average']:.3g} W", note
    if "area_mm2" in result:
        area = result["area_mm2"]["total"]
        yield "area", f"{area['value']:.3g} mm²", f"{area['low']:.3g} to {area['high']:.3g} mm²"
    if result["output_errors"]:
        yield "output cosine", f"{_mean_cosine(result):.4f}", "mean over rows, against the float model, open loop"


def phase_table(result: Result) -> pd.DataFrame:
    """Figures by phase: a row each, with its unit."""
    parts = {**result["phases"], "total": result["total"]}
    rows = {
        ("cycles", "cycles"): [part["counters"]["cycles"] for part in parts.values()],
        ("time", "µs"): [part["seconds"] * 1e6 for part in parts.values()],
        ("DRAM moved", "kB"): [part["bytes_moved"] / 1e3 for part in parts.values()],
        ("K+V moved", "kB"): [part["kv_bytes_moved"] / 1e3 for part in parts.values()],
        ("K+V needed", "kB"): [part["kv_bits_needed"] / 8e3 for part in parts.values()],
        ("dense 12 bit over K+V needed", "x"): [part["kv_reduction_vs_dense_12_bit"] for part in parts.values()],
        ("dense fp32 over K+V needed", "x"): [part["kv_reduction_vs_dense_fp32"] for part in parts.values()],
        ("DRAM bandwidth", "GB/s"): [part["achieved_gbps"] for part in parts.values()],
        ("energy", "µJ"): [part["energy_total_joules"] * 1e6 for part in parts.values()],
        ("executed MACs x 2", "TOPS"): [part["executed_tops"] for part in parts.values()],
        ("operations per DRAM byte", "op/B"): [ops(part) / part["bytes_moved"] for part in parts.values()],
        ("LSB refetches", "queries"): [part["counters"]["refetches"] for part in parts.values()],
        ("cascade top-k, not hidden", "cycles"): [part["counters"]["fetch_cascade"] for part in parts.values()],
    }
    named = {name: dict(zip(parts, values, strict=True)) for name, values in rows.items()}
    return pd.DataFrame(
        [{"figure": what, "unit": unit, **values} for (what, unit), values in named.items()], dtype=object
    )


def comparison_table(result: Result) -> pd.DataFrame:
    """Ratios over the compared policy by phase; empty without one."""
    comparison = result["comparison"]
    phases = [*(name for name in result["phases"] if name in comparison), *(["total"] if comparison else [])]
    rows = [
        {
            "phase": phase,
            "speedup [x]": part["speedup"],
            "K+V bytes moved, less [x]": part["kv_bytes_moved_reduction"],
            "energy, less [x]": part["energy_reduction"],
            "this [GB/s]": part["achieved_gbps"],
            "compared [GB/s]": part["baseline_achieved_gbps"],
            "compared [cycles]": part["baseline_cycles"],
        }
        for phase, part in ((phase, comparison[phase]) for phase in phases)
    ]
    return pd.DataFrame(rows)


def _range(part: dict[str, Any]) -> str:
    if "energy_total_low_joules" not in part:
        return f"DRAM {part['energy_joules']['dram'] / part['energy_total_joules']:.0%} of it"
    low, high = (quantity(part[f"energy_total_{side}_joules"], "J") for side in ("low", "high"))
    return f"{low} to {high}"


def _mean_cosine(result: Result) -> float:
    errors = result["output_errors"]
    return float(
        sum(each["cosine_mean"] * each["queries"] for each in errors) / sum(each["queries"] for each in errors)
    )


def _phases(result: Result) -> str:
    parts = [html_table(phase_table(result))]
    if result["comparison"]:
        parts += [
            f"<h3>Over {escape(result['comparison']['policy'])} on the same hardware</h3>",
            html_table(comparison_table(result)),
        ]
    return "".join(parts)


def _bounds(result: Result) -> str:
    bounds = result["bounds"]
    total = result["total"]["counters"]["cycles"]
    phases = phase_bounds(result)
    text = (
        f"<p><b>{BOUND_LABELS[bounds['module']]}</b> needs {bounds['cycles'][bounds['module']]:,} of {total:,} cycles "
        f"for the work alone ({bounds['share']:.0%}); no schedule is faster than the longest of these bounds. The rest "
        "is latency, dependence between layers, and waiting: see Stalls.</p>"
    )
    table = pd.DataFrame(
        [
            {"bound": BOUND_LABELS[name], **{phase: cycles[name] for phase, cycles in phases.items()}, "total": whole,
             "share of the run": f"{whole / total:.1%}"}
            for name, whole in bounds["cycles"].items()
        ]
    )  # fmt: skip
    caption = (
        "Least cycles of each resource, alone, as shares of the elapsed cycles of the phase. Phases are sums over "
        "layers, so that the DRAM's may exceed the total by a cycle a layer."
    )
    roof = (
        "Roofline: the line is what DRAM bandwidth and both multiplier arrays allow; large points are the phases of "
        "this run, small ones their layers. Recomputed scores count as executed."
    )
    figures = html_figure(draw_bounds(result), "bounds", caption) + html_figure(draw_roofline(result), "roofline", roof)
    return f'{text}<div class="pair">{figures}</div>{html_table(table)}'


def _traffic(result: Result) -> str:
    total, channels = result["total"], result.get("dram_channels")
    caption = "Left: bytes moved in whole transactions; the mark is what the work needs, without padding."
    if channels:
        caption += " Right: the same bytes by channel, from the ids and the address map."
    rows = [
        {
            "kind": KIND_LABELS[kind],
            **{f"{phase} [bytes]": part["bytes_by_kind"][kind] for phase, part in result["phases"].items()},
            "total [bytes]": total["bytes_by_kind"][kind],
            "needed [bytes]": round(total["counters"][f"bits_{kind}"] / 8),
        }
        for kind in KINDS
    ]
    parts = [html_figure(draw_traffic(result), "traffic", caption), html_table(pd.DataFrame(rows))]
    counters = total["counters"]
    outcomes = {name: counters[f"dram_row_{name}"] for name in ("hits", "misses", "conflicts")}
    if sum(outcomes.values()):
        shares = ", ".join(f"{name} {value / sum(outcomes.values()):.1%}" for name, value in outcomes.items())
        parts.append(
            f"<p>DRAM rows: {shares}; {counters['dram_activations']:,} activations, "
            f"{counters['dram_refreshes'] + counters['dram_bank_refreshes']:,} refreshes.</p>"
        )
    if channels:
        sums = [sum(column) for column in zip(*channels.values(), strict=True)]
        mean = sum(sums) / len(sums)
        parts.append(
            f"<p>Channels: the busiest moves {max(sums):,} transactions, {max(sums) / mean:.3f} times the mean of "
            f"{len(sums)}; the least busy {min(sums):,}.</p>"
        )
    return "".join(parts)


def _energy(result: Result) -> str:
    total = result["total"]
    ranged = "energy_low_joules" in total
    rows = []
    for part in PARTS:
        row: dict[str, Any] = {"part": part.replace("_", " ")}
        row |= {f"{phase} [µJ]": each["energy_joules"][part] * 1e6 for phase, each in result["phases"].items()}
        row |= {"total [µJ]": total["energy_joules"][part] * 1e6}
        if ranged:
            row |= {f"{side} [µJ]": total[f"energy_{side}_joules"][part] * 1e6 for side in ("low", "high")}
        rows.append(row | {"share": f"{total['energy_joules'][part] / total['energy_total_joules']:.1%}"})
    caption = "Formulas over the counters of the run; they never influence timing."
    caption += " Whiskers: the range of the constants." if ranged else ""
    profile = result["energy_profile"]
    label = f"<p>{escape(str(profile['label']))}</p>" if isinstance(profile.get("label"), str) else ""
    parts = [label, html_figure(draw_energy(result), "energy", caption), html_table(pd.DataFrame(rows))]
    if "power_watts" in result:
        watts = result["power_watts"]
        parts.append(
            f"<p>Power: {watts['average']:.3g} W in the mean "
            f"({watts['average_low']:.3g} to {watts['average_high']:.3g}), peak {watts['peak']:.3g} W "
            f"({watts['peak_low']:.3g} to {watts['peak_high']:.3g}) in the {watts['window_cycles']:,} cycles "
            f"from cycle {watts['peak_at_cycle']:,}.</p>"
        )
    tables = {"area by block [mm²]": result.get("area_mm2", {})}
    power = result.get("block_power_watts", {})
    tables |= {"power by block [W]": power.get("blocks", {}), "power by kind [W]": power.get("kinds", {})}
    parts.append(
        f'<div class="pair">{"".join(_estimates(title, table) for title, table in tables.items() if table)}</div>'
    )
    return "".join(parts)


def _estimates(title: str, table: dict[str, dict[str, float]]) -> str:
    """Values with their ranges."""
    rows = [{title: name.replace("_", " "), **{key: each[key] for key in ("value", "low", "high")}}
            for name, each in table.items()]  # fmt: skip
    return f"<div>{html_table(pd.DataFrame(rows))}</div>"


def _stalls(result: Result) -> str:
    rows = []
    for module in MODULES:
        columns = {name: dict(module_states(part["counters"], module)) for name, part in _parts(result).items()}
        for cause in columns["total"]:
            if not any(column[cause] for column in columns.values()):
                continue
            row: dict[str, Any] = {"module": MODULE_LABELS[module], "state": cause.replace("_", " ")}
            row |= {f"{name} [cycles]": column[cause] for name, column in columns.items()}
            share = columns["total"][cause] / result["total"]["counters"]["cycles"]
            rows.append(
                row
                | {"share": f"{share:.1%}", "what": _DESCRIPTIONS.get(f"{module}_{cause}", "neither busy nor stalled")}
            )
    caption = "Each module's cycles are busy, stalled for one named cause, or idle: they sum to the elapsed cycles."
    return html_figure(draw_stalls(result), "stalls", caption) + html_table(pd.DataFrame(rows))


def _parts(result: Result) -> dict[str, Any]:
    return {**result["phases"], "total": result["total"]}


def layer_table(result: Result) -> pd.DataFrame:
    """Chosen columns of the layers, with their energy."""
    frame = pd.DataFrame(result["layers"])
    energy = sum(frame[f"energy_{part}_joules"] for part in PARTS)
    return frame[list(_LAYER_COLUMNS)].assign(**{"energy [µJ]": energy * 1e6}).rename(columns=_LAYER_COLUMNS)


def _pipeline(detail: Detail | None) -> str:
    """What the modules did in a short window, cycle by cycle."""
    if detail is None or detail.pipeline is None:
        return ""
    text = (
        "<p>A window of the run, module by module; full colour is work, pale a stall. The whole run, with queues and "
        "flows: <code>sparcade run ... --timeline FILE.json.gz</code>.</p>"
    )
    return text + html_figure(pipeline_figure(detail.pipeline), "pipeline", "Modules over cycles, in a window.")


def _layers(result: Result, detail: Detail | None) -> str:
    compared = detail.compared if detail else []
    caption = "DRAM traffic, energy and cycles of each layer."
    if compared:
        caption += f" Outlines: {result['comparison']['policy']} on the same hardware."
    heads = pd.DataFrame(result["heads"])[list(_HEAD_COLUMNS)].rename(columns=_HEAD_COLUMNS)
    return (
        html_figure(draw_layers(result, compared), "layers", caption)
        + html_table(layer_table(result), rest="layers.csv")
        + f"<details><summary>Heads</summary>{html_table(heads, rest='result.json, heads')}</details>"
    )


def _survivors(result: Result, detail: Detail | None) -> str:
    if detail is None:
        return ""
    work, first = result["workload"], detail.sequences[0]
    step = first.steps[-1]
    notes = []
    if work["ids"] == "synthetic":
        notes.append("The ids are synthetic: only their number is that of the workload.")
    if step.importance is None and first.texts is not None:
        notes.append("The policy ranked no tokens here; the importance in the unpruned model: sparcade trace analyse.")
    count, context = step.alive.shape[1], f"step {step.step}" if step.step else "prompt"
    caption = f"Layer by token of sequence 0, {context}: tokens that a head reads"
    caption += (
        ", and the cumulative importance by which the tokens of each layer were chosen, as in Fig. 23 of the paper"
        if step.importance is not None
        else ""
    )
    if count > MOST_COLUMNS:
        caption += (
            f". {count:,} tokens in at most {MOST_COLUMNS} columns: each is the mean of {-(-count // MOST_COLUMNS)}"
        )
    table = pd.DataFrame(detail.survival)[list(_SURVIVAL_COLUMNS)].rename(columns=_SURVIVAL_COLUMNS)
    parts = [
        *(f"<p>{escape(note)}</p>" for note in notes),
        html_figure(
            draw_survival(detail.survival), "survival", "Means over rows, steps and queries. Values: local V pruning."
        ),
        html_table(table),
        html_figure(draw_tokens(step, first.texts), "tokens", f"{caption}."),
    ]
    texts = sentences(detail)
    if texts:
        parts.append(
            "<h3>The text, pruned tokens fading</h3><p>A column per layer as in Fig. 22 of the paper: shaded tokens "
            f"are read in the layer, a pruned one pales over the layers behind.</p>{texts}"
        )
    return "".join(parts)


def _accuracy(result: Result, accuracy: AccuracyReport | None) -> str:
    parts = []
    if result["output_errors"]:
        frame = pd.DataFrame(result["output_errors"]).sort_values("cosine_mean", kind="stable")
        worst = frame.iloc[0]
        parts.append(
            f"<p>Outputs against the float model, open loop: cosine {_mean_cosine(result):.4f} in the mean, "
            f"{worst['cosine_mean']:.4f} in the worst head (layer {worst['layer']:.0f}, head {worst['head']:.0f}); "
            f"largest error {frame['max_abs_error'].max():.3g}. They stand for accuracy; they are not accuracy.</p>"
        )
        parts.append(html_table(frame[list(_ERROR_COLUMNS)], rest="result.json, output_errors"))
    saturated = sum(result["saturated_elements"].values())
    if saturated:
        parts.append(f"<p>{saturated:,} elements of Q, K, V were saturated by the fixed point.</p>")
    if accuracy is not None:
        policy = accuracy.value["policy"]
        parts.append(f"<h3>Closed loop: {escape(accuracy.title)}</h3>")
        if accuracy.value["policy"] != result["workload"]["policy"]:
            parts.append(f"<p>Measured under {escape(policy)}, not under the policy of this run.</p>")
        parts.append(curve_part(accuracy))
    if not parts:
        return "<p>A workload without its trace has no outputs to compare.</p>"
    if accuracy is None:
        parts.append(
            "<p>Closed loop: <code>sparcade accuracy</code> measures a metric of the task with the policy inside the "
            "model; <code>sparcade report RUN --accuracy FOLDER</code> adds it here.</p>"
        )
    return "".join(parts)


def _assumptions(result: Result) -> str:
    rows = [
        {"constant": name, **{key: value for key, value in each.items() if not isinstance(value, dict)}}
        for name, each in _constants(result["energy_profile"]).items()
    ]
    return (
        html_list(result["assumptions"])
        + f"<details><summary>Energy constants</summary>{html_table(pd.DataFrame(rows))}</details>"
    )


def _constants(profile: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Everything in a profile that has a value, wherever it stands."""
    found: dict[str, dict[str, Any]] = {}
    for name, each in profile.items():
        if isinstance(each, dict):
            found |= {name: each} if "value" in each else _constants(each)
    return found


def _provenance(result: Result) -> str:
    work = result["workload"]
    rows = {
        "sparcade": result["package_version"],
        "model version": result["model_version"],
        "schema": f"{result['schema']} {result['schema_version']}",
        "workload hash": work["content_hash"],
        "trace hash": work.get("trace_hash") or "",
        "arch hash": result["arch_hash"],
        "rows, queries": f"{work['rows']:,}, {work['queries']:,}",
        "shape": f"{work['layers']} layers, {work['heads']} heads, {work['kv_heads']} KV heads, "
        f"D = {work['head_dim']}, context up to {work['max_context']:,}",
        "ids": work["ids"],
    }
    table = html_table(pd.DataFrame({"what": list(rows), "is": [str(value) for value in rows.values()]}))
    settings = [
        {"setting": f"{group}{name}", "value": shown(value)}
        for group, values in (("arch: ", result["arch"]), ("policy: ", work["policy_settings"]))
        for name, value in _flat(values)
    ]
    return f"{table}<details><summary>Every setting</summary>{html_table(pd.DataFrame(settings))}</details>"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _again(detail: Detail | None) -> str:
    parts = []
    if detail and detail.command:
        parts.append(
            f"<p>The run, from the same folder; result.json is byte-identical:</p>{html_command(detail.command)}"
        )
    parts.append("<p>This page, from the folder of the run alone:</p>" + html_command("sparcade report FOLDER"))
    return "".join(parts)

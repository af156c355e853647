"""The headline numbers of the text, and the roofline of Fig. 18."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sparcade.arch import load_arch
from sparcade.paper.benchmarks import ALL, BERT, GPT2, RELEASED, found
from sparcade.paper.comparison import (
    Row,
    Table,
    assumed,
    beside,
    beyond,
    chosen,
    geomean,
    mean,
    measured,
)
from sparcade.paper.figures import draw_bars, draw_roofline
from sparcade.paper.published import number
from sparcade.paper.runs import Measured, Runs

#: Relative tolerances.
TRAFFIC = 0.001
INTENSITY = 0.15
RATIO = 0.10
_GPT2_SCHEDULE = (
    "token schedules of seven of the eight GPT-2 sets were chosen so that token and local V pruning reach the "
    "published 3.8x"
)
_BERT_RATE = (
    "mean over 22 benchmarks; sentence lengths are not published, ours are 11 to 178 tokens: {long:.2f} on SQuAD, "
    "{short:.2f} on CoLA, where a layer of 11 tokens ({cycles:,.0f} cycles) is latency, not work; all operations over "
    "all time: {pooled:.2f}"
)
_GPT2_RATE = "mean over 8 benchmarks; local V top-k, not DRAM ({gbps:.0f} of 512 GB/s), bounds them"


def dram_table(runs: Runs) -> Table:
    """DRAM and computation reduction with their components."""
    every, gpt2 = found(runs, ALL), found(runs, GPT2)
    rows = [
        _released(runs, "medium-wikitext2/kv_bytes", lambda run: run.kv_bytes),
        _released(runs, "medium-wikitext2/kv_reduction_vs_fp32", lambda run: run.reduction_fp32),
        _average(
            "dram_reduction_overall",
            every,
            lambda run: run.reduction_fp32,
            f"our words are wider: quantization below; {_GPT2_SCHEDULE}",
        ),
        _average(
            "token_and_local_value_pruning_all_models",
            every,
            _tokens,
            f"{_GPT2_SCHEDULE}; BERT keeps 1 -> 1/2, our choice",
        ),
        _average("token_and_local_value_pruning_gpt2", gpt2, _tokens, _GPT2_SCHEDULE),
        _average(
            "head_pruning",
            every,
            lambda run: run.head_reduction,
            "the head schedules of BERT and GPT-2-Small were chosen for the published 1.1x; GPT-2-Medium's is released",
        ),
        measured(
            number("text", "progressive_quantization"),
            _mean(every, _bits),
            tolerance=RATIO,
            reason="32 bits over the bits fetched per element; widths are not published: BERT 12, GPT-2 8 + 4, "
            "the released medium schedule 12 and 8; 6 + 4 bits with 5.9 % LSBs everywhere would give exactly 5.1x",
        ),
        _average("computation_reduction", every, lambda run: run.dense_operations / run.operations, _GPT2_SCHEDULE),
        assumed(
            number("text", "lsb_needed_fraction"),
            _mean(gpt2, lambda run: 100 * run.counters["refetches"] / run.queries),
            "drawn at the published rate in seven of eight sets; the released medium schedule has none",
        ),
    ]
    rows += [
        beside("text", f"{label}, geometric mean", "x", None if group is None else geomean([*map(of, group)]), "")
        for label, group, of in (
            ("DRAM reduction", every, _fp32),
            ("token and local V pruning, all models", every, _tokens),
            ("token and local V pruning, GPT-2", gpt2, _tokens),
        )
    ]
    return Table(
        key="dram",
        title="DRAM and computation: reductions and their parts",
        rows=tuple(rows),
        notes=(
            "K and V only, bits needed, against dense with 32-bit words, as the paper counts; decode only for GPT-2. "
            "Against dense with 12 bits all of them are 2.67 times lower. Arithmetic means over the benchmarks: the "
            "paper does not say which mean, and the product of its parts, 10.7x, is not its 10.0x.",
        ),
        draw=partial(draw_bars, rows=tuple(row for row in rows if row.unit == "x"), label="reduction [x]"),
    )


def rate_table(runs: Runs) -> Table:
    """Fig. 18 and the throughputs."""
    bert, gpt2 = found(runs, BERT), found(runs, GPT2)
    arch = load_arch("spatten")
    peak = 2 * 2 * arch.multipliers * arch.clock_ghz / 1e3
    bert_rate, gpt2_rate = _mean(bert, _tflops), _mean(gpt2, _tflops)
    why_bert, why_gpt2 = _bert_rate(runs, bert), _gpt2_rate(gpt2)
    titan = "a measurement of the paper's GPU"
    rows = [
        measured(number("text", "throughput_BERT_22"), bert_rate, tolerance=RATIO, reason=why_bert),
        measured(number("text", "throughput_GPT2_8"), gpt2_rate, tolerance=RATIO, reason=why_gpt2),
        measured(number("Fig. 18", "SpAtten/BERT/performance"), bert_rate, tolerance=RATIO, reason=why_bert),
        measured(
            number("Fig. 18", "SpAtten/BERT/operational_intensity"),
            _mean(bert, _intensity),
            tolerance=INTENSITY,
            reason="grows with the length of the sentence, which is not published; {:.0f} on SQuAD".format(
                _one(runs, "bert-base-squad-v1", _intensity) or 0
            ),
        ),
        measured(number("Fig. 18", "SpAtten/GPT-2/performance"), gpt2_rate, tolerance=RATIO, reason=why_gpt2),
        measured(
            number("Fig. 18", "SpAtten/GPT-2/operational_intensity"),
            _mean(gpt2, _intensity),
            tolerance=INTENSITY,
            reason="set by the bits of a word: 2.1 op/B are 7.6 bits, ours 8 + 4; 12 and 8 in the released schedule",
        ),
        *(
            beyond(number("Fig. 18", f"TITAN_Xp/{model}/{what}"), titan)
            for model in ("GPT-2", "BERT")
            for what in ("operational_intensity", "performance")
        ),
        assumed(number("Fig. 18", "bandwidth_roof"), arch.peak_gbps, "parameter of the preset"),
        assumed(number("Fig. 18", "compute_roof_SpAtten"), peak, "1,024 multipliers, 2 operations each, 1 GHz"),
        beyond(number("Fig. 18", "compute_roof_TITAN_Xp"), "the GPU's data sheet"),
    ]
    rows += [
        beside(
            "Fig. 18",
            f"{model}: share of the compute roof",
            "%",
            None if rate is None else 100 * rate / peak,
            "executed operations over those of all multipliers",
            paper=100 * number("text", name).amount / peak,
        )
        for model, rate, name in (
            ("BERT", bert_rate, "throughput_BERT_22"),
            ("GPT-2", gpt2_rate, "throughput_GPT2_8"),
        )
    ]
    points = {
        "paper, GPT-2": [(2.1, 0.43)],
        "paper, BERT": [(83.0, 1.61)],
        "ours, GPT-2": [(run.intensity, run.tflops) for run in gpt2 or []],
        "ours, BERT": [(run.intensity, run.tflops) for run in bert or []],
    }
    shown = {name: each for name, each in points.items() if each}
    return Table(
        key="fig18",
        title="Fig. 18: roofline and throughput",
        rows=tuple(rows),
        notes=("Operations are executed multiply-accumulates, twice, recomputation with LSBs included.",),
        draw=partial(
            draw_roofline,
            shown,
            {name: name.startswith("paper") for name in shown},
            bandwidth=arch.peak_gbps,
            roof=peak,
        ),
    )


def _fp32(run: Measured) -> float:
    return run.reduction_fp32


def _tflops(run: Measured) -> float:
    return run.tflops


def _intensity(run: Measured) -> float:
    return run.intensity


def _tokens(run: Measured) -> float:
    """Vectors saved by token and local V pruning: all that were saved, less those of pruned heads."""
    return run.vector_reduction / run.head_reduction


def _bits(run: Measured) -> float:
    """32 over the mean bits of an element fetched, LSB planes counted."""
    return run.reduction_fp32 / run.vector_reduction


def _mean(group: list[Measured] | None, of: Callable[[Measured], float]) -> float | None:
    return None if group is None else mean([of(run) for run in group])


def _average(name: str, group: list[Measured] | None, of: Callable[[Measured], float], why: str) -> Row:
    return chosen(number("text", name), _mean(group, of), tolerance=RATIO, why=why)


def _one(runs: Runs, name: str, of: Callable[[Measured], float]) -> float | None:
    run = runs.find(name)
    return None if run is None else of(run)


def _released(runs: Runs, name: str, of: Callable[[Measured], float]) -> Row:
    return measured(
        number("released", name),
        _one(runs, RELEASED, of),
        tolerance=TRAFFIC,
        reason="K and V of the released schedule, bits needed; 8.26x counting only surviving heads as dense",
    )


def _bert_rate(runs: Runs, bert: list[Measured] | None) -> str:
    cola = runs.find("bert-base-cola")
    if bert is None or cola is None:
        return ""
    return _BERT_RATE.format(
        long=_one(runs, "bert-base-squad-v1", _tflops),
        short=cola.tflops,
        cycles=cola.cycles / 12,
        pooled=sum(run.operations for run in bert) / sum(run.cycles for run in bert) / 1e3,
    )


def _gpt2_rate(gpt2: list[Measured] | None) -> str:
    return "" if gpt2 is None else _GPT2_RATE.format(gbps=_mean(gpt2, lambda run: run.moved() / run.cycles))

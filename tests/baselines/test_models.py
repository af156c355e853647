"""Dense, MnnFast, rooflines, the paper's measurements and the quotes, against formulas written out here."""

from __future__ import annotations

import json
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest

import sparcade
from sparcade.baselines import (
    DenseWork,
    Normalisation,
    dense,
    framework_overhead,
    mnnfast,
    paper_table,
    published_speedups,
    quotes,
    roofline,
    stream_efficiency,
)
from sparcade.baselines.quotes import FIGURES
from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace
from sparcade.workload import generate
from sparcade.workload.definitions import workload_names
from support import random_tensors, trace_of

MEANS = Normalisation(multipliers=128, bandwidth_gbps=64.0, efficiency=0.5)
PAPER = Path(__file__).parents[3] / "shared" / "data" / "paper_results.json"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> AttentionTrace:
    """A decoder with grouped KV heads."""
    q, k, v = random_tensors(5, layers=2, heads=4, kv_heads=2, tokens=20, dim=8)
    return trace_of(tmp_path_factory.mktemp("baselines") / "trace", q, k, v, prompt_tokens=16)


def test_dense_work_is_what_the_dense_policy_does(small: AttentionTrace) -> None:
    """Table for table; and from a pruned workload of the same trace as from the trace."""
    work = DenseWork.of(small)
    replay = sparcade.apply(small, sparcade.load_policy("dense")).workload
    made = work.workload()
    for name in ("rows", "queries", "passes", "key_ids", "value_ids"):
        np.testing.assert_array_equal(getattr(made, name), getattr(replay, name))
    again = DenseWork.of(sparcade.apply(small, sparcade.load_policy("spatten")).workload)
    for name in ("layers", "heads", "kv_heads", "head_dim", "causal"):
        assert getattr(again, name) == getattr(work, name)
    for name in ("sequence", "step", "context", "queries", "visible"):
        np.testing.assert_array_equal(getattr(again, name), getattr(work, name))


def test_dense_in_closed_form(small: AttentionTrace) -> None:
    """Each layer of each step takes what is longer; a decode step is its traffic, at half the peak."""
    parts = dense.ideal(DenseWork.of(small), MEANS)
    prompt_macs = 2 * 8 * 4 * sum(range(1, 17))
    prompt_bytes = 2 * 16 * (2 + 4) * 8 * 12 // 8
    steps = [(2 * 8 * 4 * n, 2 * (2 * n + 4) * 8 * 12 // 8) for n in range(17, 21)]
    assert parts["prefill"].cycles == 2 * max(ceil(prompt_macs / 128), ceil(prompt_bytes / 32))
    assert parts["decode"].cycles == 2 * sum(max(ceil(macs / 128), ceil(moved / 32)) for macs, moved in steps)
    total = parts["total"]
    assert total.macs == total.dense_macs == 2 * (prompt_macs + sum(macs for macs, _ in steps))
    assert total.dram_bytes == 2 * (prompt_bytes + sum(moved for _, moved in steps))
    assert total.cycles == parts["prefill"].cycles + parts["decode"].cycles
    assert total.achieved_gbps <= 32


@pytest.mark.parametrize("form", ["scores first", "streaming"])
def test_mnnfast_without_a_threshold_is_dense(small: AttentionTrace, form: mnnfast.Form) -> None:
    work = DenseWork.of(small)
    counts = mnnfast.count(small, work, mnnfast.MnnFast(threshold=0.0, form=form))
    assert mnnfast.evaluate(work, counts, MEANS) == dense.ideal(work, MEANS)
    reference = sparcade.apply(small, sparcade.load_policy("dense-fp32"))
    assert counts.outputs is not None
    for key, output in counts.outputs.outputs.items():
        np.testing.assert_allclose(output.values, reference.outputs[key].values, rtol=1e-12, atol=1e-12)


def test_mnnfast_skips_below_the_threshold(small: AttentionTrace) -> None:
    """Against softmax written out; the streaming estimate divides by the sum up to the end of the chunk."""
    work, threshold, chunk = DenseWork.of(small), 0.1, 4
    forms = [mnnfast.MnnFast(threshold=threshold, form=form, chunk=chunk) for form in ("scores first", "streaming")]  # type: ignore[arg-type]
    first, streaming = (mnnfast.count(small, work, form) for form in forms)
    stored, scaling = small.tensors(1, 0), small.manifest.model.scaling
    assert first.outputs is not None
    outputs = first.outputs.outputs
    for row in (0, 7, 15, 19):
        scores = scaling * stored.k[1, : row + 1].astype(np.float64) @ stored.q[2, row].astype(np.float64)
        weights = np.exp(scores)
        p = weights / weights.sum()
        sums = [weights[: min(row + 1, (j // chunk + 1) * chunk)].sum() for j in range(row + 1)]
        assert first.kept[1, 2, row] == np.count_nonzero(p >= threshold)
        assert streaming.kept[1, 2, row] == np.count_nonzero(weights / sums >= threshold)
        step = max(0, row - 15)
        output = outputs[0, step, 1]
        expected = (np.where(p >= threshold, p, 0.0)) @ stored.v[1, : row + 1].astype(np.float64)
        got = output.values[2, output.tokens.tolist().index(row)]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert (streaming.kept >= first.kept).all()
    assert first.kept.sum() < streaming.kept.sum()


def test_mnnfast_saves_time_but_no_traffic(small: AttentionTrace) -> None:
    work = DenseWork.of(small)
    none = mnnfast.evaluate(work, mnnfast.from_ratio(work, mnnfast.MnnFast(), Fraction(0)), MEANS)["total"]
    ideal = dense.ideal(work, MEANS)["total"]
    assert none.macs * 2 == ideal.macs
    assert none.dram_bytes == ideal.dram_bytes


def test_a_roofline_by_hand() -> None:
    """GPT-2-Medium, 32 tokens in FP32 on TITAN Xp: about 11.6 ms at its bandwidth (energy_baselines.md 2.2)."""
    work = DenseWork.of(generate("gpt2-medium-wikitext2"))
    part = roofline.evaluate(work, roofline.find_platform("titan-xp"), efficiency=(1.0, 1.0)).parts["total"]
    contexts = np.arange(993, 1025)
    moved = 24 * 2 * 4 * 1024 * (contexts + 1).sum()
    assert part.dram_bytes == moved
    assert part.seconds == pytest.approx(moved / 547.6e9 + 24 * 32 * 5e-6)
    assert moved / 547.6e9 == pytest.approx(11.6e-3, rel=0.01)
    assert part.seconds_high == pytest.approx(moved / 547.6e9 + 24 * 32 * 10e-6)
    assert 2 * part.macs == pytest.approx(3.17e9, rel=0.01)


def test_a_roofline_is_bound_by_compute_where_it_is() -> None:
    ones = np.ones(1, np.int64)
    work = DenseWork(
        name="t", layers=1, heads=16, kv_heads=16, head_dim=64, causal=False, sequence=0 * ones, step=0 * ones,
        context=4096 * ones, queries=4096 * ones, visible=np.full(4096, 4096),
    )  # fmt: skip
    platform = roofline.find_platform("xeon-e5-2640v4")
    record = roofline.evaluate(work, platform, efficiency=(0.5, 1.0))
    flop = 2 * 2 * 64 * 16 * 4096 * 4096
    assert record.parts["total"].seconds == pytest.approx(flop / 0.77e12)
    assert record.parts["total"].seconds_high == pytest.approx(2 * flop / 0.77e12 + 5e-6)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"element_bits": 8}, "--element-bits"),
        ({"efficiency": (0.8, 0.6)}, "--efficiency"),
        ({"efficiency": (0.0, 0.6)}, "--efficiency"),
    ],
)
def test_a_roofline_that_is_not_known(options: dict[str, object], word: str) -> None:
    work = DenseWork.of(generate("bert-base-sst-2"))
    with pytest.raises(ConfigError, match=word):
        roofline.evaluate(work, roofline.find_platform("titan-xp"), **options)  # type: ignore[arg-type]


def test_platforms_have_sources() -> None:
    for platform in roofline.platforms().values():
        assert platform.source
        assert platform.tag in roofline.TAGS
        assert platform.element_bits in platform.peak_tflops


def test_the_papers_measurements() -> None:
    """The derived latencies of energy_baselines.md 2.2, and the ratio alone where no time is published."""
    found = {record.name: record for record in paper_table(DenseWork.of(generate("gpt2-medium-wikitext2")))}
    seconds = {name: record.parts["total"].seconds for name, record in found.items()}
    assert seconds["titan-xp (paper)"] == pytest.approx(0.3667)
    assert seconds["xeon-e5-2640v4 (paper)"] == pytest.approx(1.47, rel=0.01)
    assert seconds["jetson-nano (paper)"] == pytest.approx(5.64, rel=0.01)
    assert seconds["raspberry-pi (paper)"] == pytest.approx(42.6, rel=0.01)
    bert = paper_table(DenseWork.of(generate("bert-base-sst-2")))
    assert all(not record.parts for record in bert)
    assert bert[0].details["spatten_speedup_published"] == 436
    assert all("not reproducible here" in record.notes[0] for record in bert)


def test_published_speedups_have_the_papers_geomeans() -> None:
    speedups = published_speedups()
    assert sorted(speedups) == sorted(name for name in workload_names() if name in speedups)
    assert len(speedups) == 30
    for platform, mean in (("titan-xp", 162), ("xeon-e5-2640v4", 347), ("jetson-nano", 1095), ("raspberry-pi", 5071)):
        values = [row[platform] for row in speedups.values()]
        assert np.exp(np.mean(np.log(values))) == pytest.approx(mean, rel=0.005)


@pytest.mark.reference
def test_published_speedups_are_those_of_the_paper() -> None:
    if not PAPER.is_file():
        pytest.skip("../shared/data is not here")
    names = {"TITAN_Xp": "titan-xp", "Xeon": "xeon-e5-2640v4", "Nano": "jetson-nano", "RPi": "raspberry-pi"}
    speedups, compared = published_speedups(), 0
    for record in json.loads(PAPER.read_text())["results"]:
        benchmark, _, figure = record["name"].partition("/speedup_over_")
        if record["source"] == "Fig14" and figure and benchmark != "GEOMEAN":
            assert speedups[benchmark][names[figure]] == record["value"]
            compared += 1
    assert compared == 120


def test_the_fit_to_the_framework() -> None:
    found = framework_overhead(DenseWork.of(generate("gpt2-medium-wikitext2")))
    assert found[0].parts["total"].seconds == pytest.approx(0.48e-3 * 24 * 32)
    assert found[1].parts["total"].seconds == pytest.approx(4.02 * 0.48e-3 * 24 * 32)
    assert all("fit" in record.notes[0] for record in found)


def test_a_workload_that_the_paper_did_not_measure() -> None:
    with pytest.raises(ConfigError, match="30 benchmarks only"):
        paper_table(DenseWork.of(generate("gpt2-small-dense")))


def test_quotes_carry_source_and_standing() -> None:
    found = quotes()
    assert {"Sanger", "ELSA", "Energon", "DTATrans", "SOFA"} <= {quote.system for quote in found}
    for quote in found:
        assert quote.source
        assert quote.standing
        assert quote.figures or quote.text
        assert set(quote.figures) <= set(FIGURES)
    assert {quote.tag for quote in found if quote.system == "Sanger" and quote.text} == {"K"}
    table = {
        quote.system: quote.figures["gops"] for quote in found if "Table III:" in quote.source and quote.tag == "P"
    }
    assert table == {"MnnFast": 120, "A3": 221, "SpAtten-1/8": 360}


def test_the_stream_that_sets_the_bandwidth() -> None:
    """design.md: a dense sequential stream reaches 70 to 90 % of the peak; the ideal memory all of it."""
    efficiency, basis = stream_efficiency(sparcade.load_arch("spatten"))
    assert 0.70 <= efficiency <= 0.90
    assert "hbm2 x 16" in basis
    assert stream_efficiency(sparcade.load_arch("spatten", ["dram.kind=ideal"])) == (1.0, "ideal memory")
    means = Normalisation.of(sparcade.load_arch("spatten-eighth"))
    assert (means.multipliers, means.bandwidth_gbps, means.clock_ghz) == (128, 64.0, 1.0)


@pytest.mark.parametrize("bad", [{"multipliers": 0}, {"bandwidth_gbps": -1.0}, {"efficiency": 1.5}, {"word_bits": 0}])
def test_a_normalisation_that_is_not_possible(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="not possible"):
        Normalisation(**bad)  # type: ignore[arg-type]

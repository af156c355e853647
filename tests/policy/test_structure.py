"""Head masks and layer drop leave out exactly their heads and layers; EViT keeps exactly its patches."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparcade
from sparcade.errors import ConfigError, PolicyError, WorkloadError
from sparcade.policy import Policy, PolicyResult, Structure, TopK, apply
from sparcade.policy.evit import EViT, EViTConfig
from sparcade.policy.head_mask import HeadMask, HeadMaskConfig
from sparcade.policy.head_table import HeadTable
from sparcade.policy.layer_drop import LayerDrop, LayerDropConfig
from sparcade.workload import Workload
from sparcade.workload.cascade import check_cascade, find_return
from support import KeepAll, policy, random_tensors, trace_of

NAMED = {"name": "test", "source": "test"}
LN2 = 0.6931471805599453


def small(folder: Path, layers: int = 4, **changes: Any) -> sparcade.AttentionTrace:
    q, k, v = random_tensors(5, layers=layers, heads=4, kv_heads=2, tokens=9, dim=4)
    return trace_of(folder, q, k, v, prompt_tokens=changes.pop("prompt_tokens", 7), **changes)


def heads_of(work: Workload) -> dict[tuple[int, int], list[int]]:
    """Heads that run, by step and layer."""
    heads: dict[tuple[int, int], list[int]] = {}
    for row in work.rows:
        heads.setdefault((int(row["step"]), int(row["layer"])), []).append(int(row["head"]))
    return heads


def test_a_head_mask_is_its_own_in_every_layer(tmp_path: Path) -> None:
    trace = small(tmp_path / "trace")
    table = HeadTable(rows=((5, 1, 0, 2), (0, 0, 4, -1), (7, 3, 1, 1), (0, 0, 0, 0)))
    result = apply(trace, HeadMask(HeadMaskConfig(**NAMED, importance=table)))
    expected = {0: [0, 1, 3], 1: [2], 2: [0, 1, 2, 3]}  # head 2 runs in layer 1, not in layer 0; layer 3 has none
    assert heads_of(result.workload) == {(s, layer): heads for s in range(3) for layer, heads in expected.items()}
    assert result.heads[0, 1, 3].tolist() == [] and result.survivors[0, 1, 3].tolist() == list(range(8))
    assert result.outputs[0, 1, 3].values.shape == (0, 1, 4)
    assert result.workload.shape.persistent == ("head",) and result.workload.shape.uncharged_selections == 0
    check_cascade(result.workload)
    # What runs is what a dense run computes: in the open loop the inputs are the same.
    dense = apply(trace, policy())
    np.testing.assert_array_equal(result.outputs[0, 0, 1].values, dense.outputs[0, 0, 1].values[[2]])


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("1", {0: [0, 1, 3], 1: [2], 2: [0, 1, 2, 3]}),
        ("1/2", {0: [0, 1, 3], 1: [2], 2: [0, 1]}),  # 6 of 12: 7, 5, 4, 3, 2, and the first of three ones
        ("5/12", {0: [0, 3], 1: [2], 2: [0, 1]}),
        ("1/8", {2: [0]}),  # floor(12/8) = 1
        ("1/99", {2: [0]}),  # at least one
    ],
)
def test_heads_are_ranked_over_all_layers(tmp_path: Path, keep: str, expected: dict[int, list[int]]) -> None:
    table = HeadTable(rows=((5, 1, 0, 2), (0, 0, 4, -1), (7, 3, 1, 1)))
    trace = small(tmp_path / "trace", layers=3)
    work = apply(trace, HeadMask(HeadMaskConfig(**NAMED, importance=table, keep=Fraction(keep)))).workload
    assert heads_of(work) == {(s, layer): heads for s in range(3) for layer, heads in expected.items()}


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({"rate": Fraction(1, 2)}, [1, 3, 5]),
        ({"rate": Fraction(1, 3)}, [2, 5]),
        ({"rate": Fraction(2, 7)}, [2, 5]),  # floor(7/2) = 3
        ({"rate": Fraction(1, 6)}, [5]),
        ({"rate": Fraction(1, 9)}, []),
        ({"layers": (4, 0)}, [0, 4]),
    ],
)
@pytest.mark.parametrize("part", ["layer", "attention"])
def test_dropped_layers_have_no_rows(tmp_path: Path, settings: dict[str, Any], dropped: list[int], part: Any) -> None:
    trace = small(tmp_path / "trace", layers=6)
    rules = LayerDrop(LayerDropConfig(**NAMED, part=part, **settings))
    result = apply(trace, rules)
    stay = [layer for layer in range(6) if layer not in dropped]
    assert heads_of(result.workload) == {(s, layer): [0, 1, 2, 3] for s in range(3) for layer in stay}
    assert all(ids.tolist() == list(range(7 + s)) for (_, s, _), ids in result.survivors.items())
    check_cascade(result.workload)
    run = sparcade.simulate(result.workload, sparcade.load_arch("spatten"))
    assert set(run.frame("layer")["layer"]) == set(stay)


class Own(KeepAll):
    """A policy that keeps everything, with a structure that a test gives."""

    def __init__(self, structure: Any) -> None:
        self.given = structure

    def structure(self, shape: Any) -> Any:
        return self.given(shape) if callable(self.given) else self.given


ALL = np.ones((4, 4), np.bool_)


@pytest.mark.parametrize(
    "given",
    [
        None,
        ALL,
        Structure(heads=ALL[:2]),
        Structure(heads=ALL.astype(int)),  # type: ignore[arg-type]
        Structure(heads=ALL, skipped=(4,)),
        Structure(heads=ALL, skipped=(-1,)),
        Structure(heads=ALL, skipped=("a",)),  # type: ignore[arg-type]
        Structure(heads=~ALL),
        Structure(heads=ALL, skipped=(0, 1, 2, 3)),
        lambda shape: 1 / 0,
    ],
)
def test_structures_outside_the_protocol(tmp_path: Path, given: Any) -> None:
    with pytest.raises(PolicyError, match=r"structure\(\) at sequence 0"):
        apply(small(tmp_path / "trace"), Own(given))


def test_heads_that_leave_a_layer_stay_out_of_it_alone(tmp_path: Path) -> None:
    """`keep_heads` beside a structure: no cascade over layers, but over steps."""
    offered: dict[tuple[int, int], list[int]] = {}

    class Mine(Own):
        def keep_heads(self, state: Any) -> Any:
            offered[state.step, state.layer] = state.candidates.tolist()
            ids = state.candidates
            return ids[ids != 3] if (state.step, state.layer) == (1, 0) else ids

    heads = ALL.copy()
    heads[1, 0] = False
    work = apply(small(tmp_path / "trace"), Mine(Structure(heads=heads, skipped=(2,)))).workload
    assert [offered[s, 0] for s in range(3)] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2]]
    assert [offered[s, 1] for s in range(3)] == [[1, 2, 3]] * 3
    assert not any(layer == 2 for _, layer in offered)
    assert find_return(work) is None
    rows = work.rows.copy()
    at = np.flatnonzero((rows["step"] == 2) & (rows["layer"] == 1))[:1]
    rows["head"][at] = 0  # back, although the layer never ran it
    spoilt = Workload(
        shape=work.shape,
        rows=rows,
        queries=work.queries,
        passes=work.passes,
        key_ids=work.key_ids,
        value_ids=work.value_ids,
    )
    found = find_return(spoilt)
    assert found is not None and (found.row, found.kind, found.returned) == (at[0], "head", 1)
    with pytest.raises(WorkloadError, match="a head comes back after"):
        check_cascade(spoilt)


def test_no_scores_before_the_first_layer_that_runs(tmp_path: Path) -> None:
    class Mine(Own):
        def keep_tokens(self, state: Any) -> Any:
            ids = state.candidates
            return TopK(state.probability[ids], 3, ids[-1:]) if state.layer == 1 else ids

    with pytest.raises(PolicyError, match="no scores before the first layer"):
        apply(small(tmp_path / "trace"), Mine(Structure(heads=ALL, skipped=(0,))))


def evit(trace: sparcade.AttentionTrace, **settings: Any) -> PolicyResult:
    return apply(trace, EViT(EViTConfig(**NAMED, **settings)))


def test_evit_keeps_what_the_class_token_attends_to(tmp_path: Path) -> None:
    # Weights of the keys are 2^score for every query; layer 0 ranks, then layer 2. Two heads, patches 1 to 6.
    first = [[0, 1, 5, 2, 0, 3, 4], [0, 1, 5, 2, 0, 3, 4]]
    third = [[0, 9, 1, 2, 0, 4, 3], [0, 9, 1, 2, 0, 4, 3]]
    layers = [np.array(scores, np.float32)[:, :, None] for scores in (first, first[::-1], third, first)]
    ones = [np.ones_like(layer) for layer in layers]
    trace = trace_of(tmp_path / "trace", ones, layers, layers, prompt_tokens=7, mask="full", scaling=LN2)
    result = evit(trace, bits=32, keep=Fraction(1, 2), after=(0, 2))
    assert {layer: ids.tolist() for (_, _, layer), ids in result.survivors.items()} == {
        0: [0, 1, 2, 3, 4, 5, 6],
        1: [0, 2, 5, 6],  # ceil(6/2) = 3 patches: scores 5, 4, 3
        2: [0, 2, 5, 6],  # layer 1 ranks nothing
        3: [0, 5, 6],  # ceil(3/2) = 2: in layer 2 patches 5 and 6 have 4 and 3; patch 1 is gone
    }
    rows = result.workload.rows
    charged = [(int(row["layer"]), int(row["head"]), int(row["token_n"]), int(row["token_k"])) for row in rows]
    assert [each for each in charged if each[2]] == [(0, 1, 6, 3), (2, 1, 3, 2)]  # the class token is not ranked
    assert result.workload.shape.persistent == ()


def test_evit_goes_by_the_class_token_alone(tmp_path: Path) -> None:
    """Only query 0 prefers patch 3; all other queries prefer patch 1."""
    q = np.zeros((2, 5, 2), np.float32)
    q[:, 0] = [1, 0]
    q[:, 1:] = [0, 1]
    k = np.zeros((2, 5, 2), np.float32)
    k[:, 3, 0] = k[:, 1, 1] = 5
    trace = trace_of(tmp_path / "trace", [q] * 3, [k] * 3, [k] * 3, prompt_tokens=5, mask="full", scaling=LN2)
    result = evit(trace, keep=Fraction(1, 4), after=(1,))
    assert result.survivors[0, 0, 2].tolist() == [0, 3]


def test_evit_keeps_all_special_tokens(tmp_path: Path) -> None:
    trace = small(tmp_path / "trace", prompt_tokens=9, mask="full")
    for special in (1, 2, 3):
        result = evit(trace, keep=Fraction(1, 3), after=(0,), special=special)
        ids = result.survivors[0, 0, 1].tolist()
        assert ids[:special] == list(range(special)) and len(ids) == special + -(-(9 - special) // 3)


@pytest.mark.parametrize(
    ("rules", "mask", "words"),
    [
        (EViT(EViTConfig(**NAMED, after=(0,))), "causal", ["class token", "policy test"]),
        (EViT(EViTConfig(**NAMED, after=(3,))), "full", ["after", "0..2", "got:      3"]),
        (LayerDrop(LayerDropConfig(**NAMED, layers=(4,))), "causal", ["layers", "0..3"]),
        (LayerDrop(LayerDropConfig(**NAMED, layers=(0, 1, 2, 3))), "causal", ["fewer than all"]),
        (
            HeadMask(HeadMaskConfig(**NAMED, importance=HeadTable(rows=((1.0,),)))),
            "causal",
            ["another model", "importance", "4 layers x 4 heads", "1 x 1"],
        ),
        (
            HeadMask(HeadMaskConfig(**NAMED, importance=HeadTable(rows=((0.0,) * 4,) * 4))),
            "causal",
            ["leaves no head"],
        ),
    ],
)
def test_policies_that_do_not_fit_the_model(tmp_path: Path, rules: Policy, mask: str, words: list[str]) -> None:
    trace = small(tmp_path / "trace", mask=mask, **({"prompt_tokens": 9} if mask == "full" else {}))
    with pytest.raises(ConfigError) as caught:
        apply(trace, rules)
    for word in words:
        assert word in str(caught.value)

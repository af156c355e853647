"""One case by hand: 3 tokens, 2 heads, 2 layers, every technique on, every intermediate written out.

The scaling is ln 2 and the scores are integers, so the softmax weights are powers of two. Dimension 0 carries the
scores, dimensions 1 and 2 only the largest magnitudes, so that every scale is 1: Q and K are 12 bits (2047 steps),
V is as wide as the MSB plane, 8 bits (127 steps).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from sparcade.policy import HeadPruning, LocalValuePruning, ProgressiveQuantization, TokenPruning, apply
from support import policy, trace_of

LN2 = 0.6931471805599453
Q = np.array([[[1, 2047, 0]] * 3] * 2, np.float32)
#              token 0       token 1       token 2: the first number is the key's score for every query
K = np.array([[[1, 0, 2047], [0, 0, 0], [0, 0, 0]], [[0, 0, 2047], [0, 0, 0], [32, 0, 0]]], np.float32)
V = np.array([[[127, 0, 0], [0, 4, 0], [0, 0, 8]], [[127, 0, 0], [0, 6, 0], [0, 0, -6]]], np.float32)


def test_three_tokens_two_heads(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "trace", [Q, Q], [K, K], [V, V], prompt_tokens=3, mask="full", scaling=LN2)
    rules = policy(
        tokens=TokenPruning(end=Fraction(2, 3), front=1),  # layer 1 keeps floor(2/3 * 3) = 2 tokens
        heads=HeadPruning(end=Fraction(1, 2), front=1),  # layer 1 keeps floor(1/2 * 2) = 1 head
        local_v=LocalValuePruning(keep=Fraction(2, 3), in_prefill=True),  # 2 of 3 values, 1 of 2
        progressive=ProgressiveQuantization(msb_bits=8, lsb_bits=4, threshold=0.34, in_prefill=True),  # 1393 / 4096
    )
    result = apply(trace, rules)
    work = result.workload

    # Layer 0, head 0. MSB plane of the scores (1, 0, 0) is (0, 0, 0): p = 1/3, word floor(1365.33 + .5) = 1365 < 1393,
    # so the LSB plane is fetched. Full scores (1, 0, 0): weights (1, 1/2, 1/2), p = (1/2, 1/4, 1/4), words
    # (2048, 1024, 1024). Two values: token 0, and of the tied tokens 1 and 2 the lower. Quick-select: pivot 2048
    # (0 above, 1 equal), then among (1024, 1024) pivot 1024 (0 above, 2 equal).
    # acc = (2048 * 127, 1024 * 4, 0) = (260096, 4096, 0); out = acc / 4096.
    # Layer 0, head 1. MSB plane (0, 0, 32): weights (2^-32, 2^-32, 1), words (0, 0, 4095): not flat, no refetch.
    # Two values: token 2 and, tied at 0, token 0. Quick-select: pivot 0 (1 above, 2 equal).
    # acc = (0, 0, 4095 * -6) = (0, 0, -24570).
    first, second = work.rows[0], work.rows[1]
    for row, refetch, values, passes in (
        (first, True, [0, 1], [(3, 0, 1), (2, 0, 2)]),
        (second, False, [0, 2], [(3, 1, 2)]),
    ):
        assert (row["msb_bits"], row["lsb_bits"], row["value_bits"], row["query_bits"]) == (8, 4, 8, 12)
        assert work.key_ids[row["key_start"] :][: row["keys"]].tolist() == [0, 1, 2]
        assert work.value_ids[row["value_start"] :][: row["values"]].tolist() == values
        for query in work.queries[row["query_start"] :][:3]:
            assert (query["visible"], query["values"], bool(query["refetch"])) == (3, 2, refetch)
            assert work.passes[query["pass_start"] :][: query["passes"]].tolist() == passes
    outputs = result.outputs[0, 0, 0].values
    assert outputs[0].tolist() == [[63.5, 1.0, 0.0]] * 3
    assert outputs[1].tolist() == [[0.0, 0.0, -5.99853515625]] * 3

    # Token importance: 3 queries each, head 0 adds (6144, 3072, 3072), head 1 adds (0, 0, 12285).
    # Keep 2: pivot 6144 (1 above, 1 equal). Head importance: 3 * (260096 + 4096) and 3 * 24570, V scale 1.
    # Keep 1: pivot 792576 (0 above, 1 equal).
    assert result.scores[0, 0, 1]["token"].tolist() == [6144, 3072, 15357]
    assert result.scores[0, 0, 1]["head"].tolist() == [792576, 73710]
    assert result.survivors[0, 0, 1].tolist() == [0, 2]
    assert result.heads[0, 0, 1].tolist() == [0]
    assert (second["token_n"], second["token_k"], second["head_n"], second["head_k"]) == (3, 2, 2, 1)
    assert work.passes[second["token_pass_start"] :][: second["token_passes"]].tolist() == [(3, 1, 1)]
    assert work.passes[second["head_pass_start"] :][: second["head_passes"]].tolist() == [(2, 0, 1)]
    assert bool(first["accumulate"]) and bool(second["accumulate"])

    # Layer 1, head 0, tokens 0 and 2. MSB scores (0, 0): p = 1/2, words (2048, 2048): not flat, the MSB result stands.
    # One value: the lower of the tied. acc = (2048 * 127, 0, 0).
    assert len(work.rows) == 3
    third = work.rows[2]
    assert work.key_ids[third["key_start"] :].tolist() == [0, 2]
    assert work.value_ids[third["value_start"] :].tolist() == [0]
    assert not third["accumulate"]  # no later selection reads it
    for query, token in zip(work.queries[third["query_start"] :], (0, 2), strict=True):
        assert (query["token"], query["visible"], query["values"], bool(query["refetch"])) == (token, 2, 1, False)
        assert work.passes[query["pass_start"] :][: query["passes"]].tolist() == [(2, 0, 2)]
    assert result.outputs[0, 0, 1].values.tolist() == [[[63.5, 0.0, 0.0]] * 2]
    assert result.saturated == {"q": 0, "k": 0, "v": 0}

"""Random answers of user policies: a `SparcadeError` or a valid result, never another exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparcade
from sparcade.errors import SparcadeError

EXAMPLES = 150


class Hostile:
    """An object that can't be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")


def spoil(ids: Any) -> Any:
    """Write into what the policy was only shown, and hand it back."""
    ids[0] = 99
    return ids


TopK = sparcade.TopK
#: Answers of keep_*, right and wrong, from the candidates.
CHOICES: dict[str, Callable[[Any], Any]] = {
    "all": lambda ids: ids,
    "a copy": lambda ids: ids.copy(),
    "a list": lambda ids: ids.tolist(),
    "reversed": lambda ids: ids[::-1],
    "every other, and the newest": lambda ids: np.union1d(ids[::2], ids[-1:]),
    "uint8": lambda ids: ids.astype(np.uint8),
    "None": lambda ids: None,
    "text": lambda ids: "all",
    "floats": lambda ids: ids / 2,
    "a mask": lambda ids: ids >= 0,
    "nothing": lambda ids: ids[:0],
    "twice": lambda ids: np.concatenate([ids, ids]),
    "pruned": lambda ids: np.arange(int(ids[-1]) + 1),
    "strangers": lambda ids: ids + 1,
    "negative": lambda ids: ids - 5,
    "huge": lambda ids: [*ids.tolist(), 1 << 70],
    "wrapping": lambda ids: np.append(ids.astype(np.uint64), np.uint64((1 << 64) - 1)),
    "nested": lambda ids: [[int(ids[0])], ids.tolist()],
    "a scalar": lambda ids: int(ids[0]),
    "a dictionary": lambda ids: {int(ids[0]): 1},
    "a generator": lambda ids: iter(ids),
    "a hostile object": lambda ids: Hostile(),
    "hostile objects": lambda ids: [Hostile()],
    "spoilt": spoil,
    "top 2": lambda ids: TopK(ids, 2, ids[-1:]),
    "top, unsigned": lambda ids: TopK(ids.astype(np.uint8), np.int8(1), ids[-1:]),
    "top, list": lambda ids: TopK(ids.tolist(), 3, ids[-1:].tolist()),
    "top huge k": lambda ids: TopK(ids, 1 << 70),
    "top negative k": lambda ids: TopK(ids, -1),
    "top float k": lambda ids: TopK(ids, 1.5),  # type: ignore[arg-type]
    "top k is None": lambda ids: TopK(ids, None),  # type: ignore[arg-type]
    "top k is an array": lambda ids: TopK(ids, ids),  # type: ignore[arg-type]
    "top float scores": lambda ids: TopK(ids / 1.0, 1),
    "top text scores": lambda ids: TopK(["a"] * len(ids), 1),  # type: ignore[arg-type]
    "top ragged scores": lambda ids: TopK([[1], [1, 2]], 1),  # type: ignore[arg-type]
    "top hostile scores": lambda ids: TopK(Hostile(), 1),  # type: ignore[arg-type]
    "top wide scores": lambda ids: TopK(ids + (1 << 40), 1),
    "top wrapping scores": lambda ids: TopK(np.full(len(ids), (1 << 64) - 1, np.uint64), 1),
    "top protects strangers": lambda ids: TopK(ids, 1, (99,)),
    "top protects text": lambda ids: TopK(ids, 1, ("a",)),  # type: ignore[arg-type]
    "top protects None": lambda ids: TopK(ids, 1, None),  # type: ignore[arg-type]
    "top protects floats": lambda ids: TopK(ids, 1, (ids[-1] + 0.5,)),
    "top protects twice": lambda ids: TopK(ids, 2, np.repeat(ids[-1:], 3)),
    "top protects a matrix": lambda ids: TopK(ids, 2, ids[None, -1:]),
    "top protects huge": lambda ids: TopK(ids, 2, (1 << 70,)),
    "raises": lambda ids: ids[99],
    "overflows": lambda ids: np.int64(2.0**80),
}
#: Answers of bits().
BITS = [
    *[(12, 0, 0.0), (8, 4, 0.1), [6, 4, 1], (32, 0, 0.0), (np.int64(8), np.uint8(0), np.float32(0.5))],
    *[(12, 4, 0.1), (7, 0, 0.0), (8, 4, 2.0), (8, 4, float("nan")), (8, 4), 12, None, "12", (), (1 << 70, 0, 0.0)],
    *[(float("inf"), 0, 0.0), (float("nan"), 0, 0.0), (8.5, 0, 0.0), (True, False, True), ("8", "4", "0.1")],
    *[(8, 4, None), (8, 4, 1 << 2000), ([8], [4], [0.1]), np.ones((3, 3)), Hostile(), (Hostile(), 0, 0.0)],
]
SOUND = ["all", "a copy", "a list", "reversed", "every other, and the newest", "top 2", "top, unsigned", "top, list"]


class Random:
    """A policy whose methods answer what the example drew, in turn; sound until the chosen call."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers = answers
        self.calls = dict.fromkeys(answers, 0)

    def _next(self, method: str) -> Any:
        answers = self.answers[method]
        self.calls[method] += 1
        return answers[(self.calls[method] - 1) % len(answers)]

    def begin_sequence(self, shape: Any) -> Any:
        return self._next("begin_sequence")

    def keep_tokens(self, state: Any) -> Any:
        return CHOICES[self._next("keep_tokens")](state.candidates)

    def keep_heads(self, state: Any) -> Any:
        return CHOICES[self._next("keep_heads")](state.candidates)

    def keep_values(self, row: Any) -> Any:
        return CHOICES[self._next("keep_values")](row.key_ids)

    def bits(self, row: Any) -> Any:
        return self._next("bits")


def answers(pool: list[Any], sound: list[Any]) -> st.SearchStrategy[list[Any]]:
    """Mostly sound answers, so that the wrong one comes at any layer of any step."""
    first = st.just(sound[:1])
    return st.one_of(first, st.lists(st.sampled_from(sound)), st.lists(st.sampled_from(pool), max_size=2)).map(
        lambda rest: [sound[0], *rest]
    )


KEEP = answers(list(CHOICES), SOUND)
POLICIES = st.fixed_dictionaries(
    {
        "begin_sequence": st.just([None]),
        "keep_tokens": KEEP,
        "keep_heads": KEEP,
        "keep_values": KEEP,
        "bits": answers(BITS, BITS[:5]),
    }
)


def check_user_policy(original: Path, policy: Any) -> None:
    """Refused with a `SparcadeError`, or the survivors form a cascade and the run keeps its invariants."""
    trace = sparcade.AttentionTrace.load(original / "trace")
    try:
        result = sparcade.apply(trace, policy)
    except SparcadeError as error:
        assert all((error.what, error.where, error.expected, error.got, error.remedy))
        return
    for (sequence, step, layer), ids in result.survivors.items():
        alive = result.survivors.get((sequence, step, layer - 1), np.arange(6 + step))
        assert len(np.intersect1d(ids, alive)) == len(ids)
        assert ids[-1] == 5 + step
    assert sparcade.simulate(result.workload, sparcade.load_arch("spatten")).cycles > 0


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(answers=POLICIES)
def test_user_policies(original: Path, answers: dict[str, list[Any]]) -> None:
    check_user_policy(original, Random(answers))


SOUND_ANSWERS: dict[str, list[Any]] = {
    "begin_sequence": [None], "keep_tokens": ["all"], "keep_heads": ["all"], "keep_values": ["all"], "bits": [BITS[0]]
}  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("method", ["keep_tokens", "keep_heads", "keep_values"])
def test_one_odd_choice(original: Path, method: str, choice: str) -> None:
    """Every answer once alone, at the third call."""
    check_user_policy(original, Random(SOUND_ANSWERS | {method: ["all", "all", choice]}))


@pytest.mark.parametrize("index", range(len(BITS)))
def test_one_odd_answer_of_bits(original: Path, index: int) -> None:
    check_user_policy(original, Random(SOUND_ANSWERS | {"bits": [BITS[index]]}))

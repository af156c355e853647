"""Asks a policy and checks what it answers: the boundary where user code meets ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparcade.errors import PolicyError, SparcadeError
from sparcade.numerics import KeyFormat
from sparcade.policy.protocol import Ids, TopK
from sparcade.topk import select


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A checked choice."""

    ids: Ids  #: survivors, ascending
    n: int = 0  #: candidates ranked by the engine; 0 when nothing was ranked
    k: int = 0
    passes: Ids = field(default_factory=lambda: np.empty((0, 3), np.int64))  #: [passes, 3]
    scores: Ids | None = None  #: of all candidates, for a `TopK`
    uncharged: bool = False  #: ids were dropped without the engine


def ask(call: Callable[[Any], Any], argument: Any, *, method: str, where: str) -> Any:
    """Call a method of a policy; anything it raises becomes a `PolicyError`."""
    try:
        return call(argument)
    except SparcadeError:
        raise
    except Exception as error:
        line = error.__traceback__.tb_next if error.__traceback__ else None
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        place = f" (line {line.tb_lineno} of {line.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]})" if line else ""
        raise policy_error(
            "the policy raised", method, where, "an answer", f"{type(error).__name__}: {error}{place}"
        ) from error


def check_choice(choice: Any, candidates: Ids, score_bits: int, *, method: str, where: str) -> Answer:
    """Run the selection of a `TopK`, or check an array of ids against the candidates."""
    if choice is candidates:
        return Answer(ids=candidates)
    if isinstance(choice, TopK):
        return _ranked(choice, candidates, score_bits, method, where)
    try:
        ids = np.asarray(choice)
    except (ValueError, TypeError):
        ids = np.empty(0, object)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        got = f"{type(choice).__name__} {choice!r}"[:120]
        raise policy_error("the answer is neither TopK nor ids", method, where, "TopK(scores, k) or integer ids", got)
    ids = np.sort(ids.astype(np.int64))
    if not len(ids):
        raise policy_error("nothing would survive", method, where, "at least one id", "an empty array")
    if (ids[1:] == ids[:-1]).any():
        twice = int(ids[1:][ids[1:] == ids[:-1]][0])
        raise policy_error("an id is named twice", method, where, "each id once", f"id {twice} twice")
    if not _subset(ids, candidates):
        stranger = int(np.setdiff1d(ids, candidates)[0])
        what = "the answer holds an id that was pruned before or does not exist"
        raise policy_error(what, method, where, f"ids out of the {len(candidates)} candidates", f"id {stranger}")
    return Answer(ids=ids, uncharged=len(ids) < len(candidates))


def check_bits(answer: Any, *, where: str) -> KeyFormat:
    """Turn (msb, lsb, threshold) into a `KeyFormat`."""
    try:
        msb, lsb, threshold = answer
        if isinstance(msb, bool) or int(msb) != msb or int(lsb) != lsb:
            raise ValueError
        return KeyFormat(msb_bits=int(msb), lsb_bits=int(lsb), threshold=float(threshold))
    except SparcadeError as error:
        raise policy_error(error.what, "bits", where, error.expected, error.got) from None
    except (TypeError, ValueError):
        expected = "(MSB bits, LSB bits, threshold)"
        raise policy_error("bits() returned something else", "bits", where, expected, repr(answer)[:80]) from None


def _ranked(choice: TopK, candidates: Ids, score_bits: int, method: str, where: str) -> Answer:
    scores = np.asarray(choice.scores)
    if scores.shape != candidates.shape or not np.issubdtype(scores.dtype, np.integer):
        expected = f"{len(candidates)} integers (12 fractional bits), one per candidate"
        got = f"{scores.dtype} of shape {scores.shape}"
        raise policy_error("TopK.scores does not match the candidates", method, where, expected, got)
    scores = scores.astype(np.int64)
    if ((scores < 0) | (scores >= 1 << score_bits)).any():
        bad = int(scores[(scores < 0) | (scores >= 1 << score_bits)][0])
        raise policy_error("a score does not fit the engine", method, where, f"0 to 2^{score_bits} - 1", str(bad))
    k, protected = choice.k, np.asarray(choice.protected, np.int64)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise policy_error("TopK.k is not a count", method, where, "an integer from 1", repr(k))
    if len(protected) and not _subset(protected, candidates):
        raise policy_error(
            "a protected id is no candidate", method, where, "ids of candidates", str(protected[:8].tolist())
        )
    if not len(protected):
        ranked = select(scores, int(k), score_bits)
        if not len(ranked.passes):
            return Answer(ids=candidates, scores=scores)
        return Answer(ids=candidates[ranked.kept], n=len(scores), k=int(k), passes=ranked.passes, scores=scores)
    pool = np.ones(len(candidates), np.bool_)
    pool[np.searchsorted(candidates, protected)] = False
    room = max(0, int(k) - len(protected))
    ranked = select(scores[pool], room, score_bits)
    ids = np.sort(np.concatenate([candidates[~pool], candidates[pool][ranked.kept]]))
    size = int(np.count_nonzero(pool)) if len(ranked.passes) else 0
    return Answer(ids=ids, n=size, k=room if size else 0, passes=ranked.passes, scores=scores)


def _subset(ids: Ids, candidates: Ids) -> bool:
    places = np.searchsorted(candidates, ids)
    return bool((places < len(candidates)).all() and (candidates[np.minimum(places, len(candidates) - 1)] == ids).all())


def policy_error(what: str, method: str, where: str, expected: str, got: str) -> PolicyError:
    """The error for an answer outside the protocol."""
    remedy = "mend the policy; docs/policies.md describes the protocol"
    return PolicyError(what, where=f"{method}() at {where}", expected=expected, got=got, remedy=remedy)

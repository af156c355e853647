"""Asks a policy and checks what it answers: the boundary where user code meets ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparcade.errors import PolicyError, SparcadeError
from sparcade.numerics import KeyFormat
from sparcade.policy.protocol import Ids, SequenceShape, Structure, TopK
from sparcade.topk import select

_MANY = 1 << 62


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
    except (Exception, SystemExit) as error:
        line = error.__traceback__.tb_next if error.__traceback__ else None
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        place = f" (line {line.tb_lineno} of {line.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]})" if line else ""
        got = f"{type(error).__name__}: {error}{place}"
        raise policy_error("the policy raised", method, where, "an answer", got) from error


def check_choice(choice: Any, candidates: Ids, score_bits: int, *, method: str, where: str) -> Answer:
    """Run the selection of a `TopK`, or check an array of ids against the candidates."""
    if choice is candidates:
        return Answer(ids=candidates)
    if isinstance(choice, TopK):
        return _ranked(choice, candidates, score_bits, method, where)
    ids = _integers(choice)
    if ids is None:
        expected = "TopK(scores, k) or integer ids"
        raise policy_error("the answer is neither TopK nor ids", method, where, expected, _shown(choice))
    ids = _distinct(ids, candidates, method, where)
    if not len(ids):
        raise policy_error("nothing would survive", method, where, "at least one id", "an empty array")
    return Answer(ids=ids, uncharged=len(ids) < len(candidates))


def check_bits(answer: Any, *, where: str) -> KeyFormat:
    """Turn (msb, lsb, threshold) into a `KeyFormat`."""
    fields: list[Any] = list(answer) if isinstance(answer, tuple | list) else []
    widths = [field for field in fields[:2] if isinstance(field, int | np.integer) and not isinstance(field, bool)]
    threshold = fields[2] if len(fields) == 3 else None
    if len(widths) != 2 or not isinstance(threshold, int | float | np.floating) or isinstance(threshold, bool):
        expected = "(MSB bits, LSB bits, threshold)"
        raise policy_error("bits() returned something else", "bits", where, expected, _shown(answer))
    small = [int(width) if 0 <= width < 100 else -1 for width in widths]
    try:
        return KeyFormat(msb_bits=small[0], lsb_bits=small[1], threshold=float(threshold) if threshold <= 1 else 2.0)
    except SparcadeError as error:
        got = f"{small[0]} + {small[1]} bits, threshold {threshold}"
        raise policy_error(error.what, "bits", where, error.expected, got) from None


def check_structure(answer: Any, shape: SequenceShape, *, where: str) -> Structure:
    """The structure with no head in a layer that is left out whole; some layer must keep a head."""
    size = shape.layers, shape.heads
    expected = f"Structure(heads = bool [{size[0]}, {size[1]}], skipped = layers in 0..{size[0] - 1})"
    wrong = policy_error("structure() returned something else", "structure", where, expected, _shown(answer))
    if not isinstance(answer, Structure) or not isinstance(answer.heads, np.ndarray):
        raise wrong
    layers = _integers(answer.skipped)
    if layers is None or ((layers < 0) | (layers >= size[0])).any():
        raise wrong
    if answer.heads.dtype != np.bool_ or answer.heads.shape != size:
        raise wrong
    running = answer.heads.copy()
    running[layers] = False
    if not running.any():
        raise policy_error("no layer keeps a head", "structure", where, "at least one head that runs", "none")
    return Structure(heads=running, skipped=tuple(np.unique(layers).tolist()))


def _ranked(choice: TopK, candidates: Ids, score_bits: int, method: str, where: str) -> Answer:
    scores = _integers(choice.scores)
    if scores is None or scores.shape != candidates.shape:
        expected = f"{len(candidates)} integers (12 fractional bits), one per candidate"
        array = choice.scores if isinstance(choice.scores, np.ndarray) else None
        got = _shown(choice.scores) if array is None else f"{array.dtype} of shape {array.shape}"
        raise policy_error("TopK.scores does not match the candidates", method, where, expected, got)
    low, high = int(scores.min()), int(scores.max())
    if low < 0 or high >= 1 << score_bits:
        got = str(low if low < 0 else high)
        raise policy_error("a score does not fit the engine", method, where, f"0 to 2^{score_bits} - 1", got)
    k = choice.k
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise policy_error("TopK.k is not a count", method, where, "an integer from 1", _shown(k))
    k = int(min(k, len(candidates)))
    protected = _integers(choice.protected)
    if protected is None:
        got = _shown(choice.protected)
        raise policy_error("TopK.protected is not a list of ids", method, where, "integer ids", got)
    if not len(protected):
        ranked = select(scores, k, score_bits)
        if not len(ranked.passes):
            return Answer(ids=candidates, scores=scores)
        return Answer(ids=candidates[ranked.kept], n=len(scores), k=k, passes=ranked.passes, scores=scores)
    protected = _distinct(protected, candidates, method, f"{where}, TopK.protected")
    pool = np.ones(len(candidates), np.bool_)
    pool[np.searchsorted(candidates, protected)] = False
    room = max(0, k - len(protected))
    ranked = select(scores[pool], room, score_bits)
    ids = np.sort(np.concatenate([protected, candidates[pool][ranked.kept]]))
    size = int(np.count_nonzero(pool)) if len(ranked.passes) else 0
    return Answer(ids=ids, n=size, k=room if size else 0, passes=ranked.passes, scores=scores)


def _integers(value: Any) -> Ids | None:
    """A list of integers as an array, or None for anything else; () counts as a list without ids."""
    if isinstance(value, tuple) and not value:
        return np.empty(0, np.int64)
    try:
        array = np.asarray(value)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            return None
        if array.dtype == np.uint64 and len(array) and int(array.max()) >= _MANY:
            return None
        return array.astype(np.int64)
    except Exception:  # whatever a foreign object raises when it is asked to be an array
        return None


def _distinct(ids: Ids, candidates: Ids, method: str, where: str) -> Ids:
    """Ids in order, each once, all among the candidates."""
    ids = np.sort(ids)
    if (ids[1:] == ids[:-1]).any():
        twice = int(ids[1:][ids[1:] == ids[:-1]][0])
        raise policy_error("an id is named twice", method, where, "each id once", f"id {twice} twice")
    places = np.minimum(np.searchsorted(candidates, ids), len(candidates) - 1)
    strangers = ids[candidates[places] != ids]
    if len(strangers):
        what = "the answer holds an id that was pruned before or does not exist"
        raise policy_error(
            what, method, where, f"ids out of the {len(candidates)} candidates", f"id {int(strangers[0])}"
        )
    return ids


def _shown(value: Any) -> str:
    try:
        return f"{type(value).__name__} {value!r}"[:120]
    except Exception:  # a foreign __repr__
        return type(value).__name__


def policy_error(what: str, method: str, where: str, expected: str, got: str) -> PolicyError:
    """The error for an answer outside the protocol."""
    remedy = "mend the policy; docs/policies.md describes the protocol"
    return PolicyError(what, where=f"{method}() at {where}", expected=expected, got=got, remedy=remedy)

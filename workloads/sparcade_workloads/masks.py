"""Masks that a trace can say: causal, or all keys for all queries."""

from __future__ import annotations

from typing import Any

import torch

from sparcade.errors import TraceError

#: Added to a score, anything below hides the key: libraries write -inf, the least float, or a round number.
_HIDDEN = -1e4
_REMEDY = "capture a model with a causal or full mask"


def mask_kinds(mask: Any, *, first: int, keys: int, where: str) -> tuple[str, ...]:
    """Which of "causal" and "full" a mask [B, 1, Lq, keys] of the queries `first`, `first` + 1, ... can be.

    None shows all keys. Both fit where the only query is the last of its keys.

    Raises
    ------
    TraceError
        If neither fits: a sliding window shorter than the context, padding, a bias on the scores.
    """
    if mask is None:
        return ("causal", "full") if first + 1 == keys else ("full",)
    visible = mask if mask.dtype == torch.bool else mask > _HIDDEN
    if mask.dtype != torch.bool and bool((mask[visible] != 0).any()):
        raise _error(
            "the mask adds a bias to the scores", where, "a mask that shows or hides", "a bias (such as ALiBi)"
        )
    causal = torch.arange(keys) <= torch.arange(first, first + visible.shape[-2])[:, None]
    kinds = {"causal": bool((visible == causal).all()), "full": bool(visible.all())}
    if not any(kinds.values()):
        widest = int(visible.sum(dim=-1).max())
        window = bool((visible <= causal).all())
        raise _error(
            "the mask is neither causal nor full",
            where,
            f"all earlier keys, or all {keys} keys, visible (a sliding window is fine while the text fits it)",
            f"{'a sliding window of' if window else 'at most'} {widest} visible keys",
            f"capture at most {widest} tokens" if window else _REMEDY,
        )
    return tuple(kind for kind, fits in kinds.items() if fits)


def _error(what: str, where: str, expected: str, got: str, remedy: str = _REMEDY) -> TraceError:
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)

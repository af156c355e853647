"""The closed loop: a Transformers model whose attention is computed by a policy, value-exact.

Every layer sees what pruning, quantization and head removal left of the layer before. The model's library still
carries a row for every token; the attention output of a pruned token is NaN from the layer that pruned it, and only
tokens that entered a layer are read there. Were a pruned token to influence anything, a NaN would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.masking_utils import eager_mask

from sparcade.errors import TraceError
from sparcade.policy import Engine
from sparcade.policy.tensors import QKV, SequenceTensors
from sparcade.trace import ModelShape

_HOOK = "sparcade_closed_loop"
_SUPPORTED = "one self-attention per layer, full or causal, over an unpadded, unwindowed cache, without soft-cap or bias"


def shape_of(model: Any, name: str) -> ModelShape:
    """The attention geometry of a model, taken from a forward pass of two tokens.

    Raises
    ------
    TraceError
        If the model bypasses the attention registry, or its layers differ in shape or scaling.
    """
    calls: list[tuple[Any, ...]] = []

    def look(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any = None, **_options: Any) -> Any:
        _, heads, rows, dim = query.shape
        scaling = dim**-0.5 if scaling is None else float(scaling)
        causal = mask is not None and bool(mask[0, 0, 0, 1] < 0)
        calls.append((heads, key.shape[1], dim, scaling, "causal" if causal else "full"))
        return torch.zeros(1, rows, heads, value.shape[-1]), None

    with attention(model, look), torch.no_grad():
        model(input_ids=torch.tensor([[0, 0]]))
    if len(set(calls)) != 1 or len(calls) != model.config.num_hidden_layers:
        got = f"{len(calls)} attention calls, (heads, KV heads, D, scaling, mask) = {sorted(set(calls))}"
        raise _error("the layers of the model differ", type(model).__name__, _SUPPORTED, got)
    heads, kv_heads, dim, scaling, mask = calls[0]
    return ModelShape(
        name=name,
        layers=len(calls),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim,
        mask=mask,
        scaling=scaling,
    )


def run_sequence(
    model: Any, engine: Engine, token_ids: Sequence[int], *, prompt_tokens: int, names: Sequence[str]
) -> Iterator[Any]:
    """Run one sequence, the prompt at once, then one teacher-forced token per step; yields the model's output each.

    Rows of tokens that did not enter the last layer (`engine.queries` has the others) are NaN.

    Parameters
    ----------
    names : token strings, for policies that look at them.
    """
    engine.begin_sequence(tuple(names), SequenceTensors.empty(engine.model, prompt_tokens, len(token_ids)))

    def attend(
        module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **_options: Any
    ) -> Any:
        rows = query.shape[2]
        _check(engine, query, key, mask, scaling)
        engine.enter_layer()
        queries = engine.queries - (engine.context - rows)
        new = QKV(*(tensor[0, :, -rows:].float().numpy()[:, queries] for tensor in (query, key, value)))
        for letter, tensor in zip("QKV", new, strict=True):
            if not np.isfinite(tensor).all():
                what, where = "a value is not finite", f"layer {engine.layer}, {letter}"
                raise _error(what, where, "finite values of the tokens that enter the layer", "NaN or infinity")
        engine.tensors.put(engine.layer, engine.queries, engine.heads, new)
        output = engine.attend()
        padded = np.full((rows, engine.model.heads, engine.model.head_dim), np.nan, np.float32)
        padded[queries] = 0.0
        padded[queries[:, None], output.heads] = output.values.swapaxes(0, 1)
        return torch.from_numpy(padded)[None].to(query.dtype), None

    with attention(model, attend):
        yield from forward(model, token_ids, prompt_tokens)


def forward(model: Any, token_ids: Sequence[int], prompt_tokens: int) -> Iterator[Any]:
    """The model's output of the prompt, then of each further token through a KV cache."""
    ids = torch.tensor([list(token_ids)])
    decodes = prompt_tokens < len(token_ids)
    # An encoder takes no cache; a prompt alone needs none.
    cache = {"past_key_values": DynamicCache(config=model.config), "use_cache": True} if decodes else {}
    for first, stop in pairwise((0, *range(prompt_tokens, len(token_ids) + 1))):
        with torch.no_grad():
            output = model(input_ids=ids[:, first:stop], **cache)
        yield output


@contextmanager
def attention(model: Any, function: Any) -> Iterator[None]:
    """Give the model an attention function for a while, and make sure that it uses it."""
    where = type(model).__name__
    if model.training:
        raise _error("the model is in training mode", where, "model.eval()", "dropout on")
    AttentionInterface.register(_HOOK, function)
    # Without a mask function of the same name the library passes no mask at all: causal models see the future.
    AttentionMaskInterface.register(_HOOK, eager_mask)
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(_HOOK)
        if (got := model.config._attn_implementation) != _HOOK:  # such models keep their own attention, silently
            raise _error("the model ignores the attention registry", where, repr(_HOOK), repr(got))
        yield
    finally:
        model.set_attn_implementation(before)
        AttentionInterface.register(_HOOK, _refuse)  # the registry is global: it must not keep an engine alive


def _refuse(*_args: Any, **_options: Any) -> Any:
    raise _error("the closed loop is over", _HOOK, "a call while a sequence runs", "a call after it")


def _check(engine: Engine, query: Any, key: Any, mask: Any, scaling: float | None) -> None:
    """The model asks for what the engine computes: shapes, scaling, mask."""
    model, where = engine.model, f"layer {engine.layer} of step {engine.step}"
    rows = engine.context if engine.step == 0 else 1
    expected = (1, model.heads, rows, model.head_dim), (1, model.kv_heads, engine.context, model.head_dim)
    if (tuple(query.shape), tuple(key.shape)) != expected:
        got = f"{tuple(query.shape)} and {tuple(key.shape)}"
        raise _error("Q and K have other shapes than one row per token", where, f"{expected[0]} and {expected[1]}", got)
    given = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if given != model.scaling:
        raise _error("the layers scale Q.K differently", where, f"{model.scaling}", f"{given}")
    causal = model.mask == "causal" and rows > 1
    sees = torch.ones(rows, engine.context, dtype=torch.bool)
    sees = sees.tril() if causal else sees
    got_sees = torch.ones_like(sees) if mask is None else (mask if mask.dtype == torch.bool else mask == 0)
    if not torch.equal(got_sees.expand(1, 1, *sees.shape)[0, 0], sees):
        raise _error("the mask is unsupported", where, f"a {model.mask} mask", "another (a window or padding)")


def _error(what: str, where: str, expected: str, got: str) -> TraceError:
    remedy = f"run a model with {_SUPPORTED}, written for the attention registry, in eval mode"
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)

"""Capture of Q, K, V from a Transformers model.

The model runs twice. The first run has our attention function in the library's registry: it records Q, K and V
as they reach the attention (after projection and rotary embedding, K and V with the cache, not repeated for
grouped queries) and then calls the model file's own eager function. The second run has the library's stock
attention, without our function: it gives the outputs the trace is checked against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from sparcade.errors import TraceError
from sparcade.trace import LayerTensors
from sparcade_workloads.attention import STOCK, Call, hooked, implementation, probe

#: Largest accepted difference between the recomputed and the model's own attention output.
TOLERANCE = 1e-4
#: Number of prefill rows whose model output is stored.
PREFILL_ROWS = 32

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one attention module received: over one step, or (after `record`) over all rows of a sequence."""

    name: str  #: of the module inside the model
    q: Floats  #: [H, rows, D] float32
    k: Floats  #: [Hkv, keys, D] float32
    v: Floats  #: [Hkv, keys, D] float32
    scaling: float  #: factor on Q.K that the model passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One sequence: tensors per layer, and how well attention on them reproduces the model."""

    layers: list[LayerTensors]
    output_rows: tuple[int, ...]  #: rows of `LayerTensors.out`
    scaling: float  #: factor on Q.K, the same in all layers
    error: float  #: largest |attention in float64 on q, k, v - the model's own output|


def capture(model: Any, token_ids: Sequence[int], *, prompt_tokens: int, mask: str) -> Captured:
    """Capture one unpadded sequence: the prompt at once, then one teacher-forced token per decode step.

    Raises
    ------
    TraceError
        If the model bypasses the attention registry, or attention on what was captured differs from the model's
        own output by more than `TOLERANCE` (another mask, a logit soft-cap, attention sinks).
    """
    recorded = record(model, token_ids, prompt_tokens=prompt_tokens)
    rows = output_rows(prompt_tokens, len(token_ids))
    outputs = stock_outputs(model, token_ids, prompt_tokens=prompt_tokens, recorded=recorded, rows=rows)
    error = 0.0
    for layer, out in zip(recorded, outputs, strict=True):
        expected = attention(layer.q, layer.k, layer.v, scaling=layer.scaling, rows=rows, mask=mask)
        difference = float(np.abs(expected - out).max())
        if not difference <= TOLERANCE:  # NaN must fail as well
            raise _error(
                "attention on the captured Q, K, V is not what the model computes",
                layer.name,
                f"a difference of at most {TOLERANCE:g} with mask {mask!r}",
                f"{difference:.3g}",
                "check the mask kind; models with soft-caps, sinks, windows or biases can't be captured",
            )
        error = max(error, difference)
    scalings = sorted({layer.scaling for layer in recorded})
    if len(scalings) != 1:
        remedy = "a trace holds one scaling; capture another model"
        raise _error("the layers scale Q.K differently", type(model).__name__, "one factor", str(scalings), remedy)
    layers = [
        LayerTensors(q=layer.q, k=layer.k, v=layer.v, out=out) for layer, out in zip(recorded, outputs, strict=True)
    ]
    return Captured(layers=layers, output_rows=rows, scaling=scalings[0], error=error)


def output_rows(prompt_tokens: int, tokens: int) -> tuple[int, ...]:
    """Rows whose model output is stored: 32 spread evenly over the prompt (all of a short one), all decode rows."""
    count = min(PREFILL_ROWS, prompt_tokens)
    prefill = {index * (prompt_tokens - 1) // max(1, count - 1) for index in range(count)}
    return (*sorted(prefill), *range(prompt_tokens, tokens))


def attention(q: Floats, k: Floats, v: Floats, *, scaling: float, rows: Sequence[int], mask: str) -> Floats:
    """Attention output [H, len(rows), D] at the given rows, in float64: q [H, T, D], k and v [Hkv, T, D]."""
    group = q.shape[0] // k.shape[0]
    keys = np.repeat(k.astype(np.float64), group, axis=0)
    values = np.repeat(v.astype(np.float64), group, axis=0)
    at = np.asarray(rows)
    scores = scaling * (q[:, at].astype(np.float64) @ keys.swapaxes(1, 2))
    if mask == "causal":
        scores = np.where(np.arange(k.shape[1]) > at[:, None], -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    output: Floats = (weights / weights.sum(axis=-1, keepdims=True)) @ values
    return output


def record(model: Any, token_ids: Sequence[int], *, prompt_tokens: int) -> list[Recorded]:
    """Q, K, V of every layer in order of execution, all rows of the sequence.

    The rows are put together from the steps, each of which sees the cache as it stood then.
    """
    calls: list[Recorded] = []

    def attend(call: Call) -> tuple[Any, Any]:
        q, k, v = (tensor[0].float().numpy().copy() for tensor in (call.query, call.key, call.value))
        calls.append(Recorded(name=call.name, q=q, k=k, v=v, scaling=call.scaling))
        return call.eager()

    steps = []
    with hooked(model, attend):
        for tokens in _run(model, token_ids, prompt_tokens):
            steps.append(_checked(calls, model, tokens))
            calls.clear()
    return [_joined(list(layer), prompt_tokens) for layer in zip(*steps, strict=True)]


def stock_outputs(
    model: Any, token_ids: Sequence[int], *, prompt_tokens: int, recorded: Sequence[Recorded], rows: Sequence[int]
) -> list[Floats]:
    """The model's own attention output [H, len(rows), D] float32 of each layer, under stock attention.

    Taken from the input of each output projection, in a run of its own: the prompt at once, then token by token.
    """
    taken: dict[str, list[Floats]] = {layer.name: [] for layer in recorded}

    def taker(name: str, heads: int) -> Any:
        def take(_module: Any, inputs: tuple[Any, ...]) -> None:
            taken[name].append(inputs[0][0].float().numpy().reshape(inputs[0].shape[1], heads, -1).copy())

        return take

    handles = [
        model.get_submodule(layer.reader).register_forward_pre_hook(taker(layer.name, layer.heads))
        for layer in probe(model, lambda: model(input_ids=torch.tensor([[0, 1]])))
    ]
    try:
        with implementation(model, STOCK):
            for _tokens in _run(model, token_ids, prompt_tokens):
                pass
    finally:
        for handle in handles:
            handle.remove()
    return [np.ascontiguousarray(np.concatenate(taken[layer.name])[list(rows)].swapaxes(0, 1)) for layer in recorded]


def _run(model: Any, token_ids: Sequence[int], prompt_tokens: int) -> Iterator[int]:
    """Run the prompt, then token by token through a KV cache; yields the number of tokens read after each step."""
    ids = torch.tensor([list(token_ids)])
    decodes = prompt_tokens < len(token_ids)
    # An encoder takes no cache; a prompt alone needs none.
    cache = {"past_key_values": DynamicCache(config=model.config), "use_cache": True} if decodes else {}
    for first, stop in pairwise((0, *range(prompt_tokens, len(token_ids) + 1))):
        with torch.no_grad():
            model(input_ids=ids[:, first:stop], **cache)
        yield stop


def _checked(calls: list[Recorded], model: Any, tokens: int) -> list[Recorded]:
    """One step's records, one per layer, each with the keys of all tokens so far."""
    where, layers = type(model).__name__, model.config.num_hidden_layers
    remedy = "capture a model with one self-attention per layer and an unpadded, unwindowed cache"
    if len(calls) != layers or len({call.name for call in calls}) != layers:
        got = f"{len(calls)} calls"
        raise _error("not every layer was recorded once", where, f"{layers} attention calls", got, remedy)
    for call in calls:
        if call.k.shape[1] != tokens:
            got = f"{call.k.shape[1]} keys"
            raise _error("the cache does not hold one key per token", call.name, f"{tokens} keys", got, remedy)
    return list(calls)


def _joined(steps: list[Recorded], prompt_tokens: int) -> Recorded:
    """All rows of one layer, from its steps; K and V must be append-only."""
    last, q = steps[-1], np.concatenate([step.q for step in steps], axis=1)
    for index, step in enumerate(steps):
        tokens = prompt_tokens + index
        if not (np.array_equal(step.k, last.k[:, :tokens]) and np.array_equal(step.v, last.v[:, :tokens])):
            what, remedy = "the cache changed keys or values of earlier tokens", "capture with an append-only cache"
            raise _error(what, last.name, "K and V as in the step before", f"a change before step {index}", remedy)
    return Recorded(name=last.name, q=q, k=last.k, v=last.v, scaling=last.scaling)


def _error(what: str, where: str, expected: str, got: str, remedy: str) -> TraceError:
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)

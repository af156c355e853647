"""The closed loop: a Transformers model whose attention is computed by a policy, value-exact.

Every layer sees what pruning, quantization and head removal left of the layer before. The library still carries a
row for every token, but from the layer that pruned it on a token's row is NaN, and only tokens that entered a layer are
read there: were a pruned token to influence anything, a NaN would show. A layer that a policy leaves out hands its
hidden states on; where only its attention is left out, the attention's output projection gives zeros.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sparcade.errors import TraceError
from sparcade.policy import Engine
from sparcade.policy.tensors import QKV, SequenceTensors
from sparcade.trace import ModelShape
from sparcade_workloads.attention import SUPPORTED, Call, hooked, probe
from sparcade_workloads.inputs import Input, read_steps, run_shortest
from sparcade_workloads.masks import mask_kinds


def shape_of(model: Any, name: str) -> ModelShape:
    """The attention geometry of a model, seen in a forward pass of two tokens.

    Raises
    ------
    TraceError
        If the model bypasses the attention interface, or its layers differ in shape or scaling.
    """
    layers = probe(model, lambda: run_shortest(model))
    kinds = {(each.heads, each.kv_heads, each.head_dim, each.scaling, each.mask) for each in layers}
    if len(kinds) != 1:
        got = f"(heads, KV heads, D, scaling, mask) of {sorted(kinds)}"
        raise _error("the layers of the model differ", type(model).__name__, SUPPORTED, got)
    return layers[0].shape(name, layers=len(layers))


def run_sequence(
    model: Any, engine: Engine, token_ids: Sequence[int], *, prompt_tokens: int, names: Sequence[str]
) -> Generator[Any, None, None]:
    """Run one sequence, the prompt at once, then one teacher-forced token per step; yields the model's output each.

    After the prompt, `engine.queries` are the tokens that entered the last layer; rows of the others are NaN.

    Parameters
    ----------
    names : token strings, for policies that look at them.

    Raises
    ------
    TraceError
        If the model asks for another attention than `engine.model`, or a value is not finite.
    PolicyError
        As `Engine`.
    """
    engine.begin_sequence(tuple(names), SequenceTensors.empty(engine.model, prompt_tokens, len(token_ids)))
    with _left_out(model, engine), hooked(model, lambda call: (_attend(engine, call), None)):
        yield from read_steps(model, token_ids, prompt_tokens)


def run_image(model: Any, engine: Engine, item: Input) -> Any:
    """Run an image through a vision model; its output, where rows of pruned patches are NaN.

    Raises
    ------
    TraceError, PolicyError
        As `run_sequence`.
    """
    assert item.pixels is not None
    engine.begin_sequence(item.tokens, SequenceTensors.empty(engine.model, item.prompt_tokens, len(item.tokens)))
    with _left_out(model, engine), hooked(model, lambda call: (_attend(engine, call), None)), torch.no_grad():
        return model(pixel_values=torch.from_numpy(item.pixels())[None])


@contextmanager
def _left_out(model: Any, engine: Engine) -> Iterator[None]:
    """Let the layers that the policy leaves out hand their hidden states on, whole or around their attention."""
    layers = probe(model, lambda: run_shortest(model)) if engine.unattended else ()
    handles = []
    try:
        for layer in engine.unattended:
            module = model.get_submodule(
                _block(layers[layer].name) if layer in engine.skipped else layers[layer].reader
            )
            hook = _hand_on if layer in engine.skipped else _give_zeros
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _block(name: str) -> str:
    """The layer that holds an attention: its name ends at the first number, as in h.3.attn."""
    found = re.match(r"(?:.*?\.)?\d+(?=\.)", name)
    if found is None:
        raise _error("the layer around the attention can't be told", name, "a name such as layers.3.self_attn", name)
    return found[0]


def _hand_on(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
    hidden = inputs[0] if inputs else named["hidden_states"]
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _give_zeros(_module: Any, _inputs: tuple[Any, ...], _named: dict[str, Any], output: Any) -> Any:
    return torch.zeros_like(output)


def _attend(engine: Engine, call: Call) -> Any:
    """One layer of one step: the policy chooses, the engine computes; output [1, Lq, H, D]."""
    rows = call.query.shape[2]
    _check(engine, call)
    engine.enter_layer()
    places = engine.queries - (engine.context - rows)
    if len(engine.heads):
        new = QKV(*(x[0, :, -rows:].float().numpy()[:, places] for x in (call.query, call.key, call.value)))
        for letter, tensor in zip("QKV", new, strict=True):
            if not np.isfinite(tensor).all():
                raise _error("a value is not finite", f"{call.name}, {letter}", "finite numbers", "NaN or infinity")
        engine.tensors.put(engine.layer, engine.queries, engine.heads, new)
    output = engine.attend()
    padded = np.full((rows, engine.model.heads, engine.model.head_dim), np.nan, np.float32)
    padded[places] = 0.0  # what a pruned head adds
    padded[places[:, None], output.heads] = output.values.swapaxes(0, 1)
    return torch.from_numpy(padded)[None].to(call.query.dtype)


def _check(engine: Engine, call: Call) -> None:
    """The model asks for what the engine computes: shapes, scaling, mask."""
    model = engine.model
    rows = engine.context if engine.step == 0 else 1
    expected = (1, model.heads, rows, model.head_dim), (1, model.kv_heads, engine.context, model.head_dim)
    if (tuple(call.query.shape), tuple(call.key.shape)) != expected:
        got = f"{tuple(call.query.shape)} and {tuple(call.key.shape)}"
        what = "Q and K do not have one row per token (another cache, a window, a batch)"
        raise _error(what, call.name, f"{expected[0]} and {expected[1]}", got)
    kinds = mask_kinds(call.mask, first=engine.context - rows, keys=engine.context, where=call.name)
    if call.scaling != model.scaling or model.mask not in kinds:
        expected_kind, got = f"{model.scaling}, {model.mask}", f"{call.scaling}, {' or '.join(kinds)}"
        raise _error("the scaling or the mask changed between layers", call.name, expected_kind, got)


def _error(what: str, where: str, expected: str, got: str) -> TraceError:
    return TraceError(
        what, where=where, expected=expected, got=got, remedy="run a model of the kinds in docs/accuracy.md"
    )

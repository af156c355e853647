"""The hook: a function of ours in place of a model's attention, for a while, through the registry of Transformers.

Only this module touches that registry. A `Call` is what a model hands to its attention: Q, K and V per head, after
projection, norm and rotary embedding, K and V with the cache and not repeated for grouped queries. `hooked` sends
every call to a function, which may look at it, change it or replace it; `probe` says what a model's calls are like.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from sparcade.errors import TraceError
from sparcade.trace import Excerpt, ModelShape
from sparcade_workloads.masks import mask_kinds

#: The library's stock attention, which runs without any function of ours.
STOCK = "sdpa"
#: For error messages: what `hooked` and `probe` accept.
SUPPORTED = (
    "self-attention through the attention interface of transformers, one per layer, all layers alike, causal or full "
    "mask (BERT, RoBERTa, DistilBERT, MiniLM, GPT-2, OPT, Llama, Mistral, Qwen2, Qwen3, ViT, DeiT and their like)"
)

_HOOK = "sparcade"
#: Arguments by which models change the softmax, and what they are called.
_EXTRAS = {"softcap": "a logit soft-cap", "s_aux": "attention sinks", "position_bias": "a position bias"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One call of a model's attention; tensors of a batch B with Lq queries and Lk keys."""

    name: str  #: of the attention module inside the model
    module: Any
    query: Any  #: [B, H, Lq, D]
    key: Any  #: [B, Hkv, Lk, D]
    value: Any  #: [B, Hkv, Lk, D]
    mask: Any  #: [B, 1, Lq, Lk], added to the scores; None: all keys are visible
    options: dict[str, Any]  #: what else the model passed: scaling, dropout, ...

    @property
    def scaling(self) -> float:
        """Factor on Q.K."""
        given = self.options.get("scaling")
        return float(self.query.shape[-1] ** -0.5 if given is None else given)

    def eager(self) -> tuple[Any, Any]:
        """Output [B, Lq, H, D] and weights [B, H, Lq, Lk] of the model file's own eager function.

        It keeps repeats, soft-caps and the like as they are, with no code per model.
        """
        function = getattr(sys.modules[type(self.module).__module__], "eager_attention_forward", None)
        if function is None:
            what = "the model file has no eager attention to call"
            raise _unsupported(what, self.name, "no function eager_attention_forward")
        output, weights = function(self.module, self.query, self.key, self.value, self.mask, **self.options)
        return output, weights


#: Takes a call, returns what its `eager` would: output [B, Lq, H, D] and weights, or None for them.
Attend = Callable[[Call], tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLayer:
    """One attention of a model, as `probe` saw it."""

    name: str  #: of the attention module inside the model
    reader: str  #: of the module that reads the attention output, flattened to [B, Lq, H * D]: its projection
    heads: int
    kv_heads: int
    head_dim: int  #: D
    scaling: float  #: factor on Q.K
    mask: str  #: "causal" or "full"
    tokens: int  #: of the input it was seen with

    def shape(self, name: str, *, layers: int, excerpt: Excerpt | None = None) -> ModelShape:
        """The shape of a model whose layers all have such an attention."""
        return ModelShape(
            name=name,
            layers=layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            mask=self.mask,
            scaling=self.scaling,
            excerpt=excerpt,
        )


@contextmanager
def implementation(model: Any, name: str) -> Iterator[None]:
    """Give the model an attention implementation of the registry for a while, and make sure that it takes it.

    Raises
    ------
    TraceError
        If the model is in training mode (dropout changes the weights), or ignores the registry.
    """
    where = type(model).__name__
    if model.training:
        raise _error("the model is in training mode", where, "model.eval()", "dropout on", "call model.eval() before")
    before = model.config._attn_implementation
    try:
        try:
            model.set_attn_implementation(name)
        except (ValueError, ImportError) as error:  # models say so themselves where stock attention is not theirs
            raise _unsupported("the model can't take this attention", where, str(error)) from error
        if model.config._attn_implementation != name:  # such models keep their own attention, silently
            what = "the model ignores the attention interface of transformers"
            raise _unsupported(what, where, "a model with attention code of its own (such as GPT-J, Bloom, OpenAI-GPT)")
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def hooked(model: Any, attend: Attend) -> Iterator[None]:
    """Send every attention call of the model to `attend` for a while.

    Raises
    ------
    TraceError
        As `implementation`; or if the model ran without a single call.
    """
    names = {module: name for name, module in model.named_modules()}
    calls = 0

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **options: Any
    ) -> tuple[Any, Any]:
        nonlocal calls
        calls += 1
        options |= zip(("scaling", "dropout"), args, strict=False)
        name = names.get(module, type(module).__name__)
        return attend(
            Call(name=name, module=module, query=query, key=key, value=value, mask=attention_mask, options=options)
        )

    AttentionInterface.register(_HOOK, attention)
    # Without a mask function of the same name the library passes no mask at all: causal models see the future.
    AttentionMaskInterface.register(_HOOK, eager_mask)
    try:
        with implementation(model, _HOOK):
            yield
    finally:
        AttentionInterface.register(_HOOK, _closed)  # the registry must not keep `attend` and what it holds
    if not calls:
        what = "the model never called the attention interface of transformers"
        raise _unsupported(what, type(model).__name__, "no call")


def probe(model: Any, run: Callable[[], object]) -> tuple[AttentionLayer, ...]:
    """Every attention of the model in order of execution, seen while `run` runs the model once, B = 1, no cache.

    The input should be short, of two tokens or more: a causal mask shows from the second on.

    Raises
    ------
    TraceError
        If the model can't be hooked, or its attention is not of the kind `SUPPORTED`.
    """
    _refuse_cross_attention(model)
    leaves = {module: name for name, module in model.named_modules() if not any(True for _ in module.children())}
    layers: list[AttentionLayer] = []
    readers: list[str] = []
    output: Any = None

    def attend(call: Call) -> tuple[Any, Any]:
        nonlocal output
        if len(readers) < len(layers):
            raise _unread(layers[-1].name)
        layers.append(_layer(call))
        output, weights = call.eager()
        return output, weights

    def look(module: Any, inputs: tuple[Any, ...]) -> None:
        # The first module after a call that is given exactly its output.
        if len(readers) < len(layers) and inputs and isinstance(inputs[0], torch.Tensor):
            given = inputs[0]
            if given.numel() == output.numel() and torch.equal(given.reshape(-1), output.reshape(-1)):
                readers.append(leaves[module])

    handles = [module.register_forward_pre_hook(look) for module in leaves]
    try:
        with hooked(model, attend), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    if len(readers) < len(layers):
        raise _unread(layers[-1].name)
    expected = getattr(model.config.get_text_config(), "num_hidden_layers", len(layers))
    if not len({layer.name for layer in layers}) == len(layers) == expected:
        what = "not every layer of the model has one self-attention"
        raise _unsupported(what, type(model).__name__, f"{len(layers)} attention calls in {expected} layers")
    return tuple(replace(layer, reader=reader) for layer, reader in zip(layers, readers, strict=True))


def _layer(call: Call) -> AttentionLayer:
    """The geometry of a call, without its reader."""
    for option, name in _EXTRAS.items():
        if call.options.get(option) is not None:
            raise _unsupported("the attention is not a plain softmax of scaled scores", call.name, name)
    heads, kv_heads, dim = call.query.shape[1], call.key.shape[1], call.query.shape[-1]
    if call.key.shape != call.value.shape or call.key.shape[-1] != dim or heads % kv_heads:
        got = ", ".join(
            f"{name} {tuple(x.shape)}" for name, x in zip("QKV", (call.query, call.key, call.value), strict=True)
        )
        raise _unsupported("Q, K and V have vectors of different lengths, or heads that do not divide", call.name, got)
    return AttentionLayer(
        name=call.name,
        reader="",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim,
        scaling=call.scaling,
        mask=mask_kinds(call.mask, first=0, keys=call.key.shape[2], where=call.name)[0],
        tokens=call.query.shape[2],
    )


def _refuse_cross_attention(model: Any) -> None:
    for setting, what in (("is_encoder_decoder", "an encoder-decoder"), ("add_cross_attention", "cross-attention")):
        if getattr(model.config, setting, False):
            raise _unsupported("the model has cross-attention", type(model).__name__, f"{what} ({setting} = true)")


def _closed(*_args: Any, **_options: Any) -> tuple[Any, Any]:
    raise RuntimeError("the hook on the model's attention was closed")


def _unread(name: str) -> TraceError:
    return _unsupported("no module reads the attention output as it is", name, "an output that is changed before")


def _unsupported(what: str, where: str, got: str) -> TraceError:
    return _error(what, where, SUPPORTED, got, "capture another model (docs/traces.md lists what works)")


def _error(what: str, where: str, expected: str, got: str, remedy: str) -> TraceError:
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)

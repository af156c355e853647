"""Q, K, V of one sequence, as far as they exist, and their words in the layout that the kernels read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade.numerics import KeyFormat, quantize, scale_of
from sparcade.trace import AttentionTrace, ModelShape

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]


class QKV(NamedTuple):
    """Tensors of one layer: q [H, T, D], k and v [Hkv, T, D]."""

    q: Array
    k: Array
    v: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWords:
    """One layer in one key format: words (int32, or float64 when unquantized) and scales per head."""

    query: Array  #: [H, T, D]
    key: Array  #: [Hkv, D, T], full words
    value: Array  #: [Hkv, T, D]
    query_scale: Array  #: [H]
    key_scale: Array  #: [Hkv]
    value_scale: Array  #: [Hkv]


@dataclass(slots=True)
class _Words:
    """One tensor of one layer in one width; `chunks` of the arrivals are quantized."""

    words: Array  #: [H or Hkv, T, D], K as [Hkv, D, T]
    scales: Array
    chunks: int = 0


@dataclass(slots=True)
class SequenceTensors:
    """All layers of one sequence, which rows of them exist, and how many elements saturated at quantization.

    Of a trace every row exists. A model in the closed loop computes Q, K and V only of the tokens and heads that
    enter a layer (`put`): the others are zero here, fix no scale, and can't be fetched later.
    """

    layers: list[QKV]
    prompt_tokens: int
    tokens: npt.NDArray[np.bool_]  #: [layers, T] whose Q, K and V exist
    heads: npt.NDArray[np.bool_]  #: [layers, H] that ran in every step so far
    arrivals: list[list[Ids]]  #: per layer, the rows in the order in which they came
    saturated: dict[str, int] = field(default_factory=lambda: {"q": 0, "k": 0, "v": 0})
    _words: dict[tuple[int, str, int], _Words] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: AttentionTrace, sequence: int) -> SequenceTensors:
        """Read one sequence of a trace."""
        stored = [trace.tensors(layer, sequence) for layer in range(trace.manifest.model.layers)]
        layers = [QKV(layer.q, layer.k, layer.v) for layer in stored]
        return cls.whole(layers, trace.manifest.sequences[sequence].prompt_tokens)

    @classmethod
    def whole(cls, layers: list[QKV], prompt_tokens: int) -> SequenceTensors:
        """All rows at once, as the unpruned model computed them."""
        heads, tokens, _ = layers[0].q.shape
        every = [[np.arange(tokens)] for _ in layers]
        return cls(
            layers,
            prompt_tokens,
            np.ones((len(layers), tokens), np.bool_),
            np.ones((len(layers), heads), np.bool_),
            every,
        )

    @classmethod
    def empty(cls, model: ModelShape, prompt_tokens: int, tokens: int) -> SequenceTensors:
        """Room for a sequence of so many tokens, none of which exists yet."""
        shapes = [(heads, tokens, model.head_dim) for heads in (model.heads, model.kv_heads, model.kv_heads)]
        layers = [QKV(*(np.zeros(shape, np.float32) for shape in shapes)) for _ in range(model.layers)]
        exist = np.zeros((model.layers, tokens), np.bool_)
        return cls(layers, prompt_tokens, exist, np.ones((model.layers, model.heads), np.bool_), [[] for _ in layers])

    def put(self, layer: int, tokens: Ids, heads: Ids, new: QKV) -> None:
        """Add the rows of some tokens: `new` holds them in their order, for all heads; only `heads` exist."""
        group = len(new.q) // len(new.k)
        for tensor, rows, alive in zip(
            self.layers[layer], new, (heads, np.unique(heads // group), np.unique(heads // group)), strict=True
        ):
            tensor[alive[:, None], tokens] = rows[alive]
        self.tokens[layer, tokens] = True
        self.heads[layer] &= np.isin(np.arange(len(new.q)), heads)
        self.arrivals[layer].append(tokens)

    def words(self, layer: int, form: KeyFormat) -> LayerWords:
        """The words of one layer in one format; scales come from the prompt and stay frozen in decode."""
        query = self._quantized(layer, "q", form.query_bits, form.is_float)
        key = self._quantized(layer, "k", form.key_bits, form.is_float)
        value = self._quantized(layer, "v", form.value_bits, form.is_float)
        return LayerWords(
            query=query.words,
            key=key.words,
            value=value.words,
            query_scale=query.scales,
            key_scale=key.scales,
            value_scale=value.scales,
        )

    def _quantized(self, layer: int, name: str, bits: int, is_float: bool) -> _Words:
        tensor, arrivals = getattr(self.layers[layer], name), self.arrivals[layer]
        held = self._words.get((layer, name, bits))
        if held is None:
            prompt = arrivals[0][arrivals[0] < self.prompt_tokens]
            scales = np.ones(len(tensor)) if is_float else np.array([scale_of(head[prompt], bits) for head in tensor])
            shape = (len(tensor), tensor.shape[2], tensor.shape[1]) if name == "k" else tensor.shape
            held = _Words(np.zeros(shape, np.float64 if is_float else np.int32), scales)
            self._words[layer, name, bits] = held
        for rows in arrivals[held.chunks :]:
            words: Array = tensor[:, rows]
            if not is_float:
                words, count = quantize(words, held.scales[:, None, None], bits)
                self.saturated[name] += count
            if name == "k":
                held.words[:, :, rows] = words.transpose(0, 2, 1)
            else:
                held.words[:, rows] = words
        held.chunks = len(arrivals)
        return held

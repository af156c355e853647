"""Q, K, V words of one sequence, quantized once per width and kept in the layout the kernels read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.numerics import KeyFormat, msb_plane, quantize, scale_of
from sparcade.trace import AttentionTrace, LayerTensors

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWords:
    """One layer in one key format: words (int32, or float64 when unquantized) and scales per head."""

    query: Array  #: [H, T, D]
    key: Array  #: [Hkv, D, T], full words
    key_msb: Array  #: [Hkv, D, T], left-aligned MSB plane; the same array as `key` without an LSB plane
    value: Array  #: [Hkv, T, D]
    query_scale: Array  #: [H]
    key_scale: Array  #: [Hkv]
    value_scale: Array  #: [Hkv]


@dataclass(slots=True)
class SequenceTensors:
    """All layers of one sequence, and how many elements saturated at quantization."""

    layers: list[LayerTensors]
    prompt_tokens: int
    saturated: dict[str, int] = field(default_factory=lambda: {"q": 0, "k": 0, "v": 0})
    _words: dict[tuple[int, int, int], LayerWords] = field(default_factory=dict)
    _tensors: dict[tuple[int, str, int], tuple[Array, Array]] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: AttentionTrace, sequence: int) -> SequenceTensors:
        """Read one sequence of a trace."""
        layers = [trace.tensors(layer, sequence) for layer in range(trace.manifest.model.layers)]
        return cls(layers, trace.manifest.sequences[sequence].prompt_tokens)

    def words(self, layer: int, form: KeyFormat) -> LayerWords:
        """The words of one layer in one format; scales come from the prompt and stay frozen in decode."""
        key = (layer, form.msb_bits, form.lsb_bits)
        if key not in self._words:
            query, query_scale = self._quantized(layer, "q", form.query_bits, form.is_float)
            full, key_scale = self._quantized(layer, "k", form.key_bits, form.is_float)
            value, value_scale = self._quantized(layer, "v", form.value_bits, form.is_float)
            across = np.ascontiguousarray(full.transpose(0, 2, 1))
            self._words[key] = LayerWords(
                query=query,
                key=across,
                key_msb=msb_plane(across, form.lsb_bits) if form.lsb_bits else across,
                value=value,
                query_scale=query_scale,
                key_scale=key_scale,
                value_scale=value_scale,
            )
        return self._words[key]

    def _quantized(self, layer: int, name: str, bits: int, is_float: bool) -> tuple[Array, Array]:
        key = (layer, name, bits)
        if key not in self._tensors:
            tensor = getattr(self.layers[layer], name)
            if is_float:
                self._tensors[key] = tensor.astype(np.float64), np.ones(len(tensor))
            else:
                scales = [scale_of(head[: self.prompt_tokens], bits) for head in tensor]
                pairs = [quantize(head, scale, bits) for head, scale in zip(tensor, scales, strict=True)]
                self.saturated[name] += sum(count for _, count in pairs)
                self._tensors[key] = np.stack([words for words, _ in pairs]), np.array(scales)
        return self._tensors[key]

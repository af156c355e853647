"""`FcModel`: the matrices of a layer's fully connected part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.config import check_counts
from sparcade.errors import ConfigError
from sparcade.workload import WorkloadShape

Ints = npt.NDArray[np.int64]
#: Widths of weights that the converter takes to the 12 bits of the datapath.
WEIGHT_BITS = (4, 8, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class FcModel:
    """Fully connected layers of a Transformer: QKV and output projection, two FFN layers (three if gated).

    hidden = heads x head_dim; no biases, norms or embeddings.
    """

    layers: int
    heads: int
    head_dim: int
    weight_bits: int = 8
    kv_heads: int | None = None  #: None: as many as heads
    ffn: int | None = None  #: width of the FFN's inner layer; None: 4 x hidden
    gated: bool = False  #: the FFN has a gate: a second matrix into the inner layer (Llama type)
    vocabulary: int = 0  #: outputs of an LM head, applied to one token of each step; 0: none, as in the paper

    def __post_init__(self) -> None:
        check_counts(self, layers=1 << 10, heads=1 << 10, head_dim=1 << 13)
        check_counts(self, least=0, vocabulary=1 << 24)
        for name, most in (("kv_heads", self.heads), ("ffn", 1 << 24)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ConfigError(
                    f"{name} is out of range",
                    where=name,
                    expected=f"1 to {most}",
                    got=str(value),
                    remedy="leave it out for the default",
                )
        if self.weight_bits not in WEIGHT_BITS:
            raise ConfigError(
                "the weights have an unsupported width",
                where="weight_bits",
                expected=f"one of {', '.join(map(str, WEIGHT_BITS))}: what the converter takes to 12 bits",
                got=str(self.weight_bits),
                remedy="the paper has 8 and 12",
            )

    @classmethod
    def of(cls, shape: WorkloadShape, **settings: Any) -> FcModel:
        """The model of a workload, with other fields as given."""
        sizes = {name: getattr(shape, name) for name in ("layers", "heads", "head_dim", "kv_heads")}
        return cls(**{**sizes, **settings})

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self.heads * self.head_dim

    def matrices(self, heads: Ints, kv_heads: Ints) -> dict[str, tuple[Ints, Ints]]:
        """Inputs and outputs of each matrix of a layer, by name, for the heads that are there.

        Parameters
        ----------
        heads, kv_heads : [n] int64
        """
        hidden = np.full(heads.shape, self.hidden)
        inner = np.full(heads.shape, 4 * self.hidden if self.ffn is None else self.ffn)
        table = {
            "qkv": (hidden, (heads + 2 * kv_heads) * self.head_dim),
            "output": (heads * self.head_dim, hidden),
            "ffn_in": (hidden, inner),
            "ffn_out": (inner, hidden),
        }
        if self.gated:
            table["ffn_gate"] = (hidden, inner)
        return table

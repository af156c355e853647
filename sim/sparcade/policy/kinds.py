"""Kinds of policies that a file can configure: its key `kind` names one, SpAtten's without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparcade.policy.duo_attention import DuoAttention, DuoAttentionConfig
from sparcade.policy.evit import EViT, EViTConfig
from sparcade.policy.h2o import H2O, H2OConfig
from sparcade.policy.head_mask import HeadMask, HeadMaskConfig
from sparcade.policy.layer_drop import LayerDrop, LayerDropConfig
from sparcade.policy.protocol import Policy
from sparcade.policy.snapkv import SnapKV, SnapKVConfig
from sparcade.policy.spatten import PolicyConfig, SpAtten
from sparcade.policy.streaming_llm import StreamingLLM, StreamingLLMConfig

SPATTEN = "spatten"
#: Settings and policy of each kind.
KINDS: dict[str, tuple[type[Any], Callable[[Any], Policy]]] = {
    SPATTEN: (PolicyConfig, SpAtten),
    "streaming-llm": (StreamingLLMConfig, StreamingLLM),
    "h2o": (H2OConfig, H2O),
    "snapkv": (SnapKVConfig, SnapKV),
    "duo-attention": (DuoAttentionConfig, DuoAttention),
    "head-mask": (HeadMaskConfig, HeadMask),
    "layer-drop": (LayerDropConfig, LayerDrop),
    "evit": (EViTConfig, EViT),
}


def kind_of(policy: Policy) -> str | None:
    """The kind of a configured policy; None for a class of a user's own."""
    config = getattr(policy, "config", None)
    return next((kind for kind, (cls, _) in KINDS.items() if type(config) is cls), None)

"""Policies: what is pruned and how many bits are fetched; replay of a trace under one."""

from sparcade.policy.control import RandomRanking
from sparcade.policy.engine import Engine
from sparcade.policy.load import load_policy, policy_name, policy_provenance, settings_class
from sparcade.policy.protocol import (
    EvictingPolicy,
    HeadState,
    KeyState,
    Policy,
    Row,
    SequenceShape,
    Structure,
    StructuredPolicy,
    TokenState,
    TopK,
)
from sparcade.policy.replay import apply
from sparcade.policy.result import LayerOutput, OutputError, PolicyResult, mean_cosine, output_errors
from sparcade.policy.spatten import (
    HeadPruning,
    LocalValuePruning,
    PolicyConfig,
    ProgressiveQuantization,
    SpAtten,
    TokenPruning,
)

__all__ = [
    "Engine",
    "EvictingPolicy",
    "HeadPruning",
    "HeadState",
    "KeyState",
    "LayerOutput",
    "LocalValuePruning",
    "OutputError",
    "Policy",
    "PolicyConfig",
    "PolicyResult",
    "ProgressiveQuantization",
    "RandomRanking",
    "Row",
    "SequenceShape",
    "SpAtten",
    "Structure",
    "StructuredPolicy",
    "TokenPruning",
    "TokenState",
    "TopK",
    "apply",
    "load_policy",
    "mean_cosine",
    "output_errors",
    "policy_name",
    "policy_provenance",
    "settings_class",
]

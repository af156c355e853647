"""Traces: what a model's attention did (Q, K, V per layer, head and decode step), captured once and stored."""

from sparcade.trace.manifest import Manifest, ModelShape, Sequence
from sparcade.trace.store import AttentionTrace, LayerTensors
from sparcade.trace.synthetic import synthesize

__all__ = ["AttentionTrace", "LayerTensors", "Manifest", "ModelShape", "Sequence", "synthesize"]

"""Traces: what a model's attention did (Q, K, V per layer, head and decode step), captured once and stored."""

from sparcade.trace.analysis import Analysis, analyse
from sparcade.trace.manifest import Excerpt, Manifest, ModelShape, Rounding, Sequence
from sparcade.trace.outputs import attention_outputs, output_rows
from sparcade.trace.store import AttentionTrace, LayerTensors
from sparcade.trace.synthetic import synthesize
from sparcade.trace.writer import TraceWriter

__all__ = [
    "Analysis",
    "AttentionTrace",
    "Excerpt",
    "LayerTensors",
    "Manifest",
    "ModelShape",
    "Rounding",
    "Sequence",
    "TraceWriter",
    "analyse",
    "attention_outputs",
    "output_rows",
    "synthesize",
]

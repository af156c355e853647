"""End to end: fully connected layers on the multipliers of attention, their weights streamed from DRAM."""

from sparcade.e2e.fc import FcRun, fc
from sparcade.e2e.model import WEIGHT_BITS, FcModel
from sparcade.e2e.run import EndToEnd, end_to_end, prompt_steps
from sparcade.e2e.steps import generation, layer_steps
from sparcade.e2e.stream import Stream, measure_stream

__all__ = [
    "WEIGHT_BITS",
    "EndToEnd",
    "FcModel",
    "FcRun",
    "Stream",
    "end_to_end",
    "fc",
    "generation",
    "layer_steps",
    "measure_stream",
    "prompt_steps",
]

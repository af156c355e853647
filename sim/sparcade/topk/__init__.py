"""Top-k selection: golden model, pass list and engine cycles, shared by policy, accelerator and RTL."""

from sparcade.topk.params import ACTS, PASS_OVERHEAD, RADIX_PASS_OVERHEAD, TopKParams
from sparcade.topk.selection import Selection, most_passes, select

__all__ = ["ACTS", "PASS_OVERHEAD", "RADIX_PASS_OVERHEAD", "Selection", "TopKParams", "most_passes", "select"]

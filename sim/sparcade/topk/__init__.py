"""Top-k selection: golden model, pass list and engine cycles, shared by policy, accelerator and RTL."""

from sparcade.topk.params import ACTS, PASS_OVERHEAD, RADIX_PASS_OVERHEAD, TopKParams
from sparcade.topk.selection import HEAD_PASSES, Selection, select

__all__ = ["ACTS", "HEAD_PASSES", "PASS_OVERHEAD", "RADIX_PASS_OVERHEAD", "Selection", "TopKParams", "select"]

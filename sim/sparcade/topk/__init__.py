"""Top-k selection: golden model, pass list and engine cycles, shared by policy, accelerator and RTL."""

from sparcade.topk.engine import PASS_OVERHEAD, TopKParams, query_cycles, search_cycles
from sparcade.topk.selection import HEAD_PASSES, Selection, select

__all__ = ["HEAD_PASSES", "PASS_OVERHEAD", "Selection", "TopKParams", "query_cycles", "search_cycles", "select"]

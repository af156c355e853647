"""Top-k selection: golden model, pass list and engine cycles, shared by policy, accelerator and RTL."""

from sparcade.topk.engine import TopKParams, query_cycles, search_cycles
from sparcade.topk.selection import Selection, select

__all__ = ["Selection", "TopKParams", "query_cycles", "search_cycles", "select"]

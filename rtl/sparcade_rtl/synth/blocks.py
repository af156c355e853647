"""The blocks that can be synthesised, by the name on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amaranth.lib import wiring

from sparcade.errors import ConfigError, did_you_mean
from sparcade.topk import TopKParams
from sparcade_rtl.batcher_sorter import BatcherSorter
from sparcade_rtl.packer import Packer
from sparcade_rtl.prefix_sum import PrefixSum
from sparcade_rtl.quick_select import QuickSelect
from sparcade_rtl.radix_select import RadixSelect
from sparcade_rtl.top_k_engine import TopKEngine
from sparcade_rtl.top_k_filter import TopKFilter
from sparcade_rtl.verilog import check_shape, check_sorter_shape
from sparcade_rtl.zero_eliminator import ZeroEliminator

#: Zero eliminator and packer carry scores, as in quick-select. The lanes of the filter are its input width.
BLOCKS: dict[str, Callable[[TopKParams], Any]] = {
    "prefix-sum": lambda params: PrefixSum(params.lanes),
    "zero-eliminator": lambda params: ZeroEliminator(params.score_bits, params.lanes),
    "packer": lambda params: Packer(params.score_bits, params.lanes),
    "quick-select": QuickSelect,
    "radix-select": RadixSelect,
    "top-k-filter": lambda params: TopKFilter(replace(params, input_width=params.lanes)),
    "top-k-engine": TopKEngine,
    "top-k-engine-radix": lambda params: TopKEngine(replace(params, engine="radix-select")),
    "batcher-sorter": BatcherSorter,
}


def build_block(name: str, params: TopKParams) -> wiring.Component:
    """A block in a shape."""
    block: wiring.Component = BLOCKS[name](params)
    return block


def check_block(name: str, params: TopKParams) -> None:
    """Raise a `ConfigError` when there is no block of the name, or not in the shape."""
    if name not in BLOCKS:
        raise ConfigError(
            "there is no such block",
            where="--block",
            expected=", ".join(BLOCKS),
            got=name,
            remedy=did_you_mean(name, BLOCKS),
        )
    (check_sorter_shape if name == "batcher-sorter" else check_shape)(params)

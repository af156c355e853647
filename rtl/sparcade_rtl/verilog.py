"""Plain Verilog of the engine and the sorter: readable names, the same bytes every time, no paths of this machine."""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.lib import wiring

from sparcade.errors import ConfigError
from sparcade.topk import TopKParams
from sparcade_rtl.batcher_sorter import BatcherSorter
from sparcade_rtl.top_k_engine import SELECTIONS, TopKEngine


def generate(params: TopKParams, name: str = "topk") -> str:
    """Verilog of a `TopKEngine`; ports are `<stream>__payload`, `__valid` and `__ready`, with `clk` and `rst`.

    Raises
    ------
    ConfigError
        When the engine cannot be built in the shape.
    """
    check_shape(params)
    return _plain(TopKEngine(params), name)


def generate_sorter(params: TopKParams, name: str = "sorter") -> str:
    """Verilog of a `BatcherSorter`, with the ports of the engine.

    Raises
    ------
    ConfigError
        When the sorter cannot be built in the shape.
    """
    check_sorter_shape(params)
    return _plain(BatcherSorter(params), name)


def check_shape(params: TopKParams) -> None:
    """Raise a `ConfigError` for a shape that the RTL does not have."""
    powers = [1 << bit for bit in range(7)]
    for field in ("lanes", "input_width"):
        value = getattr(params, field)
        if value not in powers:
            raise _bad(field, "1, 2, 4, ..., 64: rows are rotated and compacted in powers of two", value)
    if not 1 <= params.score_bits <= 64:
        raise _bad("score_bits", "1 to 64", params.score_bits)
    if params.capacity < 2 * max(params.lanes, params.input_width):
        raise _bad("capacity", "at least two rows of lanes and two beats", params.capacity)
    if params.engine not in SELECTIONS:
        raise _bad("engine", f"{' or '.join(SELECTIONS)}: the released engine is a delay", params.engine)


def check_sorter_shape(params: TopKParams) -> None:
    """Raise a `ConfigError` for a shape that the sorter does not have."""
    check_shape(params)
    if params.input_width > 2 * params.lanes:
        raise _bad("input_width", "at most 2 * lanes: a beat goes into one row of the sorter", params.input_width)
    if params.capacity & (params.capacity - 1):
        raise _bad("capacity", "a power of two: the sorter pads its lists", params.capacity)


def _plain(component: wiring.Component, name: str) -> str:
    text: str = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return text


def _bad(field: str, expected: str, got: object) -> ConfigError:
    return ConfigError(
        "there is no RTL of this top-k engine",
        where=f"topk.{field}",
        expected=expected,
        got=str(got),
        remedy=f"change {field}",
    )

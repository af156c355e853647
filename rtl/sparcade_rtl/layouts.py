"""Payloads of the streams between the components, and the ports that several of them share, in one place."""

from __future__ import annotations

from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparcade.topk import TopKParams


def count_bits(most: int) -> int:
    """Bits of a count of 0 to `most`."""
    return most.bit_length()


def element(params: TopKParams) -> data.StructLayout:
    """A score and the index that travels with it."""
    return data.StructLayout({"score": params.score_bits, "index": params.index_bits})


def request(params: TopKParams) -> data.StructLayout:
    """Candidates of a selection (1 to capacity), and how many to keep."""
    bits = count_bits(params.capacity)
    return data.StructLayout({"size": bits, "k": bits})


def threshold(params: TopKParams) -> data.StructLayout:
    """Outcome of a selection: elements above `score` are kept, and the first `ties` equal to it."""
    bits = count_bits(params.capacity)
    return data.StructLayout({"score": params.score_bits, "ties": bits, "size": bits})


def flagged(lane: ShapeLike, lanes: int) -> data.StructLayout:
    """A row of lanes, of which those with a flag are meant."""
    return data.StructLayout({"lanes": data.ArrayLayout(lane, lanes), "flags": lanes, "last": 1})


def row(lane: ShapeLike, lanes: int) -> data.StructLayout:
    """A row whose first `count` lanes are meant; `last` closes a list."""
    return data.StructLayout({"lanes": data.ArrayLayout(lane, lanes), "count": count_bits(lanes), "last": 1})


def engine_ports(params: TopKParams) -> dict[str, wiring.Member]:
    """Ports of an engine: lists of elements in, those of each that are kept out."""
    lane, width = element(params), params.input_width
    return {
        "requests": In(stream.Signature(request(params))),
        "elements": In(stream.Signature(data.ArrayLayout(lane, width))),
        "o": Out(stream.Signature(row(lane, width))),
    }


def selection_ports(params: TopKParams) -> dict[str, wiring.Member]:
    """Ports of a selection: lists of scores in, the threshold of each out."""
    return {
        "requests": In(stream.Signature(request(params))),
        "elements": In(stream.Signature(data.ArrayLayout(params.score_bits, params.input_width))),
        "thresholds": Out(stream.Signature(threshold(params))),
    }


def beats_of(size: int, width: int) -> int:
    """Beats of a list."""
    return -(-size // width)

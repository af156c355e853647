"""Technology scaling: energy, delay and area of logic from 180 to 7 nm, and of SRAM from 65 to 22 nm.

Logic: Stillmaker & Baas, Integration 58 (2017) 74-81. Energy and delay of an inverter with a fan-out of four are
polynomials of the supply; area factors are a table. High-performance devices from 45 nm down. A node between two of the
table is interpolated: the logarithm of the quantity is linear in the logarithm of the node (ours, not the paper's).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparcade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the paper: coefficients from the highest power of the supply [V] down."""

    nominal_v: float
    delay: tuple[float, float, float, float]  #: [ps], of V^3, V^2, V, 1
    energy: tuple[float, float, float]  #: [fJ], of V^2, V, 1
    area: float  #: over 45 nm


def _node(nominal_v: float, area: float, delay: Sequence[float], energy: Sequence[float]) -> Node:
    d3, d2, d1, d0 = delay
    e2, e1, e0 = energy
    return Node(nominal_v=nominal_v, area=area, delay=(d3, d2, d1, d0), energy=(e2, e1, e0))


#: By size [nm].
NODES: dict[float, Node] = {
    180: _node(1.8, 19, (0, 97.09, -356.7, 406.5), (0, 24.64, -17.98)),
    130: _node(1.3, 6.4, (-76.65, 334.9, -493.4, 275.8), (7.171, -6.709, 2.904)),
    90: _node(1.2, 2.8, (-60.34, 262.5, -384.2, 210.9), (4.762, -4.781, 2.092)),
    65: _node(1.1, 1.5, (-53.3, 230.4, -333.9, 178.6), (3.755, -4.398, 1.975)),
    45: _node(1.1, 1, (-501.6, 1567, -1619, 566.1), (1.018, -0.3107, 0.1539)),
    32: _node(0.97, 0.46, (-1047, 2982, -2797, 873.5), (0.8367, -0.4341, 0.1701)),
    20: _node(0.9, 0.21, (0, 34.63, -66.37, 41.15), (0.373, -0.1582, 0.04104)),
    16: _node(0.86, 0.19, (0, 24.8, -47.52, 28.87), (0.2958, -0.1241, 0.03024)),
    14: _node(0.86, 0.17, (-40.66, 109.2, -100.6, 35.92), (0.2363, -0.09675, 0.02239)),
    10: _node(0.83, 0.10, (-34.95, 93.65, -85.99, 30.4), (0.2068, -0.09311, 0.02375)),
    7: _node(0.8, 0.059, (-28.58, 76.6, -70.26, 24.69), (0.1776, -0.09097, 0.02447)),
}
#: Polynomials and simulated points of the paper differ by up to so much at 16 nm and above: a scaled range grows by it.
SPREAD = 1.2
#: Supplies that the polynomials are asked for [V].
_SUPPLIES = (0.6, 1.8)


def energy(nm: float, volts: float | None = None) -> float:
    """Energy of the inverter [fJ] at a supply, or at the nominal one."""
    return _between(nm, lambda node: _polynomial(node.energy, node.nominal_v if volts is None else volts), volts)


def delay(nm: float, volts: float | None = None) -> float:
    """Delay of the inverter [ps] at a supply, or at the nominal one; not for SRAM."""
    return _between(nm, lambda node: _polynomial(node.delay, node.nominal_v if volts is None else volts), volts)


def area(nm: float) -> float:
    """Area of logic over that at 45 nm; not for SRAM."""
    return _between(nm, lambda node: node.area)


def nominal_supply(nm: float) -> float:
    """Nominal supply [V]."""
    return _between(nm, lambda node: node.nominal_v)


def interpolate(nm: float, nodes: Sequence[float], values: Sequence[float]) -> float:
    """Between tabled nodes, large to small: log of the value linear in log of the node.

    Raises
    ------
    ConfigError
        Outside the table: nothing is extrapolated.
    """
    if not nodes[-1] <= nm <= nodes[0]:
        raise ConfigError(
            "the node is outside the scaling data",
            where="node",
            expected=f"{nodes[-1]:g} to {nodes[0]:g} nm",
            got=f"{nm:g} nm",
            remedy="choose a node of that range, or write a profile with constants of yours",
        )
    if nm in nodes:
        return values[list(nodes).index(nm)]
    upper = max(index for index, node in enumerate(nodes) if node > nm)
    share = math.log(nodes[upper] / nm) / math.log(nodes[upper] / nodes[upper + 1])
    return float(values[upper] ** (1 - share) * values[upper + 1] ** share)


def _between(nm: float, of: Callable[[Node], float], volts: float | None = None) -> float:
    if volts is not None and not _SUPPLIES[0] <= volts <= _SUPPLIES[1]:
        raise ConfigError(
            "the supply is outside the scaling data",
            where="volts",
            expected=f"{_SUPPLIES[0]} to {_SUPPLIES[1]} V",
            got=f"{volts:g} V",
            remedy=f"the nominal supply is {nominal_supply(nm):.2f} V at {nm:g} nm",
        )
    nodes = tuple(NODES)
    if nm in NODES:
        return of(NODES[nm])
    neighbours = [node for node in nodes if node > nm][-1:] + [node for node in nodes if node < nm][:1]
    return interpolate(nm, neighbours if len(neighbours) == 2 else nodes, [of(NODES[node]) for node in neighbours])


def _polynomial(coefficients: Sequence[float], volts: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * volts + coefficient
    return value

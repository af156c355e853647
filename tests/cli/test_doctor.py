"""`sparcade doctor`: what works, what does not, and no traceback whatever is broken."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import pytest

import sparcade.bundled
from sparcade import _jit, doctor
from sparcade.cli import main
from sparcade.doctor import Check, checkup, works


@pytest.fixture
def fresh_cache() -> Any:
    """The folder of the kernels is looked for anew, in the test and after it."""
    _jit._cache_folder.cache_clear()
    yield
    _jit._cache_folder.cache_clear()


@pytest.fixture(autouse=True)
def no_tool_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_answers", lambda path: None)


def named(name: str) -> Check:
    (check,) = (check for check in checkup() if check.name == name)
    return check


def test_a_good_installation(capsys: Any) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "needed:"
    assert lines[-1] == "the base works"
    base = lines[1 : lines.index("optional:")]
    assert [line.split()[0] for line in base[2:8]] == ["numpy", "numba", "pandas", "safetensors", "matplotlib", "rich"]
    assert all(" ok " in line for line in base)
    assert f"ok       {version('numpy')}" in base[2]


def test_json_holds_the_same_checks(capsys: Any) -> None:
    assert main(["doctor", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["works"] is True
    assert [check["name"] for check in table["checks"]] == [check.name for check in checkup()]
    for check in table["checks"]:
        assert (check["state"] == "ok") == (check["remedy"] == "")
        assert check["state"] in ("ok", "missing", "broken")


def test_a_cache_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None, capsys: Any
) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    printed, error = capsys.readouterr()
    assert error == ""
    assert "kernel cache      broken" in printed
    assert "set NUMBA_CACHE_DIR to a writable folder" in printed
    assert printed.splitlines()[-1].startswith("the base does not work")


def test_a_cold_cache_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    check = named("kernel cache")
    assert (check.state, check.found.partition(":")[0]) == ("ok", "writable, cold")
    folder = next((tmp_path / "sparcade").iterdir())
    (folder / "kernel.run_cycles-1.py311.nbi").touch()
    assert named("kernel cache").found == "writable, warm"


def test_an_empty_path_misses_the_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    checks = {check.name: check for check in checkup()}
    for name in ("make", "g++", "iverilog", "sta", "chromium"):
        assert checks[name].state == "missing"
        assert checks[name].remedy.startswith("apt-get install ")
    assert works([*checks.values()])


def test_missing_and_foreign_packages(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def installed(name: str) -> str:
        if name == "optuna":
            raise doctor.PackageNotFoundError(name)
        return "0.0.1" if name == "transformers" else version(name)

    monkeypatch.setattr(doctor, "version", installed)
    monkeypatch.setattr(doctor, "requires", lambda name: ["transformers<5.24,>=5.23; extra == 'trace'"])
    assert named("optuna").state == "missing"
    assert named("optuna").remedy == "pip install 'sparcade[sweep]'"
    assert named("transformers").state == "broken"
    assert named("transformers").found == "RuntimeError: 0.0.1 is not <5.24,>=5.23"
    assert main(["doctor"]) == 0


@pytest.mark.parametrize("fault", [ImportError("no symbol"), RuntimeError("x"), SystemExit(3), RecursionError()])
def test_whatever_breaks_there_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, fault: BaseException
) -> None:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise fault

    monkeypatch.setattr(numba, "njit", fail)
    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    monkeypatch.setattr(doctor, "requires", fail)
    monkeypatch.setattr(doctor.shutil, "which", fail)
    monkeypatch.setattr(sparcade.bundled, "bundled_names", fail)
    assert main(["doctor"]) == 1
    printed, error = capsys.readouterr()
    assert error == ""
    assert printed.count("broken") >= 8
    assert type(fault).__name__ in printed


def test_a_base_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert main(["doctor"]) == 1
    assert "pip install --force-reinstall safetensors" in capsys.readouterr().out


def test_a_damaged_trace_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(sparcade.bundled, "bundled_trace", lambda name: tmp_path)
    check = named("bundled traces")
    assert (check.state, check.found.partition(":")[0]) == ("broken", "TraceError")

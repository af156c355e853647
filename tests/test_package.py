"""The package itself: public names, light imports, layering, kernels that recompile, docs that exist."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sparcade

ROOT = Path(__file__).parent.parent
PACKAGE = Path(sparcade.__file__).parent
#: Commands that run what is outside `sparcade`.
ALLOWED = ("accuracy.py", "bundled.py", "capture.py", "rtl.py", "rtl_synth.py")
HEAVY = {"numba", "numpy", "pandas", "matplotlib", "safetensors", "rich", "torch", "transformers", "sparcade_workloads"}


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return {name.partition(".")[0] for name in output.splitlines()[-1].split()}


def test_every_public_name_exists() -> None:
    for name in sparcade.__all__:
        assert getattr(sparcade, name) is not None
    with pytest.raises(AttributeError):
        sparcade.nothing  # noqa: B018


def test_help_imports_nothing_heavy() -> None:
    loaded = imported_by(
        "import sparcade.cli, contextlib\nwith contextlib.suppress(SystemExit): sparcade.cli.main(['--help'])"
    )
    assert not loaded & HEAVY
    assert not imported_by("import sparcade") & HEAVY


def test_sparcade_reaches_for_its_siblings_only_when_asked() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        siblings = {name for name in names if name.startswith(("sparcade_workloads", "sparcade_rtl"))}
        assert not siblings or path.name in ALLOWED, path


def test_the_functional_half_knows_no_cycles() -> None:
    """policy, trace, numerics and workload import neither the accelerator nor energy; the accelerator no policy."""
    forbidden = {
        "policy": ("accelerator", "energy", "arch", "dram"),
        "trace": ("accelerator", "energy", "policy"),
        "numerics": ("accelerator", "energy", "policy", "workload"),
        "accelerator": ("policy", "trace", "energy", "numerics"),
    }
    for folder, others in forbidden.items():
        for path in (PACKAGE / folder).rglob("*.py"):
            for other in others:
                assert f"from sparcade.{other}" not in path.read_text(), (path, other)


def test_an_edited_callee_is_compiled_anew(tmp_path: Path) -> None:
    """numba alone would keep the caller's machine code: the cache folder carries the hash of all kernel sources."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "sparcade", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    code = (
        "import sparcade, numpy as np; from sparcade.numerics.attention import row_probabilities as f;"
        "p = np.empty(2); f(np.ones(1), np.ones((1, 2)), 2, 1.0, np.empty(2), p); print(sparcade.__file__, p[0])"
    )

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        assert str(tmp_path) in done.stdout
        return done.stdout.split()[-1]

    assert run() == run() == "0.5"
    callee = tmp_path / "src" / "sparcade" / "numerics" / "attention.py"
    text = callee.read_text()
    assert "return math.ldexp(series, int(n))" in text
    callee.write_text(text.replace("return math.ldexp(series, int(n))", "return math.ldexp(series, int(n)) + x + 2.0"))
    assert run() == "0.5"  # both keys gain alike
    callee.write_text(callee.read_text().replace("probabilities[j] /= total", "probabilities[j] /= total + total"))
    assert run() == "0.25"
    assert len(list((tmp_path / "cache" / "sparcade").iterdir())) == 3


def test_no_machine_paths_or_registry_hosts_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        assert path.stat().st_size < 5_000_000, name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json"} and "LICENSE" not in name:
            text = path.read_text()
            for word in ("/" + "root/", "/" + "work/", "pypi" + ".org", "pythonhosted" + ".org"):
                assert word not in text, (name, word)

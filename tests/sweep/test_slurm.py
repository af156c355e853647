"""SLURM through submitit: jobs run by submitit's local executor; scripts of the real one against a golden."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sparcade.cli import main
from sparcade.errors import ConfigError, WorkloadError
from sparcade.sweep import Point, run_sweep
from sparcade.sweep import slurm as slurm_module
from sparcade.sweep.slurm import SubmititExecutor, slurm_executor
from sweep_support import POINTS, SWEEP, lines, quick

submitit = pytest.importorskip("submitit")
GOLDEN = Path(__file__).with_name("sbatch_golden.sh")


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs import the tests' modules as this process does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


@pytest.fixture
def local(tmp_path: Path) -> Any:
    """An executor whose jobs are processes of this machine."""
    executor = SubmititExecutor(submitit.LocalExecutor(tmp_path / "jobs"))
    yield executor
    executor.shutdown(cancel_futures=True)


def test_a_sweep_in_jobs(tmp_path: Path, local: SubmititExecutor) -> None:
    expected = run_sweep(SWEEP, out=tmp_path / "here", workers=1, measure=quick)
    result = run_sweep(SWEEP, out=tmp_path / "there", executor=local, chunk=40, measure=quick)
    assert result.computed == POINTS
    assert len(list((tmp_path / "there" / "shards").iterdir())) == 3  # a job each
    pd.testing.assert_frame_equal(result.frame, expected.frame)


def killed_once(folder: Path, point: Point) -> dict[str, Any]:
    """The job dies at the first point that has seven phases."""
    if point.values["k_phases"] == 7 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(folder, point)


def test_a_job_is_killed_and_nothing_is_lost(tmp_path: Path, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 0)
    result = run_sweep(SWEEP, out=tmp_path, executor=local, chunk=60, measure=killed_once)
    assert (tmp_path / "killed").exists()
    assert len(result.frame) == POINTS
    keys = [line["key"] for line in lines(tmp_path)]
    assert len(keys) == len(set(keys)) == POINTS


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise WorkloadError("too long", where="here", expected="short", got="long", remedy="cut")


def test_errors_come_back_whole_and_a_job_that_keeps_dying_is_given_up(
    local: SubmititExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 0)
    monkeypatch.setattr(slurm_module, "_MOST_LOSSES", 2)
    refused, died = local.submit(refuse), local.submit(die)
    with pytest.raises(WorkloadError, match="too long"):
        refused.result(60)
    with pytest.raises(BrokenExecutor, match="was lost"):
        died.result(60)


SBATCH = """#!/bin/sh
cp "$1" {folder}/script.$(ls {folder} | wc -l).sh
echo "Submitted batch job 41"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with SLURM's commands, which keep the scripts and run nothing; returns where they are kept."""
    kept, commands = tmp_path / "kept", tmp_path / "bin"
    kept.mkdir()
    commands.mkdir()
    texts = {"sbatch": SBATCH.format(folder=kept), "srun": "#!/bin/sh\n", "sacct": "#!/bin/sh\n"}
    texts["scancel"] = f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n'
    for name, text in texts.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return kept


def test_the_scripts(tmp_path: Path, cluster: Path) -> None:
    settings = ["partition=short", "time=60", "mem=4GB", "cpus-per-task=1"]
    for calls in (1, 3):
        before = len(list(cluster.iterdir()))
        executor = slurm_executor(tmp_path / "out", settings)
        futures = [executor.submit(quick, tmp_path, None) for _ in range(calls)]
        deadline = time.monotonic() + 30
        while len(list(cluster.iterdir())) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        executor.shutdown(cancel_futures=True)
        assert all(isinstance(future.exception(1), BrokenExecutor) for future in futures)
    scripts = [path.read_text() for path in sorted(cluster.iterdir())]
    text = "".join(scripts).replace(str(tmp_path / "out"), "FOLDER").replace(sys.executable, "PYTHON")
    assert text == GOLDEN.read_text()
    assert (tmp_path / "cancelled").read_text().split() == ["41", "41_0", "41_1", "41_2"]


def test_the_command_asks_for_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('workloads = "small"\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["sweep", "mine.toml", "--slurm", "time=10"]) == 2
    assert "SLURM is not here" in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(("setting", "words"), [("tim=60", "tim"), ("time", "OPTION=VALUE")])
def test_bad_options(tmp_path: Path, cluster: Path, setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        slurm_executor(tmp_path, [setting])
    assert words in str(caught.value)


def test_sbatch_refuses(
    tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch = cluster.parent / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: shrt' >&2\nexit 1\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('workloads = "small"\n')
    assert main(["sweep", "mine.toml", "--slurm", "partition=shrt"]) == 2
    shown = capsys.readouterr().err
    assert "SLURM refused the jobs" in shown
    assert "invalid partition specified: shrt" in shown


def test_submitit_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'sparcade\[cluster\]'"):
        slurm_executor(tmp_path, [])

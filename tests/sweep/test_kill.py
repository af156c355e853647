"""SIGKILL of the parent, of a worker, of all, at random moments: nothing lost, nothing twice, the table the same."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

import sparcade
from sparcade.sweep import run_sweep
from sweep_support import POINTS, SWEEP, fork, lines, quick, together, wait

KILLS = 50


def children(parent: int) -> list[int]:
    """Processes whose parent is the given one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def all_ended(group: int) -> bool:
    """Whether a process group is empty within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except OSError as error:
            return error.errno == errno.ESRCH
        time.sleep(0.01)
    return False


def kill(parent: int, victim: str, stream: random.Random) -> bool:
    """Kill at a random moment, half of them before the workers are at work; False where the sweep was faster."""
    if victim == "worker" or stream.random() < 0.5:
        while not children(parent):
            if os.waitid(os.P_PID, parent, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            time.sleep(0.005)
    time.sleep(stream.uniform(0.0, 0.15))
    if os.waitid(os.P_PID, parent, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        return False
    if victim == "worker":
        workers = children(parent)
        if not workers:
            return False
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(stream.choice(workers), signal.SIGKILL)
    elif victim == "all":
        os.killpg(parent, signal.SIGKILL)
    else:
        os.kill(parent, signal.SIGKILL)
    return True


def table(folder: Path) -> bytes:
    return next(path for path in folder.iterdir() if path.name in ("points.parquet", "points.csv")).read_bytes()


def test_killed_at_fifty_random_moments(tmp_path: Path) -> None:
    run_sweep(SWEEP, out=tmp_path / "undisturbed", workers=1, measure=quick)
    expected = table(tmp_path / "undisturbed")
    stream = random.Random(5)
    folder = tmp_path / "killed"
    whole, killed = 0, {"parent": 0, "worker": 0, "all": 0}
    before: set[str] = set()
    while sum(killed.values()) < KILLS or before:
        pid = fork(lambda: run_sweep(SWEEP, out=folder, workers=2, measure=quick))
        victim = stream.choice(tuple(killed)) if sum(killed.values()) < KILLS else "none"
        if victim != "none":
            killed[victim] += kill(pid, victim, stream)
        code = wait(pid)
        assert code in (0, -signal.SIGKILL)
        assert all_ended(pid)
        found = [line["key"] for line in lines(folder)] if (folder / "shards").exists() else []
        assert len(found) == len(set(found)), "computed twice"
        assert before <= set(found), "lost"
        before = set(found)
        if code == 0:
            assert len(found) == POINTS
            assert table(folder) == expected
            assert not list(folder.glob(".points*"))
            whole += 1
            before = set()
            shutil.rmtree(folder)
    assert whole >= 3
    assert min(killed.values()) > 5


def test_two_at_once_share_the_work(tmp_path: Path) -> None:
    run_sweep(SWEEP, out=tmp_path / "alone", workers=1, measure=quick)
    for _ in range(3):
        pids = [fork(lambda: run_sweep(SWEEP, out=tmp_path / "both", workers=2, measure=together)) for _ in range(2)]
        assert [wait(pid) for pid in pids] == [0, 0]
        keys = [line["key"] for line in lines(tmp_path / "both")]
        assert len(keys) == len(set(keys)) == POINTS
        assert table(tmp_path / "both") == table(tmp_path / "alone")
        assert len(list((tmp_path / "both" / "shards").iterdir())) > 2
        shutil.rmtree(tmp_path / "both")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_loses_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    folder = tmp_path / "out"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        run_sweep(SWEEP, out=folder, workers=workers, measure=quick)

    assert wait(fork(little_room)) == 2
    error = capfd.readouterr().err
    assert "the results can't be written" in error
    assert str(folder / "shards") in error
    kept = {line["key"] for line in lines(folder)}
    assert 5 < len(kept) < POINTS
    assert all(path.stat().st_size % 2 >= 0 and path.read_bytes().endswith(b"\n") for path in folder.glob("shards/*"))
    result = run_sweep(SWEEP, out=folder, workers=1, measure=quick)
    assert result.computed == POINTS - len(kept)
    assert len(lines(folder)) == POINTS


def others_may_read(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def test_a_folder_that_is_read_only(capfd: pytest.CaptureFixture[str]) -> None:
    needed = (Path(sparcade.__file__).parent, Path(tempfile.gettempdir()))
    if os.getuid() == 0 and not all(others_may_read(path) for path in needed):
        pytest.skip("root may write anywhere, and no one else may read the package here")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        folder = Path(scratch) / "out"
        half = SWEEP | {"constraints": ["k_phases < 5"]}
        done = run_sweep(half, out=folder, workers=1, measure=quick).computed
        for path in (*folder.rglob("*"), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)

        def as_nobody() -> None:
            if os.getuid() == 0:
                os.setresuid(65534, 65534, 65534)
            run_sweep(SWEEP, out=folder, workers=2, measure=quick)

        assert wait(fork(as_nobody)) == 2
        error = capfd.readouterr().err
        assert "the results can't be written" in error
        assert str(folder) in error
        assert len(lines(folder)) == done
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)

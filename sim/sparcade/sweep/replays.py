"""Functional work of a sweep: each policy on each trace once, kept in the sweep's folder, shared by all processes."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparcade._files import canonical_json, new_file, parse_json
from sparcade.errors import SparcadeError
from sparcade.policy import OutputError, PolicyResult, apply, load_policy, mean_cosine, output_errors
from sparcade.sources import load_source
from sparcade.sweep.metrics import ACCURACY
from sparcade.sweep.points import Replay
from sparcade.trace import AttentionTrace
from sparcade.workload import Workload

FOLDER = "replays"


@functools.lru_cache(maxsize=4)
def replayed(folder: Path, replay: Replay) -> tuple[Workload, dict[str, float]]:
    """The workload of a replay and its distance from the unpruned float model (`ACCURACY`; empty without a trace).

    The first process to come computes it and the others wait: an flock, which ends with its holder. The accuracy file
    is renamed into place last, so that what is there is whole.

    Raises
    ------
    SparcadeError
        When the policy refuses the trace.
    """
    base = folder / FOLDER
    base.mkdir(parents=True, exist_ok=True)
    with locked(base / f"{replay.key}.lock"):
        kept = _load(base, replay.key)
        if kept is None:
            remove_leftovers(base, replay.key)
            _compute(base, replay)
            kept = _load(base, replay.key)
    assert kept is not None
    return kept


def is_kept(folder: Path, replay: Replay) -> bool:
    """Whether a replay was done before."""
    return (folder / FOLDER / f"{replay.key}.json").is_file()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; the kernel frees it when the process ends, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, stem: str) -> None:
    """Remove what a killed process left of files of a name that it was writing; the caller holds their lock."""
    for path in folder.glob(f".{stem}.*"):
        path.unlink(missing_ok=True)


def _load(base: Path, key: str) -> tuple[Workload, dict[str, float]] | None:
    try:
        accuracy = parse_json((base / f"{key}.json").read_text(encoding="utf-8"))
        return Workload.load(base / f"{key}.npz"), accuracy
    except (OSError, ValueError, SparcadeError):
        return None  # not there, or damaged: computed again


def _compute(base: Path, replay: Replay) -> None:
    source = load_source(replay.target)
    if isinstance(source, AttentionTrace):
        assert replay.policy is not None
        result = apply(source, load_policy(replay.policy, replay.settings))
        workload = result.workload
        accuracy = _accuracy(output_errors(result, _float_model(replay.target, source.content_hash)))
    else:
        workload, accuracy = source, {}
    workload.save(base / f"{replay.key}.npz")
    with new_file(base / f"{replay.key}.json") as fresh:
        fresh.write_text(canonical_json(accuracy), encoding="utf-8")


@functools.lru_cache(maxsize=1)
def _float_model(target: str, _content_hash: str) -> PolicyResult:
    source = load_source(target)
    assert isinstance(source, AttentionTrace)
    return apply(source, load_policy("dense-fp32"))


def _accuracy(errors: list[OutputError]) -> dict[str, float]:
    least = min(error.cosine_min for error in errors)
    return dict(zip(ACCURACY, (mean_cosine(errors), least, max(error.max_abs_error for error in errors)), strict=True))

"""What a command's TARGET means: a trace by name or folder, or a workload by file or name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparcade.errors import ConfigError, SparcadeError, did_you_mean

if TYPE_CHECKING:
    from sparcade.trace import AttentionTrace
    from sparcade.workload import Workload


def load_trace(target: str) -> AttentionTrace:
    """A trace by folder or bundled name."""
    from sparcade.bundled import bundled_trace
    from sparcade.trace import AttentionTrace

    return AttentionTrace.load(target if Path(target).exists() else bundled_trace(target))


def load_source(target: str) -> AttentionTrace | Workload:
    """A trace, or a workload: a file, or a benchmark that is generated with seed 0.

    Raises
    ------
    SparcadeError
        When there is no such file, folder or name.
    """
    from sparcade.bundled import bundled_names
    from sparcade.workload import Workload, generate, import_csv
    from sparcade.workload.definitions import workload_names

    if Path(target).suffix.lower() == ".csv":
        return import_csv(target)
    if Path(target).is_file() or target.endswith(".npz"):
        return Workload.load(target)
    if Path(target).exists() or target in bundled_names():
        return load_trace(target)
    if target in workload_names():
        return generate(target)
    raise SparcadeError(
        f"there is no trace or workload {target!r}",
        where=target,
        expected=f"a trace folder, a workload file (.npz, .csv), a trace ({', '.join(bundled_names())}), or a benchmark"
        " ('sparcade workload generate --list')",
        got="no such file or name",
        remedy=did_you_mean(target, [*bundled_names(), *workload_names()], "check the path"),
    )


def load_workload(
    target: str,
    policy: str | None = None,
    settings: Sequence[str] = (),
    progress: Callable[[float], None] | None = None,
) -> Workload:
    """The workload of a target: itself, or what a trace is under a policy (None: by the kind of model).

    Raises
    ------
    SparcadeError
        When there is no such target or policy, or a policy is given for a workload.
    """
    from sparcade.evaluation import default_policy
    from sparcade.policy import apply, load_policy
    from sparcade.trace import AttentionTrace

    source = load_source(target)
    if isinstance(source, AttentionTrace):
        return apply(source, load_policy(policy or default_policy(source), settings), progress).workload
    if policy or settings:
        raise ConfigError(
            "a workload already holds its policy",
            where=f"{target} with --policy or --set policy.*",
            expected="a trace to replay",
            got="a workload",
            remedy="name the trace, or leave these options out",
        )
    return source

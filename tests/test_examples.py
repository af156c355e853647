"""Every example runs as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sparcade
from sparcade.policy import load_policy

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_user_policy_keeps_sinks_and_window() -> None:
    path = EXAMPLES / "recent_window.py"
    code = [line for line in path.read_text().split('"""', 2)[2].splitlines() if line.strip()]
    assert len(code) <= 20
    trace = sparcade.AttentionTrace.load(sparcade.bundled_trace("stories260k"))
    result = sparcade.apply(trace, load_policy(f"{path}:RecentWindow"))
    last = result.survivors[0, 96, 4]
    assert last.tolist() == [0, 1, 2, 3, *range(512 - 124, 512)]
    assert result.workload.shape.uncharged_selections > 0
    assert (result.workload.rows["token_n"] == 0).all()
    assert np.isin(last, result.survivors[0, 96, 0]).all()


def test_five_lines_of_the_readme() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("name", ["sweep_topk_engine", "sweep_channels_pruning", "sweep_fig19", "sweep_cheapest"])
def test_a_sweep_runs_and_runs_again(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(tmp_path / "out")]
    first, again = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == again
    assert "16" in first

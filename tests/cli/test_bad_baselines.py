"""`sparcade baselines` refuses what it can't compare: one error, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from damage import Refused


@pytest.mark.parametrize(
    "options, words",
    [
        (["--a3-ratios", "1/2,0.3,0.1"], ("a trace has tensors", "leave the ratios out")),
        (["--a3", "1/2"], ("--a3 1/2", "2 numbers")),
        (["--a3", "0:0.1"], ("A3 has no such setting", "M above 0")),
        (["--a3", "x:0.1"], ("--a3 x:0.1",)),
        (["--mnnfast-threshold", "2"], ("--mnnfast-threshold", "a probability")),
        (["--multipliers", "0"], ("--multipliers", "1 to")),
        (["--bandwidth", "-3"], ("--bandwidth",)),
        (["--bandwidth-efficiency", "1.2"], ("--bandwidth-efficiency",)),
        (["--platform", "titan"], ("there is no platform 'titan'", "did you mean 'titan-xp'?")),
        (["--platform", "h100", "--element-bits", "32"], ("H100", "--element-bits")),
        (["--efficiency", "0.8,0.6"], ("--efficiency",)),
        (["--paper"], ("30 benchmarks only",)),
        (["--set", "policy.bits=12"], ("which policy the setting is for",)),
        (["--policy", "evitt"], ("did you mean 'evit'?",)),
    ],
)
def test_options_of_a_trace(place: Path, refused: Refused, options: list[str], words: tuple[str, ...]) -> None:
    refused(["baselines", str(place / "trace"), "--out", str(place / "out"), *options], *words)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--policy", "h2o"], ("a workload already holds its policy",)),
        (["--a3-ratios", "1/2,0.3"], ("3 numbers",)),
        (["--a3-ratios", "1/2,1.3,0.1"], ("the ratio is no share", "--a3-ratios")),
        (["--a3", "1/2:0.1"], ("no tensors to search", "--a3-ratios")),
        (["--mnnfast-threshold", "0.1"], ("no tensors to search",)),
        (["--mnnfast-ratio", "-1"], ("the ratio is no share", "--mnnfast-ratio")),
    ],
)
def test_options_of_a_workload(place: Path, refused: Refused, options: list[str], words: tuple[str, ...]) -> None:
    refused(["baselines", "bert-base-cola", "--out", str(place / "out"), *options], *words)


def test_no_target_and_a_foreign_folder(place: Path, refused: Refused) -> None:
    refused(["baselines"], "nothing to compare is named", "--quotes")
    refused(["baselines", "minilm", "--out", str(place)], "was not written by sparcade")

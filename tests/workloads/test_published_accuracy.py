"""docs/accuracy.md shows the committed tables: `python tests/workloads/test_published_accuracy.py` writes it anew."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sparcade_workloads.estimate import told

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "published" / "accuracy"
DOCS = ROOT / "docs" / "accuracy.md"
#: Folder of each curve, and whether something is ranked that a control could rank at random.
CURVES = {
    "stories260k-tokens": True,
    "stories260k-tokens-sum": True,
    "stories260k-heads": True,
    "stories260k-values": True,
    "stories260k-bits": False,
    "stories260k-threshold": True,
    "sst2-tokens": True,
    "sst2-heads": True,
    "sst2-values": True,
    "sst2-bits": False,
}


def curves() -> str:
    """A table for each curve."""
    return "\n".join(curve(name) for name in CURVES)


def curve(name: str) -> str:
    """Metric, difference, control and cost of each point."""
    table, about = pd.read_csv(FOLDER / name / "accuracy.csv"), result(name)
    metric, axis = about["metric"], about["axis"]
    settings = ", ".join(f"`{setting}`" for setting in about["set"])
    title = f"`{name}`: {metric}, n = {about['sequences']}" + f" ({settings})" * bool(settings)
    heads = [f"`{axis.removeprefix('policy.')}`", metric, "difference"]
    names = [metric, f"{metric}_difference"]
    if CURVES[name]:
        heads += ["random ranks", "random less policy"]
        names += [f"{metric}_random", f"{metric}_random_difference"]
    heads += ["K+V bits", "K+V bytes", "speedup"]
    lines = [title, "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in table.to_dict("records"):
        cells = [f"{row[axis]:.4g}", *(told(row[each], row[f"{each}_stderr"]) for each in names)]
        costs = ("kv_reduction_vs_dense_12_bit", "kv_bytes_moved_reduction", "speedup")
        lines.append(f"| {' | '.join([*cells, *(f'{row[each]:.2f}x' for each in costs)])} |")
    return "\n".join(lines) + "\n"


def loops() -> str:
    """Both loops, one line per trace and policy: closed / open."""
    table = pd.read_csv(FOLDER / "loops.csv")
    lines = [
        "| trace | policy | LSB rate | K+V bits | cycles | output cosine | same tokens |",
        "|" + "---|" * 7,
    ]
    for (trace, policy), pair in table.groupby(["trace", "policy"], sort=False):
        closed, opened = (pair[pair["loop"] == loop].iloc[0] for loop in ("closed", "open"))
        rates = "-" if math.isnan(closed["lsb_rate"]) else f"{closed['lsb_rate']:.1%} / {opened['lsb_rate']:.1%}"
        name = "kv_reduction_vs_dense_12_bit"
        cells = [
            trace,
            policy,
            rates,
            f"{closed[name]:.3f}x / {opened[name]:.3f}x",
            f"{closed['cycles']:,} / {opened['cycles']:,}",
            f"{closed['output_cosine']:.3f} / {opened['output_cosine']:.3f}",
            f"{closed['same_survivors']:.1%}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def result(name: str) -> dict[str, object]:
    return json.loads((FOLDER / name / "accuracy.json").read_text(encoding="utf-8"))


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


@pytest.mark.parametrize("make", [curves, loops])
def test_the_page_shows_the_committed_tables(make: Callable[[], str]) -> None:
    shown = block(make.__name__).search(DOCS.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[2] == make()


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_complete(name: str) -> None:
    """Five points or more with standard error, n and a control; the first is the dense run itself."""
    table, about = pd.read_csv(FOLDER / name / "accuracy.csv"), result(name)
    metric = about["metric"]
    assert {path.name for path in (FOLDER / name).iterdir()} == {
        "accuracy.csv",
        "accuracy.json",
        "accuracy.svg",
        "metrics.csv",
        "report.html",
    }
    assert len(table) >= 5
    assert (table[f"{metric}_n"] == about["sequences"]).all()
    assert (table[f"{metric}_stderr"] > 0).all()
    assert (f"{metric}_random_stderr" in table) == CURVES[name]
    assert about["closed_loop_check"] < 1e-4
    if "threshold" not in name:
        assert table[f"{metric}_difference"].iloc[0] == 0
        assert table["speedup"].iloc[0] == 1
    assert about["model"] in ("stories260K-llama", "all-MiniLM-L6-v2")


def test_stories_are_labelled_as_the_models_own() -> None:
    lines = [json.loads(line) for line in (FOLDER / "stories260k.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(line["token_ids"]) for line in lines] == [321] * 16
    for seed, line in enumerate(lines, 1):
        assert line["source"] == f"sampled from stories260K itself, seed {seed}, temperature 0.8"


def regenerate() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for make in (curves, loops):
        text = block(make.__name__).sub(lambda found, make=make: found[1] + make() + found[3], text)  # type: ignore[misc]
    DOCS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    regenerate()

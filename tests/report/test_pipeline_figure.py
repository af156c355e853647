"""The picture of a short window: drawn from a small table that a run's folder keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparcade._files import canonical_json, parse_json
from sparcade.accelerator.events import Excerpt, record_excerpt
from sparcade.arch import load_arch
from sparcade.report.pipeline_figure import pipeline_figure, pipeline_table
from sparcade.report.svg import svg_text
from support import pruned_workload


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> Excerpt:
    return record_excerpt(pruned_workload(tmp_path_factory.mktemp("work")), load_arch("spatten"))[1]


def test_the_table_holds_every_slice(excerpt: Excerpt) -> None:
    table = pipeline_table(excerpt)
    cycles = {module: sum(one[1] for one in slices) for module, slices in table["modules"].items()}
    sums = excerpt.slices.groupby("module", observed=True)["cycles"].sum()
    assert cycles == {str(module): int(value) for module, value in sums.items() if value}
    assert all(
        table["begin"] <= one[0] < one[0] + one[1] <= table["end"]
        for slices in table["modules"].values()
        for one in slices
    )


def test_it_is_drawn_again_from_the_file(excerpt: Excerpt, tmp_path: Path) -> None:
    table = pipeline_table(excerpt)
    path = tmp_path / "pipeline.json"
    path.write_text(canonical_json(table), encoding="utf-8")
    first, again = (svg_text(pipeline_figure(each), letters="none") for each in (table, parse_json(path.read_text())))
    assert first == again
    assert len(first) < 300_000
    for module in table["modules"]:
        assert f">{module}<" in first

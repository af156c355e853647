"""The numbers of the paper, as our package has them, are those that were read from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sparcade.paper.published import DATA, number, numbers, of_figure

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "paper_results.json"
ACCURACY = ROOT / "reports" / "published" / "accuracy"
#: Figures by their names in the shared file.
FIGURES = {
    "text": "text",
    "derived": "derived",
    **{f"Table{roman}": f"Table {roman}" for roman in ("I", "II", "III", "IV")},
    **{f"Fig{name}": f"Fig. {name}" for name in ("2", "14", "15", "16", "17", "18", "20")},
    **{f"Fig{name}{part}": f"Fig. {name}" for name in ("13", "19") for part in "ab"},
    **{f"Fig21{side}": "Fig. 21" for side in ("left", "right")},
}


@pytest.mark.reference
def test_every_number_is_the_one_of_the_shared_record() -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not there")
    expected: dict[tuple[str, str], object] = {}
    records = json.loads(SHARED.read_text())["results"]
    for record in records:
        figure, value = FIGURES[record["source"]], record["value"]
        if isinstance(value, dict):
            expected[figure, f"{record['name']}/latency"] = value["latency_ms"]
            expected[figure, f"{record['name']}/BLEU"] = value["BLEU"]
        else:
            expected[figure, record["name"]] = value
    assert len(records) == 463
    ours = {key: each.value for key, each in numbers().items() if each.figure != "released"}
    assert ours == expected


def test_certainty_and_unit_are_said() -> None:
    assert {each.certainty for each in numbers().values()} == {"printed", "raw", "drawn", "derived"}
    unitless = {"Table I"}
    assert all(each.unit or each.figure in unitless for each in numbers().values())


def test_the_geometric_means_follow_from_the_bars() -> None:
    names = {each.name.split("/")[0] for each in of_figure("Fig. 14")} - {"GEOMEAN"}
    assert len(names) == 30
    for bar in ("speedup_over_TITAN_Xp", "energy_saving_over_RPi"):
        product = 1.0
        for name in names:
            product *= number("Fig. 14", f"{name}/{bar}").amount ** (1 / 30)
        assert product == pytest.approx(number("Fig. 14", f"GEOMEAN/{bar}").amount, rel=0.005)


def test_the_released_traffic_follows_from_its_schedule() -> None:
    # uarch.md 6.5: 6,143,004 keys of 12 bits, 1,848,398 values of 8, 64 elements each; dense: 2 x 12,392,448 x 64 x 4 B
    assert number("released", "medium-wikitext2/kv_bytes").value == (6_143_004 * 12 + 1_848_398 * 8) * 64 // 8
    assert number("released", "medium-wikitext2/kv_reduction_vs_fp32").value == pytest.approx(
        2 * 12_392_448 * 256 / 708_025_856
    )


def test_the_closed_loop_curves_are_the_published_ones() -> None:
    with (DATA / "closed_loop.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    expected = []
    for curve, folder, kept, metric, sign in (
        ("tokens, stories260K on its own stories", "stories260k-tokens", "tokens_kept", "perplexity", -1),
        ("heads, MiniLM on SST-2 with a probe", "sst2-heads", "heads_kept", "accuracy", 1),
    ):
        with (ACCURACY / folder / "accuracy.csv").open() as stream:
            for line in csv.DictReader(stream):
                change = sign * float(line[f"{metric}_difference"]) / float(line[f"{metric}_dense"])
                expected.append((curve, 1 / float(line[kept]), change))
    found = [(line["curve"], float(line["ratio"]), float(line["change"])) for line in lines]
    assert [each[0] for each in found] == [each[0] for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[1:] == pytest.approx(theirs[1:], rel=1e-5, abs=1e-9)

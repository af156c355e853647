"""The comparison as a whole: records, folder, command, Table III, docs, and goldens of the bundled traces.

Regenerate with `python tests/baselines/test_compare.py` (goldens, and the example of the docs).
"""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import sparcade
from sparcade.baselines import Comparison, Normalisation, Ratios, compare, table_iii
from sparcade.cli import main
from sparcade.workload import generate
from support import random_tensors, trace_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "baselines.md"
GOLDEN = Path(__file__).with_name("golden.json")
EXAMPLE = ["baselines", "minilm", "--platform", "titan-xp", "--platform", "h100"]
BLOCK = re.compile(r"(<!-- example:begin -->\n)(.*?)(<!-- example:end -->)", re.DOTALL)


def load(name: str) -> sparcade.AttentionTrace:
    return sparcade.AttentionTrace.load(sparcade.bundled_trace(name))


@pytest.fixture(scope="module")
def minilm() -> Comparison:
    return compare(load("minilm"), sparcade.load_arch("spatten"), platforms=("h100",))


def test_the_subject_is_one_times_itself(minilm: Comparison) -> None:
    assert minilm.subject.name == "spatten-encoder"
    assert minilm.speedup(minilm.subject, "total") == (1.0, 1.0)


def test_every_design_does_the_same_work(minilm: Comparison) -> None:
    """Dense MACs are equal, nothing beats its bandwidth, and the closed form of dense bounds the run of dense."""
    found = {record.name: record.parts["total"] for record in minilm.records}
    assert len({part.dense_macs for part in found.values()}) == 1
    means = minilm.normalisation
    for record in minilm.records:
        if record.method == "closed form":
            part = record.parts["total"]
            assert part.achieved_gbps <= means.usable_gbps
            assert part.mac_per_second <= means.multipliers * means.clock_ghz * 1e9
    assert found["dense, ideal"].seconds < found["dense"].seconds
    assert found["dense, ideal"].macs == found["dense"].macs
    assert found["a3-base"].macs == found["dense"].macs
    assert found["a3-base"].dram_bytes == found["dense, ideal"].dram_bytes == found["mnnfast, streaming"].dram_bytes


def test_closed_form_bytes_are_those_that_a_dense_run_moves() -> None:
    """With 12-bit words of 64 elements nothing is padded."""
    source = generate("bert-base-cola")
    found = {r.name: r for r in compare(source, sparcade.load_arch("spatten"), platforms=()).records}
    assert found["dense"].parts["total"].dram_bytes == found["dense, ideal"].parts["total"].dram_bytes


def test_a_workload_says_what_it_can_not_know() -> None:
    source, arch = generate("bert-base-cola"), sparcade.load_arch("spatten-eighth")
    blind = {record.name: record for record in compare(source, arch, platforms=()).records}
    assert not blind["a3-approximate"].parts
    assert not blind["mnnfast"].parts
    assert "--a3-ratios" in blind["a3-approximate"].notes[0]
    half = Fraction(1, 2)
    found = compare(source, arch, ratios=Ratios(a3=(half, half, half), mnnfast=Fraction(0)), platforms=()).records
    told = {record.name: record for record in found}
    assert told["a3-approximate"].counts == "given ratios: C/n = 1/2, K'/n = 1/2"
    assert told["mnnfast"].details["values_kept_share"] == 0
    assert told["a3-base"].parts == blind["a3-base"].parts


def test_policies_that_do_not_fit(tmp_path: Path) -> None:
    """One that was asked for is an error; the library's others are records without numbers."""
    q, k, v = random_tensors(1, layers=2, heads=2, kv_heads=2, tokens=12, dim=8)
    trace = trace_of(tmp_path / "trace", q, k, v, prompt_tokens=12, mask="full")
    arch = sparcade.load_arch("spatten")
    with pytest.raises(sparcade.errors.SparcadeError):
        compare(trace, arch, policies=[sparcade.load_policy("h2o")], platforms=())
    names = [record.name for record in compare(trace, arch, platforms=()).records]
    assert names[:3] == ["spatten-encoder", "layer-drop", "dense"]


def test_other_means_are_said(minilm: Comparison) -> None:
    assert not any("not the same means" in note for note in minilm.notes)
    arch = sparcade.load_arch("spatten")
    other = compare(
        load("minilm"),
        arch,
        policies=[sparcade.load_policy("spatten-encoder")],
        normalisation=Normalisation(multipliers=128, bandwidth_gbps=64.0),
        platforms=(),
    )
    assert any("not the same means: spatten has 1,024 multipliers, 512 GB/s" in note for note in other.notes)


def test_table_iii_names_both_conventions() -> None:
    rows, found = table_iii(load("minilm"))
    assert found.arch.name == "spatten-eighth"
    assert found.normalisation.multipliers == 128
    by_name = {row.name: row for row in rows}
    assert {"spatten-encoder", "a3-base", "a3-conservative", "mnnfast, streaming"} <= set(by_name)
    ours, base = by_name["spatten-encoder"], by_name["a3-base"]
    assert ours.published_gops == 360
    assert base.published_gops == by_name["a3-aggressive"].published_gops == 221
    assert base.effective_gops == base.actual_gops == 2 * base.actual_gmacs <= 256
    assert ours.effective_gops > ours.actual_gops
    assert base.effective_gops * base.time_over_subject == pytest.approx(ours.effective_gops)


def test_the_folder_says_what_the_comparison_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXAMPLE, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "baselines.json").read_text())
    with (tmp_path / "out" / "baselines.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert table["subject"] == "spatten-encoder"
    assert len(lines) == sum(len(record["parts"]) for record in table["records"])
    for record in table["records"]:
        assert record["name"] in printed
        (total,) = [line for line in lines if line["name"] == record["name"] and line["phase"] == "total"]
        assert float(total["seconds"]) == record["parts"]["total"]["seconds"]
        assert float(total["subject_achieved_gbps"]) == record["over_subject"]["total"]["subject_achieved_gbps"]
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert main([*EXAMPLE, "--out", str(tmp_path / "out")]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    capsys.readouterr()


def test_quotes_are_printed_as_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines", "--quotes"]) == 0
    printed = capsys.readouterr().out
    assert "nothing here was run or modelled" in printed
    for words in ("read in a second source [V]", "from memory, not read again [K]", "Sanger", "SOFA", "DTATrans"):
        assert words in printed


def measure() -> dict[str, Any]:
    """Total cycles, bytes and kept shares of the closed forms on the bundled traces."""
    found = {}
    for name, arch in (("minilm", "spatten"), ("stories260k", "spatten-eighth"), ("gpt2-tiny", "spatten")):
        trace = load(name)
        policy = sparcade.load_policy("spatten-encoder" if name == "minilm" else "streaming-llm")
        comparison = compare(trace, sparcade.load_arch(arch), policies=[policy], platforms=())
        for record in comparison.records:
            if record.method == "closed form":
                part = record.parts["total"]
                shares = {key: value for key, value in record.details.items() if key.endswith("_share")}
                numbers = {"cycles": part.cycles, "macs": part.macs, "dram_bytes": part.dram_bytes}
                found[f"{name} {arch} {record.name}"] = {**numbers, **shares}
    return found


def test_golden_closed_forms() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert measure() == golden["records"], "closed forms changed: say why, then regenerate (see the docstring)"


def example(folder: Path) -> str:
    """What the example of the page prints, as wide as the page shows it."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("COLUMNS", "100")
        assert main([*EXAMPLE, "--out", str(folder / "out")]) == 0
    lines = [line.rstrip() for line in printed.getvalue().splitlines() if str(folder) not in line]
    return "```\n" + "\n".join(lines) + "\n```\n"


def test_the_example_of_the_page_is_what_it_prints(tmp_path: Path) -> None:
    shown = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[2] == example(tmp_path), "python tests/baselines/test_compare.py writes it anew"


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/baselines.md", "exec"), {})
    assert "a3-conservative" in capsys.readouterr().out


def regenerate() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fresh = example(Path(folder))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda found: found[1] + fresh + found[3], page), encoding="utf-8")
    table = {"command": "python tests/baselines/test_compare.py", "records": measure()}
    GOLDEN.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    regenerate()

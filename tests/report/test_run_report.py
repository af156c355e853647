"""The report of a run: files, page, formats, bounds of its size; in Chromium."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparcade
from browser import run_in_browser
from report_pages import check_page
from sparcade.accelerator.plan import make_plan
from sparcade.accelerator.result import KINDS, RunResult
from sparcade.accelerator.simulate import run_plan
from sparcade.arch import load_arch
from sparcade.channel_traffic import channel_traffic
from sparcade.cli import main
from sparcade.policy import load_policy
from sparcade.report.detail import DETAIL, Detail, SequenceTokens, StepTokens
from sparcade.report.run_page import run_page
from sparcade.report.run_report import RunReport, read_run
from sparcade.report.sentence import MOST_ROWS, MOST_TOKENS
from sparcade.sources import load_source
from sparcade.sweep.table import EXACT_FLOATS
from sparcade.workload import from_trace

FILES = ["detail.json.gz", "layers.csv", "report.html", "result.json"]
PARTS = (
    "Headline", "What bounds the run", "DRAM traffic", "Energy and area", "Stalls", "Layers", "Survivors", "Accuracy",
    "Invariants", "Assumptions and sources", "Provenance", "Make it again",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with everything: prefill and decode, pruned tokens, heads and values, a comparison."""
    folder = tmp_path_factory.mktemp("it's a $place")
    sparcade.synthesize(
        folder / "my trace", seed=4, kind="realistic", layers=4, heads=8, kv_heads=4, prompt_tokens=70, decode_steps=3
    )
    settings = ["--set", "policy.tokens.end=0.3", "--compare", "dense"]
    assert main(["run", str(folder / "my trace"), *settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def report(run: Path) -> RunReport:
    return read_run(run / "result.json")


def test_the_page_says_everything(run: Path, report: RunReport) -> None:
    assert sorted(path.name for path in run.iterdir()) == FILES
    reader = check_page((run / "report.html").read_text(encoding="utf-8"))
    assert reader.tags.count("svg") == 9
    for part in PARTS:
        assert part in reader.text
    result = report.result
    for text in (
        f"{result['total']['counters']['cycles']:,} cycles",
        f"{result['comparison']['total']['speedup']:.2f} x",
        *result["invariants_held"],
        *result["assumptions"],
        result["arch_hash"],
        result["workload"]["content_hash"],
        result["arch"]["source"],
    ):
        assert " ".join(text.split()) in " ".join(reader.text.split()), text


def test_it_is_made_again_from_the_folder_alone(run: Path, tmp_path: Path) -> None:
    page = (run / "report.html").read_bytes()
    assert main(["report", str(run), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == page
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in FILES:
        if name != "report.html":
            (moved / name).write_bytes((run / name).read_bytes())
    assert main(["report", str(moved)]) == 0
    assert (moved / "report.html").read_bytes() == page
    assert main(["report", str(moved / "result.json")]) == 0
    assert (moved / "report.html").read_bytes() == page


def test_result_json_alone_is_enough(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "mine.json"
    alone.write_bytes((run / "result.json").read_bytes())
    assert main(["report", str(alone)]) == 0
    reader = check_page((tmp_path / "mine.html").read_text(encoding="utf-8"))
    assert "Survivors" not in reader.text
    assert reader.tags.count("svg") == 6


def test_the_command_makes_the_same_result(run: Path, report: RunReport, tmp_path: Path) -> None:
    assert report.detail is not None
    words = shlex.split(report.detail.command)
    assert words[:2] == ["sparcade", "run"]
    assert "--out" not in words
    assert main([*words[1:], "--out", str(tmp_path / "again")]) == 0
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    assert str(run.parent) not in (run / "result.json").read_text(encoding="utf-8")


def test_the_detail_is_what_the_policy_did(run: Path, report: RunReport) -> None:
    trace = sparcade.AttentionTrace.load(run.parent / "my trace")
    replay = sparcade.policy.apply(trace, load_policy("spatten", ["tokens.end=0.3"]))
    assert report.detail is not None
    (sequence,) = report.detail.sequences
    assert sequence.texts == tuple(trace.manifest.sequences[0].tokens)
    assert [step.step for step in sequence.steps] == [0, 3]
    for step in sequence.steps:
        for layer in range(4):
            assert np.flatnonzero(step.alive[layer]).tolist() == replay.survivors[0, step.step, layer].tolist()
            scores = replay.scores.get((0, step.step, layer), {}).get("token")
            assert step.importance is not None
            known = step.importance[layer][~np.isnan(step.importance[layer])]
            assert known.tolist() == ([] if scores is None else (scores / 4096).tolist())
    survival = pd.DataFrame(report.detail.survival)
    prefill = survival[survival["phase"] == "prefill"]
    kept = [len(replay.survivors[0, 0, layer]) / 70 for layer in range(4)]
    assert prefill["tokens"].tolist() == [round(share, 9) for share in kept]
    assert prefill["heads"].tolist() == [len(replay.heads[0, 0, layer]) / 8 for layer in range(4)]


@pytest.mark.parametrize(
    ("target", "arch", "settings"),
    [
        ("trace", "spatten", []),
        ("trace", "spatten", ["layout=packed", "gqa_share=false"]),
        ("trace", "spatten-eighth", ["layout=packed", "dram.mapping=MOP4CLXOR"]),
        ("small", "spatten-release", []),
    ],
)
def test_channels_are_those_the_controllers_saw(run: Path, target: str, arch: str, settings: list[str]) -> None:
    """Oracle: reads and writes that the model of the DRAM counted in its banks, and writes it absorbed."""
    hardware = load_arch(arch, settings)
    source = load_source(str(run.parent / "my trace") if target == "trace" else target)
    work = from_trace(source, load_policy("spatten")) if isinstance(source, sparcade.AttentionTrace) else source
    state = run_plan(make_plan(work, hardware), hardware)
    timed = RunResult(workload=work, arch=hardware, counts=state.counts)
    traffic = channel_traffic(timed)
    assert list(traffic) == list(KINDS)
    sums, total = np.sum(list(traffic.values()), axis=0), timed.total()
    assert {kind: sum(channels) for kind, channels in traffic.items()} == {k: total[f"tx_{k}"] for k in KINDS}
    if hardware.dram.kind == "controller":
        banks = state.memory.dram.banks
        served = (banks.reads + banks.writes).reshape(hardware.dram.channels, -1).sum(axis=1)
        missing = sums - served
        assert (missing >= 0).all()
        assert missing.sum() == total["dram_forwarded"] + total["dram_coalesced"]


def test_formats(run: Path, report: RunReport, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    def made(name: str) -> bytes:
        capsysbinary.readouterr()
        assert main(["report", str(run), "--format", name]) == 0
        return capsysbinary.readouterr().out

    assert made("html") == (run / "report.html").read_bytes()
    assert json.loads(made("json")) == json.loads((run / "result.json").read_bytes())
    layers = pd.DataFrame(report.result["layers"])
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(made("csv")), **EXACT_FLOATS), layers)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(made("parquet"))), layers)
    assert made("png")[:8] == b"\x89PNG\r\n\x1a\n"
    text = made("md").decode()
    assert re.search(rf"\| cycles \| cycles \| .* \| {report.result['total']['counters']['cycles']:,} \|", text)
    widths = [line.count("|") for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert set(widths) == {6}
    assert main(["report", str(run), "--format", "md", "--out", str(tmp_path / "a.md")]) == 0
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == text


def test_in_the_browser(run: Path) -> None:
    """Loads without error and request; sorts both ways, filters, switches the theme; nothing wider than the window."""
    script = """
      const table = [...document.querySelectorAll("#layers table.sorts")][0], body = table.tBodies[0];
      const column = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent == "cycles");
      const cells = () => [...body.rows].map(row => Number(row.cells[column].textContent.replaceAll(",", "")));
      const button = table.tHead.rows[0].cells[column].firstChild, before = cells();
      button.click(); const up = cells(); button.click(); const down = cells();
      const stalls = document.querySelector("#stalls table.sorts"), box = document.querySelector("#stalls input");
      box.value = "FETCHER busy put"; box.dispatchEvent(new Event("input"));
      const left = [...stalls.tBodies[0].rows].filter(row => row.offsetParent !== null).map(row => row.textContent);
      const paper = () => getComputedStyle(document.body).backgroundColor, theme = [paper()];
      for (let click = 0; click < 2; click++) { document.getElementById("theme").click(); theme.push(paper()); }
      const ink = getComputedStyle(document.querySelector("svg path[style*=currentColor]")).stroke;
      return {before, up, down, left, theme, ink, wide: document.documentElement.scrollWidth - innerWidth};
    """
    page = (run / "report.html").read_text(encoding="utf-8")
    for width in (1280, 500):
        found = run_in_browser(page, script, width=width)
        assert found["up"] == sorted(found["before"])
        assert found["down"] == sorted(found["before"], reverse=True)
        assert len(found["left"]) == 1
        assert "fetcherbusy" in found["left"][0]
        assert found["theme"][0] == found["theme"][2] != found["theme"][1]
        assert found["wide"] <= 0


def test_the_longest_context_stays_small(report: RunReport) -> None:
    """32,768 tokens in 48 layers: maps, columns and texts are cut by their rules."""
    random, tokens, layers = np.random.default_rng(1), 32_768, 48
    alive = random.random((layers, tokens)) < np.linspace(1, 0.2, layers)[:, None]
    importance = np.where(alive, random.random((layers, tokens)), np.nan)
    step = StepTokens(step=7, alive=alive, importance=importance)
    texts = tuple(f" <word&{token}>" for token in range(tokens))
    sequences = tuple(SequenceTokens(texts=texts, steps=(step,)) for _ in range(8))
    detail = Detail(command="", survival=report.detail.survival if report.detail else [], sequences=sequences,
                    sequence_count=1000, compared=[], pipeline=None)  # fmt: skip
    page = run_page(report.result, detail, None)
    reader = check_page(page)
    assert f"each is the mean of {tokens // 512}" in reader.text
    assert f"{tokens - MOST_TOKENS:,} tokens left out" in reader.text
    assert f"The last {MOST_ROWS} tokens" in reader.text
    assert re.search(r"99\d more sequences are not shown", reader.text)
    assert len(page) < 1_000_000


@pytest.mark.parametrize("target", ["gpt2-tiny", "gpt2-medium-full"])
def test_the_largest_bundled_runs_stay_below_a_megabyte(target: str, tmp_path: Path) -> None:
    assert main(["run", target, "--out", str(tmp_path / "run")]) == 0
    check_page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))


def test_a_measured_accuracy_joins_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "run"
    mine.mkdir()
    for name in FILES:
        (mine / name).write_bytes((run / name).read_bytes())
    curve = Path(__file__).parents[2] / "reports" / "published" / "accuracy" / "sst2-tokens"
    assert main(["report", str(mine), "--accuracy", str(curve)]) == 0
    page = (mine / "report.html").read_text(encoding="utf-8")
    reader = check_page(page)
    assert "Closed loop: all-MiniLM-L6-v2 on sst2_dev.tsv" in reader.text
    assert "not under the policy of this run" in reader.text
    assert main(["report", str(mine)]) == 0
    assert (mine / "report.html").read_text(encoding="utf-8") == page
    assert main(["report", str(curve), "--accuracy", str(curve), "--out", str(tmp_path / "x.html")]) == 2
    assert "only the page of a run" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_an_accuracy_folder(tmp_path: Path) -> None:
    curve = Path(__file__).parents[2] / "reports" / "published" / "accuracy" / "sst2-tokens"
    assert main(["report", str(curve), "--out", str(tmp_path / "a.html")]) == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "0.812" in check_page(page).text
    run_in_browser(page, "return 1")
    for name in ("md", "csv", "json", "parquet", "png"):
        assert main(["report", str(curve), "--format", name, "--out", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "json").read_text()) == json.loads((curve / "accuracy.json").read_text())


def test_an_analysis_folder_is_made_again(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "attention"
    assert main(["trace", "analyse", str(run.parent / "my trace"), "--out", str(folder)]) == 0
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == page
    check_page(page.decode())


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("schema", "no result of a run"),
        ("json", "no result of a run"),
        ("detail", "the detail of a run cannot be read"),
        ("trace", "a trace"),
        ("workload", "is timed by 'sparcade run"),
        ("nothing", "no such path"),
        ("text", "a file that is none of them"),
    ],
)
def test_errors(case: str, words: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    target = place
    result = (run / "result.json").read_text(encoding="utf-8")
    if case == "schema":
        (place / "result.json").write_text(result.replace('"schema_version": 1', '"schema_version": 99'))
    elif case == "json":
        (place / "result.json").write_text("{")
    elif case == "detail":
        (place / "result.json").write_text(result)
        (place / DETAIL).write_bytes(b"not gzip")
    elif case == "trace":
        target = run.parent / "my trace"
    else:
        target = place / {"workload": "work.npz", "text": "notes.txt", "nothing": "none"}[case]
        if case != "nothing":
            target.write_text("x")
    before = sorted(path.name for path in place.iterdir())
    assert main(["report", str(target)]) == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == before

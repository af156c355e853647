"""Analyses of traces against a literal calculation row by row, on hand-made attention, and as files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparcade
from sparcade.cli import main
from sparcade.report.analysis_folder import summary, write_analysis
from sparcade.trace.analysis import analyse, hitter_table


def literal(trace: sparcade.AttentionTrace, sinks: int, window: int) -> pd.DataFrame:
    """One line per row of attention, from the definitions."""
    model, lines = trace.manifest.model, []
    for index, sequence in enumerate(trace.manifest.sequences):
        for layer in range(model.layers):
            tensors = trace.tensors(layer, index)
            for head in range(model.heads):
                for row in range(len(sequence.tokens)):
                    visible = list(range(row + 1 if model.mask == "causal" else len(sequence.tokens)))
                    q, keys = tensors.q[head, row].astype(float), tensors.k[head * model.kv_heads // model.heads]
                    scores = [model.scaling * float(q @ keys[j].astype(float)) for j in visible]
                    weights = [math.exp(score - max(scores)) for score in scores]
                    p = [weight / math.fsum(weights) for weight in weights]
                    where = {"sinks": 0.0, "local": 0.0, "elsewhere": 0.0}
                    others = 0
                    for j in visible:
                        distance = row - j if model.mask == "causal" else abs(row - j)
                        reach = window - 1 if model.mask == "causal" else window // 2
                        kind = "sinks" if j < sinks else "local" if distance <= reach else "elsewhere"
                        where[kind] += p[j]
                        others += kind == "elsewhere"
                    falling, held = sorted(p, reverse=True), {}
                    for share in (0.90, 0.95, 0.99):
                        count = next(n for n in range(1, len(p) + 1) if math.fsum(falling[:n]) >= share - 1e-9)
                        held[f"keys_{round(100 * share)}"] = count / len(p)
                    entropy = -math.fsum(x * math.log2(x) for x in p if x > 0)
                    lines.append({
                        "phase": "decode" if row >= sequence.prompt_tokens else "prefill", "layer": layer, "head": head,
                        "visible": len(p), "largest": max(p), "entropy_bits": entropy, **held, **where,
                        "entropy_share": entropy / math.log2(len(p)) if len(p) > 1 else math.nan, "p": p,
                        "sequence": index, "others": others,
                    })  # fmt: skip
    return pd.DataFrame(lines)


@pytest.mark.parametrize("mask", ["causal", "full"])
def test_every_number_is_that_of_the_definitions(tmp_path: Path, mask: str) -> None:
    decode = 5 if mask == "causal" else 0
    trace = sparcade.synthesize(
        tmp_path / "t", seed=3, mask=mask, prompt_tokens=14, decode_steps=decode, layers=2, heads=4, kv_heads=2,
        head_dim=8,
    )  # fmt: skip
    found = analyse(trace, sinks=2, window=5)
    rows = literal(trace, 2, 5)
    for _, line in found.heads.iterrows():
        mine = rows[
            (rows["phase"] == line["phase"]) & (rows["layer"] == line["layer"]) & (rows["head"] == line["head"])
        ]
        assert line["rows"] == len(mine)
        assert line["largest_median"] == pytest.approx(mine["largest"].median(), rel=1e-9)
        for name in ("visible", "largest", "entropy_bits", "entropy_share", "keys_90", "keys_95", "keys_99"):
            assert line[name] == pytest.approx(mine[name].mean(), rel=1e-9), name
        far = mine[mine["others"] > 0]
        for name in ("sinks", "local", "elsewhere"):
            assert line[name] == pytest.approx(far[name].mean(), rel=1e-9, abs=1e-15, nan_ok=True), name
    for _, line in found.lsb.iterrows():
        mine = rows[(rows["phase"] == line["phase"]) & (rows["layer"] == line["layer"])]
        assert line["below"] == (mine["largest"] < line["threshold"]).mean()
    for _, line in found.tokens.iterrows():
        upto = rows[rows["layer"] <= line["layer"]]
        got = [p[line["token"]] if line["token"] < len(p) else 0.0 for p in upto["p"]]
        assert line["cumulative"] == pytest.approx(math.fsum(got), rel=1e-9)
    assert set(found.heads["phase"]) == ({"prefill", "decode"} if decode else {"prefill"})


def test_how_few_tokens_hold_the_importance() -> None:
    tokens = pd.DataFrame({"sequence": 0, "layer": 0, "token": range(10), "decode": 0.0})
    tokens["importance"] = tokens["cumulative"] = [91.0, 4.0, 4.0, *[1.0 / 7] * 7]
    table = hitter_table(tokens)
    assert table["of"].tolist() == ["cumulative", "layer"]  # no decode row
    assert table.iloc[0][["tokens_90", "tokens_95", "tokens_99"]].tolist() == [0.1, 0.2, 0.3]


def test_attention_that_looks_everywhere_alike(tmp_path: Path) -> None:
    trace = sparcade.synthesize(
        tmp_path / "t", seed=1, mask="full", prompt_tokens=64, decode_steps=0, layers=1, heads=1, kv_heads=1, head_dim=4
    )
    tensors = trace.tensors(0, 0)
    flat = type(trace).tensors

    def uniform(self: sparcade.AttentionTrace, layer: int, sequence: int) -> object:
        whole = flat(self, layer, sequence)
        return type(whole)(q=np.zeros_like(tensors.q), k=whole.k, v=whole.v, out=whole.out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(trace), "tensors", uniform)
        line = analyse(trace, sinks=4, window=8).heads.iloc[0]
    assert line["largest"] == pytest.approx(1 / 64)
    assert line["entropy_bits"] == pytest.approx(6)
    assert line["entropy_share"] == pytest.approx(1)
    assert line["keys_90"] == math.ceil(0.9 * 64) / 64
    assert line["sinks"] == pytest.approx(4 / 64)


def test_the_bundled_decoder_shows_what_was_measured_before() -> None:
    """../shared/spec/traces.md 5a, on another text of the same model: 16 to 28 % of the tokens hold 90 %."""
    found = analyse(sparcade.AttentionTrace.load(sparcade.bundled_trace("stories260k")))
    decode = found.hitters[found.hitters["of"] == "decode"]
    assert decode["tokens_90"].between(0.14, 0.28).all()
    below = found.lsb[(found.lsb["phase"] == "decode") & (found.lsb["threshold"] == 0.1)].set_index("layer")["below"]
    assert below[0] > 0.1 > 0.02 > below[1]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    trace = sparcade.synthesize(
        "t<b>", seed=1, prompt_tokens=12, decode_steps=2, layers=2, heads=2, kv_heads=1, head_dim=8
    )
    assert main(["trace", "analyse", "t<b>", "--window", "2", "--sinks", "1"]) == 0
    assert "streaming heads" in capsys.readouterr().out
    folder = tmp_path / "reports" / "attention-t<b>"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {"report.html", "analysis.json"} | {
        f"{name}.png" for name in ("importance", "heads", "concentration", "lsb")
    } | {f"{name}.csv" for name in ("heads", "lsb", "tokens", "hitters")}
    page = files["report.html"].decode()
    assert "t&lt;b&gt;" in page
    assert "t<b>" not in page
    analysis = analyse(trace, sinks=1, window=2)
    write_analysis(trace, analysis, tmp_path / "again", command="sparcade trace analyse t<b> --sinks 1 --window 2")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert summary(analysis).count("\n") == 2
    assert main(["trace", "analyse", "t<b>", "--window", "-1"]) == 2
    assert "window is negative" in capsys.readouterr().err
    (folder / "mine.txt").touch()
    assert main(["trace", "analyse", "t<b>"]) == 2
    assert "mine.txt" in capsys.readouterr().err

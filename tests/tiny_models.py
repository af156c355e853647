"""Model folders on disk: random weights of `small_models` with a tokenizer of 64 words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from small_models import CONFIGS, VOCABULARY


def save_tiny(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a model of a class of Transformers, such as "GPT2LMHeadModel"; word w7 is token 7."""
    family = {"GPT2LMHeadModel": "gpt2", "LlamaForCausalLM": "llama"}.get(kind, "bert")
    _, config, settings = CONFIGS[family]
    torch.manual_seed(11)
    getattr(transformers, kind)(config(**settings | changes)).save_pretrained(folder)
    words = {f"w{index}": index for index in range(VOCABULARY)}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=64).save_pretrained(folder)
    return folder

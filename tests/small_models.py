"""Random-initialised models of each family, small and with peaked attention; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

VOCABULARY = 64
#: A wide initialisation makes attention peaked: a wrong mask or a wrong row then shows.
_COMMON = {"vocab_size": VOCABULARY, "initializer_range": 0.3}
_ENCODER = _COMMON | {
    "max_position_embeddings": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_DECODER = _ENCODER | {"num_key_value_heads": 2}
_VISION = {
    "image_size": 12,
    "patch_size": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
_GPT2 = _COMMON | {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
#: Class of the model, its configuration.
CONFIGS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (transformers.BertModel, transformers.BertConfig, _ENCODER),
    "roberta": (transformers.RobertaModel, transformers.RobertaConfig, _ENCODER | {"max_position_embeddings": 66}),
    "distilbert": (
        transformers.DistilBertModel,
        transformers.DistilBertConfig,
        _COMMON | {"max_position_embeddings": 64, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    ),
    "gpt2": (transformers.GPT2Model, transformers.GPT2Config, _GPT2),
    "opt": (
        transformers.OPTModel,
        transformers.OPTConfig,
        _COMMON | _ENCODER | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3},
    ),
    "llama": (transformers.LlamaModel, transformers.LlamaConfig, _DECODER),
    "mistral": (transformers.MistralModel, transformers.MistralConfig, _DECODER | {"sliding_window": 24}),
    "qwen3": (transformers.Qwen3Model, transformers.Qwen3Config, _DECODER | {"head_dim": 8}),
    "gemma2": (transformers.Gemma2Model, transformers.Gemma2Config, _DECODER | {"head_dim": 8}),
    "gpt-oss": (
        transformers.GptOssModel,
        transformers.GptOssConfig,
        _DECODER | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "t5": (
        transformers.T5Model,
        transformers.T5Config,
        {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "openai-gpt": (transformers.OpenAIGPTModel, transformers.OpenAIGPTConfig, _GPT2),
    "gptj": (transformers.GPTJModel, transformers.GPTJConfig, _GPT2 | {"rotary_dim": 4}),
    "bloom": (
        transformers.BloomModel,
        transformers.BloomConfig,
        _COMMON | {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    ),
    "vit": (transformers.ViTModel, transformers.ViTConfig, _VISION),
    "deit": (transformers.DeiTModel, transformers.DeiTConfig, _VISION),
}
ENCODERS = ("bert", "roberta", "distilbert")
DECODERS = ("gpt2", "opt", "llama", "mistral", "qwen3")
VISION = ("vit", "deit")
LEGACY = ("openai-gpt", "gptj", "bloom")
WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "dog", ".")


def small_model(family: str, **changes: Any) -> Any:
    """A model of the family, the same weights each time, in eval mode."""
    kind, config, settings = CONFIGS[family]
    torch.manual_seed(7)
    return kind(config(**settings | changes)).eval()


def small_tokenizer(family: str, vocabulary: int = VOCABULARY) -> Any:
    """A tokenizer of the family's kind: words between [CLS] and [SEP] for encoders, bytes for decoders."""
    if family in ENCODERS:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
        ids = {word: index for index, word in enumerate(words + [f"w{i}" for i in range(len(words), vocabulary)])}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    else:
        letters = ["<s>", "\u0120", *"abcdefghijklmnopqrstuvwxyz.,\u010a"]
        ids = {
            letter: index for index, letter in enumerate(letters + [f"<{i}>" for i in range(len(letters), vocabulary)])
        }
        tokenizer = Tokenizer(models.BPE(ids, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special = {"bos_token": "<s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def save_small(folder: Path, family: str, **changes: Any) -> Path:
    """A folder with a model of the family and, if it reads text, its tokenizer."""
    transformers.utils.logging.disable_progress_bar()
    small_model(family, **changes).save_pretrained(folder)
    if family not in VISION:
        small_tokenizer(family).save_pretrained(folder)
    return folder

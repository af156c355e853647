"""Models of random weights, to try a command on before you have one: my-gpt2, my-bert and my-vit, and data for them.

python examples/small_model.py

They write the folders that a pretrained model would be in, so every command that takes MODEL takes them; what comes out
says nothing about any real model.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

SENTENCE = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want. "
)
VOCABULARY = {chr(code): code - 32 for code in range(32, 127)} | {"[CLS]": 95, "[SEP]": 96}
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def letters() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return tokenizer


transformers.utils.logging.disable_progress_bar()
torch.manual_seed(1)
gpt2 = transformers.GPT2Config(
    vocab_size=97, n_positions=1024, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
)
transformers.GPT2LMHeadModel(gpt2).save_pretrained("my-gpt2")
transformers.PreTrainedTokenizerFast(tokenizer_object=letters()).save_pretrained("my-gpt2")

bert = transformers.BertConfig(vocab_size=97, max_position_embeddings=256, initializer_range=0.3, **SIZE)
transformers.BertModel(bert).save_pretrained("my-bert")
marked = letters()
marked.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 95), ("[SEP]", 96)])
transformers.PreTrainedTokenizerFast(tokenizer_object=marked, cls_token="[CLS]", sep_token="[SEP]").save_pretrained(
    "my-bert"
)

vit = transformers.ViTConfig(image_size=32, patch_size=8, initializer_range=0.3, **SIZE)
transformers.ViTModel(vit).save_pretrained("my-vit")
np.save("pixels.npy", np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32))

Path("novel.txt").write_text(SENTENCE * 60)
lines = (f"{SENTENCE[shift : shift + 40].strip()}\t{shift % 2}\n" for shift in range(12))
Path("reviews.tsv").write_text("".join(lines))

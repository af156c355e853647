"""Importance of heads by their gradient (Michel et al., NeurIPS 2019, section 4.1), for a head mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM

from sparcade._files import new_file
from sparcade_workloads.attention import Call, hooked
from sparcade_workloads.datasets import read_windows
from sparcade_workloads.models import deterministic, load_model, load_tokenizer


def head_importance(model: Any, sequences: Iterable[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Expected |dL/dx_h| of a language model, [layers, heads], each layer scaled to length 1.

    L is the mean negative log-likelihood of a sequence's next tokens, x_h a factor on head h's output, at 1: the sum
    of Att_h . dL/dAtt_h over the sequence.
    """
    total: Any = 0.0
    for token_ids in sequences:
        outputs: list[Any] = []

        def attend(call: Call, outputs: list[Any] = outputs) -> tuple[Any, Any]:
            output, weights = call.eager()
            output.retain_grad()
            outputs.append(output)
            return output, weights

        ids = torch.tensor([list(token_ids)])
        model.zero_grad()
        with hooked(model, attend):
            model(input_ids=ids, labels=ids).loss.backward()
        factors = [(output.detach() * output.grad).double().sum(dim=(0, 1, 3)).numpy() for output in outputs]
        total = total + np.abs(np.stack(factors))
    model.zero_grad()
    importance: npt.NDArray[np.float64] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return importance


def write_importance(name: str | Path, data: str, path: Path, *, sequences: int, tokens: int) -> int:
    """Measure a language model on windows of a text and write a table for `kind = "head-mask"`; returns its rows."""
    with deterministic():
        model = load_model(name, kind=AutoModelForCausalLM)
        windows = read_windows(data, load_tokenizer(name, model), count=sequences, tokens=tokens)
        importance = head_importance(model, (window.token_ids for window in windows))
    with new_file(path) as fresh:
        lines = ("\t".join(f"{value:.6g}" for value in layer) for layer in importance.tolist())
        fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(importance)

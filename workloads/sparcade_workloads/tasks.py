"""What a model is good for, measured per sequence: perplexity, accuracy of a classifier, embedding cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sparcade.errors import ConfigError
from sparcade_workloads.datasets import Example
from sparcade_workloads.estimate import Scale

Floats = npt.NDArray[np.float64]
#: Weight of the squared coefficients of the probe, against the sum of squared errors over the training sentences.
RIDGE = 1.0
#: Sentences that the unpruned model embeds at once.
_BATCH = 64


class Task(Protocol):
    """One number per sequence, and how their mean is told."""

    @property
    def metric(self) -> str:
        """Name of the column."""

    @property
    def scale(self) -> Scale:
        """How the mean of the scores is told."""

    def score(self, example: Example, steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> float:
        """The score of a sequence from the model's outputs.

        Parameters
        ----------
        steps : the model's output of the prompt, then of each decode step.
        alive : tokens that entered the last layer, once the prompt has run.
        """


@dataclass(frozen=True)
class Perplexity:
    """Of the tokens that decode steps predict; a sequence's score is the mean negative log-likelihood in nats."""

    prompt_tokens: int
    metric: str = "perplexity"
    scale: Scale = field(default_factory=lambda: Scale(function=math.exp, derivative=math.exp))

    def score(self, example: Example, steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> float:
        """Mean over the decode rows; the row of the prompt predicts a token as well, but is not decode."""
        losses = []
        for step, output in enumerate(steps):
            if step > 0:
                row = output.logits[0, -1].double()
                target = example.token_ids[self.prompt_tokens + step]
                losses.append(float(torch.logsumexp(row, 0) - row[target]))
        return math.fsum(losses) / len(losses)


@dataclass(frozen=True, kw_only=True)
class EmbeddingCosine:
    """Cosine of a sentence's embedding to that of the unpruned float model."""

    references: dict[tuple[int, ...], Floats]  #: embedding by token ids
    metric: str = "cosine"
    scale: Scale = field(default_factory=Scale)

    def score(self, example: Example, steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> float:
        """1 for equal directions."""
        return float(embedding(steps, alive) @ self.references[example.token_ids])


@dataclass(frozen=True, kw_only=True)
class ProbeAccuracy:
    """A linear probe on sentence embeddings, trained on the unpruned float model; 1 for a right answer."""

    weights: Floats  #: [features + 1, classes]
    metric: str = "accuracy"
    scale: Scale = field(default_factory=Scale)

    def score(self, example: Example, steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> float:
        """The class of the largest output."""
        answer = int(np.argmax(_with_bias(embedding(steps, alive)[None]) @ self.weights))
        return float(answer == example.label)


@dataclass(frozen=True, kw_only=True)
class HeadAccuracy:
    """The model's own classification head; 1 for a right answer."""

    metric: str = "accuracy"
    scale: Scale = field(default_factory=Scale)

    def score(self, example: Example, steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> float:
        """The class of the largest logit."""
        logits = next(steps).logits[0]
        if not bool(torch.isfinite(logits).all()):
            raise ConfigError(
                "the token that the classification head reads was pruned",
                where="--policy",
                expected="a policy that keeps the first token",
                got="no hidden state of it in the last layer",
                remedy="--set policy.tokens.protect_first=1",
            )
        return float(int(logits.argmax()) == example.label)


def embedding(steps: Iterator[Any], alive: Callable[[], Sequence[int]]) -> Floats:
    """Mean of the last hidden states of the tokens that are left, of length 1."""
    hidden: Floats = next(steps).last_hidden_state[0].double().numpy()
    return _direction(hidden[list(alive())])


def stock_embeddings(model: Any, examples: Sequence[Example]) -> list[Floats]:
    """The embedding of each sentence by the unpruned float model; sentences of one length share a batch."""
    by_length: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        by_length.setdefault(len(example.token_ids), []).append(index)
    found: dict[int, Floats] = {}
    for places in by_length.values():
        for first in range(0, len(places), _BATCH):
            batch = places[first : first + _BATCH]
            with torch.no_grad():
                output = model(input_ids=torch.tensor([list(examples[index].token_ids) for index in batch]))
            found |= zip(batch, map(_direction, output.last_hidden_state.double().numpy()), strict=True)
    return [found[index] for index in range(len(examples))]


def _direction(hidden: Floats) -> Floats:
    """Mean of [n, features] over n, scaled to length 1."""
    mean = np.asarray(hidden.mean(axis=0), np.float64)
    return mean / math.sqrt(float(mean @ mean))


def train_probe(embeddings: Floats, labels: Sequence[int]) -> Floats:
    """Ridge regression on one-hot targets, in closed form; the bias is not shrunk. [features + 1, classes]."""
    inputs = _with_bias(embeddings)
    targets = np.eye(max(labels) + 1)[list(labels)]
    shrink = RIDGE * np.eye(inputs.shape[1])
    shrink[-1, -1] = 0.0
    return np.asarray(np.linalg.solve(inputs.T @ inputs + shrink, inputs.T @ targets), np.float64)


def _with_bias(inputs: Floats) -> Floats:
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)

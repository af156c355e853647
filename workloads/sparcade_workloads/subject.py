"""A model with the sequences and the task that it is measured on, and one measurement of it under a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from sparcade._files import content_hash, file_hash
from sparcade.errors import ConfigError, TraceError
from sparcade.policy import Engine, Policy, PolicyResult, load_policy
from sparcade.policy.tensors import QKV, SequenceTensors
from sparcade.trace import ModelShape
from sparcade_workloads.attention import Call, hooked
from sparcade_workloads.closed_loop import run_sequence, shape_of
from sparcade_workloads.datasets import Example, read_sentences, read_windows
from sparcade_workloads.inputs import read_steps
from sparcade_workloads.models import (
    deterministic,
    load_model,
    load_tokenizer,
    saved_class,
    short_name,
    weights_identity,
)
from sparcade_workloads.tasks import (
    EmbeddingCosine,
    HeadAccuracy,
    Perplexity,
    ProbeAccuracy,
    Task,
    stock_embeddings,
    train_probe,
)
from sparcade_workloads.tokens import context_limit, readable

Metric = Literal["perplexity", "accuracy", "cosine"]
Kind = Literal["language", "classifier", "encoder"]
#: Largest accepted difference of the closed loop without pruning from the model, relative to its largest output.
_TOLERANCE = 1e-4
#: Library class by kind of model.
_CLASSES = {"language": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification, "encoder": AutoModel}
#: Tokens of a sequence, of a model that names no limit.
_ENDLESS = 1 << 20
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, and on what."""

    model: Any
    tokenizer: Any
    shape: ModelShape
    task: Task
    examples: tuple[Example, ...]
    prompt_tokens: int | None  #: of a language model; None: the whole sequence
    provenance: dict[str, Any]  #: model, data and their hashes
    check: float  #: largest difference of outputs, closed loop under `dense-fp32` from the model itself

    def inputs(self, example: Example) -> tuple[tuple[int, ...], int]:
        """Token ids that the model reads (a language model predicts one more), and how many are the prompt."""
        if self.prompt_tokens is None:
            return example.token_ids, len(example.token_ids)
        return example.token_ids[:-1], self.prompt_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Scores of all sequences under a policy, and the work of the same run."""

    scores: list[float]
    result: PolicyResult


@deterministic()
def make_subject(
    name: str | Path,
    *,
    data: str,
    metric: Metric | None,
    sequences: int | None,
    prompt_tokens: int,
    decode: int,
    train: str | None,
    title: str | None = None,
) -> Subject:
    """Load model and data, train the probe where one is needed, and check the closed loop against the model.

    Parameters
    ----------
    name : folder, or name on the hub.
    metric : None takes the one of the kind of model: perplexity for a language model, else accuracy with a
        classification head or `train`, else cosine.
    sequences : None takes all sentences, or 16 sequences of a language model.
    train : labelled sentences for the probe.
    title : what the report calls the model; None: the name of its folder or on the hub.

    Raises
    ------
    ConfigError
        When the metric does not fit the model or the data, or the data is too short or malformed.
    TraceError
        When the model is of no supported kind.
    """
    kind = _kind(saved_class(name))
    metric = _metric(kind, metric, train)
    model = load_model(name, kind=_CLASSES[kind])
    tokenizer = load_tokenizer(name, model)
    shape = shape_of(model, title or short_name(name))
    longest = min(context_limit(model) or _ENDLESS, tokenizer.model_max_length)
    if kind == "language":
        if prompt_tokens + decode > longest:
            raise _unfit("--prompt-tokens, --decode", f"at most {longest} tokens", f"{prompt_tokens} + {decode}")
        examples = read_windows(data, tokenizer, count=sequences or 16, tokens=prompt_tokens + decode + 1)
    else:
        examples = read_sentences(data, tokenizer, count=sequences, most=longest, labels=metric == "accuracy")
    _check_vocabulary(examples, model.config.vocab_size, data)
    task: Task
    if kind == "language":
        task = Perplexity(prompt_tokens)
    elif kind == "classifier":
        task = HeadAccuracy()
    elif train is None:
        embedded = zip(examples, stock_embeddings(model, examples), strict=True)
        task = EmbeddingCosine(references={each.token_ids: unit for each, unit in embedded})
    else:
        lessons = read_sentences(train, tokenizer, count=None, most=longest, labels=True)
        embeddings = np.stack(stock_embeddings(model, lessons))
        task = ProbeAccuracy(weights=train_probe(embeddings, [each.label or 0 for each in lessons]))
    weights, ids = weights_identity(name, model), [list(each.token_ids) for each in examples]
    files = {"data": data} | ({"train": train} if train else {})
    subject = Subject(
        model=model,
        tokenizer=tokenizer,
        shape=shape,
        task=task,
        examples=tuple(examples),
        prompt_tokens=prompt_tokens if kind == "language" else None,
        provenance={
            "model": shape.name,
            "weights": weights,
            **{key: Path(file).name for key, file in files.items()},
            **{f"{key}_sha256": file_hash(Path(file)) for key, file in files.items() if Path(file).is_file()},
            "sequences": len(examples),
            "prompt_tokens": prompt_tokens if kind == "language" else None,
            "decode": decode if kind == "language" else 0,
            "hash": content_hash({"model": weights, "token_ids": ids}),
        },
        check=0.0,
    )
    return _checked(subject)


def measure(
    subject: Subject, policy: Policy, progress: Progress | None = None, *, keep_outputs: bool = False
) -> Measured:
    """Run all sequences under a policy in the closed loop.

    Parameters
    ----------
    keep_outputs : hold the attention outputs of all layers, for a comparison.
    """
    engine = Engine(model=subject.shape, policy=policy, keep_outputs=keep_outputs)
    scores = []
    for done, example in enumerate(subject.examples, 1):
        ids, prompt = subject.inputs(example)
        names = readable(subject.tokenizer, ids)
        with closing(run_sequence(subject.model, engine, ids, prompt_tokens=prompt, names=names)) as steps:
            scores.append(subject.task.score(example, steps, lambda: engine.tokens.tolist()))
        if progress is not None:
            progress(done / len(subject.examples))
    result = engine.result(name=subject.shape.name, trace_hash=subject.provenance["hash"], closed=True)
    return Measured(scores=scores, result=result)


def replay(subject: Subject, policies: Sequence[Policy], progress: Progress | None = None) -> list[PolicyResult]:
    """The open loop: Q, K, V of the unpruned model, replayed under each policy."""
    engines = [Engine(model=subject.shape, policy=policy) for policy in policies]
    for done, example in enumerate(subject.examples, 1):
        ids, prompt = subject.inputs(example)
        layers = _unpruned(subject.model, ids, prompt)
        for engine in engines:
            engine.begin_sequence(readable(subject.tokenizer, ids), SequenceTensors.whole(layers, prompt))
            for _ in range((1 + len(ids) - prompt) * subject.shape.layers):
                engine.enter_layer()
                engine.attend()
        if progress is not None:
            progress(done / len(subject.examples))
    return [engine.result(name=subject.shape.name, trace_hash=subject.provenance["hash"]) for engine in engines]


def _unpruned(model: Any, token_ids: Sequence[int], prompt_tokens: int) -> list[QKV]:
    """Q, K, V of each layer, all rows."""
    calls: list[QKV] = []

    def look(call: Call) -> tuple[Any, Any]:
        calls.append(QKV(*(tensor[0].float().numpy().copy() for tensor in (call.query, call.key, call.value))))
        return call.eager()

    steps = []
    with hooked(model, look):
        for _ in read_steps(model, token_ids, prompt_tokens):
            steps.append(list(calls))
            calls.clear()
    last = steps[-1]
    return [
        QKV(np.concatenate([step[layer].q for step in steps], axis=1), last[layer].k, last[layer].v)
        for layer in range(len(last))
    ]


def _checked(subject: Subject) -> Subject:
    """The subject with its `check`: a soft-cap, a bias or attention sinks would show in the first sequence."""
    ids, prompt = subject.inputs(subject.examples[0])
    ids = ids[: prompt + 2]
    engine = Engine(model=subject.shape, policy=load_policy("dense-fp32"), keep_outputs=False)
    names = readable(subject.tokenizer, ids)
    worst, largest = 0.0, 1.0
    own = list(read_steps(subject.model, ids, prompt))
    with closing(run_sequence(subject.model, engine, ids, prompt_tokens=prompt, names=names)) as steps:
        for ours, theirs in zip(steps, own, strict=True):
            worst = max(worst, float((ours[0] - theirs[0]).abs().max()))
            largest = max(largest, float(theirs[0].abs().max()))
    if not worst <= _TOLERANCE * largest:
        raise TraceError(
            "the closed loop without pruning is not the model",
            where=subject.shape.name,
            expected=f"outputs that differ by at most {_TOLERANCE:g} of the largest, {largest:.3g}",
            got=f"{worst:.3g}",
            remedy="measure a model whose attention is a plain softmax of scaled scores",
        )
    return replace(subject, check=worst)


def _metric(kind: Kind, metric: Metric | None, train: str | None) -> Metric:
    """The metric asked for, or the one of the kind of model."""
    own: dict[Kind, Metric] = {
        "language": "perplexity",
        "classifier": "accuracy",
        "encoder": "accuracy" if train else "cosine",
    }
    metric = metric or own[kind]
    allowed = ("accuracy", "cosine") if kind == "encoder" else (own[kind],)
    if metric not in allowed:
        raise _unfit(f"--metric {metric}", f"{' or '.join(allowed)} of this {kind} model", metric)
    if (train is not None) != (kind == "encoder" and metric == "accuracy"):
        expected = "--train FILE with --metric accuracy of an encoder without a classification head, and only there"
        raise _unfit("--train", expected, train or "nothing")
    return metric


def _kind(saved_as: str) -> Kind:
    if saved_as.endswith(("ForCausalLM", "LMHeadModel")):
        return "language"
    return "classifier" if saved_as.endswith("ForSequenceClassification") else "encoder"


def _check_vocabulary(examples: Sequence[Example], size: int, data: str) -> None:
    largest = max(max(each.token_ids) for each in examples)
    if largest >= size:
        raise ConfigError(
            "the data holds a token id that the model does not have",
            where=data,
            expected=f"ids below {size}",
            got=str(largest),
            remedy="use the data of this model, or its own tokenizer",
        )


def _unfit(where: str, expected: str, got: str) -> ConfigError:
    return ConfigError(
        "the metric, the model and the data do not fit each other",
        where=where,
        expected=expected,
        got=got,
        remedy="docs/accuracy.md lists what is measured on what",
    )

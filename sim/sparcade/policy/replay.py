"""`apply`: replay a trace under a policy, value-exact, and write down the work the hardware would do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade._files import file_hash
from sparcade.config import tables
from sparcade.numerics.attention import attend_heads, weigh_heads
from sparcade.numerics.fixed_point import ONE, KeyFormat
from sparcade.policy.answers import ask, check_bits, check_choice, policy_error
from sparcade.policy.protocol import (
    IMPORTANCE_MAX,
    LOCAL_BITS,
    HeadState,
    Ids,
    Policy,
    Row,
    SequenceShape,
    TokenState,
)
from sparcade.policy.result import LayerKey, LayerOutput, PolicyResult
from sparcade.policy.spatten import SpAtten
from sparcade.policy.tensors import LayerWords, SequenceTensors
from sparcade.topk.params import IMPORTANCE_BITS
from sparcade.trace import AttentionTrace, ModelShape
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.store import WorkloadShape
from sparcade.workload.tables import QUERY

Floats = npt.NDArray[np.float64]

#: Probabilities computed at once: bounds the memory of a long prompt.
_BATCH_ELEMENTS = 1 << 20


def apply(trace: AttentionTrace, policy: Policy, progress: Callable[[float], None] | None = None) -> PolicyResult:
    """Replay every sequence of a trace, back to back; importance restarts with each.

    Parameters
    ----------
    progress : called with the fraction done, after each step of each sequence.

    Raises
    ------
    PolicyError
        When the policy raises, or returns a pruned token, no token, unsupported bits, or scores that do not fit.
    """
    replay = _Replay(trace=trace, policy=policy)
    total = sum(1 + sequence.decode_steps for sequence in trace.manifest.sequences)
    for done, _ in enumerate(replay.steps(), start=1):
        if progress is not None:
            progress(done / total)
    return replay.result()


@dataclass(slots=True)
class _Tally:
    """Sums over the layer that just ran, handed to the policy before the next one."""

    probability: Ids
    seen: Ids
    head_output: Ids


@dataclass(slots=True, kw_only=True)
class _Replay:
    trace: AttentionTrace
    policy: Policy
    builder: WorkloadBuilder = field(default_factory=WorkloadBuilder)
    outputs: dict[LayerKey, LayerOutput] = field(default_factory=dict)
    survivors: dict[LayerKey, Ids] = field(default_factory=dict)
    heads: dict[LayerKey, Ids] = field(default_factory=dict)
    scores: dict[LayerKey, dict[str, Ids]] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=lambda: {"q": 0, "k": 0, "v": 0})
    uncharged: int = 0
    replayed_keys: int = 0

    @property
    def model(self) -> ModelShape:
        return self.trace.manifest.model

    def steps(self) -> Iterator[None]:
        """Run step by step, yielding after each."""
        for index, sequence in enumerate(self.trace.manifest.sequences):
            tensors = SequenceTensors.of(self.trace, index)
            shape = SequenceShape(
                layers=self.model.layers,
                heads=self.model.heads,
                kv_heads=self.model.kv_heads,
                head_dim=self.model.head_dim,
                causal=self.model.mask == "causal",
                prompt_tokens=sequence.prompt_tokens,
                tokens=sequence.tokens,
            )
            ask(self.policy.begin_sequence, shape, method="begin_sequence", where=f"sequence {index}")
            count = len(sequence.tokens)
            nothing = np.zeros(count, np.int64)
            tally = _Tally(nothing, nothing, np.zeros(self.model.heads, np.int64))
            for step in range(1 + sequence.decode_steps):
                tokens = _read_only(np.arange(sequence.prompt_tokens + step, dtype=np.int64))
                heads = _read_only(np.arange(self.model.heads, dtype=np.int64))
                for layer in range(self.model.layers):
                    key = (index, step, layer)
                    tokens = self._choose_tokens(key, tokens, sequence.prompt_tokens + step, tally)
                    heads = self._choose_heads(key, heads, tally)
                    tally = self._run_layer(key, tokens, heads, tensors, count)
                yield
            for name, saturations in tensors.saturated.items():
                self.saturated[name] += saturations

    def result(self) -> PolicyResult:
        shape = WorkloadShape(
            name=self.trace.name,
            layers=self.model.layers,
            heads=self.model.heads,
            kv_heads=self.model.kv_heads,
            head_dim=self.model.head_dim,
            max_context=max(len(sequence.tokens) for sequence in self.trace.manifest.sequences),
            policy=policy_name(self.policy),
            policy_settings=policy_provenance(self.policy),
            trace_hash=self.trace.content_hash,
            ids="from trace",
            uncharged_selections=self.uncharged,
        )
        return PolicyResult(
            workload=self.builder.build(shape),
            outputs=self.outputs,
            survivors=self.survivors,
            heads=self.heads,
            scores=self.scores,
            saturated=self.saturated,
            replayed_keys=self.replayed_keys,
        )

    def _choose_tokens(self, key: LayerKey, candidates: Ids, context: int, tally: _Tally) -> Ids:
        _, step, layer = key
        newest = context - 1 if self.model.mask == "causal" else None
        state = TokenState(
            step=step,
            layer=layer,
            context=context,
            newest=newest,
            candidates=candidates,
            probability=_read_only(tally.probability[:context]),
            seen=_read_only(tally.seen[:context]),
        )
        ids = self._choose(key, "token", self.policy.keep_tokens, state, candidates)
        if newest is not None and ids[-1] != newest:
            what, expected = "the newest token was pruned in its own step", f"token {newest} among the survivors"
            raise policy_error(what, "keep_tokens", _at(key), expected, f"{len(ids)} ids without it")
        self.survivors[key] = ids
        if step > 0:
            prompt = ids[ids < context - step]
            self.replayed_keys += len(prompt) - _common(prompt, self.survivors[key[0], 0, layer])
        return ids

    def _choose_heads(self, key: LayerKey, candidates: Ids, tally: _Tally) -> Ids:
        state = HeadState(step=key[1], layer=key[2], candidates=candidates, output=_read_only(tally.head_output))
        self.heads[key] = self._choose(key, "head", self.policy.keep_heads, state, candidates)
        return self.heads[key]

    def _choose(
        self, key: LayerKey, kind: str, method: Callable[[Any], Any], state: TokenState | HeadState, candidates: Ids
    ) -> Ids:
        name = f"keep_{kind}s"
        choice = ask(method, state, method=name, where=_at(key))
        answer = check_choice(choice, candidates, IMPORTANCE_BITS, method=name, where=_at(key))
        self.uncharged += answer.uncharged
        if answer.scores is not None:
            self.scores.setdefault(key, {})[kind] = answer.scores
        if answer.n:
            if key[1:] == (0, 0):
                what, expected = "there are no scores before the first layer", "ids, or state.candidates"
                raise policy_error(what, name, _at(key), expected, f"TopK of {answer.n} candidates")
            self.builder.end_layer_with(kind, answer.n, answer.k, answer.passes)
        return _read_only(answer.ids)

    def _run_layer(self, key: LayerKey, tokens: Ids, heads: Ids, tensors: SequenceTensors, count: int) -> _Tally:
        step = key[1]
        tally = _Tally(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(self.model.heads, np.int64))
        queries = tokens if step == 0 else tokens[-1:]
        causal = self.model.mask == "causal" and step == 0
        sees = np.arange(1, len(tokens) + 1) if causal else np.full(len(queries), len(tokens), np.int64)
        seen = len(queries) - np.cumsum(np.bincount(sees, minlength=len(tokens) + 1))[: len(tokens)]
        outputs = np.empty((len(heads), len(queries), self.model.head_dim))
        forms = self._forms(key, tokens, heads.tolist())
        for start, end in _batches(forms, len(queries) * len(tokens)):
            batch = _HeadBatch(key, heads[start:end], tokens, queries, sees, forms[start])
            outputs[start:end] = self._run_heads(batch, tensors.words(key[2], forms[start]), tally)
        tally.seen[tokens] += seen * len(heads)
        self.outputs[key] = LayerOutput(heads=heads, tokens=queries, values=outputs)
        return tally

    def _forms(self, key: LayerKey, tokens: Ids, heads: list[int]) -> list[KeyFormat]:
        """Ask for the bits of every head; query heads of one KV head must agree."""
        forms: list[KeyFormat] = []
        shared: dict[int, KeyFormat] = {}
        for head in heads:
            where = f"{_at(key)}, head {head}"
            row = Row(key[1], key[2], head, tokens)
            form = check_bits(ask(self.policy.bits, row, method="bits", where=where), where=where)
            first = shared.setdefault(head // self.model.group, form)
            if first != form:
                what, expected = "the heads of one KV head differ in bits", f"{first} as for the group's first head"
                raise policy_error(what, "bits", where, expected, str(form))
            forms.append(form)
        return forms

    def _run_heads(self, batch: _HeadBatch, words: LayerWords, tally: _Tally) -> Floats:
        """Attention of some heads of one key format; rows go to the workload, sums to the tally."""
        form, heads, ids = batch.form, batch.heads, batch.key_ids
        kv_heads = heads // self.model.group
        picked: Any = slice(0, len(ids)) if ids[-1] == len(ids) - 1 else ids
        keys, values = (np.ascontiguousarray(part) for part in (words.key[:, :, picked], words.value[:, picked]))
        msb = keys if words.key_msb is words.key else np.ascontiguousarray(words.key_msb[:, :, picked])
        query = np.ascontiguousarray(words.query[heads[:, None], batch.queries])
        floats = np.empty((len(heads), len(batch.queries), len(ids)))
        probabilities = np.empty(floats.shape, np.int64)
        refetched = np.empty(floats.shape[:2], np.bool_)
        number = np.float64 if form.is_float else np.int64
        factors = words.query_scale[heads] * words.key_scale[kv_heads] * self.model.scaling
        threshold = form.threshold_word if form.lsb_bits else 0
        scratch: npt.NDArray[Any] = np.empty(len(ids), number)
        attend_heads(
            query, msb, keys, kv_heads, batch.sees, factors, threshold, scratch, floats, probabilities, refetched
        )
        probabilities = _read_only(probabilities)
        kept = np.ones(floats.shape, np.bool_)
        for index, head in enumerate(heads.tolist()):
            table = np.zeros(len(batch.queries), QUERY)
            table["token"], table["visible"], table["values"] = batch.queries, batch.sees, batch.sees
            table["refetch"] = refetched[index]
            all_kept = self._keep_values(batch, head, probabilities[index], kept[index], table)
            self._add_row(batch, head, ids if all_kept else ids[kept[index].any(axis=0)], table)
        weights: npt.NDArray[Any] = floats if form.is_float else probabilities
        out: npt.NDArray[Any] = np.empty(query.shape, number)
        magnitudes: npt.NDArray[Any] = np.empty(len(heads), number)
        weigh_heads(weights, values, kv_heads, batch.sees, kept, out, magnitudes)
        scales = words.value_scale[kv_heads]
        tally.probability[ids] += probabilities.sum(axis=(0, 1))
        importance = np.floor(magnitudes * (ONE if form.is_float else scales) + 0.5)
        tally.head_output[heads] = np.minimum(importance, IMPORTANCE_MAX).astype(np.int64)
        return out if form.is_float else out * scales[:, None, None] / ONE

    def _add_row(self, batch: _HeadBatch, head: int, value_ids: Ids, queries: npt.NDArray[Any]) -> None:
        index, step, layer = batch.key
        self.builder.add_row(
            key_ids=batch.key_ids,
            value_ids=value_ids,
            queries=queries,
            sequence=index,
            step=step,
            layer=layer,
            kv_head=head // self.model.group,
            head=head,
            context=self.trace.manifest.sequences[index].prompt_tokens + step,
            query_bits=batch.form.query_bits,
            msb_bits=batch.form.msb_bits,
            lsb_bits=batch.form.lsb_bits,
            value_bits=batch.form.value_bits,
        )

    def _keep_values(
        self, batch: _HeadBatch, head: int, words: Ids, kept: npt.NDArray[np.bool_], table: npt.NDArray[Any]
    ) -> bool:
        """Ask per query; clears what it drops in `kept` [nq, n]. True when every query keeps all it sees."""
        all_kept = True
        where = f"{_at(batch.key)}, head {head}"
        _, step, layer = batch.key
        for index, (token, count) in enumerate(zip(batch.queries.tolist(), batch.sees.tolist(), strict=True)):
            key_ids = batch.key_ids[:count]
            asked = Row(step, layer, head, key_ids, token, words[index, :count])
            choice = ask(self.policy.keep_values, asked, method="keep_values", where=where)
            if choice is key_ids:
                continue
            answer = check_choice(choice, key_ids, LOCAL_BITS, method="keep_values", where=f"{where}, query {token}")
            self.uncharged += answer.uncharged
            if answer.ids is key_ids:
                continue
            all_kept = False
            kept[index] = False
            kept[index, np.searchsorted(key_ids, answer.ids)] = True
            record = table[index]
            record["values"] = len(answer.ids)
            if answer.n:
                record["pass_start"] = self.builder.add_passes(answer.passes)
                record["passes"] = len(answer.passes)
        if not all_kept:
            kept &= np.arange(kept.shape[1]) < batch.sees[:, None]
        return all_kept


@dataclass(frozen=True, slots=True)
class _HeadBatch:
    """Heads of one layer of one step that share a key format."""

    key: LayerKey
    heads: Ids  #: [h] query heads
    key_ids: Ids  #: [n]
    queries: Ids  #: [nq] token ids
    sees: Ids  #: [nq] keys visible to each
    form: KeyFormat


def _batches(forms: list[KeyFormat], elements: int) -> Iterator[tuple[int, int]]:
    """Runs of heads of equal format, each with at most `_BATCH_ELEMENTS` probabilities."""
    most = max(1, _BATCH_ELEMENTS // elements)
    start = 0
    for end in range(1, len(forms) + 1):
        if end == len(forms) or forms[end] != forms[start] or end - start == most:
            yield start, end
            start = end


def _read_only(array: Ids) -> Ids:
    """A view that a policy can't write to."""
    view = array.view()
    view.setflags(write=False)
    return view


def _common(ids: Ids, others: Ids) -> int:
    """How many of `ids` stand in `others`; both ascending."""
    places = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    return int(np.count_nonzero(others[places] == ids))


def policy_name(policy: Policy) -> str:
    """The configured name, or the class name of a user's policy."""
    return policy.config.name if isinstance(policy, SpAtten) else type(policy).__name__


def policy_provenance(policy: Policy) -> dict[str, Any]:
    """The configuration of a SpAtten policy, or file and SHA-256 of a user's."""
    if isinstance(policy, SpAtten):
        settings: dict[str, Any] = tables(policy.config)
        return settings
    file = getattr(sys.modules.get(type(policy).__module__), "__file__", None)
    return {"file": Path(file).name, "sha256": file_hash(Path(file))} if file else {"class": type(policy).__qualname__}


def _at(key: LayerKey) -> str:
    return f"sequence {key[0]}, step {key[1]}, layer {key[2]}"

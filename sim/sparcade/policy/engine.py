"""`Engine`: a policy over the layers of a model, step by step, value-exact; writes down the hardware's work.

Whoever has the tensors drives it. The replay of a trace (`sparcade.policy.replay`) has all of them before it begins. A
model in the closed loop hands them over layer by layer, so that each layer sees what pruning left of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.numerics import msb_plane
from sparcade.numerics.attention import attend_heads, weigh_heads
from sparcade.numerics.fixed_point import ONE, KeyFormat
from sparcade.policy.answers import ask, check_bits, check_choice, check_structure, policy_error
from sparcade.policy.load import policy_name, policy_provenance
from sparcade.policy.protocol import (
    IMPORTANCE_MAX,
    LOCAL_BITS,
    HeadState,
    Ids,
    KeyState,
    Policy,
    Row,
    SequenceShape,
    TokenState,
)
from sparcade.policy.result import LayerKey, LayerOutput, PolicyResult
from sparcade.policy.tensors import LayerWords, SequenceTensors
from sparcade.topk.params import IMPORTANCE_BITS
from sparcade.trace import ModelShape
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.store import WorkloadShape
from sparcade.workload.tables import QUERY

Floats = npt.NDArray[np.float64]

#: Probabilities computed at once: bounds the memory of a long prompt.
_BATCH_ELEMENTS = 1 << 20


@dataclass(slots=True)
class _Tally:
    """Sums over the layer that just ran, handed to the policy before the next one."""

    probability: Ids  #: [Hkv, T]
    seen: Ids  #: [Hkv, T]
    head_output: Ids  #: [H]

    @classmethod
    def zero(cls, tokens: int, model: ModelShape) -> _Tally:
        per_key = (model.kv_heads, tokens)
        return cls(np.zeros(per_key, np.int64), np.zeros(per_key, np.int64), np.zeros(model.heads, np.int64))


@dataclass(slots=True, kw_only=True)
class Engine:
    """Runs sequences back to back; importance restarts with each.

    `begin_sequence`, then for every layer of every step `enter_layer` (what survives) and `attend` (its attention).

    Raises
    ------
    PolicyError
        When the policy raises, or returns a pruned token, no token, unsupported bits, or scores that do not fit.
    """

    model: ModelShape
    policy: Policy
    keep_outputs: bool = True  #: False saves memory where only the workload matters
    tensors: SequenceTensors = field(init=False)
    sequence: int = -1
    step: int = 0
    layer: int = 0
    tokens: Ids = field(init=False)  #: ids that entered the layer
    heads: Ids = field(init=False)  #: query heads that entered the layer
    skipped: tuple[int, ...] = ()  #: layers that the policy leaves out whole
    _names: tuple[str, ...] = ()
    _tally: _Tally = field(init=False)
    _alive: Ids = field(init=False)  #: tokens that no layer of this step dropped
    _structure: npt.NDArray[np.bool_] | None = None  #: [layers, H] heads that run, with a `structure`
    _cache: npt.NDArray[np.bool_] | None = None  #: [layers, Hkv, T] keys not evicted, with `keep_keys`
    _scored: bool = False  #: the sequence has rows
    _longest: int = 0
    _builder: WorkloadBuilder = field(default_factory=WorkloadBuilder)
    _outputs: dict[LayerKey, LayerOutput] = field(default_factory=dict)
    _survivors: dict[LayerKey, Ids] = field(default_factory=dict)
    _heads: dict[LayerKey, Ids] = field(default_factory=dict)
    _scores: dict[LayerKey, dict[str, Ids]] = field(default_factory=dict)
    _saturated: dict[str, int] = field(default_factory=lambda: {"q": 0, "k": 0, "v": 0})
    _uncharged: int = 0
    _replayed_keys: int = 0

    @property
    def context(self) -> int:
        """Tokens before pruning in this step (L0)."""
        return self.tensors.prompt_tokens + self.step

    @property
    def queries(self) -> Ids:
        """Token ids of the rows that the layer computes: all that entered in the prompt, the newest in decode."""
        return self.tokens if self.step == 0 else self.tokens[-1:]

    @property
    def unattended(self) -> tuple[int, ...]:
        """Layers whose attention the policy leaves out, `skipped` ones included."""
        return () if self._structure is None else tuple(np.flatnonzero(~self._structure.any(axis=1)).tolist())

    def begin_sequence(self, tokens: tuple[str, ...], tensors: SequenceTensors) -> None:
        """Start a sequence of these tokens, prompt and decode."""
        self.sequence += 1
        self.step = self.layer = 0
        self.tensors, self._names = tensors, tokens
        self._tally, self._scored = _Tally.zero(len(tokens), self.model), False
        self._longest = max(self._longest, len(tokens))
        shape = SequenceShape(
            layers=self.model.layers,
            heads=self.model.heads,
            kv_heads=self.model.kv_heads,
            head_dim=self.model.head_dim,
            causal=self.model.mask == "causal",
            prompt_tokens=tensors.prompt_tokens,
            tokens=tokens,
        )
        where = f"sequence {self.sequence}"
        ask(self.policy.begin_sequence, shape, method="begin_sequence", where=where)
        if hasattr(self.policy, "structure"):
            answer = ask(self.policy.structure, shape, method="structure", where=where)
            structure = check_structure(answer, shape, where=where)
            self._structure, self.skipped = structure.heads.copy(), structure.skipped
        if hasattr(self.policy, "keep_keys"):
            self._cache = np.ones((self.model.layers, self.model.kv_heads, len(tokens)), np.bool_)

    def enter_layer(self) -> None:
        """Choose the tokens and heads of the layer; `tokens`, `queries` and `heads` then hold them.

        In a layer without attention nobody is asked: the tokens pass, and there are no heads.
        """
        if self.layer == 0:
            self._alive = _read_only(np.arange(self.context, dtype=np.int64))
            self.heads = _read_only(np.arange(self.model.heads, dtype=np.int64))
        if self.layer in self.unattended:
            self.tokens, self.heads = self._alive, _read_only(np.empty(0, np.int64))
            self._survivors[self._key], self._heads[self._key] = self.tokens, self.heads
            return
        candidates = self._token_candidates()
        self.tokens = self._choose_tokens(self._key, candidates)
        if self._cache is None:
            self._alive = self.tokens
        elif len(self.tokens) < len(candidates):
            dropped = np.setdiff1d(candidates, self.tokens, assume_unique=True)
            self._alive = _read_only(np.setdiff1d(self._alive, dropped, assume_unique=True))
        self.heads = self._choose_heads(self._key, self._head_candidates())

    def attend(self) -> LayerOutput:
        """Attention of the layer's queries; Q, K and V of all that entered must exist by now."""
        output = self._run_layer(self._key)
        if self._cache is not None and self.context < len(self._names):
            self._evict(self._key, self._cache[self.layer])
        if self.keep_outputs:
            self._outputs[self._key] = output
        self.layer += 1
        if self.layer == self.model.layers:
            self.layer, self.step = 0, self.step + 1
        if self.context > len(self._names):
            for name, saturations in self.tensors.saturated.items():
                self._saturated[name] += saturations
        return output

    def result(self, *, name: str, trace_hash: str, closed: bool = False) -> PolicyResult:
        """What was done so far.

        Parameters
        ----------
        name, trace_hash : of the trace, or of the model and what stands for its texts.
        closed : whether a model computed each layer from what pruning left of the one before.
        """
        shape = WorkloadShape(
            name=name,
            layers=self.model.layers,
            heads=self.model.heads,
            kv_heads=self.model.kv_heads,
            head_dim=self.model.head_dim,
            max_context=self._longest,
            policy=policy_name(self.policy),
            policy_settings=policy_provenance(self.policy),
            trace_hash=trace_hash,
            ids="closed loop" if closed else "from trace",
            uncharged_selections=self._uncharged,
            persistent=tuple(
                kind for kind, own in (("key", self._cache), ("head", self._structure)) if own is not None
            ),
        )
        return PolicyResult(
            workload=self._builder.build(shape),
            outputs=self._outputs,
            survivors=self._survivors,
            heads=self._heads,
            scores=self._scores,
            saturated=self._saturated,
            replayed_keys=self._replayed_keys,
            closed=closed,
        )

    @property
    def _key(self) -> LayerKey:
        return self.sequence, self.step, self.layer

    def _token_candidates(self) -> Ids:
        """Survivors of the layer before whose K and V this layer has or computes now, and did not evict."""
        tokens = self._alive
        first_new = 0 if self.step == 0 else self.context - 1
        there = self.tensors.tokens[self.layer, tokens] | (tokens >= first_new)
        if self._cache is not None:
            there &= self._cache[self.layer][:, tokens].any(axis=0)
        return tokens if there.all() else _read_only(tokens[there])

    def _head_candidates(self) -> Ids:
        """Survivors of the layer before that ran in this layer in every step: others lack keys."""
        heads = self.heads
        if self._structure is not None:
            heads = _read_only(np.flatnonzero(self._structure[self.layer]))
        there = self.tensors.heads[self.layer, heads]
        if there.all():
            return heads
        if not there.any():
            what, expected = "no head is left", f"a head among those that ran in every step: {self._ran()}"
            raise policy_error(what, "keep_heads", _at(self._key), expected, f"heads {heads.tolist()}")
        return _read_only(heads[there])

    def _ran(self) -> list[int]:
        ran: list[int] = np.flatnonzero(self.tensors.heads[self.layer]).tolist()
        return ran

    def _choose_tokens(self, key: LayerKey, candidates: Ids) -> Ids:
        _, step, layer = key
        context, tally = self.context, self._tally
        newest = context - 1 if self.model.mask == "causal" else None
        state = TokenState(
            step=step,
            layer=layer,
            context=context,
            newest=newest,
            candidates=candidates,
            probability=_read_only(tally.probability[:, :context].sum(axis=0)),
            seen=_read_only(tally.seen[:, :context].sum(axis=0)),
        )
        ids = self._choose(key, "token", self.policy.keep_tokens, state, candidates)
        if newest is not None and ids[-1] != newest:
            what, expected = "the newest token was pruned in its own step", f"token {newest} among the survivors"
            raise policy_error(what, "keep_tokens", _at(key), expected, f"{len(ids)} ids without it")
        self._survivors[key] = ids
        if step > 0:
            prompt = ids[ids < context - step]
            self._replayed_keys += len(prompt) - _common(prompt, self._survivors[key[0], 0, layer])
        return ids

    def _choose_heads(self, key: LayerKey, candidates: Ids) -> Ids:
        state = HeadState(step=key[1], layer=key[2], candidates=candidates, output=_read_only(self._tally.head_output))
        self._heads[key] = self._choose(key, "head", self.policy.keep_heads, state, candidates)
        if self._structure is not None:
            self._structure[self.layer] = False
            self._structure[self.layer, self._heads[key]] = True
        return self._heads[key]

    def _choose(
        self, key: LayerKey, kind: str, method: Callable[[Any], Any], state: TokenState | HeadState, candidates: Ids
    ) -> Ids:
        name = f"keep_{kind}s"
        choice = ask(method, state, method=name, where=_at(key))
        answer = check_choice(choice, candidates, IMPORTANCE_BITS, method=name, where=_at(key))
        self._uncharged += answer.uncharged
        if answer.scores is not None:
            self._scores.setdefault(key, {})[kind] = answer.scores
        if answer.n:
            if not self._scored:
                what, expected = "there are no scores before the first layer", "ids, or state.candidates"
                raise policy_error(what, name, _at(key), expected, f"TopK of {answer.n} candidates")
            if kind == "token" and self._cache is not None:
                what, expected = "tokens are ranked as well as keys", "ids from keep_tokens, or no keep_keys"
                raise policy_error(what, name, _at(key), expected, f"TopK of {answer.n} candidates")
            self._builder.end_layer_with(kind, answer.n, answer.k, answer.passes)
        return _read_only(answer.ids)

    def _keys(self) -> dict[int, Ids]:
        """Key ids that each KV head of a surviving query head reads."""
        kv_heads = np.unique(self.heads // self.model.group).tolist()
        if self._cache is None:
            return dict.fromkeys(kv_heads, self.tokens)
        held = self._cache[self.layer][:, self.tokens]
        return {kv: self.tokens if held[kv].all() else _read_only(self.tokens[held[kv]]) for kv in kv_heads}

    def _evict(self, key: LayerKey, cache: npt.NDArray[np.bool_]) -> None:
        """Ask what each KV head keeps for later steps, and clear the rest in `cache` [Hkv, T]."""
        kv_heads = self.heads // self.model.group
        keep_keys: Callable[[KeyState], Any] = self.policy.keep_keys  # type: ignore[attr-defined]
        for kv_head, candidates in self._keys().items():
            where = f"{_at(key)}, KV head {kv_head}"
            state = KeyState(
                step=key[1],
                layer=key[2],
                kv_head=kv_head,
                context=self.context,
                candidates=candidates,
                probability=_read_only(self._tally.probability[kv_head, : self.context]),
                seen=_read_only(self._tally.seen[kv_head, : self.context]),
            )
            choice = ask(keep_keys, state, method="keep_keys", where=where)
            answer = check_choice(choice, candidates, IMPORTANCE_BITS, method="keep_keys", where=where)
            self._uncharged += answer.uncharged
            if answer.n:
                behind = int(np.count_nonzero(kv_heads > kv_head))
                self._builder.end_layer_with("token", answer.n, answer.k, answer.passes, rows_behind=behind)
            cache[kv_head, : self.context] = False
            cache[kv_head, answer.ids] = True

    def _run_layer(self, key: LayerKey) -> LayerOutput:
        heads, queries = self.heads, self.queries
        self._tally = tally = _Tally.zero(len(self._names), self.model)
        outputs = np.empty((len(heads), len(queries), self.model.head_dim))
        by_kv_head = self._keys()
        keys = [by_kv_head[head // self.model.group] for head in heads.tolist()]
        forms = self._forms(key, keys, heads.tolist())
        for start, end in _batches(forms, keys, len(queries) * len(self.tokens)):
            ids = keys[start]
            causal = self.model.mask == "causal" and key[1] == 0
            sees = np.arange(1, len(ids) + 1) if causal else np.full(len(queries), len(ids), np.int64)
            batch = _HeadBatch(key, heads[start:end], ids, queries, sees, forms[start])
            outputs[start:end] = self._run_heads(batch, self.tensors.words(key[2], forms[start]), tally)
            self._scored = True
        return LayerOutput(heads=heads, tokens=queries, values=outputs)

    def _forms(self, key: LayerKey, keys: list[Ids], heads: list[int]) -> list[KeyFormat]:
        """Ask for the bits of every head; query heads of one KV head must agree."""
        forms: list[KeyFormat] = []
        shared: dict[int, KeyFormat] = {}
        for head, ids in zip(heads, keys, strict=True):
            where = f"{_at(key)}, head {head}"
            row = Row(key[1], key[2], head, ids)
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
        msb = msb_plane(keys, form.lsb_bits) if form.lsb_bits else keys
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
        seen = len(batch.queries) - np.cumsum(np.bincount(batch.sees, minlength=len(ids) + 1))[: len(ids)]
        np.add.at(tally.probability, (kv_heads[:, None], ids), probabilities.sum(axis=1))
        np.add.at(tally.seen, (kv_heads[:, None], ids), seen)
        importance = np.floor(magnitudes * (ONE if form.is_float else scales) + 0.5)
        tally.head_output[heads] = np.minimum(importance, IMPORTANCE_MAX).astype(np.int64)
        return out if form.is_float else out * scales[:, None, None] / ONE

    def _add_row(self, batch: _HeadBatch, head: int, value_ids: Ids, queries: npt.NDArray[Any]) -> None:
        index, step, layer = batch.key
        self._builder.add_row(
            key_ids=batch.key_ids,
            value_ids=value_ids,
            queries=queries,
            sequence=index,
            step=step,
            layer=layer,
            kv_head=head // self.model.group,
            head=head,
            context=self.context,
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
            self._uncharged += answer.uncharged
            if answer.ids is key_ids:
                continue
            all_kept = False
            kept[index] = False
            kept[index, np.searchsorted(key_ids, answer.ids)] = True
            record = table[index]
            record["values"] = len(answer.ids)
            if answer.n:
                record["pass_start"] = self._builder.add_passes(answer.passes)
                record["passes"] = len(answer.passes)
        if not all_kept:
            kept &= np.arange(kept.shape[1]) < batch.sees[:, None]
        return all_kept


@dataclass(frozen=True, slots=True)
class _HeadBatch:
    """Heads of one layer of one step that share their key ids and format."""

    key: LayerKey
    heads: Ids  #: [h] query heads
    key_ids: Ids  #: [n]
    queries: Ids  #: [nq] token ids
    sees: Ids  #: [nq] keys visible to each
    form: KeyFormat


def _batches(forms: list[KeyFormat], keys: list[Ids], elements: int) -> Iterator[tuple[int, int]]:
    """Runs of heads of equal format and the same keys, each with at most `_BATCH_ELEMENTS` probabilities."""
    most = max(1, _BATCH_ELEMENTS // elements)
    start = 0
    for end in range(1, len(forms) + 1):
        same = end < len(forms) and forms[end] == forms[start] and keys[end] is keys[start]
        if not same or end - start == most:
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


def _at(key: LayerKey) -> str:
    return f"sequence {key[0]}, step {key[1]}, layer {key[2]}"

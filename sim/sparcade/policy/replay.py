"""`apply`: replay a trace under a policy, value-exact, and write down the work the hardware would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.config import tables
from sparcade.numerics.attention import absolute_sum, attend_head, weigh_values
from sparcade.numerics.fixed_point import ONE, KeyFormat
from sparcade.policy.answers import Answer, ask, check_bits, check_choice, policy_error
from sparcade.policy.protocol import (
    IMPORTANCE_BITS,
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
from sparcade.trace import AttentionTrace, ModelShape
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.store import WorkloadShape
from sparcade.workload.tables import QUERY

Floats = npt.NDArray[np.float64]


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
                tokens = np.arange(sequence.prompt_tokens + step, dtype=np.int64)
                heads = np.arange(self.model.heads, dtype=np.int64)
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
            policy_settings=tables(self.policy.config) if isinstance(self.policy, SpAtten) else {},
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
            probability=tally.probability[:context],
            seen=tally.seen[:context],
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
        state = HeadState(step=key[1], layer=key[2], candidates=candidates, output=tally.head_output)
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
        return answer.ids

    def _run_layer(self, key: LayerKey, tokens: Ids, heads: Ids, tensors: SequenceTensors, count: int) -> _Tally:
        index, step, layer = key
        group = self.model.group
        tally = _Tally(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(self.model.heads, np.int64))
        queries = tokens if step == 0 else tokens[-1:]
        visible = np.arange(1, len(tokens) + 1) if self.model.mask == "causal" and step == 0 else None
        sees = np.full(len(queries), len(tokens), np.int64) if visible is None else visible.astype(np.int64)
        seen = len(queries) - np.cumsum(np.bincount(sees, minlength=len(tokens) + 1))[: len(tokens)]
        values = np.empty((len(heads), len(queries), self.model.head_dim))
        forms: dict[int, KeyFormat] = {}
        for position, head in enumerate(heads.tolist()):
            row = Row(step, layer, head, tokens)
            where = f"{_at(key)}, head {head}"
            form = check_bits(ask(self.policy.bits, row, method="bits", where=where), where=where)
            shared = forms.setdefault(head // group, form)
            if shared != form:
                what, expected = (
                    "the heads of one KV head have different bits",
                    f"{shared} as for the group's first head",
                )
                raise policy_error(what, "bits", where, expected, str(form))
            words = tensors.words(layer, form)
            head_run = self._run_head(row, words, form, queries, sees, where)
            values[position] = head_run.out
            tally.probability[tokens] += head_run.column_sums
            tally.seen[tokens] += seen
            tally.head_output[head] = head_run.magnitude
            self.builder.add_row(
                key_ids=tokens,
                value_ids=tokens if head_run.kept is None else tokens[head_run.kept.any(axis=0)],
                queries=head_run.queries,
                sequence=index,
                step=step,
                layer=layer,
                kv_head=head // group,
                head=head,
                context=self.trace.manifest.sequences[index].prompt_tokens + step,
                query_bits=form.query_bits,
                msb_bits=form.msb_bits,
                lsb_bits=form.lsb_bits,
                value_bits=form.value_bits,
            )
        self.outputs[key] = LayerOutput(heads=heads, tokens=queries, values=values)
        return tally

    def _run_head(self, row: Row, words: LayerWords, form: KeyFormat, queries: Ids, sees: Ids, where: str) -> _HeadRun:
        kv_head = row.head // self.model.group
        keys, msb, vectors, query = _gather(words, kv_head, row, queries)
        floats = np.empty((len(queries), len(row.key_ids)))
        probabilities = np.empty(floats.shape, np.int64)
        refetched = np.empty(len(queries), np.bool_)
        factor = words.query_scale[row.head] * words.key_scale[kv_head] * self.model.scaling
        scratch: npt.NDArray[Any] = np.empty(len(row.key_ids), np.float64 if form.is_float else np.int64)
        threshold = form.threshold_word if form.lsb_bits else 0
        attend_head(query, msb, keys, sees, factor, threshold, scratch, floats, probabilities, refetched)
        table = np.zeros(len(queries), QUERY)
        table["token"], table["visible"], table["values"], table["refetch"] = queries, sees, sees, refetched
        kept = self._keep_values(row, queries, sees, probabilities, table, where)
        weights = floats if form.is_float else probabilities
        out: npt.NDArray[Any] = np.empty((len(queries), self.model.head_dim), scratch.dtype)
        weigh_values(weights, vectors, sees, _UNREAD if kept is None else kept, kept is None, out)
        scale = words.value_scale[kv_head]
        magnitude = float(absolute_sum(out)) * (ONE if form.is_float else scale)
        return _HeadRun(
            out=out if form.is_float else out * scale / ONE,
            column_sums=probabilities.sum(axis=0),
            magnitude=int(np.floor(magnitude + 0.5)),
            kept=kept,
            queries=table,
        )

    def _keep_values(
        self, row: Row, queries: Ids, sees: Ids, probabilities: Ids, table: npt.NDArray[Any], where: str
    ) -> npt.NDArray[np.bool_] | None:
        """Ask per query; returns which values it weighs [nq, n], or None when every query keeps all it sees."""
        kept: npt.NDArray[np.bool_] | None = None
        for index, (token, count) in enumerate(zip(queries.tolist(), sees.tolist(), strict=True)):
            key_ids = row.key_ids[:count]
            asked = Row(row.step, row.layer, row.head, key_ids, token, probabilities[index, :count])
            choice = ask(self.policy.keep_values, asked, method="keep_values", where=where)
            if choice is key_ids:
                continue
            answer: Answer = check_choice(
                choice, key_ids, LOCAL_BITS, method="keep_values", where=f"{where}, query {token}"
            )
            self.uncharged += answer.uncharged
            if answer.ids is key_ids:
                continue
            if kept is None:
                kept = np.arange(len(row.key_ids)) < sees[:, None]
            kept[index, :count] = False
            kept[index, np.searchsorted(key_ids, answer.ids)] = True
            table[index]["values"] = len(answer.ids)
            if answer.n:
                table[index]["pass_start"] = self.builder.add_passes(answer.passes)
                table[index]["passes"] = len(answer.passes)
        return kept


@dataclass(frozen=True, slots=True)
class _HeadRun:
    out: Floats
    column_sums: Ids
    magnitude: int
    kept: npt.NDArray[np.bool_] | None
    queries: npt.NDArray[Any]


#: Argument of `weigh_values` when every value is kept.
_UNREAD = np.empty((0, 0), np.bool_)


def _gather(words: LayerWords, kv_head: int, row: Row, queries: Ids) -> tuple[npt.NDArray[Any], ...]:
    """Keys [D, n], their MSB plane, values [n, D] and queries [nq, D] of one head, contiguous."""
    ids = row.key_ids
    picked: Any = slice(0, len(ids)) if ids[-1] == len(ids) - 1 else ids
    keys = np.ascontiguousarray(words.key[kv_head][:, picked])
    msb = keys if words.key_msb is words.key else np.ascontiguousarray(words.key_msb[kv_head][:, picked])
    values = np.ascontiguousarray(words.value[kv_head][picked])
    return keys, msb, values, np.ascontiguousarray(words.query[row.head][queries])


def _common(ids: Ids, others: Ids) -> int:
    """How many of `ids` stand in `others`; both ascending."""
    places = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    return int(np.count_nonzero(others[places] == ids))


def policy_name(policy: Policy) -> str:
    """The configured name, or the class name of a user's policy."""
    return policy.config.name if isinstance(policy, SpAtten) else type(policy).__name__


def _at(key: LayerKey) -> str:
    return f"sequence {key[0]}, step {key[1]}, layer {key[2]}"

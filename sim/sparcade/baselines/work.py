"""`DenseWork`: the attention of a trace or workload before any pruning, as counts; what every baseline starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade.policy import load_policy, policy_name, policy_provenance
from sparcade.trace import AttentionTrace
from sparcade.workload import Workload, WorkloadShape
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.tables import QUERY

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_WORD_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseWork:
    """Steps (a prompt, or one generated token) with their queries. All layers and heads of a step do the same."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    causal: bool
    sequence: Ints  #: [S] of each step
    step: Ints  #: [S] 0 is the prompt
    context: Ints  #: [S] tokens
    queries: Ints  #: [S] queries of a head
    visible: Ints  #: [N] keys that each query sees, step by step

    @classmethod
    def of(cls, source: AttentionTrace | Workload) -> DenseWork:
        """All tokens and heads of a trace; or of the steps of a workload, whatever its policy pruned.

        A workload does not say whether its model masks: a prompt is causal when some query of it does not see every
        key, or when tokens are generated behind it.
        """
        if isinstance(source, Workload):
            rows, shape = source.rows, source.shape
            _, first = np.unique(rows[["sequence", "step"]], return_index=True)
            owner = np.repeat(np.arange(len(rows)), rows["queries"])
            sees_less = bool((source.queries["visible"] < rows["keys"][owner])[rows["step"][owner] == 0].any())
            causal = sees_less or bool((rows["step"] > 0).any())
            sequence, step, context = (rows[name][first].astype(np.int64) for name in ("sequence", "step", "context"))
            geometry = (shape.layers, shape.heads, shape.kv_heads, shape.head_dim)
            return cls._made(shape.name, geometry, causal, sequence, step, context)
        model = source.manifest.model
        steps = [
            (index, step, sequence.prompt_tokens + step)
            for index, sequence in enumerate(source.manifest.sequences)
            for step in range(1 + sequence.decode_steps)
        ]
        sequence, step, context = np.array(steps, np.int64).T
        geometry = (model.layers, model.heads, model.kv_heads, model.head_dim)
        return cls._made(source.name, geometry, model.mask == "causal", sequence, step, context)

    @classmethod
    def _made(
        cls, name: str, geometry: tuple[int, int, int, int], causal: bool, sequence: Ints, step: Ints, context: Ints
    ) -> DenseWork:
        layers, heads, kv_heads, head_dim = geometry
        sees = [
            np.array([n]) if index else np.arange(1, n + 1) if causal else np.full(n, n)
            for index, n in zip(step.tolist(), context.tolist(), strict=True)
        ]
        return cls(
            name=name,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            causal=causal,
            sequence=sequence,
            step=step,
            context=context,
            queries=np.array([len(each) for each in sees], np.int64),
            visible=np.concatenate(sees).astype(np.int64),
        )

    @property
    def starts(self) -> Ints:
        """[S] where the queries of each step begin."""
        return np.cumsum(self.queries) - self.queries

    @property
    def phases(self) -> dict[str, Flags]:
        """[S] steps of each phase that there is, and of the total."""
        prefill = self.step == 0
        named = {"prefill": prefill, "decode": ~prefill, "total": np.ones(len(self.step), np.bool_)}
        return {name: steps for name, steps in named.items() if steps.any()}

    @property
    def keys_seen(self) -> Ints:
        """[S] keys that the queries of one head see, summed."""
        return self.per_step(self.visible)

    @property
    def macs(self) -> Ints:
        """[S] multiply-accumulates of Q x K and prob x V of one layer."""
        return 2 * self.head_dim * self.heads * self.keys_seen

    @property
    def softmax_elements(self) -> Ints:
        """[S] scores of one layer."""
        return self.heads * self.keys_seen

    def per_step(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[..., S] sums of what is given per query [..., N]."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def longest(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[..., S] largest of what is given per query [..., N]."""
        return np.maximum.reduceat(values, self.starts, axis=-1)

    def dram_bytes(self, word_bits: int) -> Ints:
        """[S] bytes of one layer: K, V of every token and KV head once; Q and output of every query and head."""
        words = 2 * self.head_dim * (self.kv_heads * self.context + self.heads * self.queries)
        return -(-words * word_bits // 8)

    def workload(self) -> Workload:
        """The 12-bit workload of the `dense` policy, to time on an arch; of a trace, the one that its replay gives."""
        builder = WorkloadBuilder()
        for index, (sequence, step, context) in enumerate(
            zip(self.sequence.tolist(), self.step.tolist(), self.context.tolist(), strict=True)
        ):
            ids = np.arange(context)
            queries = np.zeros(int(self.queries[index]), QUERY)
            queries["token"] = ids[-len(queries) :]
            queries["visible"] = queries["values"] = self.visible[self.starts[index] :][: len(queries)]
            for layer in range(self.layers):
                for head in range(self.heads):
                    builder.add_row(
                        key_ids=ids,
                        value_ids=ids,
                        queries=queries,
                        sequence=sequence,
                        step=step,
                        layer=layer,
                        kv_head=head * self.kv_heads // self.heads,
                        head=head,
                        context=context,
                        query_bits=_WORD_BITS,
                        msb_bits=_WORD_BITS,
                        value_bits=_WORD_BITS,
                    )
        dense = load_policy("dense")
        return builder.build(
            WorkloadShape(
                name=self.name,
                layers=self.layers,
                heads=self.heads,
                kv_heads=self.kv_heads,
                head_dim=self.head_dim,
                max_context=int(self.context.max()),
                policy=policy_name(dense),
                policy_settings=policy_provenance(dense),
                trace_hash="",
                ids="all",
            )
        )

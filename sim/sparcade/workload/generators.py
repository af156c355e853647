"""Workloads by name: the rows of a definition, with drawn ids, scores and LSB decisions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sparcade.errors import InvariantError
from sparcade.policy import SpAtten, load_policy
from sparcade.policy.schedule import KeepSchedule
from sparcade.policy.spatten import HEAD_FRONT, TOKEN_FRONT, share
from sparcade.workload.builder import WorkloadBuilder
from sparcade.workload.csv_rules import check_rows
from sparcade.workload.csv_text import Place, plain_columns
from sparcade.workload.definitions import Decoder, Definition, Encoder, find_definition
from sparcade.workload.drawing import SYNTHETIC, StepDraw, draw_workload, stream
from sparcade.workload.released import QUERY_BITS, RELEASED, Table
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import QUERY

Ints = npt.NDArray[np.int64]
#: `WorkloadShape.policy` of a generated decoder: the definition says what is pruned.
SCHEDULE = "schedule"
#: Prefill; decoders, which have no such step, draw their LSB decisions from its stream.
_PREFILL = 0


def generate_workload(name: str, seed: int = 0) -> Workload:
    """The workload of a definition; equal arguments give equal workloads.

    Raises
    ------
    WorkloadError
        When there is no such name.
    ConfigError
        When the seed is out of range.
    """
    definition = find_definition(name)
    work = definition.work
    return _encode(definition, work, seed) if isinstance(work, Encoder) else _decode(definition, work, seed)


def _settings(definition: Definition) -> dict[str, Any]:
    return {"definition": definition.to_dict(), "choices": definition.choices}


def _encode(definition: Definition, work: Encoder, seed: int) -> Workload:
    """One prefill step; sets of tokens and heads are what selections among drawn scores keep, at the ends of layers."""
    config = cast(SpAtten, load_policy(work.policy)).config
    token_keep, head_keep = config.tokens or KeepSchedule(), config.heads or KeepSchedule()
    builder = WorkloadBuilder()
    draw = StepDraw(work.tokens, stream(seed, _PREFILL))
    tokens, heads = np.arange(work.tokens), np.arange(work.heads)
    for layer in range(work.layers):
        tokens = _survivors(
            builder, draw, "token", tokens, share(token_keep.keep(layer, work.layers, TOKEN_FRONT), work.tokens)
        )
        heads = _survivors(
            builder, draw, "head", heads, share(head_keep.keep(layer, work.layers, HEAD_FRONT), work.heads)
        )
        queries = np.zeros(len(tokens), QUERY)
        queries["token"], queries["visible"], queries["values"] = tokens, len(tokens), len(tokens)
        for head in heads.tolist():
            builder.add_row(
                key_ids=tokens,
                value_ids=tokens,
                queries=queries,
                sequence=0,
                step=_PREFILL,
                layer=layer,
                kv_head=head,
                head=head,
                context=work.tokens,
                query_bits=QUERY_BITS,
                msb_bits=config.bits,
                value_bits=config.bits,
            )
    shape = WorkloadShape(
        name=definition.name,
        layers=work.layers,
        heads=work.heads,
        kv_heads=work.heads,
        head_dim=work.head_dim,
        max_context=work.tokens,
        policy=work.policy,
        policy_settings={**_settings(definition), "seed": seed},
        trace_hash="",
        ids=SYNTHETIC,
    )
    return builder.build(shape, where=definition.name)


def _survivors(builder: WorkloadBuilder, draw: StepDraw, kind: str, candidates: Ints, k: int) -> Ints:
    """The k candidates that a selection at the end of the last layer keeps; all without one when there are no more."""
    if k >= len(candidates):
        return candidates
    selection = draw.cascade(len(candidates), k)
    builder.end_layer_with(kind, len(candidates), k, selection.passes)
    return candidates[selection.kept]


def _decode(definition: Definition, work: Decoder, seed: int) -> Workload:
    table = decoder_rows(work, seed)
    check_rows(table, Place(definition.name, range(2, len(table) + 2)))
    return draw_workload(
        table,
        plain_columns(table, f"# sparcade workload generate {definition.name} --seed {seed}"),
        name=definition.name,
        policy=SCHEDULE,
        settings=_settings(definition),
        seed=seed,
        where=definition.name,
    )


def decoder_rows(work: Decoder, seed: int) -> Table:
    """RELEASED rows of a decoder; which rows need LSBs is drawn with the seed."""
    steps, layers = np.arange(work.generated), np.arange(work.layers)
    context = work.prompt + 1 + steps
    heads = np.array(
        [share(work.head_keep.keep(layer, work.layers, HEAD_FRONT), work.heads) for layer in layers.tolist()]
    )
    keys, values = (np.empty((work.generated, work.layers), np.int64) for _ in range(2))
    for step, layer in np.ndindex(keys.shape):
        keep = work.token_keep.keep(layer, work.layers, TOKEN_FRONT) if step else Fraction(1)
        kept = share(keep, work.window or int(context[step]))
        keys[step, layer] = min(kept, int(context[step]))
        values[step, layer] = min(share(work.value_keep, kept), int(keys[step, layer]))
    k = _selections(keys, context)
    grid = np.indices(keys.shape).reshape(2, -1)
    step, layer = (np.repeat(axis, np.tile(heads, work.generated)) for axis in grid)
    head = np.concatenate([np.arange(count) for count in np.tile(heads, work.generated)])
    last = head == heads[layer] - 1
    table = np.zeros(len(step), RELEASED)
    table["iteration_id"], table["layer_id"], table["head_id"] = step, layer, head
    table["embedding_length_D"] = work.head_dim
    table["sentence_length_L"] = context[step]
    table["key_fetch_num"], table["value_fetch_num"] = keys[step, layer], values[step, layer]
    table["quant_key_bit"], table["quant_value_bit"] = work.key_bits, work.value_bits
    table["quant_query_bit"], table["auto_requant_thres"] = work.query_bits, work.threshold
    table["auto_requant_incre"] = work.lsb_increment
    table["topk"] = np.where(last, k[step, layer], -1)
    table["if_topk"] = table["topk"] > 0
    table["if_accumulate_importance"] = _accumulates(work, table)
    if work.rescale_from is not None:
        ends = last & (layer == work.layers - 1) & (step < work.generated - 1)
        table["if_rescale_previous_importance"] = ends & (step >= work.rescale_from)
    table["if_requant"] = _needs_lsbs(work, table, heads, seed)
    return table


def _selections(keys: Ints, context: Ints) -> Ints:
    """[steps, layers] k of the token selection at the end of each layer: the next layer's keys if fewer, else -1.

    Behind the last layer the next step starts from its whole context again.
    """
    k = np.full(keys.shape, -1)
    fewer = keys[:, 1:] < keys[:, :-1]
    k[:, :-1][fewer] = keys[:, 1:][fewer]
    pruned = keys[1:, 0] < context[1:]
    k[:-1, -1][pruned] = keys[1:, 0][pruned]
    return k


def _accumulates(work: Decoder, table: Table) -> npt.NDArray[np.bool_]:
    if work.accumulate == "while-needed":  # a later selection reads it
        selections = np.flatnonzero(table["if_topk"])
        return np.arange(len(table)) <= (selections[-1] if len(selections) else -1)
    if work.accumulate == "all-but-last":
        needed: npt.NDArray[np.bool_] = table["iteration_id"] < work.generated - 1
        return needed
    return np.full(len(table), work.accumulate == "always")


def _needs_lsbs(work: Decoder, table: Table, heads: Ints, seed: int) -> npt.NDArray[np.bool_]:
    """Rows that need LSBs: a drawn share of all, or drawn heads of the layers that the definition's counts say."""
    rng = stream(seed, _PREFILL)
    needs = np.zeros(len(table), np.bool_)
    if not work.lsb_by_layer:
        needs[rng.choice(len(table), round(work.lsb_share * len(table)), replace=False)] = True
        return needs
    counts = lsb_rows(work.lsb_by_iteration, work.lsb_by_layer, heads)
    for place, count in np.ndenumerate(counts):
        rows = np.flatnonzero((table["iteration_id"] == place[0]) & (table["layer_id"] == place[1]))
        needs[rng.choice(rows, int(count), replace=False)] = True
    return needs


def lsb_rows(by_iteration: tuple[int, ...], by_layer: tuple[int, ...], heads: Ints) -> Ints:
    """[steps, layers] rows that need LSBs, from their sums per iteration and per layer.

    Iteration by iteration, each row goes to the layer with the most still to place that has a head free.
    """
    left = np.array(by_layer)
    counts = np.zeros((len(by_iteration), len(by_layer)), np.int64)
    for amount, row in zip(by_iteration, counts, strict=True):
        for _ in range(amount):
            layer = int(np.where(row < heads, left, 0).argmax())
            row[layer] += 1
            left[layer] -= 1
    if left.any() or (counts > heads).any():
        raise InvariantError(f"no table has the sums {by_iteration} per iteration and {by_layer} per layer")
    return counts

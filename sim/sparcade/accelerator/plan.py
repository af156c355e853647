"""The plan of a run: the workload in the terms of one arch, as flat arrays the kernel walks through.

Blocks share K and V in the buffers; requests get base addresses, strides and vector lists; selections get cycles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade._records import Record, Table, record, records
from sparcade.arch import Arch
from sparcade.errors import WorkloadError
from sparcade.topk import query_cycles
from sparcade.workload import Workload
from sparcade.workload.tables import begins

Ints = npt.NDArray[np.int64]
#: DRAM regions begin on a multiple of this: one row index over all channels, pseudo-channels and bank groups.
REGION_ALIGNMENT = 128 * 1024
#: Width of the output words.
OUTPUT_BITS = 12
_PLANES = ("k_msb", "k_lsb", "v")


#: Integers that every module reads; names as in docs/pipeline.md.
GEOMETRY = np.dtype(
    [
        (name, "i8")
        for name in (
            "head_dim",
            "width",
            "dwell",
            "per_line",
            "transaction_bytes",
            "channels",
            "packed",
            "fetch_ports",
            "data_fifo",  # reads issued and not returned, over all ports
            "fetch_latency",
            "vectors_per_return",
            "k_phases",
            "live_allocations",
            "key_lines",
            "value_lines",
            "decision_queries",
            "probability_queries",
            "qk_to_softmax",  # Q x K's last beat to the row's ready time
            "softmax_fifo",
            "decision_latency",
            "pv_latency",
            "layers_overlap",
            "write_outputs",
            "q_base",
            "out_base",
        )
    ]
)

#: A row in the terms of the arch.
ROW_PLAN = np.dtype(
    [
        ("block", "i8"),
        ("key_start", "i8"),  # into key_ids
        ("keys", "i8"),
        ("new_start", "i8"),  # into new_values: values this row adds to its block
        ("new", "i8"),
        ("job_start", "i8"),
        ("jobs", "i8"),
        ("queries_fetched", "i8"),  # jobs, or 0 without Q fetch
        ("query_bits", "i8"),
        ("msb_bits", "i8"),
        ("lsb_bits", "i8"),
        ("value_bits", "i8"),
        ("k_base", "i8"),
        ("lsb_base", "i8"),
        ("v_base", "i8"),
        ("token_cycles", "i8"),  # selections at the end of the row's layer
        ("head_cycles", "i8"),
        ("cascade_passes", "i8"),
        ("cascade_elements", "i8"),
        ("key_lines", "i8"),  # buffer lines of the keys, and of the values this row adds
        ("value_lines", "i8"),
        ("first_of_block", "?"),
        ("last_of_block", "?"),
        ("new_layer", "?"),
        ("accumulate", "?"),
        ("token_selection", "?"),
        ("head_selection", "?"),
    ]
)

#: A query in the terms of the arch.
JOB_PLAN = np.dtype(
    [
        ("row", "i8"),
        ("vector", "i8"),  # index in the Q and output regions
        ("visible", "i8"),
        ("values", "i8"),
        ("topk_cycles", "i8"),  # local V selection; 0 when bypassed
        ("topk_passes", "i8"),
        ("topk_elements", "i8"),
        ("refetch", "?"),
    ]
)


class Plan(NamedTuple):
    """Everything the kernel reads."""

    geometry: Record  #: GEOMETRY
    rows: Table  #: [rows] ROW_PLAN
    jobs: Table  #: [queries] JOB_PLAN
    key_ids: npt.NDArray[np.uint32]
    new_values: npt.NDArray[np.uint32]


def make_plan(workload: Workload, arch: Arch) -> Plan:
    """Check the capacities and lay the workload out on the arch.

    Raises
    ------
    WorkloadError
        When a row does not fit a FIFO, the top-k engine or a buffer: naming the arch field.
    """
    bases = _bases(workload, arch)
    geometry = _geometry(workload, arch, bases)
    table, queries = workload.rows, workload.queries
    wide = {name: table[name].astype(np.int64) for name in table.dtype.names or ()}
    block, first, last = _blocks(table, arch.gqa_share)
    owner = np.repeat(np.arange(len(table)), wide["queries"])
    new_start, new, new_values = _new_values(workload, block)
    token_cycles, token_elements = _cascade(workload, arch, "token", wide)
    head_cycles, head_elements = _cascade(workload, arch, "head", wide)
    local_sizes, local_offsets, local_total = _pass_sums(workload, queries["pass_start"], queries["passes"])
    visible = queries["visible"].astype(np.int64)
    ranked = queries["passes"] > 0
    head_index = wide["layer"] * workload.shape.heads + wide["head"]
    kv_index = wide["layer"] * workload.shape.kv_heads + wide["kv_head"]
    rows = records(
        ROW_PLAN,
        block=block,
        first_of_block=first,
        last_of_block=last,
        new_layer=begins(table, "sequence", "step", "layer"),
        key_start=wide["key_start"],
        keys=wide["keys"],
        key_lines=lines_of(wide["keys"], geometry),
        value_lines=lines_of(new, geometry),
        new_start=new_start,
        new=new,
        job_start=wide["query_start"],
        jobs=wide["queries"],
        query_bits=wide["query_bits"],
        queries_fetched=wide["queries"] if arch.fetch_queries else np.zeros(len(table), np.int64),
        msb_bits=wide["msb_bits"],
        lsb_bits=wide["lsb_bits"],
        value_bits=wide["value_bits"],
        k_base=bases["k_msb"][kv_index],
        lsb_base=bases["k_lsb"][kv_index],
        v_base=bases["v"][kv_index],
        accumulate=table["accumulate"],
        token_selection=table["token_passes"] > 0,
        head_selection=table["head_passes"] > 0,
        token_cycles=token_cycles,
        head_cycles=head_cycles,
        cascade_passes=wide["token_passes"] + wide["head_passes"],
        cascade_elements=token_elements + head_elements,
    )
    jobs = records(
        JOB_PLAN,
        row=owner,
        vector=head_index[owner] * workload.shape.max_context + queries["token"],
        visible=visible,
        values=queries["values"].astype(np.int64),
        refetch=queries["refetch"],
        topk_cycles=query_cycles(arch.topk, visible, local_sizes, local_offsets, geometry.width),
        topk_passes=queries["passes"].astype(np.int64),
        topk_elements=(local_total + visible) * ranked,
    )
    _check_capacity(workload, arch, geometry, rows, jobs)
    return Plan(geometry, rows, jobs, workload.key_ids, new_values)


def lines_of(vectors: Any, geometry: Record) -> Any:
    """Buffer lines that hold a number of vectors."""
    return -(-vectors // geometry.per_line) * geometry.dwell


def vector_transactions(bits: Any, head_dim: int, transaction_bytes: int) -> Any:
    """Transactions of one padded vector."""
    return -(-head_dim * bits // (8 * transaction_bytes))


def _geometry(workload: Workload, arch: Arch, bases: dict[str, Any]) -> Record:
    dim, multipliers = workload.shape.head_dim, arch.multipliers
    per_line = max(1, multipliers // dim)
    dwell = -(-dim // multipliers)
    return record(
        GEOMETRY,
        head_dim=dim,
        width=max(1, min(multipliers // dim, arch.max_scores_per_cycle)),
        dwell=dwell,
        per_line=per_line,
        transaction_bytes=arch.dram.transaction_bytes,
        channels=arch.dram.channels,
        packed=arch.layout == "packed",
        fetch_ports=arch.fetch_ports,
        data_fifo=arch.data_fifo * arch.fetch_ports,
        fetch_latency=arch.fetch_latency,
        vectors_per_return=max(1, arch.converter_lines * per_line // dwell),
        k_phases=arch.k_phases,
        live_allocations=arch.live_allocations,
        key_lines=arch.key_sram.lines,
        value_lines=arch.value_sram.lines,
        decision_queries=arch.decision_queries,
        probability_queries=arch.probability_queries,
        qk_to_softmax=arch.qk_latency + arch.softmax.latency,
        softmax_fifo=arch.softmax.fifo_beats,
        decision_latency=arch.decision_latency,
        pv_latency=arch.pv_latency,
        layers_overlap=arch.layers_overlap,
        write_outputs=arch.write_outputs,
        q_base=bases["q"],
        out_base=bases["out"],
    )


def _blocks(table: npt.NDArray[Any], share: bool) -> tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Block number of each row, and whether it opens or closes its block."""
    first = begins(table, "sequence", "step", "layer", "kv_head") if share else np.ones(len(table), np.bool_)
    last = np.append(first[1:], True)
    return np.cumsum(first) - 1, first, last


def _new_values(workload: Workload, block: Ints) -> tuple[Ints, Ints, npt.NDArray[np.uint32]]:
    """Values each row adds to what earlier rows of its block fetched: start and count per row, and the ids."""
    last_block = np.full(workload.shape.max_context, -1, np.int64)
    new = np.empty(len(workload.value_ids), np.bool_)
    count = np.empty(len(block), np.int64)
    _mark_new(workload.value_ids, workload.rows["values"].astype(np.int64), block, last_block, new, count)
    return np.cumsum(count) - count, count, np.ascontiguousarray(workload.value_ids[new])


@kernel
def _mark_new(
    ids: npt.NDArray[np.uint32], counts: Ints, block: Ints, last_block: Ints, new: npt.NDArray[np.bool_], count: Ints
) -> None:
    """Mark the ids that no earlier row of the same block named; `last_block` [ids] is scratch, -1 at first."""
    place = 0
    for row in range(len(counts)):
        count[row] = 0
        for _ in range(counts[row]):
            token = ids[place]
            new[place] = last_block[token] != block[row]
            last_block[token] = block[row]
            count[row] += new[place]
            place += 1


def _pass_sums(workload: Workload, start: npt.NDArray[Any], count: npt.NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """Sizes of all passes of a list of selections, their offsets, and the sum of sizes of each selection."""
    count = count.astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    index = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count) + np.repeat(start.astype(np.int64), count)
    sizes = workload.passes["size"][index].astype(np.int64)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return sizes, offsets, total[offsets[1:]] - total[offsets[:-1]]


def _cascade(workload: Workload, arch: Arch, kind: str, wide: dict[str, Ints]) -> tuple[Ints, Ints]:
    """Cycles of each row's selection of a kind, and the elements of its passes and its filter."""
    n, count = wide[f"{kind}_n"], wide[f"{kind}_passes"]
    sizes, offsets, total = _pass_sums(workload, wide[f"{kind}_pass_start"], count)
    return query_cycles(arch.topk, n, sizes, offsets, arch.topk.input_width), total + n * (count > 0)


def _bases(workload: Workload, arch: Arch) -> dict[str, Any]:
    """Base address of every region: per layer and KV head K-MSB, K-LSB, V; then Q, then outputs."""
    shape, size = workload.shape, arch.dram.transaction_bytes

    def region(bits: int, vectors: int) -> int:
        raw: int = vectors * vector_transactions(bits, shape.head_dim, size) * size
        return -(-raw // REGION_ALIGNMENT) * REGION_ALIGNMENT

    sizes = [region(bits, shape.max_context) for bits in (32, 4, 32)]
    group = np.arange(shape.layers * shape.kv_heads, dtype=np.int64) * sum(sizes)
    planes = {name: group + sum(sizes[:index]) for index, name in enumerate(_PLANES)}
    q_base = shape.layers * shape.kv_heads * sum(sizes)
    out_base = q_base + region(32, shape.layers * shape.heads * shape.max_context)
    return {**planes, "q": q_base, "out": out_base}


def _most_fetching_rows(rows: Table) -> int:
    """Rows of one block that hold a V allocation at once."""
    return int(np.bincount(rows.block, rows.new > 0).max())


def _check_capacity(workload: Workload, arch: Arch, geometry: Record, rows: Table, jobs: Table) -> None:
    shape, dram = workload.shape, arch.dram
    outputs = shape.layers * shape.heads * shape.max_context
    end = int(geometry.out_base) + outputs * geometry.transaction_bytes * int(
        vector_transactions(OUTPUT_BITS, shape.head_dim, geometry.transaction_bytes)
    )
    limit = dram.channels * dram.device.organisation.channel_bytes
    if dram.kind == "controller" and end > limit:
        raise WorkloadError(
            "the workload does not fit the DRAM",
            where=f"workload {shape.name!r} on arch {arch.name!r}",
            expected=f"at most {limit >> 20:,} MiB ({dram.channels} channels of {dram.device.name!r})",
            got=f"{-(-end >> 20):,} MiB of K, V, Q and outputs",
            remedy="--set dram.channels=N with more channels, or a larger device",
        )
    block_values = np.bincount(rows.block, rows.value_lines).astype(np.int64)
    longest = int(jobs.visible.max())
    limits = [
        ("softmax.fifo_beats", -(-longest // geometry.width), arch.softmax.fifo_beats, "score beats of one query"),
        (
            "topk.capacity",
            int((jobs.visible * (jobs.topk_passes > 0)).max()),
            arch.topk.capacity,
            "local V candidates",
        ),
        (
            "topk.capacity",
            int(workload.rows["token_n"].max()),
            arch.topk.capacity,
            "cascade token candidates",
        ),
        ("key_sram.lines", int(rows.key_lines.max()), arch.key_sram.lines, "lines of one head's keys"),
        ("live_allocations", _most_fetching_rows(rows), arch.live_allocations, "heads fetching values of one KV head"),
        ("value_sram.lines", int(block_values.max()), arch.value_sram.lines, "lines of one KV head's values"),
    ]
    for name, need, have, what in limits:
        if need > have:
            raise WorkloadError(
                f"the workload does not fit {name}",
                where=f"workload {workload.shape.name!r} on arch {arch.name!r}",
                expected=f"at most {have} {what}",
                got=f"{need} (context up to {workload.shape.max_context} tokens, head size {workload.shape.head_dim})",
                remedy=f"--set {name}={need}, a shorter context, or a policy that prunes more",
            )

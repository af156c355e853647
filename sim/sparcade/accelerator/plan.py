"""The plan of a run: the workload in the terms of one arch, as flat arrays the kernel walks through.

Blocks share K and V in the buffers; requests get base addresses, strides and vector lists; selections get cycles.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade._records import Record, Table, record, records
from sparcade.accelerator.selections import cascade_selections, local_selections
from sparcade.arch import Arch
from sparcade.errors import WorkloadError
from sparcade.topk.engine import EngineShape, shape_of
from sparcade.topk.lists import Lists
from sparcade.workload import Workload
from sparcade.workload.tables import begins

Ints = npt.NDArray[np.int64]
#: DRAM regions begin on a multiple of this: one row index over all channels, pseudo-channels and bank groups.
REGION_ALIGNMENT = 128 * 1024
#: Width of the output words.
OUTPUT_BITS = 12
_PLANES = ("k_msb", "k_lsb", "v")
#: Window of a row that is not streamed [vectors].
NO_WINDOW = 1 << 40


#: Integers of the arch that every module reads, under their names in `Arch`.
_FROM_ARCH = (
    "fetch_ports",
    "address_fifo",
    "data_fifo",
    "fifo_latency",
    "realign_rows",
    "convert_latency",
    "k_phases",
    "decision_queries",
    "issue_latency",
    "phase_gap",
    "requantise_latency",
    "key_free_latency",
    "live_allocations",
    "read_latency",
    "read_retry",
    "qk_latency",
    "decision_latency",
    "decision_maxima",
    "decision_skid",
    "decided_stages",
    "reorder_recomputed",
    "reorder_latency",
    "reorder_beats",
    "pv_start",
    "pv_latency",
    "probability_fifo",
    "probability_latency",
    "value_overlap_lines",
    "split_register",
    "value_rotation",
    "shared_value_ids",
    "layers_overlap",
    "fetch_queries",
    "write_outputs",
)
#: Integers that every module reads; names as in docs/pipeline.md.
GEOMETRY = np.dtype(
    [
        (name, "i8")
        for name in (
            *_FROM_ARCH,
            "head_dim",
            "width",
            "dwell",
            "transaction_bytes",
            "channels",
            "packed",
            "vectors_per_pop",  # most vectors the converter finishes in a cycle
            "key_lines",
            "value_lines",
            "softmax_latency",
            "softmax_fifo",
            "topk_latency",  # of the released engine
            "topk_fifo",  # its beats
            "topk_serial",  # it is the released engine
            "in_order_pairing",
            "oldest_first",
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
        ("query_bits", "i8"),
        ("msb_bits", "i8"),
        ("lsb_bits", "i8"),
        ("value_bits", "i8"),
        ("heads_fetched", "i8"),  # heads whose K and V one vector carries: 2 for a fused pair
        ("k_base", "i8"),
        ("lsb_base", "i8"),
        ("v_base", "i8"),
        ("token_cycles", "i8"),  # selections at the end of the row's layer
        ("head_cycles", "i8"),
        ("waits_for", "i8"),  # row whose selections must have ended before this one is accepted, -1 for none
        ("cascade_passes", "i8"),
        ("cascade_elements", "i8"),
        ("key_lines", "i8"),  # buffer lines of the keys of the block, and of the values this row adds
        ("value_lines", "i8"),
        ("key_alloc", "i8"),  # of them, lines that are allocated: all, or the whole buffer for a streamed row
        ("value_alloc", "i8"),
        ("key_window", "i8"),  # vectors that may be asked for and not read
        ("value_window", "i8"),
        ("value_mode", "i8"),  # see VALUES_*
        ("first_of_block", "?"),
        ("last_of_block", "?"),
        ("new_layer", "?"),
        ("accumulate", "?"),
        ("token_selection", "?"),
        ("head_selection", "?"),
    ]
)
#: How the value addresses of a row come about: none; with the probabilities of its first query; all at its first
#: probability; all at its last.
VALUES_NONE, VALUES_BY_BEAT, VALUES_AT_FIRST, VALUES_AT_LAST = range(4)

#: A query in the terms of the arch.
JOB_PLAN = np.dtype(
    [
        ("row", "i8"),
        ("vector", "i8"),  # index in the Q and output regions
        ("visible", "i8"),
        ("values", "i8"),
        ("beats", "i8"),  # of scores
        ("value_beats", "i8"),
        ("topk_cycles", "i8"),  # of its local V selection: released, until its first probability; else, as `plan.lists`
        ("topk_passes", "i8"),
        ("topk_elements", "i8"),
        ("lsb_group", "i8"),  # queries that share one fetch of LSBs
        ("refetch", "?"),
        ("ranked", "?"),  # it goes through the local V engine
    ]
)


class Plan(NamedTuple):
    """Everything the kernel reads."""

    geometry: Record  #: GEOMETRY
    rows: Table  #: [rows] ROW_PLAN
    jobs: Table  #: [queries] JOB_PLAN
    key_ids: npt.NDArray[np.uint32]
    new_values: npt.NDArray[np.uint32]
    engine: EngineShape  #: of local V, unless it is the released one
    lists: Lists  #: what it selects from, in the order of the jobs
    list_jobs: Ints  #: [lists] the jobs


def make_plan(workload: Workload, arch: Arch) -> Plan:
    """Check the capacities and lay the workload out on the arch.

    Raises
    ------
    WorkloadError
        When a row does not fit a FIFO, the top-k engine or a buffer: naming the arch field.
    """
    table = workload.rows
    wide = {name: table[name].astype(np.int64) for name in table.dtype.names or ()}
    queries = {name: workload.queries[name].astype(np.int64) for name in ("visible", "values", "passes", "token")}
    refetch = workload.queries["refetch"].copy()
    owner = np.repeat(np.arange(len(table)), wide["queries"])
    if arch.wide_words == "8+4":
        _narrow(wide, refetch, owner)
    for counts in (wide["keys"], wide["values"], queries["visible"], queries["values"]):
        counts[:] = -(-counts // arch.count_rounding) * arch.count_rounding
    ranked = (queries["passes"] > 0) & (queries["values"] < queries["visible"])
    pair = _pairs(wide) if arch.fused_pairs else np.zeros(len(table), np.int64)
    bases = _bases(workload, arch)
    geometry = geometry_of(workload.shape.head_dim, arch, bases)
    block, first, last = _blocks(table, arch, pair)
    if arch.key_ids == "index-table":
        key_ids = new_values = index_table(arch.fetch_ports)
        key_start = new_start = np.zeros(len(table), np.int64)
        new = np.where(first, wide["values"], 0) if arch.fused_pairs else wide["values"]
        new = np.where(pair == 2, 0, new)
        _check_table(wide, len(key_ids), workload, arch)
    else:
        key_ids, key_start = workload.key_ids, wide["key_start"]
        new_start, new, new_values = _new_values(workload, block)
    heads_fetched = np.where(pair > 0, 2, 1)
    selections = local_selections(workload, arch, wide, queries, ranked, int(geometry.width))
    selections.cycles[pair[owner] == 2] = 0  # the released bench charges a pair's selection to its first head
    tokens, heads = (cascade_selections(workload, arch, kind, wide) for kind in ("token", "head"))
    head_index = wide["layer"] * workload.shape.heads + wide["head"]
    kv_index = wide["layer"] * workload.shape.kv_heads + wide["kv_head"]
    rows = records(
        ROW_PLAN,
        block=block,
        first_of_block=first,
        last_of_block=last,
        new_layer=begins(table, "sequence", "step", "layer"),
        key_start=key_start,
        keys=wide["keys"],
        new_start=new_start,
        new=new,
        job_start=wide["query_start"],
        jobs=wide["queries"],
        query_bits=wide["query_bits"],
        msb_bits=wide["msb_bits"],
        lsb_bits=wide["lsb_bits"],
        value_bits=wide["value_bits"],
        heads_fetched=heads_fetched,
        key_lines=lines_of(wide["keys"], arch, geometry) * heads_fetched,
        value_lines=lines_of(new, arch, geometry) * heads_fetched,
        k_base=bases["k_msb"][kv_index],
        lsb_base=bases["k_lsb"][kv_index],
        v_base=bases["v"][kv_index],
        accumulate=table["accumulate"],
        token_selection=(table["token_passes"] > 0) & arch.cascade_engine,
        head_selection=(table["head_passes"] > 0) & arch.cascade_engine,
        token_cycles=tokens.cycles,
        head_cycles=heads.cycles,
        waits_for=_awaited(workload),
        cascade_passes=(tokens.passes + heads.passes) * arch.cascade_engine,
        cascade_elements=(tokens.elements + heads.elements) * arch.cascade_engine,
    )
    rows.value_mode = _value_modes(rows, queries["values"])
    _stream(rows, queries["visible"], refetch, arch, geometry)
    jobs = records(
        JOB_PLAN,
        row=owner,
        vector=head_index[owner] * workload.shape.max_context + queries["token"],
        visible=queries["visible"],
        values=queries["values"],
        beats=-(-queries["visible"] // geometry.width),
        value_beats=-(-queries["values"] // geometry.width),
        refetch=refetch,
        ranked=ranked,
        topk_cycles=np.where(ranked, selections.cycles, 0),
        topk_passes=selections.passes,
        topk_elements=selections.elements,
        lsb_group=block[owner] if arch.share_lsb else np.arange(len(owner)),
    )
    _check_capacity(workload, arch, geometry, rows, jobs)
    engine = shape_of(arch.topk, int(geometry.width))
    return Plan(geometry, rows, jobs, key_ids, new_values, engine, selections.lists, np.flatnonzero(ranked))


def index_table(ports: int) -> npt.NDArray[np.uint32]:
    """Key ids of the released designs: a table of random ids, the same for every query.

    Origin: the index ROM of mit-han-lab/spatten (commit a0f1388), as listed line by line in a simulation of it.
    """
    path = Path(__file__).parent / "key_index" / f"{ports}-ports.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    return np.array([int(field) for line in text.split() for field in line.split(",")], np.uint32)


def lines_of(vectors: Any, arch: Arch, geometry: Record) -> Any:
    """Buffer lines that are allocated for a number of vectors."""
    per_line = max(1, arch.multipliers // geometry.head_dim)
    lines = -(-vectors // per_line) * geometry.dwell
    return -(-lines // arch.line_rounding) * arch.line_rounding


def vector_transactions(bits: Any, head_dim: int, transaction_bytes: int) -> Any:
    """Transactions of one padded vector."""
    return -(-head_dim * bits // (8 * transaction_bytes))


def vectors_moved(plan: Plan, arch: Arch) -> dict[str, tuple[Ints, Ints]]:
    """Vectors that each row moves and their width [bits], by kind of DRAM traffic."""
    rows, jobs = plan.rows, plan.jobs
    fetches = np.unique(jobs.lsb_group[jobs.refetch], return_index=True)[1]
    asking = jobs.row[jobs.refetch][fetches]
    lsb_fetches = np.bincount(asking, minlength=len(rows))
    return {
        "q": (rows.jobs * arch.fetch_queries, rows.query_bits),
        "k_msb": (rows["keys"] * rows.first_of_block, rows.msb_bits * rows.heads_fetched),
        "k_lsb": (rows["keys"] * lsb_fetches, rows.lsb_bits),
        "v": (rows.new, rows.value_bits * rows.heads_fetched),
        "out": (rows.jobs * arch.write_outputs, np.full(len(rows), OUTPUT_BITS)),
    }


def geometry_of(head_dim: int, arch: Arch, bases: dict[str, Any]) -> Record:
    """What every module reads of the arch, for a head size and the bases of the Q and output regions."""
    multipliers = arch.multipliers
    width = max(1, min(multipliers // head_dim, arch.max_scores_per_cycle))
    dwell = -(-head_dim // multipliers)
    return record(
        GEOMETRY,
        **{name: int(getattr(arch, name)) for name in _FROM_ARCH},
        head_dim=head_dim,
        width=width,
        dwell=dwell,
        transaction_bytes=arch.dram.transaction_bytes,
        channels=arch.dram.channels,
        packed=arch.layout == "packed",
        vectors_per_pop=max(1, arch.converter_lines * max(1, multipliers // head_dim) // dwell),
        key_lines=arch.key_sram.lines,
        value_lines=arch.value_sram.lines,
        softmax_latency=arch.softmax.latency,
        softmax_fifo=arch.softmax.fifo_beats,
        topk_latency=arch.topk.latency,
        topk_fifo=max(1, arch.topk.capacity // width),
        topk_serial=arch.topk.engine == "released-serial",
        oldest_first=arch.crossbar == "oldest row first",
        in_order_pairing=arch.dram.pairing == "in order of arrival",
        q_base=bases["q"],
        out_base=bases["out"],
    )


def _narrow(wide: dict[str, Ints], refetch: npt.NDArray[np.bool_], owner: Ints) -> None:
    """Words above 8 bit as the released bench does: keys 8 + 4 with a refetch in every query, values 8."""
    above = wide["msb_bits"] > 8
    wide["msb_bits"][above] = 8
    wide["lsb_bits"][above] = 4
    refetch[above[owner]] = True
    wide["value_bits"][wide["value_bits"] > 8] = 8


def _pairs(wide: dict[str, Ints]) -> Ints:
    """1 and 2 for the two heads of a fused pair: consecutive rows of 6-bit keys with one query each, in a layer."""
    pair = np.zeros(len(wide["keys"]), np.int64)
    place = [wide[name] for name in ("sequence", "step", "layer", "keys", "values", "value_bits")]
    six = (wide["msb_bits"] == 6) & (wide["queries"] == 1)
    for row in range(1, len(pair)):
        same = all(column[row] == column[row - 1] for column in place)
        if same and six[row] and six[row - 1] and pair[row - 1] == 0:
            pair[row - 1], pair[row] = 1, 2
    return pair


def _blocks(
    table: npt.NDArray[Any], arch: Arch, pair: Ints
) -> tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Block number of each row, and whether it opens or closes its block."""
    first = begins(table, "sequence", "step", "layer", "kv_head") if arch.gqa_share else np.ones(len(table), np.bool_)
    first &= pair != 2
    last = np.append(first[1:], True)
    return np.cumsum(first) - 1, first, last


def _awaited(workload: Workload) -> Ints:
    """The row whose selections choose what each row reads, -1 for none.

    In a cascade that is the row before. Keys that are evicted per KV head were chosen in the step before, behind the
    last row of the same layer and KV head; the other rows go on meanwhile.
    """
    table, before = workload.rows, np.arange(len(workload.rows)) - 1
    if "key" not in workload.shape.persistent:
        return before
    place = table["layer"].astype(np.int64) * workload.shape.kv_heads + table["kv_head"]
    latest = np.full(workload.shape.layers * workload.shape.kv_heads, -1, np.int64)
    awaited = np.full(len(table), -1, np.int64)
    new_sequence = begins(table, "sequence")
    for first, stop in _runs(begins(table, "sequence", "step", "layer", "kv_head")):
        if new_sequence[first]:
            latest[:] = -1
        awaited[first:stop] = latest[place[first]]
        latest[place[first]] = stop - 1
    heads_before = np.append(False, table["head_passes"][:-1] > 0)
    return np.where(heads_before, before, awaited)


def _runs(first: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run that a True begins."""
    starts = np.flatnonzero(first).tolist()
    return list(zip(starts, [*starts[1:], len(first)], strict=True))


def _stream(rows: Table, visible: Ints, refetch: npt.NDArray[np.bool_], arch: Arch, geometry: Record) -> None:
    """Lines and windows: blocks of one query and one pass may be longer than a buffer, and go through it as a ring."""
    alone = (np.bincount(rows.block, rows.jobs) == 1)[rows.block]
    per_line = max(1, arch.multipliers // int(geometry.head_dim))
    all_read = (visible[rows.job_start] == rows["keys"]) & ~refetch[rows.job_start]
    streamable = {"key": alone & all_read, "value": alone & (rows.value_mode == VALUES_BY_BEAT)}
    # Less, and a row of addresses could wait for ever behind vectors that wait in realignment for their group.
    least = int(geometry.fetch_ports + geometry.width + geometry.vectors_per_pop) - 1
    for name, buffer in (("key", arch.key_sram.lines), ("value", arch.value_sram.lines)):
        lines = rows[f"{name}_lines"]
        window = buffer // int(geometry.dwell) * per_line
        streamed = streamable[name] & (lines > buffer) & np.bool_(window >= least)
        rows[f"{name}_alloc"] = np.where(streamed, buffer, lines)
        rows[f"{name}_window"] = np.where(streamed, window, NO_WINDOW)


def _value_modes(rows: Table, values: Ints) -> Ints:
    later = np.where(rows.jobs > 1, VALUES_AT_FIRST, VALUES_AT_LAST)
    by_beat = rows.new == values[rows.job_start]
    return np.where(rows.new == 0, VALUES_NONE, np.where(by_beat, VALUES_BY_BEAT, later))


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


def _bases(workload: Workload, arch: Arch) -> dict[str, Any]:
    """Base address of every region: per layer and KV head K-MSB, K-LSB, V; then Q, then outputs."""
    shape, size = workload.shape, arch.dram.transaction_bytes

    def region(bits: int, vectors: int) -> int:
        raw: int = vectors * vector_transactions(bits, shape.head_dim, size) * size
        return -(-raw // REGION_ALIGNMENT) * REGION_ALIGNMENT

    vectors = shape.max_context
    if arch.key_ids == "index-table":
        vectors = max(vectors, int(index_table(arch.fetch_ports).max()) + 1)
    sizes = [region(bits, vectors) for bits in (32, 4, 32)]
    group = np.arange(shape.layers * shape.kv_heads, dtype=np.int64) * sum(sizes)
    planes = {name: group + sum(sizes[:index]) for index, name in enumerate(_PLANES)}
    q_base = shape.layers * shape.kv_heads * sum(sizes)
    out_base = q_base + region(32, shape.layers * shape.heads * shape.max_context)
    return {**planes, "q": q_base, "out": out_base}


def _most_fetching_rows(rows: Table) -> int:
    """Rows of one block that hold a V allocation at once."""
    return int(np.bincount(rows.block, rows.new > 0).max())


def _check_table(wide: dict[str, Ints], size: int, workload: Workload, arch: Arch) -> None:
    most = int(wide["keys"].max())
    if most > size:
        raise WorkloadError(
            "more keys than the index table has",
            where=f"workload {workload.shape.name!r} on arch {arch.name!r}",
            expected=f"at most {size} keys a query",
            got=f"{most} (counts are rounded up to multiples of {arch.count_rounding})",
            remedy='another arch, or --set key_ids="workload" --set count_rounding=1',
        )


def _check_input_width(width: int, workload: Workload, arch: Arch) -> None:
    if arch.topk.input_width < width:
        raise WorkloadError(
            "the top-k engine is narrower than the datapath",
            where=f"workload {workload.shape.name!r} on arch {arch.name!r}: topk.input_width",
            expected=f"at least {width}, the scores per cycle at head size {workload.shape.head_dim}",
            got=str(arch.topk.input_width),
            remedy=f"--set topk.input_width={width}",
        )


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
    block_values = np.bincount(rows.block, rows.value_alloc).astype(np.int64)
    beats = int(jobs.beats.max())
    awaited = np.where(
        rows.value_mode == VALUES_AT_LAST,
        jobs.value_beats[rows.job_start],
        -(-np.minimum(rows.new, int(geometry.fetch_ports)) // int(geometry.width))
        * (rows.value_mode == VALUES_BY_BEAT),
    )
    limits = [
        ("probability_fifo", int(awaited.max()), arch.probability_fifo, "beats before V can be fetched"),
        ("topk.capacity", int((jobs.visible * jobs.ranked).max()), arch.topk.capacity, "local V candidates"),
        ("topk.capacity", int(workload.rows["token_n"].max()), arch.topk.capacity, "cascade token candidates"),
        ("reorder_beats", beats, arch.reorder_beats, "score beats of one query"),
        ("key_sram.lines", int(rows.key_alloc.max()), arch.key_sram.lines, "lines of one head's keys"),
        ("live_allocations", _most_fetching_rows(rows), arch.live_allocations, "heads fetching values of one KV head"),
        ("value_sram.lines", int(block_values.max()), arch.value_sram.lines, "lines of one KV head's values"),
    ]
    if arch.topk.engine != "released-serial" and jobs.ranked.any():
        _check_input_width(int(geometry.width), workload, arch)
    if arch.softmax.latency > 0:
        limits.insert(0, ("softmax.fifo_beats", beats, arch.softmax.fifo_beats, "score beats of one query"))
    for name, need, have, what in limits:
        if need > have:
            raise WorkloadError(
                f"the workload does not fit {name}",
                where=f"workload {workload.shape.name!r} on arch {arch.name!r}",
                expected=f"at most {have} {what}",
                got=f"{need} (context up to {workload.shape.max_context} tokens, head size {workload.shape.head_dim})",
                remedy=f"--set {name}={need}, a shorter context, or a policy that prunes more",
            )

"""Small random workloads and archs, valid and tight: the cases on which the pipeline kernel meets its oracle."""

import random
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from oracles.pipeline_work import Block, Geometry, ceil_div, plan
from sparcade.arch.parameters import Arch, Dram, Ideal, Softmax, Sram
from sparcade.dram import load_device
from sparcade.topk import TopKParams, select
from sparcade.workload.store import Workload, WorkloadShape
from sparcade.workload.tables import PASS, QUERY, ROW

LONGEST = 84  # contexts at most


class _Tables:
    """Growing tables of a workload."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rows: list[dict[str, Any]] = []
        self.queries: list[tuple[Any, ...]] = []
        self.passes: list[tuple[int, ...]] = []
        self.key_ids: list[int] = []
        self.value_ids: list[int] = []

    def select(self, n: int, k: int, bits: int) -> tuple[list[int], int, int]:
        """Indices kept of n random scores, and where the pass list begins and how long it is."""
        top = self.rng.choice([3, 2**bits - 1])
        selection = select(np.array([self.rng.randint(0, top) for _ in range(n)], np.int64), k, bits)
        start = len(self.passes)
        self.passes += [tuple(one) for one in selection.passes.tolist()]
        return selection.kept.tolist(), start, len(self.passes) - start

    def cascade(self, what: str, alive: list[int]) -> list[int]:
        """Put a selection of `alive` on the last row; the survivors."""
        k = self.rng.randint(1, len(alive))
        kept, start, count = self.select(len(alive), k, 32)
        names = (f"{what}_n", f"{what}_k", f"{what}_pass_start", f"{what}_passes")
        self.rows[-1].update(zip(names, (len(alive), k, start, count), strict=True))
        return [alive[i] for i in kept]

    def row(self, head: dict[str, Any], keys: list[int], tokens: list[int], view: str, kept: int | None) -> None:
        """Append a row; where `kept` is given, every query weighs so many values, those of the first."""
        rng, needed = self.rng, set[int]()
        prune, refetch = rng.choice([0, 0.5, 1]), rng.choice([0, 0.3, 1])
        row = dict.fromkeys(ROW.names or (), 0) | head | {"keys": len(keys), "queries": len(tokens)}
        row |= {"key_start": len(self.key_ids), "query_start": len(self.queries), "value_start": len(self.value_ids)}
        for token in tokens:
            visible = {"full": len(keys), "causal": sum(key <= token for key in keys)}.get(view)
            visible = visible or rng.randint(1, len(keys))
            k = kept or (rng.randint(1, visible) if rng.random() < prune else visible)
            indices, start, count = self.select(visible, k, 12)
            if not kept or not needed:
                needed.update(keys[i] for i in indices)
            lsb = bool(head["lsb_bits"]) and rng.random() < refetch
            self.queries.append((token, visible, k, lsb, start, count))
        row["values"] = len(needed)
        self.key_ids += keys
        self.value_ids += sorted(needed)
        self.rows.append(row)


def random_workload(rng: random.Random, *, evicts: bool = False) -> Workload:
    """A small valid workload; `evicts`: keys leave per layer and KV head, for good, instead of in a cascade."""
    heads, layers, D = rng.randint(1, 4), rng.randint(1, 3), rng.choice([1, 8, 16, 64, 96])
    kv_heads = rng.choice([n for n in range(1, heads + 1) if heads % n == 0])
    tables, longest = _Tables(rng), 1
    alike, six = rng.random() < 0.4 and not evicts, rng.random() < 0.7  # the heads of a layer; with keys of 6 bits
    for sequence in range(rng.randint(1, 2)):
        decodes, context = rng.randint(0, 2), rng.randint(1, 38)
        first = 0 if not decodes or rng.random() < 0.4 else 1
        if first and rng.random() < 0.5:
            context += rng.randint(1, LONGEST - 40)
        gone: dict[tuple[int, int], set[int]] = {}  # keys evicted per layer and KV head
        for step in range(first, decodes + 1):
            here = context + step
            longest, alive, living = max(longest, here), list(range(here)), list(range(heads))
            view = rng.choice(["causal", "full", "ragged"]) if step == 0 else "full"
            for layer in range(layers):
                tokens = sorted(rng.sample(alive, min(len(alive), rng.randint(1, 6)))) if step == 0 else [here - 1]
                fmt: dict[str, Any] = {}
                kept = rng.randint(1, len(alive)) if alike else None
                for i, head in enumerate(living):
                    kv_head = head // (heads // kv_heads)
                    if not i or (kv_head != fmt["kv_head"] and not alike):
                        lsb = rng.choice([0, 4])
                        fmt = {"lsb_bits": lsb, "value_bits": rng.choice([4, 6, 8, 10, 12, 32])}
                        fmt |= {"msb_bits": rng.choice([4, 6, 8] if lsb else [4, 6, 8, 10, 12, 32])}
                        fmt |= {"query_bits": rng.choice([12, 32])} | ({"msb_bits": 6} if alike and six else {})
                    fmt["kv_head"] = kv_head
                    place = {"sequence": sequence, "step": step, "layer": layer, "head": head, "context": here}
                    accumulate = {"accumulate": rng.random() < 0.5}
                    held = [key for key in alive if key not in gone.setdefault((layer, kv_head), set())]
                    tables.row(fmt | place | accumulate, held, tokens, "full" if alike else view, kept)
                    last = all(other // (heads // kv_heads) > kv_head for other in living[i + 1 :])
                    if evicts and last and rng.random() < 0.8:
                        gone[layer, kv_head] |= set(held) - set(tables.cascade("token", held))
                if rng.random() < 0.5 and not evicts:
                    alive = tables.cascade("token", alive)
                if rng.random() < 0.4:
                    living = tables.cascade("head", living)
    shape = WorkloadShape(
        name="random", layers=layers, heads=heads, kv_heads=kv_heads, head_dim=D, policy="random", policy_settings={},
        max_context=longest + rng.randint(0, 3), trace_hash="", ids="synthetic", persistent=("key",) * evicts,
    )  # fmt: skip
    return Workload(
        shape=shape,
        rows=np.array([tuple(row[name] for name in ROW.names or ()) for row in tables.rows], ROW),
        queries=np.array(tables.queries, QUERY),
        passes=np.array(tables.passes, PASS),
        key_ids=np.array(tables.key_ids, np.uint32),
        value_ids=np.array(tables.value_ids, np.uint32),
    )


def random_arch(rng: random.Random, workload: Workload | None = None) -> Arch:
    """An arch of small numbers that does not deadlock: on `workload` where given, else on any `random_workload`.

    With a workload the buffers are drawn from the smallest that do, and arches that would take long are not drawn.
    """
    while True:
        arch = _draw(rng)
        if workload and rng.random() < 0.6:
            arch = _draw_release(rng, arch)
        streams = workload is not None and rng.random() < 0.4
        if workload and streams:
            # A recomputed row that waits before the reorder buffer may keep Q x K from emptying the ring: a deadlock.
            recomputed = arch.wide_words == "8+4" or bool(workload.queries["refetch"].any())
            ports = 4 if arch.key_ids == "index-table" else min(arch.fetch_ports, 8)
            buffered = arch.reorder_recomputed or recomputed
            arch = replace(arch, gqa_share=False, reorder_recomputed=buffered, fetch_ports=ports)
        shape = workload.shape if workload else WorkloadShape(
            name="", layers=3, heads=4, kv_heads=1, head_dim=96, max_context=LONGEST, policy="", policy_settings={},
            trace_hash="", ids="",
        )  # fmt: skip
        geometry = Geometry(shape, arch)
        key_lines, value_lines, members, work = geometry.lines(LONGEST), 4 * geometry.lines(LONGEST), 4, 0
        beats = value_beats = candidates = LONGEST
        if workload:
            rows = plan(workload, arch, geometry)
            blocks = [row.block for row in rows]
            key_lines, value_lines = _least_lines(geometry, blocks, streams)
            members = max(sum(bool(row.new) for row in block.rows) for block in blocks)
            jobs = [job for row in rows for job in row.jobs]
            beats, value_beats = max(job.beats for job in jobs), max(job.value_beats for job in jobs)
            ranked = [job.visible for job in jobs if job.passes]
            candidates = max(1, *ranked, *(row.table[name] for row in rows for name in ("token_n", "head_n")))
            work = sum(job.beats * geometry.dwell * (1 + job.query["refetch"]) for job in jobs)
            vectors = sum(len(row.new) + len(row.block.keys) for row in rows)
            if not arch.share_lsb:
                vectors += sum(job.query["refetch"] * len(job.row.block.keys) for job in jobs)
            reads = ceil_div(shape.head_dim, geometry.T) * vectors
            work += reads // min(arch.fetch_ports, arch.dram.channels)
            latency = arch.dram.ideal.latency + 3 * arch.fifo_latency + arch.convert_latency
            under_way = min(arch.data_fifo * arch.fetch_ports, arch.dram.channels * arch.dram.ideal.outstanding)
            work += reads * latency // under_way
        if work > 4500:
            continue
        width = arch.topk.input_width  # of an RTL engine at least that of a beat; without a workload, of any
        if arch.topk.engine != "released-serial":
            width = max(width, geometry.width if workload else arch.max_scores_per_cycle)
        return replace(
            arch,
            live_allocations=members + rng.choice([0, 0, 1, 4]),
            key_sram=Sram(lines=max(1, key_lines) + rng.choice([0, 1, key_lines, 4 * key_lines])),
            value_sram=Sram(lines=max(1, value_lines) + rng.choice([0, 0, 0, 1, 4 * value_lines])),
            reorder_beats=beats + rng.choice([0, 0, 1, beats, 4096]),
            probability_fifo=value_beats + rng.choice([0, 0, 1, 5, 64]),
            softmax=Softmax(latency=rng.choice([0, rng.randint(1, 90)]), fifo_beats=beats + rng.choice([0, 1, 5, 100])),
            topk=replace(arch.topk, input_width=width, capacity=candidates + rng.choice([0, 0, 1, 7, 1000])),
        )


def _least_lines(geometry: Geometry, blocks: list[Block], streams: bool) -> tuple[int, int]:
    """Lines of the smallest key and value SRAM; where `streams`, what can go through them as a ring need not fit.

    In a ring of less than the next row and what waits before it for its line and its group the next row has no room;
    and keys that the query does not see never leave it.
    """
    group = max(1, geometry.arch.converter_lines * geometry.per_line // geometry.dwell)
    ring = geometry.dwell * ceil_div(geometry.ports + geometry.width + group, geometry.per_line)
    keys, values = [], []
    for block in blocks:
        k, v = geometry.key_lines(block), sum(geometry.value_lines(row) for row in block.rows)
        seen = block.rows[0].jobs[0].visible == len(block.keys)
        keys.append(min(k, ring) if streams and block.single and seen and not block.recomputed else k)
        values.append(min(v, ring) if streams and block.single else v)
    return max(keys), max(values)


def _draw(rng: random.Random) -> Arch:
    channels, ports = rng.choice([1, 2, 4, 8, 16]), rng.choice([1, 2, 4, 8, 32])
    chances = {
        "gqa_share": 0.6, "layers_overlap": 0.6, "fetch_queries": 0.6, "write_outputs": 0.6, "share_lsb": 0.6,
        "split_register": 0.5, "reorder_recomputed": 0.5,
    }  # fmt: skip
    flags: dict[str, Any] = {name: rng.random() < chance for name, chance in chances.items()}
    tops = {
        "qk_latency": 14, "decision_latency": 9, "pv_latency": 16, "decision_queries": 4, "issue_latency": 6,
        "phase_gap": 9, "requantise_latency": 9, "key_free_latency": 14, "fifo_latency": 4, "converter_lines": 3,
        "convert_latency": 9, "read_latency": 6, "decision_maxima": 3, "decision_skid": 7, "reorder_latency": 4,
        "pv_start": 4, "probability_latency": 12, "line_rounding": 3,
    }  # fmt: skip
    small: dict[str, Any] = {name: rng.randint(1, top) for name, top in tops.items()}
    layout: Literal["padded", "packed"] = rng.choice(["padded", "packed"])
    return Arch(
        name="random",
        source="random",
        clock_ghz=rng.choice([1.0, 1.0, 0.7, 1.6]),
        multipliers=rng.choice([1, 3, 8, 20, 32, 64, 96, 128, 200, 512]),
        max_scores_per_cycle=rng.choice([1, 2, 8, 16]),
        fetch_ports=ports,
        address_fifo=rng.choice([1, 2, 3, 8, 64]),
        data_fifo=rng.choice([1, 2, 3, 8, 64]),
        crossbar=rng.choice(["oldest row first", "lowest port first"]),
        realign_rows=rng.choice([2, 2, 3, 4]),
        k_phases=rng.choice([1, 1, 2, 3, 8]),
        read_retry=rng.choice([1, 1, 2, 5]),
        decided_stages=small["requantise_latency"] + rng.choice([1, 2, 5, 12]),
        value_overlap_lines=rng.choice([0, 1, 2, 8, 1 << 24]),
        value_rotation=rng.choice([0, 0, 1, 2, 3]) if layout == "padded" else 0,
        **small,
        **flags,
        layout=layout,
        topk=TopKParams(
            lanes=rng.choice([1, 4, 16]),
            input_width=rng.choice([1, 4, 8, 16]),
            engine=rng.choice(["quick-select", "radix-select", "released-serial"]),
            radix_bits=rng.choice([4, 4, rng.randint(1, 6)]),
            score_bits=12,
            latency=rng.randint(1, 5),
        ),
        dram=_draw_dram(rng, channels),
    )


def _draw_release(rng: random.Random, arch: Arch) -> Arch:
    """The arch with some of what only the released RTL does."""
    padded = arch.layout == "padded" or rng.random() < 0.4
    table, fused = padded and rng.random() < 0.7, padded and rng.random() < 0.7
    return replace(
        arch,
        layout="padded" if padded else "packed",
        fetch_ports=rng.choice([4, 32]) if table else arch.fetch_ports,
        key_ids="index-table" if table else "workload",
        count_rounding=rng.choice([1, 1, 2, 4, 8]) if table else 1,
        shared_value_ids=table and rng.random() < 0.7,
        fused_pairs=fused,
        gqa_share=arch.gqa_share and not (table or fused),
        wide_words=rng.choice(["as they are", "8+4"]),
        cascade_engine=rng.random() < 0.5,
    )


def _draw_dram(rng: random.Random, channels: int) -> Dram:
    ideal = Ideal(
        transaction_bytes=rng.choice([4, 8, 32, 64]), latency=rng.randint(1, 40), outstanding=rng.choice([1, 2, 8, 64])
    )
    flags: dict[str, Any] = {
        "pairing": rng.choice(["by id", "by id", "in order of arrival"]),
        "early_reuse": rng.random() < 0.6,
        "outstanding": rng.choice([1, 4, 16]),
    }
    if rng.random() < 0.6:
        return Dram(kind="ideal", channels=channels, ideal=ideal, **flags)
    device = load_device(
        rng.choice(["hbm2", "hbm2", "hbm2-spatten", "hbm3", "ddr4-3200", "lpddr5-6400", "gddr6-14000"])
    )
    mapping = rng.choice(["PcBgCo", "RoBaRaCoCh", "MOP4CLXOR"])
    return Dram(channels=channels, device=device, mapping=mapping, ideal=ideal, **flags)

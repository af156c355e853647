"""The counters of a run, declared once: name, unit, description; kernel columns and CSV header follow this list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Count(IntEnum):
    """Column of each counter in the kernel's [rows, counters] table."""

    CYCLES = 0
    FETCH_BUSY = 1
    FETCH_CASCADE = 2
    FETCH_LAYER = 3
    FETCH_K_PHASES = 4
    FETCH_WINDOW = 5
    FETCH_REORDER = 6
    FETCH_KEY_SRAM = 7
    FETCH_ADDRESS_FIFO = 8
    FETCH_DATA_FIFO = 9
    QK_BUSY = 10
    QK_WAIT_Q = 11
    QK_WAIT_K = 12
    QK_WAIT_LSB = 13
    QK_SOFTMAX_FULL = 14
    QK_DECISION_FULL = 15
    SOFTMAX_BUSY = 16
    SOFTMAX_DECISION_FULL = 17
    TOPK_BUSY = 18
    PV_BUSY = 19
    PV_WAIT_V = 20
    PV_WAIT_PROBABILITIES = 21
    ACCUMULATOR_BUSY = 22
    CASCADE_BUSY = 23
    TX_Q = 24
    TX_K_MSB = 25
    TX_K_LSB = 26
    TX_V = 27
    TX_OUT = 28
    KEY_SRAM_WRITES = 29
    KEY_SRAM_READS = 30
    VALUE_SRAM_WRITES = 31
    VALUE_SRAM_READS = 32
    MACS_QK = 33
    MACS_PV = 34
    SOFTMAX_ELEMENTS = 35
    IMPORTANCE_UPDATES = 36
    TOPK_PASSES = 37
    TOPK_ELEMENTS = 38
    REFETCHES = 39
    BITS_Q = 40
    BITS_K_MSB = 41
    BITS_K_LSB = 42
    BITS_V = 43
    BITS_OUT = 44
    DRAM_ACTIVATIONS = 45
    DRAM_REFRESHES = 46
    DRAM_BANK_REFRESHES = 47
    DRAM_ROW_HITS = 48
    DRAM_ROW_MISSES = 49
    DRAM_ROW_CONFLICTS = 50
    DRAM_FORWARDED = 51
    DRAM_COALESCED = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """What one counter counts."""

    name: str
    unit: str
    description: str


def _counter(name: str, unit: str, description: str) -> Counter:
    return Counter(name=name, unit=unit, description=description)


COUNTERS: dict[Count, Counter] = {
    Count.CYCLES: _counter("cycles", "cycles", "elapsed: from the end of the row before to the end of this one"),
    Count.FETCH_BUSY: _counter("fetch_busy", "cycles", "fetcher put a row of addresses into the FIFOs"),
    Count.FETCH_CASCADE: _counter(
        "fetch_cascade",
        "cycles",
        "fetcher stalled: cascade top-k that nothing hides",
    ),
    Count.FETCH_LAYER: _counter("fetch_layer", "cycles", "fetcher stalled: layers may not overlap"),
    Count.FETCH_K_PHASES: _counter("fetch_k_phases", "cycles", "fetcher stalled: enough queries in their K phase"),
    Count.FETCH_WINDOW: _counter("fetch_window", "cycles", "fetcher stalled: too many undecided queries"),
    Count.FETCH_REORDER: _counter("fetch_reorder", "cycles", "fetcher stalled: reorder buffer full"),
    Count.FETCH_KEY_SRAM: _counter("fetch_key_sram", "cycles", "fetcher stalled: key SRAM full"),
    Count.FETCH_ADDRESS_FIFO: _counter("fetch_address_fifo", "cycles", "fetcher stalled: a port's address FIFO full"),
    Count.FETCH_DATA_FIFO: _counter("fetch_data_fifo", "cycles", "fetcher stalled: a port's data FIFO full"),
    Count.QK_BUSY: _counter("qk_busy", "cycles", "Q x K multiplied"),
    Count.QK_WAIT_Q: _counter("qk_wait_q", "cycles", "Q x K stalled: query not there"),
    Count.QK_WAIT_K: _counter("qk_wait_k", "cycles", "Q x K stalled: keys not there"),
    Count.QK_WAIT_LSB: _counter("qk_wait_lsb", "cycles", "Q x K stalled: LSB plane not there"),
    Count.QK_SOFTMAX_FULL: _counter("qk_softmax_full", "cycles", "Q x K stalled: softmax FIFO full"),
    Count.QK_DECISION_FULL: _counter("qk_decision_full", "cycles", "Q x K stalled: rows wait for their decision"),
    Count.SOFTMAX_BUSY: _counter("softmax_busy", "cycles", "softmax put out a beat"),
    Count.SOFTMAX_DECISION_FULL: _counter(
        "softmax_decision_full", "cycles", "softmax stalled: rows wait for their decision"
    ),
    Count.TOPK_BUSY: _counter("topk_busy", "cycles", "local V top-k engine occupied"),
    Count.PV_BUSY: _counter("pv_busy", "cycles", "prob x V multiplied"),
    Count.PV_WAIT_V: _counter("pv_wait_v", "cycles", "prob x V stalled: values not there"),
    Count.PV_WAIT_PROBABILITIES: _counter(
        "pv_wait_probabilities", "cycles", "prob x V stalled: probabilities not there"
    ),
    Count.ACCUMULATOR_BUSY: _counter("accumulator_busy", "cycles", "importance accumulator took a beat"),
    Count.CASCADE_BUSY: _counter("cascade_busy", "cycles", "cascade top-k engine occupied"),
    Count.TX_Q: _counter("tx_q", "transactions", "DRAM reads of Q"),
    Count.TX_K_MSB: _counter("tx_k_msb", "transactions", "DRAM reads of K: MSB plane, or the only plane"),
    Count.TX_K_LSB: _counter("tx_k_lsb", "transactions", "DRAM reads of K: LSB plane"),
    Count.TX_V: _counter("tx_v", "transactions", "DRAM reads of V"),
    Count.TX_OUT: _counter("tx_out", "transactions", "DRAM writes of outputs"),
    Count.KEY_SRAM_WRITES: _counter("key_sram_writes", "lines", "key SRAM lines written"),
    Count.KEY_SRAM_READS: _counter("key_sram_reads", "beats", "key SRAM reads, one per busy cycle of Q x K"),
    Count.VALUE_SRAM_WRITES: _counter("value_sram_writes", "lines", "value SRAM lines written"),
    Count.VALUE_SRAM_READS: _counter("value_sram_reads", "beats", "value SRAM reads, one per busy cycle of prob x V"),
    Count.MACS_QK: _counter("macs_qk", "MACs", "multiply-accumulates of Q x K, recomputation included"),
    Count.MACS_PV: _counter("macs_pv", "MACs", "multiply-accumulates of prob x V"),
    Count.SOFTMAX_ELEMENTS: _counter("softmax_elements", "elements", "scores through softmax, recomputation included"),
    Count.IMPORTANCE_UPDATES: _counter("importance_updates", "updates", "probabilities added to token importance"),
    Count.TOPK_PASSES: _counter("topk_passes", "passes", "passes of the top-k engines, local V and cascade"),
    Count.TOPK_ELEMENTS: _counter("topk_elements", "elements", "list elements over all passes, and filtered once"),
    Count.REFETCHES: _counter("refetches", "queries", "queries recomputed with the LSB plane"),
    Count.BITS_Q: _counter("bits_q", "bits", "bits of Q the work needs"),
    Count.BITS_K_MSB: _counter("bits_k_msb", "bits", "bits of the K MSB plane the work needs"),
    Count.BITS_K_LSB: _counter("bits_k_lsb", "bits", "bits of the K LSB plane the work needs"),
    Count.BITS_V: _counter("bits_v", "bits", "bits of V the work needs"),
    Count.BITS_OUT: _counter("bits_out", "bits", "bits of output written"),
    Count.DRAM_ACTIVATIONS: _counter("dram_activations", "commands", "DRAM rows activated"),
    Count.DRAM_REFRESHES: _counter("dram_refreshes", "commands", "DRAM all-bank refreshes"),
    Count.DRAM_BANK_REFRESHES: _counter("dram_bank_refreshes", "commands", "DRAM per-bank refreshes"),
    Count.DRAM_ROW_HITS: _counter("dram_row_hits", "transactions", "DRAM transactions that found their row open"),
    Count.DRAM_ROW_MISSES: _counter("dram_row_misses", "transactions", "DRAM transactions that found no row open"),
    Count.DRAM_ROW_CONFLICTS: _counter(
        "dram_row_conflicts", "transactions", "DRAM transactions that found another row"
    ),
    Count.DRAM_FORWARDED: _counter("dram_forwarded", "transactions", "reads served from a queued write"),
    Count.DRAM_COALESCED: _counter("dram_coalesced", "transactions", "writes absorbed by a queued write"),
}

"""What each setting acts on directly: the figures to look at first when it is what differs.

A figure is a counter, bytes moved of a kind, energy of a part, or time; names as in `diff`. A setting acts on more
through the pipeline (every stall moves a little when a queue grows); what it acts on first is its own module, and
those that wait for it.
"""

from __future__ import annotations

from sparcade.energy import PARTS

_K = ("bytes_k_msb", "bytes_k_lsb", "bits_k_msb", "bits_k_lsb", "energy_dram_joules")
_V = ("bytes_v", "bits_v", "energy_dram_joules")
_Q = ("bytes_q", "bits_q", "bytes_out", "bits_out", "energy_dram_joules")
_DRAM_COUNTS = (
    "dram_activations",
    "dram_refreshes",
    "dram_bank_refreshes",
    "dram_row_hits",
    "dram_row_misses",
    "dram_row_conflicts",
    "dram_forwarded",
    "dram_coalesced",
    "energy_dram_joules",
)
_WAITS = ("qk_wait_q", "qk_wait_k", "qk_wait_lsb", "pv_wait_v", "fetch_address_fifo", "fetch_data_fifo")
_SCORES = ("macs_qk", "qk_busy", "softmax_elements", "softmax_busy", "energy_qk_joules", "energy_softmax_joules")
_PV = ("macs_pv", "pv_busy", "energy_pv_joules")
_CASCADE = ("cascade_busy", "fetch_cascade")
_TOPK = ("topk_busy", "topk_passes", "topk_elements", "energy_topk_joules")
_DECISION = ("fetch_window", "qk_decision_full", "softmax_decision_full", "qk_wait_lsb")
_LINES = ("key_sram_writes", "value_sram_writes", "energy_key_sram_joules", "energy_value_sram_joules")
_ENERGY = tuple(f"energy_{part}_joules" for part in PARTS)
_KEY_BUFFER = ("fetch_key_sram", "qk_wait_k", "energy_leakage_joules")
_VALUE_BUFFER = ("pv_wait_v", "fetch_data_fifo", "energy_leakage_joules")
_DATAPATH = ("qk_busy", "softmax_busy", "pv_busy", "accumulator_busy", "key_sram_reads", "value_sram_reads")
_TRAFFIC = (*_K, *_V, *_Q)
_PRUNING = (*_TRAFFIC, *_SCORES, *_PV, *_CASCADE, *_TOPK)

#: Figures by the beginning of a setting's name; the longest that fits counts.
ACTS_ON: dict[str, tuple[str, ...]] = {
    "workload": _PRUNING,
    "policy": (*_PRUNING, "importance_updates", "refetches"),
    "policy.tokens": (*_K, *_V, *_SCORES, *_PV, *_CASCADE, "topk_passes", "topk_elements", "importance_updates"),
    "policy.heads": (*_TRAFFIC, *_SCORES, *_PV, *_CASCADE),
    "policy.local_v": (*_V, *_PV, *_TOPK, "value_sram_writes", "energy_value_sram_joules", "pv_wait_probabilities"),
    "policy.progressive": (*_K, *_SCORES, *_DECISION, "refetches"),
    "policy.bits": (*_K, *_V),
    "clock_ghz": ("seconds", *_WAITS, "energy_leakage_joules", "energy_dram_joules"),
    "multipliers": (*_DATAPATH, *_LINES, "energy_leakage_joules"),
    "max_scores_per_cycle": (*_DATAPATH, "pv_wait_probabilities"),
    "gqa_share": (*_K, *_V),
    "layers_overlap": ("fetch_layer",),
    "fetch_queries": ("bytes_q", "bits_q", "qk_wait_q"),
    "write_outputs": ("bytes_out", "bits_out"),
    "layout": (*(figure for figure in _TRAFFIC if figure.startswith("bytes")), "energy_dram_joules"),
    "k_phases": ("fetch_k_phases",),
    "decision_queries": _DECISION,
    "issue_latency": ("fetch_k_phases", "qk_wait_q", "qk_wait_k"),
    "phase_gap": ("fetch_k_phases",),
    "requantise_latency": (*_DECISION, "fetch_key_sram"),
    "key_free_latency": ("fetch_key_sram",),
    "live_allocations": (*_KEY_BUFFER, *_VALUE_BUFFER),
    "line_rounding": (*_KEY_BUFFER, *_VALUE_BUFFER),
    "fetch_ports": ("fetch_busy", *_WAITS),
    "address_fifo": ("fetch_address_fifo",),
    "data_fifo": ("fetch_data_fifo",),
    "crossbar": _WAITS,
    "fifo_latency": _WAITS,
    "realign_rows": _WAITS,
    "converter_lines": _WAITS,
    "convert_latency": _WAITS,
    "read_latency": ("qk_wait_q", "qk_wait_k", "fetch_k_phases"),
    "read_retry": ("qk_wait_k", "qk_wait_lsb", "pv_wait_v"),
    "qk_latency": ("softmax_busy", "fetch_layer", "pv_wait_probabilities"),
    "decision_latency": _DECISION,
    "decision_maxima": _DECISION,
    "decision_skid": _DECISION,
    "decided_stages": _DECISION,
    "reorder_recomputed": ("fetch_reorder", *_DECISION),
    "reorder_latency": ("pv_wait_probabilities", "fetch_reorder"),
    "reorder_beats": ("fetch_reorder",),
    "pv_start": ("pv_wait_v", "pv_wait_probabilities"),
    "pv_latency": ("fetch_layer",),
    "probability_fifo": ("pv_wait_probabilities",),
    "probability_latency": ("pv_wait_probabilities",),
    "value_overlap_lines": _VALUE_BUFFER,
    "cascade_engine": _CASCADE,
    "count_rounding": (*_TRAFFIC, *_SCORES, *_PV),
    "wide_words": (*_K, *_V, "refetches", *_DECISION),
    "fused_pairs": _K,
    "split_register": ("fetch_busy", "fetch_address_fifo"),
    "key_ids": (*_WAITS, *_DRAM_COUNTS),
    "share_lsb": ("bytes_k_lsb", "bits_k_lsb"),
    "shared_value_ids": (*_V, *_DRAM_COUNTS),
    "value_rotation": (*_WAITS, *_DRAM_COUNTS),
    "key_sram": _KEY_BUFFER,
    "value_sram": _VALUE_BUFFER,
    "softmax": ("softmax_busy", "qk_softmax_full", "pv_wait_probabilities", "fetch_layer"),
    "topk": (*_TOPK, *_CASCADE, "pv_wait_probabilities"),
    "dram": (*_DRAM_COUNTS, *_WAITS, *(figure for figure in _TRAFFIC if figure.startswith("bytes"))),
    "energy": _ENERGY,
    "profile.energy.mac": ("energy_qk_joules", "energy_pv_joules"),
    "profile.energy.softmax": ("energy_softmax_joules",),
    "profile.energy.softmax_fifo": ("energy_softmax_joules",),
    "profile.energy.fifo": ("energy_fetch_joules",),
    "profile.energy.crossbar": ("energy_fetch_joules",),
    "profile.energy.topk": ("energy_topk_joules",),
    "profile.energy.topk_fifo": ("energy_topk_joules",),
    "profile.energy.importance": ("energy_importance_joules",),
    "profile.energy.importance_sram": ("energy_importance_joules",),
    "profile.energy.logic_leakage": ("energy_leakage_joules",),
    "profile.energy.control": ("energy_control_joules",),
    "profile.energy.control_sram": ("energy_control_joules",),
    "profile.sram": ("energy_key_sram_joules", "energy_value_sram_joules", "energy_leakage_joules"),
    "profile.dram": ("energy_dram_joules",),
}


def acts_on(setting: str) -> tuple[str, ...]:
    """Figures a setting acts on directly; none for one that acts on everything, such as a version."""
    parts = setting.split(".")
    for length in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:length])) in ACTS_ON:
            return tuple(dict.fromkeys(ACTS_ON[prefix]))
    return ()

"""Table I: what we build in, beside what the paper lists."""

from __future__ import annotations

from sparcade.arch import load_arch
from sparcade.paper.comparison import Row, Table, assumed
from sparcade.paper.published import number


def design_table() -> Table:
    """Every entry is a parameter of the preset `spatten`."""
    arch = load_arch("spatten")
    device = arch.dram.device
    sram_kb = {
        name: buffer.lines * arch.multipliers * 12 / 8 / 1000
        for name, buffer in (("key_sram", arch.key_sram), ("value_sram", arch.value_sram))
    }
    ours: dict[str, float | str] = {
        "qkv_fetcher_address_xbar": f"{arch.fetch_ports}x{arch.dram.channels}",
        "qkv_fetcher_data_xbar": f"{arch.dram.channels}x{arch.fetch_ports}",
        "xbar_port_fifo_depth": arch.address_fifo,
        **sram_kb,
        "multipliers_QxK": arch.multipliers,
        "multipliers_probxV": arch.multipliers,
        "adder_tree_max_outputs_per_cycle": arch.max_scores_per_cycle,
        "softmax_fifo_depth": arch.softmax.fifo_beats,
        "softmax_parallelism": arch.max_scores_per_cycle,
        "hbm_channels": arch.dram.channels,
        "hbm_bw_per_channel": device.peak_gbps,
        "hbm_pseudochannels_per_channel": device.organisation.pseudo_channels,
    }
    comments = {
        "key_sram": "256 lines x 512 words x 12 bit; 192 KiB",
        "value_sram": "256 lines x 512 words x 12 bit; 192 KiB",
        "hbm_channel_width": "a 32-byte transaction a cycle at 1 GHz: the product of width and rate",
        "hbm_rate": "a 32-byte transaction a cycle at 1 GHz: the product of width and rate",
    }
    ours |= {"hbm_channel_width": 128.0, "hbm_rate": device.peak_gbps * 8 / 128}
    rows: list[Row] = [
        assumed(number("Table I", name), value, comments.get(name, "parameter of the preset"))
        for name, value in ours.items()
    ]
    return Table(
        key="table1", title="Table I: the design", rows=tuple(rows), notes=("Inputs of every run, not results.",)
    )

"""`fc`: cycles, bytes and operations of fully connected layers on the arrays of attention (docs/e2e.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade.accelerator.counters import COUNTERS
from sparcade.arch import Arch
from sparcade.e2e.model import FcModel
from sparcade.e2e.stream import Stream, measure_stream
from sparcade.errors import ConfigError

Ints = npt.NDArray[np.int64]
#: Width of activations in DRAM and of words in the buffers.
ACTIVATION_BITS = 12
#: What is counted for each layer-step, behind the columns of `sparcade.e2e.steps`.
COUNTED = (
    "macs",
    "weight_bytes",
    "input_bytes",
    "output_bytes",
    "weight_transactions",
    "input_transactions",
    "output_transactions",
    "weight_lines",
    "input_lines",
    "compute_cycles",
    "stream_cycles",
    "cycles",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FcRun:
    """The FC part of a model on one arch."""

    model: FcModel
    arch: Arch
    stream: Stream
    table: pd.DataFrame  #: [layer-steps] int64 COLUMNS of `sparcade.e2e.steps` and COUNTED

    @property
    def cycles(self) -> int:
        """Elapsed core cycles."""
        return int(self.table["cycles"].sum())

    @property
    def flop(self) -> int:
        """Operations: 2 for each multiply-accumulate."""
        return 2 * int(self.table["macs"].sum())

    def total(self, phase: str | None = None) -> dict[str, int]:
        """Sums of COUNTED over all layer-steps, or those of "prefill" or "decode"."""
        table = self.table if phase is None else self.table[(self.table["step"] == 0) == (phase == "prefill")]
        return {name: int(table[name].sum()) for name in COUNTED}

    def counters(self, phase: str | None = None) -> dict[str, int]:
        """The same in the counters of an attention run, for `sparcade.energy`.

        Each array does half of the MACs, each of which reads one buffer word, as in attention. Weights pass the key
        buffer, inputs the value buffer. DRAM commands are those of the measured stream, by transaction; refreshes by
        elapsed time.
        """
        total, stream = self.total(phase), self.stream
        moved = total["weight_transactions"] + total["input_transactions"] + total["output_transactions"]
        return dict.fromkeys((counter.name for counter in COUNTERS.values()), 0) | {
            "cycles": total["cycles"],
            "macs_qk": total["macs"] - total["macs"] // 2,
            "macs_pv": total["macs"] // 2,
            "key_sram_writes": total["weight_lines"],
            "value_sram_writes": total["input_lines"],
            "tx_k_msb": total["weight_transactions"],
            "tx_q": total["input_transactions"],
            "tx_out": total["output_transactions"],
            "bits_k_msb": total["weight_bytes"] * 8,
            "bits_q": total["input_bytes"] * 8,
            "bits_out": total["output_bytes"] * 8,
            "dram_activations": round(moved * stream.activations / stream.transactions),
            "dram_refreshes": round(total["cycles"] * stream.refreshes / stream.cycles),
            "dram_bank_refreshes": round(total["cycles"] * stream.bank_refreshes / stream.cycles),
        }


def fc(model: FcModel, arch: Arch, steps: pd.DataFrame, stream: Stream | None = None) -> FcRun:
    """Time the FC part of layer-steps: each takes the longer of its multiplications and its DRAM stream.

    Parameters
    ----------
    steps : of `generation` (no attention run needed) or `layer_steps`.
    stream : measured on this arch, to be used again; None measures it.

    Raises
    ------
    ConfigError
        When a token's inputs or a row of weights do not fit a buffer, or the weights the DRAM.
    """
    _check_capacity(model, arch)
    stream = stream or measure_stream(arch)
    tokens, heads, kv_heads, layer = (
        steps[name].to_numpy(np.int64) for name in ("tokens", "heads", "kv_heads", "layer")
    )
    is_layer = layer < model.layers
    matrices = {
        name: (np.where(is_layer, inputs, 0), np.where(is_layer, outputs, 0))
        for name, (inputs, outputs) in model.matrices(heads, kv_heads).items()
    }
    matrices["lm_head"] = (
        np.where(is_layer, 0, model.hidden),
        np.where(is_layer, 0, model.vocabulary),
    )
    sums: dict[str, Ints] = {name: np.zeros(len(steps), np.int64) for name in COUNTED}
    for inputs, outputs in matrices.values():
        for name, counts in _matrix(inputs, outputs, tokens, model, arch).items():
            sums[name] += counts
    moved = sums["weight_transactions"] + sums["input_transactions"] + sums["output_transactions"]
    sums["stream_cycles"] = stream.cycles_of(moved)
    sums["cycles"] = np.maximum(sums["compute_cycles"], sums["stream_cycles"])
    return FcRun(model=model, arch=arch, stream=stream, table=steps.assign(**sums))


def _check_capacity(model: FcModel, arch: Arch) -> None:
    """The weights of all layers fit the DRAM; the `ideal` memory has no end."""
    one = np.ones(1, np.int64)
    layer = model.matrices(one * model.heads, one * (model.kv_heads or model.heads))
    weights = model.layers * sum(int((inputs * outputs)[0]) for inputs, outputs in layer.values())
    need = (weights + model.hidden * model.vocabulary) * model.weight_bits // 8
    have = arch.dram.channels * arch.dram.device.organisation.channel_bytes
    if arch.dram.kind == "controller" and need > have:
        raise ConfigError(
            "the weights do not fit the DRAM",
            where=f"arch {arch.name!r}: dram.channels",
            expected=f"at most {have >> 20:,} MiB ({arch.dram.channels} channels of {arch.dram.device.name!r})",
            got=f"{-(-need >> 20):,} MiB of weights",
            remedy="--set dram.channels=N with more channels, or a larger device",
        )


def _matrix(inputs: Ints, outputs: Ints, tokens: Ints, model: FcModel, arch: Arch) -> dict[str, Ints]:
    """Counts of one matrix in each layer-step; a matrix without inputs or outputs costs nothing."""
    size, line = arch.dram.transaction_bytes, arch.multipliers
    weights = inputs * outputs
    used = weights > 0
    tile = np.maximum(1, _tile(inputs, arch))
    passes = np.where(used, -(-tokens // tile), 0)
    bits = weights * model.weight_bits
    read, written = (np.where(used, tokens * width, 0) for width in (inputs, outputs))
    return {
        "macs": weights * tokens,
        "weight_bytes": passes * -(-bits // 8),
        "input_bytes": -(-read * ACTIVATION_BITS // 8),
        "output_bytes": -(-written * ACTIVATION_BITS // 8),
        "weight_transactions": passes * -(-bits // (8 * size)),
        "input_transactions": -(-read * ACTIVATION_BITS // (8 * size)),
        "output_transactions": -(-written * ACTIVATION_BITS // (8 * size)),
        "weight_lines": passes * -(-weights // line),
        "input_lines": -(-read // line),
        "compute_cycles": tokens * -(-weights // (2 * line)),
    }


def _tile(inputs: Ints, arch: Arch) -> Ints:
    """Tokens whose inputs the value buffer holds at once, for matrices of so many inputs (0: none)."""
    longest = int(inputs.max(initial=0))
    for name, lines in (("key_sram.lines", arch.key_sram.lines // 2), ("value_sram.lines", arch.value_sram.lines)):
        if longest > lines * arch.multipliers:
            raise ConfigError(
                "a fully connected layer is wider than a buffer",
                where=f"arch {arch.name!r}: {name}",
                expected="a row of weights, twice, in the key buffer and a token's inputs in the value buffer",
                got=f"{longest} inputs for {lines} lines of {arch.multipliers} words",
                remedy=f"--set {name}=N with more lines",
            )
    return arch.value_sram.lines * arch.multipliers // np.maximum(1, inputs)

"""`end_to_end`: an attention run and the FC part of the same steps, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sparcade.accelerator.result import RunResult, bytes_moved
from sparcade.e2e.fc import FcRun, fc
from sparcade.e2e.model import FcModel
from sparcade.e2e.steps import generation, layer_steps
from sparcade.e2e.stream import Stream
from sparcade.energy import EnergyProfile, elapsed_seconds, energy_joules, load_profile
from sparcade.errors import ConfigError
from sparcade.workload import Workload

SCHEMA = "sparcade.e2e"
SCHEMA_VERSION = 1
PHASES = ("prefill", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Attention and FC layers of a model on one arch; nothing overlaps between the two."""

    run: RunResult  #: attention
    fc: FcRun
    profile: EnergyProfile
    prompt: int = 0  #: tokens whose FC work was added; their attention was not

    @property
    def cycles(self) -> int:
        """Elapsed core cycles."""
        return self.run.cycles + self.fc.cycles

    @property
    def seconds(self) -> float:
        """Elapsed time [s]."""
        return self.cycles / (self.run.arch.clock_ghz * 1e9)

    @property
    def phases(self) -> list[str]:
        """The phases that there are."""
        steps = self.fc.table["step"]
        return [name for name in PHASES if ((steps == 0) == (name == "prefill")).any()]

    def part(self, phase: str | None = None) -> dict[str, dict[str, Any]]:
        """Cycles, seconds, bytes, FLOP, bandwidth and energy of "fc" and "attention", in a phase or in total."""
        total = self.fc.total(phase)
        attention = self.run.total(None if phase is None else self.run.phase(phase))
        fc_moved = sum(total[f"{kind}_transactions"] for kind in ("weight", "input", "output"))
        return {
            "fc": {
                "flop": 2 * total["macs"],
                "weight_bytes": total["weight_bytes"],
                "compute_cycles": total["compute_cycles"],
                "stream_cycles": total["stream_cycles"],
                **self._figures(self.fc.counters(phase), fc_moved * self.run.arch.dram.transaction_bytes),
            },
            "attention": {
                "flop": 2 * (attention["macs_qk"] + attention["macs_pv"]),
                **self._figures(attention, bytes_moved(attention, self.run.arch)),
            },
        }

    def _figures(self, counters: dict[str, int], moved: int) -> dict[str, Any]:
        seconds = elapsed_seconds(counters, self.run.arch)
        energy = energy_joules(counters, arch=self.run.arch, profile=self.profile)
        return {
            "cycles": counters["cycles"],
            "seconds": seconds,
            "bytes_moved": moved,
            "achieved_gbps": moved / seconds / 1e9 if seconds else 0.0,
            "energy_joules": energy,
            "energy_total_joules": sum(energy.values()),
        }

    def frame(self) -> pd.DataFrame:
        """Per phase and layer (the LM head behind the last): tokens, FC counts as `fc_*`, attention cycles and bytes.

        `tokens` is their sum over the steps.
        """
        table = self.fc.table.assign(phase=self.fc.table["step"].map(lambda step: PHASES[step > 0]))
        named = {name: f"fc_{name}" for name in ("macs", "weight_bytes", "compute_cycles", "stream_cycles", "cycles")}
        ours = table.groupby(["phase", "layer"], as_index=False)[["tokens", *named]].sum().rename(columns=named)
        attention = self.run.frame("phase", "layer")
        size = self.run.arch.dram.transaction_bytes
        theirs = pd.DataFrame(
            {
                "phase": attention["phase"],
                "layer": attention["layer"].astype("int64"),
                "attention_macs": attention["macs_qk"] + attention["macs_pv"],
                "attention_bytes": attention[[f"tx_{kind}" for kind in ("q", "k_msb", "k_lsb", "v", "out")]].sum(axis=1)
                * size,
                "attention_cycles": attention["cycles"],
            }
        )
        joined = ours.merge(theirs, on=["phase", "layer"], how="left").fillna(0)
        counts = [name for name in joined.columns if name != "phase"]
        return joined.astype(dict.fromkeys(counts, "int64")).sort_values(
            ["phase", "layer"], ascending=[False, True], ignore_index=True
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain, deterministic tables."""
        model, arch, shape = self.fc.model, self.run.arch, self.run.workload.shape
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "workload": {"name": shape.name, "policy": shape.policy, "content_hash": self.run.workload.content_hash},
            "arch": arch.to_dict(),
            "model": {name: getattr(model, name) for name in model.__slots__},
            "prompt": self.prompt,
            "stream_gbps": self.fc.stream.gbps(arch),
            "cycles": self.cycles,
            "seconds": self.seconds,
            "total": self.part(),
            "phases": {phase: self.part(phase) for phase in self.phases},
            "layers": self.frame().to_dict("records"),
        }


def end_to_end(
    run: RunResult,
    weight_bits: int = 8,
    *,
    ffn: int | None = None,
    gated: bool = False,
    vocabulary: int = 0,
    prompt: int = 0,
    prune_heads: bool = False,
    stream: Stream | None = None,
    profile: EnergyProfile | None = None,
) -> EndToEnd:
    """The FC layers of the model whose attention was timed, on the same arch.

    Parameters
    ----------
    ffn, gated, vocabulary : see `FcModel`.
    prompt : tokens of a prompt whose FC work comes on top, for a workload without prefill; its attention does not.
    prune_heads : see `layer_steps`.
    stream : measured on this arch, to be used again.

    Raises
    ------
    ConfigError
        For a width or size that the hardware cannot do, or a prompt beside a prefill.
    """
    workload = run.workload
    model = FcModel.of(workload.shape, weight_bits=weight_bits, ffn=ffn, gated=gated, vocabulary=vocabulary)
    steps = layer_steps(workload, model, prune_heads=prune_heads)
    steps = pd.concat([prompt_steps(workload, model, prompt), steps], ignore_index=True)
    return EndToEnd(run=run, fc=fc(model, run.arch, steps, stream), profile=profile or load_profile(), prompt=prompt)


def prompt_steps(workload: Workload, model: FcModel, prompt: int) -> pd.DataFrame:
    """The layer-steps of a prompt that a workload does not have; none for 0 tokens.

    Raises
    ------
    ConfigError
        For a negative number of tokens, or a workload with a prefill of its own.
    """
    if prompt < 0 or (prompt and (workload.rows["step"] == 0).any()):
        raise ConfigError(
            "the prompt cannot be added",
            where=f"prompt = {prompt} with workload {workload.shape.name!r}",
            expected="1 or more tokens, and a workload of decode steps alone; 0 for none",
            got="a workload with its prefill" if prompt > 0 else str(prompt),
            remedy="leave the prompt out",
        )
    return generation(model, prompt=prompt)

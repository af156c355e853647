"""`ablation_steps`: the features of SpAtten added one after the other, as workloads and archs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sparcade.ablation import tables
from sparcade.arch import Arch
from sparcade.workload import Workload

#: Name and label of each step, in order (SpAtten, Fig. 20).
STEPS = {
    "datapath": "dedicated datapath",
    "token-pruning": "+ token and local V",
    "head-pruning": "+ head pruning",
    "topk-engine": "+ parallel top-k",
    "static-quantization": "+ static quant.",
    "progressive-quantization": "+ progressive quant.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationStep:
    """A step with what it runs."""

    name: str
    workload: Workload
    arch: Arch

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return STEPS[self.name]


def ablation_steps(workload: Workload, arch: Arch) -> tuple[AblationStep, ...]:
    """From a dense 32-bit workload on an arch whose top-k engines have one lane, to the workload on the arch.

    Each step differs from the one before in its feature alone; a feature that the workload does not have changes
    nothing. The last is the workload itself. Pruned heads are put back as copies of others (`tables.with_all_heads`);
    the ids that the tokens kept have are those of the workload in all steps.
    """
    serial = dataclasses.replace(arch, topk=dataclasses.replace(arch.topk, lanes=1))
    wide = tables.with_words(workload, wide=True)
    work = {
        "datapath": (tables.dense(workload), serial),
        "token-pruning": (tables.with_all_heads(wide), serial),
        "head-pruning": (wide, serial),
        "topk-engine": (wide, arch),
        "static-quantization": (tables.with_words(workload, wide=False), arch),
        "progressive-quantization": (workload, arch),
    }
    return tuple(
        AblationStep(name=name, workload=each if each is workload else _named(each, name), arch=machine)
        for name, (each, machine) in work.items()
    )


def _named(workload: Workload, step: str) -> Workload:
    """The workload with the step in its provenance."""
    shape = workload.shape
    settings = {**shape.policy_settings, "ablation_step": step}
    return dataclasses.replace(workload, shape=dataclasses.replace(shape, policy_settings=settings))

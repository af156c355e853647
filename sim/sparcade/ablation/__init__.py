"""Ablation: what each feature of SpAtten brings on any workload, one added after the other (docs/ablation.md)."""

from sparcade.ablation.run import Ablation, ablate
from sparcade.ablation.steps import AblationStep, ablation_steps

__all__ = ["Ablation", "AblationStep", "ablate", "ablation_steps"]

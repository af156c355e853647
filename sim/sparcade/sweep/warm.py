"""Imported by the default pool's server before it forks workers: they find the simulator and its kernels loaded."""

from sparcade.accelerator import simulate
from sparcade.arch import load_arch
from sparcade.sweep import worker  # noqa: F401  what workers run
from sparcade.workload import generate

simulate(generate("small"), load_arch("spatten"))

"""The runs that the tables are made from: each once, in worker processes, its counters kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from typing import Any, cast

from sparcade.ablation import ablation_steps
from sparcade.accelerator import simulate
from sparcade.accelerator.bounds import bound_cycles
from sparcade.accelerator.result import KINDS, bits_needed, bytes_moved
from sparcade.arch import Arch, load_arch
from sparcade.baselines import table_iii
from sparcade.bundled import bundled_trace
from sparcade.evaluation import KV, dense_kv_bits
from sparcade.policy import SpAtten, load_policy
from sparcade.sweep.executors import default_executor
from sparcade.trace import AttentionTrace
from sparcade.workload import generate
from sparcade.workload.definitions import Decoder, find_definition, workload_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run: a benchmark by name on an arch with settings."""

    workload: str
    arch: str = "spatten"
    settings: tuple[str, ...] = ()
    step: str = ""  #: of the ablation, "" for the workload as it is

    def load_arch(self) -> Arch:
        """The arch with its settings."""
        return load_arch(self.arch, self.settings)

    @property
    def weight(self) -> float:
        """Roughly its time, to start long ones first."""
        work = find_definition(self.workload).work
        if not isinstance(work, Decoder):
            return work.layers * work.heads * work.tokens / 1000
        slow = {"datapath": 20, "token-pruning": 6, "head-pruning": 6, "topk-engine": 3}.get(self.step, 1)
        slow *= 3 if "eighth" in self.arch or "topk.lanes=1" in self.settings else 1
        return work.layers * work.heads * work.generated * slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run leaves behind: its counters, and what else the tables read of it."""

    task: Task
    counters: dict[str, int]
    bounds: dict[str, int]  #: least cycles of each module
    rows: int  #: heads of layers of steps that were computed
    queries: int
    dense_elements: int  #: K and V elements that a dense run of the same steps fetches

    @property
    def cycles(self) -> int:
        """Elapsed cycles, all at 1 GHz: also nanoseconds."""
        return self.counters["cycles"]

    @property
    def operations(self) -> int:
        """Executed multiply-accumulates, twice; recomputation included."""
        return 2 * (self.counters["macs_qk"] + self.counters["macs_pv"])

    @property
    def tflops(self) -> float:
        """Executed operations over time."""
        return self.operations / self.cycles / 1e3

    def moved(self, *kinds: str) -> int:
        """DRAM bytes of whole transactions, of all kinds by default."""
        return bytes_moved(self.counters, self.task.load_arch(), kinds or KINDS)

    @property
    def kv_bytes(self) -> float:
        """K and V bytes that the work needs, without padding."""
        return bits_needed(self.counters, KV) / 8

    @property
    def vector_reduction(self) -> float:
        """K and V vectors of a dense run over the vectors fetched, LSB planes not counted again."""
        key, value = self._widths()
        return self.dense_elements / (self.counters["bits_k_msb"] / key + self.counters["bits_v"] / value)

    @property
    def head_reduction(self) -> float:
        """Heads of all layers and steps over those that were left."""
        work = find_definition(self.task.workload).work
        steps = work.generated if isinstance(work, Decoder) else 1
        return steps * work.layers * work.heads / self.rows

    @property
    def dense_operations(self) -> int:
        """Operations of a dense run of the same steps."""
        work = find_definition(self.task.workload).work
        return 2 * self.dense_elements * (1 if isinstance(work, Decoder) else work.tokens)

    def _widths(self) -> tuple[int, int]:
        """Bits of the K plane that is always fetched, and of V."""
        work = find_definition(self.task.workload).work
        if isinstance(work, Decoder):
            return work.key_bits, work.value_bits
        bits = cast(SpAtten, load_policy(work.policy)).config.bits
        return bits, bits

    @property
    def intensity(self) -> float:
        """Executed operations per DRAM byte, Q, K, V and outputs."""
        return self.operations / self.moved()

    @property
    def reduction_fp32(self) -> float:
        """K and V bits of a dense run with 32-bit words over the bits needed."""
        return self.dense_elements * 4 / self.kv_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A design of Table III on a trace, by two operations per multiply-accumulate of the dense work."""

    name: str
    method: str
    effective_gops: float
    time_over_subject: float


class Runs:
    """Finished runs by task; a task that was left out gives None."""

    def __init__(self, found: Iterable[Measured], rivals: Mapping[str, tuple[Rival, ...]] | None = None) -> None:
        self._found = {each.task: each for each in found}
        self.rivals = dict(rivals or {})  #: by trace

    def find(self, workload: str, arch: str = "spatten", *settings: str, step: str = "") -> Measured | None:
        """The run of a benchmark, or of the one with the same work."""
        return self._found.get(task_of(workload, arch, *settings, step=step))

    def __len__(self) -> int:
        return len(self._found)


def task_of(workload: str, arch: str = "spatten", *settings: str, step: str = "") -> Task:
    """The task of a benchmark; sets without a setting of their own have the same work, and so one run."""
    work = find_definition(workload).work
    same = next(name for name in workload_names() if find_definition(name).work == work)
    return Task(workload=same, arch=arch, settings=settings, step=step)


def measure(task: Task) -> Measured:
    """Generate the workload (seed 0) and simulate it."""
    workload, arch = generate(task.workload), task.load_arch()
    if task.step:
        steps = {each.name: each for each in ablation_steps(workload, arch)}
        workload, arch = steps[task.step].workload, steps[task.step].arch
    run = simulate(workload, arch)
    return Measured(
        task=task,
        counters=run.total(),
        bounds=bound_cycles(run),
        rows=len(run.workload.rows),
        queries=len(run.workload.queries),
        dense_elements=dense_kv_bits(run, None),
    )


def measure_rivals(trace: str) -> tuple[Rival, ...]:
    """A3 and MnnFast on a bundled trace, from its tensors, beside our simulated run on an eighth of the design."""
    rows, _ = table_iii(AttentionTrace.load(bundled_trace(trace)))
    return tuple(
        Rival(
            name=row.name,
            method=row.record.method,
            effective_gops=row.effective_gops,
            time_over_subject=row.time_over_subject,
        )
        for row in rows
    )


def measure_all(
    tasks: Iterable[Task],
    *,
    workers: int,
    traces: Iterable[str] = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Runs:
    """All runs, each once, the long ones first; equal for any number of workers.

    Parameters
    ----------
    traces : bundled traces on which the other designs are computed.
    """
    order = sorted(dict.fromkeys(tasks), key=lambda task: -task.weight)
    with default_executor(workers) as pool:
        runs = [pool.submit(measure, task) for task in order]
        rivals = {trace: pool.submit(measure_rivals, trace) for trace in traces}
        waiting: list[Future[Any]] = [*runs, *rivals.values()]
        for count, future in enumerate(as_completed(waiting), 1):
            future.result()
            progress(count / len(waiting))
    return Runs((run.result() for run in runs), {trace: each.result() for trace, each in rivals.items()})

"""Cycle counts measured on the released RTL, case by case and response by response."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparcade.accelerator import simulate
from sparcade.accelerator.reference import RETRY_CYCLES, TOLERANCE, Comparison, compare, plan_requests, requests_of
from sparcade.accelerator.result import KINDS
from sparcade.accelerator.simulate import run_plan
from sparcade.accelerator.state import State
from sparcade.arch import Arch, load_arch
from sparcade.dram.port import locate
from sparcade.errors import WorkloadError
from sparcade.workload import import_csv

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "rtl_reference"


@pytest.fixture(scope="module")
def cases() -> list[Comparison]:
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data in {REFERENCE}")
    return list(compare(REFERENCE, most_requests=100))


@pytest.mark.reference
@pytest.mark.parametrize(("memory", "exact", "accepted"), [("ideal", 247, 2465), ("hbm2-spatten", 244, 2411)])
def test_every_case_is_within_tolerance_and_most_are_exact(
    cases: list[Comparison], memory: str, exact: int, accepted: int
) -> None:
    mine = [case for case in cases if case.memory == memory]
    assert len(mine) == 256
    assert [case.case for case in mine if not case.within] == []
    assert sum(case.difference == 0 for case in mine) >= exact
    assert sum(case.accepted_exactly for case in mine) >= accepted


@pytest.mark.reference
def test_single_requests_batches_and_equal_sequences_on_ideal_memory_are_exact(cases: list[Comparison]) -> None:
    equal = ("one_", "batch", "small", "seq")
    mine = [case for case in cases if case.memory == "ideal" and case.case.startswith(equal)]
    assert len(mine) == 198
    assert [case.case for case in mine if (case.responses != case.rtl_responses).any()] == []
    assert [case.case for case in mine if (case.accepted != case.rtl_accepted).any()] == []


@pytest.mark.reference
def test_every_listed_dram_read_is_sent_in_the_very_cycle() -> None:
    """All logs of the reference, on both memories, transaction by transaction."""
    logs = sorted((REFERENCE / "dram_requests").glob("*.csv.gz"))
    if not logs:
        pytest.skip(f"no reference data in {REFERENCE}")
    for path in logs:
        case, name, memory = path.name.removesuffix(".csv.gz").split("__")
        arch = load_arch(name, ["dram.kind=ideal"] if memory == "ideal" else [])
        channels, size = arch.dram.channels, arch.dram.transaction_bytes
        taken, state = dram_reads(REFERENCE / "cases" / f"{case}.csv.gz", arch)
        want = []
        for line in gzip.decompress(path.read_bytes()).decode().split()[1:]:
            cycle, channel, within = (int(field, 16 if field.startswith("0x") else 10) for field in line.split(","))
            want.append((cycle, channel, locate(state.memory, within * channels + channel * size)[0]))
        assert sorted(taken) == sorted(want), path.name


def dram_reads(requests: Path, arch: Arch) -> tuple[list[tuple[int, int, int]], State]:
    """(cycle from the first acceptance, channel, place) of what each channel takes from its register; the end state."""
    taken: list[tuple[int, int, int]] = []
    channels = range(arch.dram.channels)
    queued, place, sent = ([0 for _ in channels] for _ in range(3))

    def watch(cycle: int, state: State) -> None:
        for channel in channels:
            now, total = int(state.memory.fifos.queued[channel]), int(state.channels.sent_tail[channel])
            if queued[channel] + total - sent[channel] > now:
                taken.append((cycle - 1, channel, place[channel]))
            queued[channel], sent[channel] = now, total
            place[channel] = int(state.memory.requests.place[channel])

    state = run_plan(plan_requests(requests_of(requests), arch), arch, slices=1, watch=watch)
    start = int(state.jobs.accepted[0])
    return [(cycle - start, channel, place) for cycle, channel, place in taken], state


@pytest.mark.reference
@pytest.mark.parametrize("memory", list(TOLERANCE))
def test_the_released_schedules_are_within_one_percent(memory: str) -> None:
    """A whole file of 4,608 and a slice of 354 requests."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data in {REFERENCE}")
    for prefix in ("gs_dense_all", "gm_full_iter5"):
        for case in compare(REFERENCE, prefix):
            if case.memory == memory:
                assert abs(case.difference) <= 0.01 * case.rtl_cycles, case
                off = abs(case.responses - case.rtl_responses) - RETRY_CYCLES
                assert (off <= 0.06 * case.rtl_responses).all(), case


@pytest.mark.reference
@pytest.mark.parametrize(
    ("file", "transactions", "cycles"),
    [
        ("small", 5_000, 3_206),
        ("summary-gpt2-small-wikitext2-per8", 2_615_752, None),
        ("summary-gpt2-small-wikitext2-per8-step1+dedic", 23_316_480, 13_421_533),
    ],
)
def test_released_csv_files_move_the_transactions_of_the_rtl(file: str, transactions: int, cycles: int | None) -> None:
    """Import -> `spatten-release-eighth`: rounding, 8 + 4 bits, fused pairs and the index table, in one number."""
    path = REFERENCE.parent / "spatten_workloads" / f"{file}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    run = simulate(import_csv(path), load_arch("spatten-release-eighth", ["dram.kind=ideal"]))
    total = run.total()
    assert total["cascade_busy"] == 0
    assert sum(total[f"tx_{kind}"] for kind in KINDS) == transactions
    assert cycles is None or run.cycles == cycles + 1  # counted from cycle 0, and the last cycle is one


def folder(tmp_path: Path) -> Path:
    """A reference folder with one case, made up."""
    root = tmp_path / "rtl"
    (root / "cases").mkdir(parents=True)
    (root / "responses").mkdir()
    (root / "results.csv").write_text(
        "case,arch,memory,requests,cycles,transactions,wall_s\none,spatten-release-eighth,ideal,1,134,32,0\n"
    )
    write(root / "cases" / "one.csv.gz", CASE)
    write(root / "responses" / "spatten-release-eighth_ideal.csv.gz", "case,request,accepted,response\none,0,0,134\n")
    return root


CASE = "key_fetch_num,value_fetch_num,key_bits,value_bits,lsb_refetch,topk_latency,last\n8,8,8,8,0,0,1\n"


def write(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def test_a_folder_of_the_layout_is_compared(tmp_path: Path) -> None:
    (case,) = compare(folder(tmp_path))
    assert (case.cycles, case.difference, case.within) == (134, 0, True)
    assert (case.accepted_exactly, case.responses_within) == (1, 1)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: (root / "results.csv").unlink(), "results.csv"),
        (lambda root: (root / "results.csv").write_text("case,arch\n"), "'memory'"),
        (lambda root: (root / "results.csv").write_text("case,arch,memory,requests,cycles\none,x,ideal,1,1\n"), "on x"),
        (lambda root: (root / "cases" / "one.csv.gz").write_bytes(b"plain"), "one.csv.gz"),
        (lambda root: write(root / "cases" / "one.csv.gz", CASE.replace(",last", "")), "'last'"),
        (lambda root: write(root / "cases" / "one.csv.gz", CASE.replace("8,8,8", "8,x,8")), "column value_fetch_num"),
        (lambda root: shutil.rmtree(root / "responses"), "responses"),
        (lambda root: write(root / "responses" / "spatten-release-eighth_ideal.csv.gz",
                            "case,request,accepted,response\none,7,0,1\n"), "responses of one"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_error(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    root = folder(tmp_path)
    damage(root)
    with pytest.raises(WorkloadError, match="the reference folder is damaged") as caught:
        list(compare(root))
    assert says in str(caught.value)

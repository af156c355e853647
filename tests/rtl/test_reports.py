"""Reports of the RTL: formulas, tables and pictures, from made-up or small measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparcade.cli import main
from sparcade.topk import TopKParams
from sparcade_rtl.bench.cycle_report import SHARES, SIZES, Point, released_formula, write_cycle_report
from sparcade_rtl.synth.compare import mean_interval


def points() -> list[Point]:
    params = TopKParams()
    return [
        Point(engine=engine, params=params, n=n, k=int(n * share), rtl=n / 4, model=n / 4, closed=n / 5, formula=n / 3)
        for engine in ("quick-select", "radix-select")
        for n in SIZES
        for share in SHARES
    ]


@pytest.mark.parametrize(("n", "k", "mean"), [(1024, 512, 258), (993, 307, 242), (204, 40, 67)])
def test_the_formula_is_the_mean_of_the_release(n: int, k: int, mean: int) -> None:
    """The Monte Carlo means of uarch.md 3.4, of some thousand runs each: within 5 %; the beats come on top."""
    search = released_formula(TopKParams(), n, k) - n / 8
    assert search == pytest.approx(mean, rel=0.05)


def test_cycle_report(tmp_path: Path) -> None:
    folder = tmp_path / "cycles"
    for _ in range(2):  # and again, over the one before
        write_cycle_report(points(), folder, "a command")
    assert sorted(path.name for path in folder.iterdir()) == ["cycles.csv", "cycles.md", "cycles.png", "cycles.svg"]
    page = (folder / "cycles.md").read_text()
    assert "| 64 | 32 | 16.0 | 16.0 | 12.8 |" in page and "a command" in page
    assert len((folder / "cycles.csv").read_text().splitlines()) == 1 + len(points())


def test_intervals_of_the_contenders() -> None:
    """Radix: 3 passes of 256 / 16 rows and 4 cycles, and one; the sorter: half of what two lists take."""
    params = TopKParams()
    assert mean_interval("top-k-engine-radix", params, 256) == 3 * (16 + 4) + 1
    assert mean_interval("top-k-engine-radix", replace(params, score_bits=32), 256) == 8 * (16 + 4) + 1
    assert mean_interval("batcher-sorter", params, 1024) == 1779


def test_waveform(tmp_path: Path) -> None:
    path = tmp_path / "waveform.svg"
    assert main(["rtl", "waveform", "-o", str(path)]) == 0
    first = path.read_bytes()
    assert main(["rtl", "waveform", "-o", str(path)]) == 0
    assert path.read_bytes() == first and first.startswith(b"<?xml")


def test_a_difference_of_bench_and_model_is_a_failed_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparcade_rtl.bench import runner

    def differs(*_: object, **__: object) -> None:
        raise runner.BenchError("the RTL and the model differ", where="a", expected="b", got="c", remedy="d")

    monkeypatch.setattr(runner, "run_bench", differs)
    assert main(["rtl", "test", "--lists", "1", "--out", str(tmp_path)]) == 1
    assert "the RTL and the model differ" in capsys.readouterr().err

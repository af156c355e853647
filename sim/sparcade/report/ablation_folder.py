"""The folder of an ablation: ablation.json, ablation.csv and a picture, replaced as a whole; and its table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from sparcade._files import canonical_json, new_folder, refuse_foreign
from sparcade.ablation import Ablation
from sparcade.report.ablation_figure import draw_ablation
from sparcade.report.svg import save_svg

RESULT = "ablation.json"
CSV = "ablation.csv"
PICTURE = "ablation.svg"
_NAMES = frozenset((RESULT, CSV, PICTURE))


def check_ablation_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the result could not take the place of the folder later."""
    refuse_foreign(folder, marker=RESULT, owns=_NAMES.__contains__)


def write_ablation(folder: Path, ablation: Ablation) -> list[Path]:
    """Write an ablation atomically; returns the files."""
    with new_folder(folder, marker=RESULT, owns=_NAMES.__contains__) as fresh:
        (fresh / RESULT).write_text(canonical_json(ablation.to_dict()), encoding="utf-8")
        ablation.frame().to_csv(fresh / CSV, index=False, lineterminator="\n")
        save_svg(draw_ablation(ablation), fresh / PICTURE)
    return [folder / name for name in sorted(_NAMES)]


def print_ablation(console: Console, ablation: Ablation, files: list[Path]) -> None:
    """Print the steps: cycles, factors, traffic and what bounds each."""
    run = ablation.runs[-1]
    shape, arch = run.workload.shape, run.arch
    title = f"{shape.name}: {shape.policy} on {arch.name}, one feature after the other"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("cycles", justify="right", no_wrap=True)
    for name in ("over before", "over first", "DRAM MB", "GB/s"):
        table.add_column(name, justify="right")
    table.add_column("bound, share %")
    for step, row in zip(ablation.steps, ablation.frame().to_dict("records"), strict=True):
        table.add_row(
            step.label,
            f"{row['cycles']:,}",
            f"{row['factor']:.2f}",
            f"{row['cumulative']:.2f}",
            f"{row['bytes_moved'] / 1e6:,.1f}",
            f"{row['gbps']:.0f}",
            f"{row['bound']}\N{NO-BREAK SPACE}{100 * row['bound_share']:.0f}",
        )
    console.print(table)
    console.print(
        f"32-bit words until static quantization; top-k engines of 1 lane until parallel, then {arch.topk.lanes}"
    )
    console.print(
        "note: 32-bit words are timing and traffic only; energy (in the files) outside DRAM is that of 12 bits"
    )
    for path in files:
        console.print(f"  {path}", soft_wrap=True)

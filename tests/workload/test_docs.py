"""docs/workloads.md lists the definitions as they are: `python tests/workload/test_docs.py` writes the lists anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from sparcade.policy.schedule import KeepSchedule
from sparcade.workload import generate, import_csv
from sparcade.workload.definitions import Decoder, Encoder, find_definition, workload_names
from sparcade.workload.released import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "workloads.md"


def keep(schedule: KeepSchedule) -> str:
    """A schedule in a few words."""
    if schedule.staircase is not None:
        steps = list(dict.fromkeys(schedule.staircase))
        return ", ".join(f"{step} x {schedule.staircase.count(step)}" for step in steps)
    return "all" if schedule.end == schedule.start == 1 else f"{schedule.start} -> {schedule.end}"


def lsb(work: Decoder) -> str:
    """Which share of the rows needs LSBs."""
    rows = work.layers * work.heads * work.generated
    part = Fraction(sum(work.lsb_by_layer), rows) if work.lsb_by_layer else work.lsb_share
    return f"{float(part):.2%}" if part else "none"


def benchmarks() -> str:
    """One line per definition."""
    lines = ["| name | tokens | layers x heads | tokens kept | heads kept | V kept | K, V bits | rows with LSBs |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name in workload_names():
        work = find_definition(name).work
        size = f"{work.layers} x {work.heads}"
        if isinstance(work, Encoder):
            lines.append(
                f"| {name} | {work.tokens} | {size} | `{work.policy}` | `{work.policy}` | all | 12, 12 | none |"
            )
            continue
        bits = "32, 32" if work.key_bits < 0 else f"{work.key_bits}, {work.value_bits}"
        if work.lsb_share or work.lsb_by_layer:
            bits = f"{work.key_bits} + {work.lsb_increment}, {work.value_bits}"
        cells = [name, f"{work.prompt} + {work.generated}", size, keep(work.token_keep), keep(work.head_keep)]
        lines.append("| " + " | ".join([*cells, str(work.value_keep), bits, lsb(work)]) + " |")
    return "\n".join(lines) + "\n"


def choices() -> str:
    """Every stated choice, with the names it holds for."""
    names: dict[str, list[str]] = {}
    for name in workload_names():
        for choice in find_definition(name).choices:
            names.setdefault(choice, []).append(name)
    lines = []
    for choice, holders in sorted(names.items()):
        families: dict[str, list[str]] = {}
        for holder in holders:
            families.setdefault("-".join(holder.split("-")[:2]), []).append(holder)
        shown = [f"{family}-*" if "bert" in family else ", ".join(members) for family, members in families.items()]
        lines.append(f"- {', '.join(shown)}: {choice}")
    return "\n".join(lines) + "\n"


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


MAKERS: tuple[Callable[[], str], ...] = (benchmarks, choices)


def test_the_lists_are_those_of_the_definitions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for maker in MAKERS:
        shown = block(maker.__name__).search(text)
        assert shown is not None
        assert shown[2] == maker(), "python tests/workload/test_docs.py writes it anew"


def test_the_page_names_every_column() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    code = (
        PAGE.read_text(encoding="utf-8")
        .split("```python\n")[1]
        .split("```")[0]
        .replace('"w.csv"', f'"{tmp_path}/w.csv"')
    )
    exec(compile(code, str(PAGE), "exec"), {})
    assert import_csv(tmp_path / "w.csv", 1).rows["keys"].sum() == len(generate("gpt2-small-per8", 1).key_ids)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for maker in MAKERS:
        fresh = maker()
        page = block(maker.__name__).sub(lambda found, fresh=fresh: found[1] + fresh + found[3], page)
    PAGE.write_text(page, encoding="utf-8")

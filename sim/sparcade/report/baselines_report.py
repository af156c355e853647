"""A comparison as tables of a terminal, and as a folder: baselines.json and baselines.csv."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sparcade._files import canonical_json, new_folder, refuse_foreign
from sparcade.baselines import Comparison, Quote, Record
from sparcade.baselines.quotes import FIGURES

RESULT = "baselines.json"
TABLE = "baselines.csv"
_NAMES = frozenset((RESULT, TABLE))


def check_folder(folder: Path) -> None:
    """Raise a `ConfigError` now if the folder could not be replaced later."""
    refuse_foreign(folder, marker=RESULT, owns=_NAMES.__contains__)


def write_folder(folder: Path, comparison: Comparison) -> list[Path]:
    """Write both files atomically; returns them."""
    with new_folder(folder, marker=RESULT, owns=_NAMES.__contains__) as fresh:
        (fresh / RESULT).write_text(canonical_json(comparison.to_dict()), encoding="utf-8")
        comparison.frame().to_csv(fresh / TABLE, index=False, lineterminator="\n")
    return [folder / name for name in sorted(_NAMES)]


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print every design beside the subject, what each number rests on, and the normalisation."""
    console.print(_designs(comparison))
    console.print(_times(comparison))
    for line in _particulars(comparison.records):
        console.print(line)
    for note in comparison.notes:
        console.print(f"note: {note}")


def _designs(comparison: Comparison) -> Table:
    """What each design does, takes and moves."""
    title = f"{comparison.work.name}: {comparison.subject.name} on {comparison.arch.name}, and others on the same work"
    table = Table(title=title, title_justify="left")
    table.add_column("design", overflow="fold")
    for name in ("time µs", "GMAC/s", "DRAM kB", "GB/s", "µJ", "cosine"):
        table.add_column(name, justify="right", overflow="fold")
    for record in _by_method(table, comparison.records):
        if not record.parts:
            table.add_row(record.name, *["-"] * 6)
            continue
        total = record.parts["total"]
        cosine = record.output_error.get("cosine_mean")
        table.add_row(
            record.name,
            _span(total.seconds * 1e6, (total.seconds_high or total.seconds) * 1e6, 1),
            f"{total.mac_per_second / 1e9:,.0f}",
            f"{total.dram_bytes / 1e3:,.1f}",
            f"{total.achieved_gbps:.1f}",
            "" if total.energy_joules is None else f"{total.energy_joules * 1e6:,.1f}",
            "" if cosine is None else f"{cosine:.4f}",
        )
    return table


def _times(comparison: Comparison) -> Table:
    """Times over the subject's, with the bandwidth of both."""
    subject = comparison.subject
    phases = ["total"] if len(subject.parts) == 2 else list(subject.parts)  # one phase is its total
    table = Table(title=f"time over that of {subject.name}, and GB/s of both", title_justify="left")
    table.add_column("design", overflow="fold")
    table.add_column("method", overflow="fold")
    for phase in phases:
        table.add_column(phase, justify="right", overflow="fold")
    table.add_column("GB/s, this / that", justify="right", overflow="fold")
    for record in _by_method(table, comparison.records):
        if not record.parts:
            table.add_row(record.name, record.method, *["-"] * (1 + len(phases)))
            continue
        rates = [part.parts["total"].achieved_gbps for part in (record, subject)]
        ratios = [_span(*comparison.speedup(record, phase), 2) for phase in phases]
        table.add_row(record.name, record.method, *ratios, f"{rates[0]:.1f} / {rates[1]:.1f}")
    return table


def _by_method(table: Table, records: Iterable[Record]) -> Iterator[Record]:
    """The records, with a line in the table where the method changes."""
    method = None
    for record in records:
        if method not in (None, record.method):
            table.add_section()
        method = record.method
        yield record


def _span(low: float, high: float, digits: int) -> str:
    """A number, or a range of two."""
    return f"{low:,.{digits}f}" if low == high else f"{low:,.{digits}f}..{high:,.{digits}f}"


def _particulars(records: Sequence[Record]) -> list[str]:
    """What is said of single designs: the real counts, and the notes."""
    lines = []
    for record in records:
        shares = [
            f"{label} {record.details[key]:.1%}"
            for key, label in (
                ("candidates_share", "candidates C/n"),
                ("kept_share", "kept K'/n"),
                ("values_kept_share", "V multiplied"),
            )
            if key in record.details
        ]
        if shares:
            lines.append(f"{record.name}: {', '.join(shares)} ({record.counts})")
        if record.details.get("sorted_dram_bytes"):
            lines.append(
                f"{record.name}: {record.details['sorted_dram_bytes'] / 1e3:,.1f} kB of its DRAM are sorted keys"
            )
        if record.details.get("saturated_elements"):
            lines.append(
                f"{record.name}: {record.details['saturated_elements']:,} elements saturated by the fixed point"
            )
    holders: dict[str, list[str]] = {}
    for record in records:
        for note in (*_roofline_notes(record), *record.notes):
            holders.setdefault(note, []).append(record.name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in holders.items()]


def _roofline_notes(record: Record) -> list[str]:
    """What a roofline assumes."""
    if record.method != "roofline":
        return []
    details = record.details
    (worst, best), (least, most) = details["efficiency"], details["launch_us"]
    return [
        f"roofline of dense work in {details['element_bits']}-bit elements, {worst:.0%} to {best:.0%} of the peaks, "
        f"{least:g} to {most:g} µs a launch (assumed)"
    ]


def print_quotes(console: Console, quotes: Iterable[Quote]) -> None:
    """Print published figures by source, each source with how far it can be trusted."""
    console.print("Published figures, quoted: nothing here was run or modelled by Sparcade.")
    by_source: dict[tuple[str, str], list[Quote]] = {}
    for quote in quotes:
        by_source.setdefault((quote.source, f"{quote.standing} [{quote.tag}]"), []).append(quote)
    for (source, standing), found in by_source.items():
        used = [key for key in FIGURES if any(key in quote.figures for quote in found)]
        table = Table(title=f"{source}\n{standing}", title_justify="left", pad_edge=False)
        table.add_column("system", no_wrap=True)
        for key in used:
            table.add_column(FIGURES[key], justify="right", overflow="fold")
        if any(quote.text for quote in found):
            table.add_column("claim")
        for quote in found:
            cells = [f"{quote.figures[key]:g}" if key in quote.figures else "" for key in used]
            table.add_row(quote.system, *cells, *([quote.text] if quote.text else []))
        console.print(table)

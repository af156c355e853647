"""`sparcade dram`: what a stream of DRAM requests costs, by itself."""

from __future__ import annotations

import argparse
import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "dram",
        help="time a stream of DRAM requests: bandwidth, row hits, latency, commands, energy",
        description="Time a stream of DRAM requests on cycle-exact controllers.",
    )
    parser.add_argument(
        "stream",
        type=Path,
        nargs="?",
        help="text of 'R 0xADDRESS' and 'W 0xADDRESS' lines, plain or gzip; - for standard input",
    )
    parser.add_argument("--preset", default="hbm2", help="device preset or TOML file (default: hbm2; 'list' shows all)")
    parser.add_argument("--channels", type=int, default=1, help="a power of two (default: 1)")
    parser.add_argument(
        "--mapping",
        default="PcBgCo",
        help="RoBaRaCoCh, ChRaBaRoCo, MOP4CLXOR, PcBgCo (default), or a bit order such as "
        "'channel,pc,bg,column,ba,row;ba.0^=row&0x5555'",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a device setting (timing.n_rcd_rd=16, controller.refresh=per-bank); repeatable",
    )
    parser.add_argument(
        "--pace", type=float, default=0.0, metavar="N", help="one request every N ticks (default: as soon as accepted)"
    )
    parser.add_argument("--max-outstanding", type=int, metavar="N", help="requests sent and not completed, at most")
    parser.add_argument("--max-outstanding-per-channel", type=int, metavar="N", help="the same for each channel")
    parser.add_argument(
        "--toggle-rate", type=float, default=0.5, metavar="R", help="share of data bits that change (default: 0.5)"
    )
    parser.add_argument("--standby", action="store_true", help="charge standby power too")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--commands", type=Path, metavar="FILE", help="write the command log (CSV; .gz compresses)")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade._files import canonical_json, new_file
    from sparcade._presets import preset_names
    from sparcade.dram import DramSystem, Injection, load_device, read_stream
    from sparcade.dram.power import check_toggle_rate
    from sparcade.errors import StreamError
    from sparcade.report.dram_summary import print_dram_summary

    if options.preset == "list":
        print("\n".join(preset_names("dram")))
        return
    if options.stream is None:
        raise StreamError(
            "there is no request stream",
            where="sparcade dram",
            expected="a file, or - for standard input",
            got="nothing",
            remedy="sparcade dram STREAM; 'sparcade dram --help' shows the form of a line",
        )
    check_toggle_rate(options.toggle_rate, where="--toggle-rate")
    system = DramSystem(load_device(options.preset, options.set), channels=options.channels, mapping=options.mapping)
    injection = Injection(
        period=options.pace,
        max_outstanding=options.max_outstanding,
        max_outstanding_per_channel=options.max_outstanding_per_channel,
    )
    stream = read_stream(options.stream, system.address_map.address_limit)
    with ExitStack() as stack:
        log = None
        if options.commands:
            fresh = stack.enter_context(new_file(options.commands))
            target = stack.enter_context(_text_file(fresh, compress=options.commands.suffix == ".gz"))
            log = lambda frame: frame.to_csv(target, index=False, header=target.tell() == 0, lineterminator="\n")  # noqa: E731
        result = system.run(stream, injection, log)
    table = result.to_dict(toggle_rate=options.toggle_rate, standby=options.standby)
    if options.json:
        print(canonical_json(table), end="")
    else:
        print_dram_summary(Console(markup=False, highlight=False), result, table)


@contextmanager
def _text_file(path: Path, *, compress: bool) -> Iterator[TextIO]:
    """A file to write text to; compressed, its bytes depend on the text only."""
    with ExitStack() as stack:
        target: Any = stack.enter_context(path.open("wb"))
        if compress:
            target = stack.enter_context(gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0))
        yield stack.enter_context(io.TextIOWrapper(target, encoding="utf-8", newline=""))

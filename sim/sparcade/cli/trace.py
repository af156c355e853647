"""`sparcade trace`: look at traces, capture and make them, list survivors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparcade.cli import capture


def add_parser(commands: Any) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("trace", help="look at traces, capture them from models, make synthetic ones")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    info = verbs.add_parser("info", help="shapes, size, tokens, maximum-probability statistics")
    info.add_argument("trace", help="bundled trace name or trace folder")
    info.set_defaults(function=show_info)

    verbs.add_parser("list", help="names of the bundled traces").set_defaults(function=show_list)

    capture.add_parser(verbs)

    analysis = verbs.add_parser(
        "analyse", help="attention sinks, heavy hitters, entropy, concentration, LSB rate, character of each head"
    )
    analysis.add_argument("trace", help="bundled trace name or trace folder")
    analysis.add_argument("--sinks", type=int, default=4, metavar="N", help="first tokens (default: 4)")
    analysis.add_argument("--window", type=int, default=64, metavar="N", help="nearest tokens (default: 64)")
    analysis.add_argument("--out", type=Path, metavar="DIR", help="folder (default: reports/attention-TRACE)")
    analysis.set_defaults(function=make_analysis)

    synth = verbs.add_parser("synth", help="write a synthetic trace from a seed")
    synth.add_argument("out", type=Path, help="folder to write")
    synth.add_argument("--seed", type=int, required=True)
    synth.add_argument("--kind", choices=("random", "realistic"), default="realistic")
    synth.add_argument("--mask", choices=("causal", "full"), default="causal")
    for name, default in (
        ("layers", 4),
        ("heads", 4),
        ("kv-heads", 4),
        ("head-dim", 64),
        ("prompt-tokens", 64),
        ("decode-steps", 8),
    ):
        synth.add_argument(f"--{name}", type=int, default=default)
    synth.set_defaults(function=make_synthetic)

    survivors = verbs.add_parser("survivors", help="the tokens that survive each layer, as text")
    survivors.add_argument("trace", help="bundled trace name or trace folder")
    survivors.add_argument("--policy", help="policy preset, TOML file, or FILE.py:Class (default: by kind of model)")
    survivors.add_argument("--out", type=Path, help="file to write (default: print)")
    survivors.set_defaults(function=show_survivors)


def show_info(options: argparse.Namespace) -> None:
    """Print shapes, size and statistics of a trace."""
    from rich.console import Console

    from sparcade.cli.progress import Stages
    from sparcade.report.trace_info import print_info
    from sparcade.sources import load_trace

    trace = load_trace(options.trace)
    with Stages() as stages:
        stages.step("replay", 0.0)
        print_info(Console(markup=False, highlight=False), trace)


def show_list(_: argparse.Namespace) -> None:
    """Print the names of the bundled traces."""
    from sparcade.bundled import bundled_names

    print("\n".join(bundled_names()))


def make_analysis(options: argparse.Namespace) -> None:
    """Analyse a trace, write page, pictures and tables."""
    from sparcade.cli.progress import Stages
    from sparcade.report.analysis_folder import PAGE, check_analysis, summary, write_analysis
    from sparcade.sources import load_trace
    from sparcade.trace.analysis import analyse

    trace = load_trace(options.trace)
    folder = options.out or Path("reports") / f"attention-{trace.name}"
    check_analysis(folder)
    with Stages() as stages:
        analysis = analyse(
            trace,
            sinks=options.sinks,
            window=options.window,
            progress=lambda fraction: stages.step("attention", fraction),
        )
        stages.step("report", 0.0)
        command = f"sparcade trace analyse {trace.name} --sinks {options.sinks} --window {options.window}"
        write_analysis(trace, analysis, folder, command=command)
    print(f"{summary(analysis)}\npage, pictures and tables: {folder / PAGE}")


def make_synthetic(options: argparse.Namespace) -> None:
    """Write a synthetic trace."""
    from sparcade.trace import synthesize

    trace = synthesize(
        options.out,
        seed=options.seed,
        kind=options.kind,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.kv_heads,
        head_dim=options.head_dim,
        prompt_tokens=options.prompt_tokens,
        decode_steps=options.decode_steps,
        mask=options.mask,
    )
    print(f"{options.out}: {trace.stored_bytes():,} bytes, content hash {trace.content_hash[:16]}")


def show_survivors(options: argparse.Namespace) -> None:
    """Print or write the survivors of a trace under a policy."""
    from sparcade._files import new_file
    from sparcade.cli.progress import Stages
    from sparcade.evaluation import default_policy
    from sparcade.policy import apply, load_policy
    from sparcade.report.survivors import survivors_text
    from sparcade.sources import load_trace

    trace = load_trace(options.trace)
    policy = options.policy or default_policy(trace)
    command = f"sparcade trace survivors {options.trace} --policy {policy}"
    with Stages() as stages:
        replay = apply(trace, load_policy(policy), lambda fraction: stages.step("replay", fraction))
    text = survivors_text(trace, replay, command)
    if options.out:
        with new_file(options.out) as fresh:
            fresh.write_text(text, encoding="utf-8")
    else:
        print(text, end="")

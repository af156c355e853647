"""`sparcade accuracy`: a policy inside a model, its metric beside dense, and what the same run costs on an arch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from sparcade.cli.settings import add_set_option, report_folder, split_settings


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "accuracy",
        help="run a model with a policy inside, measure its metric beside dense, DRAM and cycles",
        description="Run a model whose attention is computed by a policy (closed loop), measure its metric beside the "
        "dense run on the same sequences, and time the same work on an arch (docs/accuracy.md).",
    )
    parser.add_argument(
        "model", help="model folder, name on the hub, or 'minilm' (the sentence encoder of its package)"
    )
    parser.add_argument("--policy", required=True, help="policy preset, TOML file, or FILE.py:Class")
    parser.add_argument("--data", required=True, metavar="FILE", help=".txt, .tsv, .jsonl, or a trace")
    parser.add_argument("--metric", choices=("perplexity", "accuracy", "cosine"), help="default: by kind of model")
    parser.add_argument("--train", metavar="FILE", help="labelled sentences for the linear probe of an encoder")
    parser.add_argument(
        "--sequences", type=_count, metavar="N", help="evenly spaced over the data (default: 16, or all sentences)"
    )
    parser.add_argument("--prompt-tokens", type=_count, default=256, metavar="N", help="language models (256)")
    parser.add_argument("--decode", type=_count, default=64, metavar="N", help="steps, language models (64)")
    parser.add_argument("--arch", default="spatten", help="arch preset or TOML file (default: spatten)")
    parser.add_argument(
        "--compare", default="dense", metavar="POLICY", help="what it is compared with (default: dense)"
    )
    add_set_option(parser)
    parser.add_argument("--axis", metavar="policy.KEY=V1,V2,...", help="measure each value: the trade-off curve")
    parser.add_argument("--control", choices=("random",), help="also keep as many, ranked at random")
    parser.add_argument("--seed", type=int, metavar="N", help="of the control")
    parser.add_argument("--open-loop", action="store_true", help="also replay the unpruned model's Q, K, V")
    parser.add_argument("--workload", type=Path, metavar="FILE.npz", help="also write the workload of the run")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="report folder (default: reports/accuracy-MODEL-POLICY)"
    )
    parser.set_defaults(function=accuracy)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no count from 1")
    return int(text)


def accuracy(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade.arch import load_arch
    from sparcade.cli.progress import Stages

    _check(options)
    from sparcade_workloads.extra import trace_extra

    with trace_extra("sparcade accuracy"):
        from sparcade_workloads.accuracy import Axis, measure_accuracy
        from sparcade_workloads.accuracy_report import check_folder, print_summary, write_report
        from sparcade_workloads.models import MINILM, minilm_folder, short_name
        from sparcade_workloads.subject import make_subject

    arch_settings, settings = split_settings(options.set)
    arch = load_arch(options.arch, arch_settings)
    axis = Axis.parse(options.axis) if options.axis else None
    package = options.model == "minilm" and not Path("minilm").exists()
    out = options.out or report_folder("accuracy", short_name(options.model), options.policy)
    check_folder(out)
    with Stages() as stages:
        stages.step("model and data", 0.0)
        subject = make_subject(
            minilm_folder() if package else options.model,
            data=options.data,
            metric=options.metric,
            sequences=options.sequences,
            prompt_tokens=options.prompt_tokens,
            decode=options.decode,
            train=options.train,
            title=MINILM if package else None,
        )
        report = measure_accuracy(
            subject,
            options.policy,
            arch,
            settings=settings,
            axis=axis,
            compare=options.compare,
            control_seed=options.seed,
            open_loop=options.open_loop,
            step=stages.step,
        )
        files = write_report(out, report)
        if options.workload:
            report.workload.save(options.workload)
            files.append(options.workload)
    console = Console(markup=False, highlight=False)
    print_summary(console, report)
    for path in files:
        console.print(f"  {path}", soft_wrap=True)


def _check(options: argparse.Namespace) -> None:
    from sparcade.errors import ConfigError

    rules = (
        ((options.control is None) != (options.seed is None), "--control random with --seed N, or neither"),
        (options.seed is not None and options.seed < 0, "--seed from 0"),
        (options.workload is not None and options.axis is not None, "--workload without --axis: one run, one workload"),
    )
    for broken, expected in rules:
        if broken:
            raise ConfigError(
                "the options do not fit each other",
                where="sparcade accuracy",
                expected=expected,
                got="another combination",
                remedy="add or drop one of them",
            )

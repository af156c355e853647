"""`sparcade e2e`: attention and the fully connected layers around it on one accelerator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparcade.cli.settings import add_work_options, split_settings


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "e2e",
        help="a model end to end: attention and fully connected layers on the same multipliers",
        description="Time attention, and the fully connected layers around it with weights streamed from DRAM.",
    )
    add_work_options(parser)
    parser.add_argument("--weights", type=int, default=8, metavar="BITS", help="4, 8 or 12 (default: 8)")
    parser.add_argument("--ffn", type=int, metavar="N", help="width of the FFN's inner layer (default: 4 x hidden)")
    parser.add_argument("--gated", action="store_true", help="the FFN has a gate, a third matrix (Llama type)")
    parser.add_argument(
        "--lm-head", type=int, default=0, metavar="N", help="an LM head of N outputs, once a step (default: none)"
    )
    parser.add_argument(
        "--prompt", type=int, default=0, metavar="N", help="add FC work of a prompt to a workload without (default: no)"
    )
    parser.add_argument(
        "--prune-heads", action="store_true", help="pruned heads are absent from QKV and output projections"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write everything, with a table per layer")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade._files import canonical_json, new_file
    from sparcade.accelerator import simulate
    from sparcade.arch import load_arch
    from sparcade.cli.progress import Stages
    from sparcade.e2e import FcModel, end_to_end, prompt_steps
    from sparcade.report.e2e_summary import print_e2e
    from sparcade.sources import load_workload
    from sparcade.workload.cascade import check_cascade

    arch_settings, policy_settings = split_settings(options.set)
    arch = load_arch(options.arch, arch_settings)
    model = {
        "weight_bits": options.weights,
        "ffn": options.ffn,
        "gated": options.gated,
        "vocabulary": options.lm_head,
    }
    with Stages() as stages:
        workload = load_workload(
            options.target, options.policy, policy_settings, lambda fraction: stages.step("replay", fraction)
        )
        check_cascade(workload)
        prompt_steps(workload, FcModel.of(workload.shape, **model), options.prompt)  # errors before the long part
        attention = simulate(workload, arch, lambda fraction: stages.step("simulate attention", fraction))
        stages.step("fully connected layers", 0.0)
        result = end_to_end(attention, **model, prompt=options.prompt, prune_heads=options.prune_heads)
        if options.out:
            with new_file(options.out) as fresh:
                fresh.write_text(canonical_json(result.to_dict()), encoding="utf-8")
    print_e2e(Console(markup=False, highlight=False), result, [options.out] if options.out else [])

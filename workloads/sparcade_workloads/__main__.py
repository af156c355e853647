"""`python -m sparcade_workloads`: make the bundled traces again from weights and texts; sample texts from a model;
rank its heads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sparcade.errors import ConfigError, SparcadeError
from sparcade_workloads import TRACE_NAMES
from sparcade_workloads.extra import trace_extra


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for bad input)."""
    options = _parser().parse_args(argv)
    try:
        options.function(options)
    except SparcadeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _make(options: argparse.Namespace) -> None:
    _check_folders(options, "models", "texts")
    with trace_extra("python -m sparcade_workloads make"):
        from sparcade_workloads.recipes import make  # PyTorch and Transformers take seconds to import
    for name in options.names:
        trace = make(name, options.models, options.texts, options.out)
        tokens = sum(len(sequence.tokens) for sequence in trace.manifest.sequences)
        sys.stdout.write(
            f"{name}: {tokens} tokens, {trace.stored_bytes()} bytes, "
            f"largest error {trace.manifest.stored_error:g}, {trace.content_hash[:12]}\n"
        )


def _stories(options: argparse.Namespace) -> None:
    _check_folders(options, "models")
    with trace_extra("python -m sparcade_workloads stories"):
        from sparcade_workloads.recipes import sample_stories
    count = sample_stories(options.models, options.out, sequences=options.sequences, tokens=options.tokens)
    sys.stdout.write(f"{options.out}: {count} sequences of {options.tokens} tokens\n")


def _loops(options: argparse.Namespace) -> None:
    _check_folders(options, "models")
    with trace_extra("python -m sparcade_workloads loops"):
        from sparcade_workloads.loops import compare_loops
    sys.stdout.write(compare_loops(options.models, options.out).to_string(index=False) + "\n")


def _importance(options: argparse.Namespace) -> None:
    if options.sequences < 1 or options.tokens < 2:
        raise ConfigError(
            "there is nothing to predict",
            where="--sequences, --tokens",
            expected="1 sequence or more, of 2 tokens or more",
            got=f"{options.sequences} of {options.tokens}",
            remedy="leave them out for 16 of 256",
        )
    with trace_extra("python -m sparcade_workloads importance"):
        from sparcade_workloads.head_importance import write_importance
    layers = write_importance(
        options.model, options.data, options.out, sequences=options.sequences, tokens=options.tokens
    )
    sys.stdout.write(f"{options.out}: {layers} layers\n")


def _check_folders(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        folder = getattr(options, name)
        if not folder.is_dir():
            raise ConfigError(
                "a folder is missing",
                where=f"--{name} {folder}",
                expected="an existing folder",
                got="no such folder",
                remedy=f"name the folder with the {name} (see the README of the bundled traces)",
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sparcade_workloads", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("make", help="capture traces from pretrained models")
    make.add_argument("names", nargs="+", choices=TRACE_NAMES, metavar="NAME", help=", ".join(TRACE_NAMES))
    make.add_argument("--models", type=Path, required=True, metavar="DIR", help="holds the model folders")
    make.add_argument("--texts", type=Path, required=True, metavar="DIR", help="holds the two novels")
    make.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent / "traces",
        metavar="DIR",
        help="gets one folder per trace (default: the package's own)",
    )
    make.set_defaults(function=_make)
    stories = commands.add_parser("stories", help="texts that stories260K samples from itself, for `sparcade accuracy`")
    stories.add_argument("--models", type=Path, required=True, metavar="DIR", help="holds the model folders")
    stories.add_argument("--sequences", type=int, default=16, metavar="N", help="default: 16")
    stories.add_argument("--tokens", type=int, default=321, metavar="N", help="of each (default: 321)")
    stories.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    stories.set_defaults(function=_stories)
    loops = commands.add_parser("loops", help="open against closed loop on the bundled traces")
    loops.add_argument("--models", type=Path, required=True, metavar="DIR", help="holds the model folders")
    loops.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    loops.set_defaults(function=_loops)
    importance = commands.add_parser("importance", help="rank the heads of a language model, for a head mask")
    importance.add_argument("model", help="model folder, or name on the hub")
    importance.add_argument("--data", required=True, metavar="FILE", help="as of `sparcade accuracy`")
    importance.add_argument("--sequences", type=int, default=16, metavar="N", help="default: 16")
    importance.add_argument("--tokens", type=int, default=256, metavar="N", help="of each (default: 256)")
    importance.add_argument("--out", type=Path, required=True, metavar="FILE.tsv")
    importance.set_defaults(function=_importance)
    return parser


if __name__ == "__main__":
    sys.exit(main())

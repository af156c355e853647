"""`sparcade trace capture`: run a pretrained model and store what its attention read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparcade_workloads.request import CaptureRequest


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "capture",
        help="run a pretrained model on texts or images and store its Q, K, V",
        description="Capture a trace of a model of the transformers library (docs/traces.md). Stop it at any moment "
        "and run the same command again: it goes on at the sequence that is missing.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder written by save_pretrained, or name on the hub")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "--text", metavar="FILE", help="text file, .tsv data set (SST-2, CoLA, GLUE), or - for standard input"
    )
    given.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="picture, or .npy of pixel values as the model reads them; may be repeated",
    )
    parser.add_argument(
        "--split",
        choices=("document", "lines", "rows"),
        help="the file is one text, one per line, or a table (default: .tsv rows, all else document)",
    )
    parser.add_argument(
        "--sequences", type=_count, metavar="N", help="the first N lines or rows; of a document, N pieces in a row"
    )
    parser.add_argument(
        "--prompt-tokens", type=_count, metavar="N", help="tokens read at once (default: all but --decode)"
    )
    parser.add_argument(
        "--decode", type=_count, metavar="N", help="tokens read one by one after the prompt (default: 0)"
    )
    parser.add_argument("--bos", action="store_true", help="put the tokenizer's token for the beginning in front")
    parser.add_argument("--layers", type=_layers, metavar="0,5-7", help="layers to store (default: all)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="how Q, K, V are stored")
    parser.add_argument("--name", help="what the trace calls the model (default: name of the folder or on the hub)")
    parser.add_argument("--revision", help="commit, tag or branch of a hub model")
    parser.add_argument("--threads", type=_count, default=1, metavar="N", help="threads; the last bits depend on it")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="trace folder to write")
    parser.set_defaults(function=capture_trace)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 24:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {1 << 24}")
    return int(text)


def _layers(text: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 9:
            raise argparse.ArgumentTypeError(f"{part!r} is no layer and no range of layers, such as 0,5-7")
        stop = int(last) if dash else int(first)
        if stop < int(first):
            raise argparse.ArgumentTypeError(f"{part!r} ends before it begins")
        numbers.update(range(int(first), stop + 1))
    return tuple(sorted(numbers))


def capture_trace(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from sparcade.cli.progress import Stages
    from sparcade_workloads.extra import trace_extra

    _check(options)
    with Stages() as stages:
        with trace_extra("sparcade trace capture"):
            from sparcade_workloads.request import CaptureRequest, carry_out
        trace = carry_out(_request(options, CaptureRequest), options.out, stages.step)
    manifest = trace.manifest
    tokens = sum(len(sequence.tokens) for sequence in manifest.sequences)
    print(
        f"{options.out}: {manifest.model.name}, {len(manifest.sequences):,} sequences, {tokens:,} tokens, "
        f"{manifest.model.layers} layers, {manifest.dtype}, {trace.stored_bytes():,} bytes"
    )
    if manifest.model.excerpt:
        print(manifest.model.excerpt)
    print(f"largest error of the outputs of the stored Q, K, V: {manifest.stored_error:.3g}")
    if manifest.rounding:
        print(manifest.rounding)
    print(f"content hash {trace.content_hash[:16]}")


def _request(options: argparse.Namespace, kind: type[CaptureRequest]) -> CaptureRequest:
    return kind(
        model=options.model,
        revision=options.revision,
        name=options.name,
        text=options.text,
        images=tuple(options.image),
        split=options.split,
        sequences=options.sequences,
        prompt_tokens=options.prompt_tokens,
        decode_steps=options.decode or 0,
        bos=options.bos,
        layers=options.layers,
        dtype=options.dtype,
        threads=options.threads,
    )


def _check(options: argparse.Namespace) -> None:
    """Options that say how a text is cut have no meaning for an image."""
    from sparcade.errors import ConfigError

    given = {
        "--split": options.split,
        "--sequences": options.sequences,
        "--prompt-tokens": options.prompt_tokens,
        "--decode": options.decode,
        "--bos": options.bos,
    }
    wrong = [flag for flag, value in given.items() if value]
    if options.image and wrong:
        raise ConfigError(
            "an image is read as a whole",
            where=wrong[0],
            expected="--text beside it",
            got="--image",
            remedy="leave the option",
        )

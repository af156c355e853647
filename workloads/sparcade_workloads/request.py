"""`CaptureRequest`: what a user asks to be captured, by names; carried out from loading the model to the trace."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcade._files import content_hash
from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace
from sparcade_workloads.attention import probe
from sparcade_workloads.capture import capture
from sparcade_workloads.images import read_images
from sparcade_workloads.inputs import Input, run_shortest
from sparcade_workloads.models import (
    deterministic,
    load_model,
    load_processor,
    load_tokenizer,
    short_name,
    weights_identity,
)
from sparcade_workloads.texts import default_split, read_texts
from sparcade_workloads.tokens import Cut, encode

Step = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """A model, what it reads (a text, or images), and how that is cut and stored."""

    model: str  #: folder, or name on the hub
    revision: str | None = None  #: of a hub model
    name: str | None = None  #: what the trace calls the model; None: the folder's or the hub's name
    text: str | None = None  #: file, or "-" for standard input
    images: tuple[Path, ...] = ()
    split: str | None = None  #: how the text is split; None: by the kind of file
    sequences: int | None = None  #: at most so many lines or rows; of a document, pieces one after the other
    prompt_tokens: int | None = None
    decode_steps: int = 0
    bos: bool = False
    layers: tuple[int, ...] | None = None
    dtype: str = "float32"
    threads: int = 1

    def command(self) -> str:
        """The command line of the request, without the paths of this machine and without the output."""
        words = ["sparcade", "trace", "capture", short_name(self.model)]
        words += ["--text", Path(self.text).name] if self.text is not None else []
        words += [word for image in self.images for word in ("--image", image.name)]
        settings = {
            "--revision": self.revision,
            "--name": self.name,
            "--split": self.split,
            "--sequences": self.sequences,
            "--prompt-tokens": self.prompt_tokens,
            "--decode": self.decode_steps or None,
            "--layers": None if self.layers is None else ",".join(map(str, self.layers)),
            "--dtype": self.dtype if self.dtype != "float32" else None,
            "--threads": self.threads if self.threads != 1 else None,
        }
        words += [word for flag, value in settings.items() if value is not None for word in (flag, str(value))]
        return shlex.join([*words, *["--bos"] * self.bos])


def carry_out(request: CaptureRequest, out: Path, step: Step = lambda stage, fraction: None) -> AttentionTrace:
    """Load the model, read the inputs, capture; `step` is told the stage and the fraction of it that is done.

    Raises
    ------
    SparcadeError
        As the modules that do it; or if the model reads something else than was given.
    """
    step("load", 0.0)
    with deterministic(request.threads):
        model = load_model(request.model, revision=request.revision)
        inputs = _text_inputs(request, model) if request.text is not None else _image_inputs(request, model)
        name = request.name or short_name(request.model)
        source = f"{name} ({weights_identity(request.model, model)}); "
        if request.images:
            source += f"images, hash {content_hash([item.digest for item in inputs])}; "
        step("load", 1.0)
        return capture(
            model,
            inputs,
            out,
            name=name,
            source=f"{source}made by: {request.command()}",
            layers=request.layers,
            dtype=request.dtype,
            progress=lambda fraction: step("capture", fraction),
        )


def _text_inputs(request: CaptureRequest, model: Any) -> list[Input]:
    assert request.text is not None
    _check_kind(model, "input_ids", "--text", "text")
    split = request.split or default_split(request.text)
    texts = read_texts(request.text, split)
    if split != "document" and request.sequences is not None:
        if request.sequences > len(texts):
            raise _error("the text has fewer sequences", "--sequences", f"at most {len(texts)}", str(request.sequences))
        texts = texts[: request.sequences]
    cut = Cut(
        prompt_tokens=request.prompt_tokens,
        decode_steps=request.decode_steps,
        windows=request.sequences or 1 if split == "document" else 1,
        bos=request.bos,
    )
    return encode(model, load_tokenizer(request.model, model, revision=request.revision), texts, cut)


def _image_inputs(request: CaptureRequest, model: Any) -> list[Input]:
    _check_kind(model, "pixel_values", "--image", "images")
    tokens = probe(model, lambda: run_shortest(model))[0].tokens
    return read_images(model, lambda: load_processor(request.model, revision=request.revision), request.images, tokens)


def _check_kind(model: Any, expected: str, flag: str, what: str) -> None:
    if model.main_input_name != expected:
        kinds = {"input_ids": "text (--text)", "pixel_values": "images (--image)"}
        expected = kinds.get(model.main_input_name, "a model that reads text or images")
        raise _error(f"the model does not read {what}", flag, expected, f"{what} for {type(model).__name__}")


def _error(what: str, where: str, expected: str, got: str) -> ConfigError:
    return ConfigError(what, where=where, expected=expected, got=got, remedy="change that option, or the model")

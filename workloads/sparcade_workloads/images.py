"""Images as a vision model reads them: pictures through the model's own preprocessing, or ready pixel values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from sparcade._files import file_hash
from sparcade.errors import ConfigError
from sparcade_workloads.inputs import Input, image_shape

Pixels = npt.NDArray[np.float32]
_EXPECTED = "a picture (PNG, JPEG, ...) or .npy with float pixel values"


def read_images(model: Any, processor: Callable[[], Any], files: Sequence[Path], tokens: int) -> list[Input]:
    """One sequence per image, in order; pixels are read when they are needed.

    An .npy file holds the pixel values that the model is to see, already scaled and normalised: [channels, height,
    width], or [images, channels, height, width]. Any other file is a picture, which the model's own preprocessing
    (`processor` loads it, once, if at all) resizes and normalises. `tokens` is the length of the sequences.

    Raises
    ------
    ConfigError
        If a file is missing, no picture, or of another shape than the model reads.
    """
    names = _token_names(model, tokens)
    loaded = None
    inputs: list[Input] = []
    for file in files:
        if not file.is_file():
            raise _error(file, _EXPECTED, "no such file")
        if file.suffix.lower() == ".npy":
            readers = _arrays(file, image_shape(model))
        else:
            loaded = loaded or processor()
            readers = [_picture(file, loaded, image_shape(model))]
        for index, reader in enumerate(readers):
            inputs.append(
                Input(
                    text=file.name if len(readers) == 1 else f"{file.name}[{index}]",
                    tokens=names,
                    token_ids=tuple(range(tokens)),
                    prompt_tokens=tokens,
                    pixels=reader,
                    digest=hashlib.sha256(f"{index} {file_hash(file)}".encode()).hexdigest(),
                )
            )
    return inputs


def _token_names(model: Any, tokens: int) -> tuple[str, ...]:
    """The class token, what else the model puts in front of the patches, and the patches by row and column."""
    _, height, width = image_shape(model)
    patch = model.config.patch_size
    high, wide = (
        (height // patch, width // patch) if isinstance(patch, int) else (height // patch[0], width // patch[1])
    )
    special = tokens - high * wide
    if special < 0:
        raise ConfigError(
            "the model does not read an image as one sequence of patches",
            where=type(model).__name__,
            expected="a vision transformer with one token per patch (ViT, DeiT)",
            got=f"{tokens} tokens for {high} x {wide} patches",
            remedy="capture another model",
        )
    front = (
        ("[CLS]", "[DIST]") if model.config.model_type == "deit" else ("[CLS]", *(f"[REG{i}]" for i in range(tokens)))
    )
    return (*front[:special], *(f"{row},{column} " for row in range(high) for column in range(wide)))


def _arrays(file: Path, shape: tuple[int, int, int]) -> list[Callable[[], Pixels]]:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _error(file, _EXPECTED, str(error)) from error
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1:] != shape or not len(images) or images.dtype.kind != "f":
        raise _error(
            file, f"floats [{', '.join(map(str, shape))}], one or more", f"{images.dtype} {list(images.shape)}"
        )
    if not all(np.isfinite(image).all() for image in images):
        raise _error(file, "finite pixel values", "NaN or infinity")
    return [lambda image=image: np.array(image, np.float32) for image in images]  # type: ignore[misc]


def _picture(file: Path, processor: Any, shape: tuple[int, int, int]) -> Callable[[], Pixels]:
    def read() -> Pixels:
        try:
            with Image.open(file) as picture:
                values = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
        except (UnidentifiedImageError, OSError) as error:
            raise _error(file, _EXPECTED, str(error).replace(str(file), file.name)) from error
        if values.shape != shape:
            raise _error(file, f"{list(shape)} after the preprocessing", str(list(values.shape)))
        return np.asarray(values, np.float32)

    read()  # every picture is known to be good before the first is captured
    return read


def _error(file: Path, expected: str, got: str) -> ConfigError:
    remedy = "name pictures, or .npy files of pixel values as the model reads them"
    return ConfigError("the image can't be used", where=str(file), expected=expected, got=got, remedy=remedy)

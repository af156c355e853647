"""`Input`: one sequence for a model to read, text or image, and the steps in which the model reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from sparcade.trace import Sequence, output_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """One sequence, B = 1 and without padding: the prompt at once, then one teacher-forced token per decode step."""

    text: str  #: what is read; of an image its file's name
    tokens: tuple[str, ...]  #: as a person reads them
    token_ids: tuple[int, ...]  #: of an image the positions
    prompt_tokens: int
    pixels: Callable[[], npt.NDArray[np.float32]] | None = None  #: reads an image, [channels, height, width]
    digest: str = ""  #: SHA-256 of the image

    def sequence(self) -> Sequence:
        """The sequence as the manifest of a trace says it."""
        count = len(self.tokens)
        return Sequence(
            text=self.text,
            tokens=self.tokens,
            token_ids=self.token_ids,
            key_positions=tuple(range(count)),
            row_steps=(0,) * self.prompt_tokens + tuple(range(1, count - self.prompt_tokens + 1)),
            prompt_tokens=self.prompt_tokens,
            output_rows=output_rows(self.prompt_tokens, count),
        )


def run_steps(model: Any, item: Input) -> Iterator[int]:
    """Run the prompt, then token by token through a KV cache; yields the number of tokens read after each step."""
    if item.pixels is not None:
        with torch.no_grad():
            model(pixel_values=torch.from_numpy(item.pixels())[None])
        yield len(item.tokens)
        return
    for step, _ in enumerate(read_steps(model, item.token_ids, item.prompt_tokens)):
        yield item.prompt_tokens + step


def read_steps(model: Any, token_ids: Items[int], prompt_tokens: int) -> Iterator[Any]:
    """The model's output of the prompt, then of each further token through a KV cache."""
    ids = torch.tensor([list(token_ids)])
    # An encoder takes no cache; a prompt alone needs none.
    decodes = prompt_tokens < len(token_ids)
    cache = {"past_key_values": DynamicCache(config=model.config), "use_cache": True} if decodes else {}
    for first, stop in pairwise((0, *range(prompt_tokens, len(token_ids) + 1))):
        with torch.no_grad():
            output = model(input_ids=ids[:, first:stop], **cache)
        yield output


def run_shortest(model: Any) -> None:
    """Run the model once on the least input that shows its attention: two tokens, or a black image."""
    with torch.no_grad():
        if model.main_input_name == "pixel_values":
            model(pixel_values=torch.zeros(1, *image_shape(model)))
        else:
            model(input_ids=torch.tensor([[0, 1]]))


def image_shape(model: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images that a vision model reads."""
    size = model.config.image_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return model.config.num_channels, height, width

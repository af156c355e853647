"""`TraceWriter`: the tensor files of a trace, laid out in advance and filled in any order, some rows at a time.

A safetensors file is a header with the place of each tensor, and the tensors. The manifest fixes all shapes, so the
header is written first and every row has its place: nothing of a trace needs to be held in memory, and a trace that
was left unfinished can be filled on.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from sparcade._files import canonical_json, file_hash
from sparcade.errors import TraceError
from sparcade.trace.manifest import Manifest

Floats = npt.NDArray[np.floating]
Shapes = dict[str, tuple[tuple[int, int, int], str]]

_CODES = {"float32": "F32", "float16": "F16"}


def layer_file(layer: int) -> str:
    """Name of the tensor file of a layer."""
    return f"layer_{layer:03d}.safetensors"


def tensor_key(sequence: int, name: str) -> str:
    """Name of a tensor in its file."""
    return f"sequence_{sequence:03d}.{name}"


def tensor_shapes(manifest: Manifest, sequence: int) -> Shapes:
    """Shape and dtype of the tensors q, k, v and out of a sequence, the same in each layer."""
    model, shape = manifest.model, manifest.sequences[sequence]
    rows, dim = len(shape.tokens), model.head_dim
    return {
        "q": ((model.heads, rows, dim), manifest.dtype),
        "k": ((model.kv_heads, rows, dim), manifest.dtype),
        "v": ((model.kv_heads, rows, dim), manifest.dtype),
        "out": ((model.heads, len(shape.output_rows), dim), "float32"),
    }


class TraceWriter:
    """Context manager over the tensor files of a folder; those of the same manifest are filled on."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._shapes = [tensor_shapes(manifest, index) for index in range(len(manifest.sequences))]
        header, self._offsets, self._bytes = _layout(self._shapes)
        self._files: list[int] = []
        self._stack = ExitStack()
        with self._stack:
            for layer in range(manifest.model.layers):
                handle = os.open(folder / layer_file(layer), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                self._stack.callback(os.close, handle)
                os.fchmod(handle, 0o644)
                os.ftruncate(handle, self._bytes)
                _write(handle, header, 0)
                self._files.append(handle)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write(self, layer: int, sequence: int, name: str, rows: Floats, *, first: int = 0) -> None:
        """Write rows [heads, n, D] of a tensor (q, k, v or out), from row `first` on; they are rounded to its dtype.

        Raises
        ------
        TraceError
            If the rows do not fit the tensor that the manifest describes.
        """
        (heads, count, dim), dtype = self._shapes[sequence][name]
        if rows.ndim != 3 or rows.shape[::2] != (heads, dim) or not 0 <= first <= first + rows.shape[1] <= count:
            raise TraceError(
                "the rows do not fit the tensor",
                where=f"layer {layer}, sequence {sequence}, tensor {name!r}",
                expected=f"[{heads}, up to {count - first} rows, {dim}]",
                got=str(list(rows.shape)),
                remedy="make the manifest of the tensors that are written",
            )
        item = np.dtype(dtype).itemsize
        start = self._offsets[tensor_key(sequence, name)]
        for head in range(heads):
            stored = np.ascontiguousarray(rows[head], dtype=np.dtype(dtype).newbyteorder("<"))
            _write(self._files[layer], stored.tobytes(), start + (head * count + first) * dim * item)

    def read(self, layer: int, sequence: int, name: str) -> Floats:
        """A tensor as it stands in the file, mapped, read-only."""
        shape, dtype = self._shapes[sequence][name]
        start = self._offsets[tensor_key(sequence, name)]
        return np.memmap(self._folder / layer_file(layer), np.dtype(dtype).newbyteorder("<"), "r", start, shape)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        for handle in self._files:
            os.fdatasync(handle)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, with the size and hash of each file: the tensors are complete."""
        names = [layer_file(layer) for layer in range(manifest.model.layers)]
        files = {name: {"bytes": self._bytes, "sha256": file_hash(self._folder / name)} for name in names}
        (self._folder / "manifest.json").write_text(canonical_json(manifest.to_dict(files)), encoding="utf-8")


def _layout(shapes: list[Shapes]) -> tuple[bytes, dict[str, int], int]:
    """Header of a safetensors file, the place of each tensor in the file, the file's size [bytes].

    The order is that of the library's own writer: wide elements first, then by name.
    """
    tensors = {
        tensor_key(sequence, name): entry for sequence, table in enumerate(shapes) for name, entry in table.items()
    }
    header: dict[str, dict[str, object]] = {}
    end = 0
    for key, (shape, dtype) in sorted(tensors.items(), key=lambda item: (-np.dtype(item[1][1]).itemsize, item[0])):
        begin, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[key] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    base = 8 + len(text)
    places = {key: base + entry["data_offsets"][0] for key, entry in header.items()}  # type: ignore[index]
    return len(text).to_bytes(8, "little") + text, places, base + end


def _write(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, offset = view[written:], offset + written

"""`AttentionTrace`: Q, K, V of a model on disk, one memory-mapped safetensors file per layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from sparcade._files import content_hash, file_hash, new_folder, parse_json
from sparcade.errors import TraceError
from sparcade.trace.manifest import Manifest, parse
from sparcade.trace.writer import TraceWriter, layer_file, tensor_key, tensor_shapes

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTensors:
    """One layer of one sequence, as the model computed it (after projection, norm and rotary embedding)."""

    q: Floats  #: [H, T, D]
    k: Floats  #: [Hkv, T, D]
    v: Floats  #: [Hkv, T, D]
    out: Floats  #: [H, R, D]: the model's own attention output at the sequence's `output_rows`


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTrace:
    """A trace folder: the checked manifest, its hash, and the tensors, read layer by layer."""

    folder: Path
    manifest: Manifest
    content_hash: str  #: SHA-256 of the manifest, which holds the SHA-256 of every tensor file

    @classmethod
    def load(cls, folder: str | Path) -> AttentionTrace:
        """Open a trace folder and check all of it: manifest, SHA-256, shapes, dtypes, finite values.

        Raises
        ------
        TraceError
            Naming the file, layer and tensor at fault.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        try:
            raw = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TraceError(
                "this is not a trace",
                where=str(folder),
                expected="a folder with manifest.json",
                got="a folder without it" if folder.is_dir() else "no such folder",
                remedy="name a trace folder, or a bundled trace ('sparcade trace list')",
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise TraceError(
                "the manifest can't be read",
                where=str(path),
                expected="JSON text (UTF-8)",
                got=str(error),
                remedy="restore the file from its origin, or capture the trace again",
            ) from error
        manifest, files = parse(raw, where=str(path))
        expected = {layer_file(layer) for layer in range(manifest.model.layers)}
        if set(files) != expected:
            raise TraceError(
                "the manifest lists other tensor files than its layers need",
                where=f"{path}: files",
                expected=f"{len(expected)} files, layer_000.safetensors and so on",
                got=f"{sorted(set(files) ^ expected)[0]!r} missing or foreign",
                remedy="capture the trace again",
            )
        for name in sorted(files):
            _check_file(folder / name, files[name])
        trace = cls(folder=folder, manifest=manifest, content_hash=content_hash(raw))
        for layer in range(manifest.model.layers):
            with trace._open(layer) as read:
                for index in range(len(manifest.sequences)):
                    read(index)
        return trace

    @staticmethod
    def save(folder: str | Path, manifest: Manifest, layers: Iterable[list[LayerTensors]]) -> AttentionTrace:
        """Write a trace folder atomically; `layers` yields, layer by layer, the tensors of each sequence.

        Raises
        ------
        TraceError
            If the tensors are not those that the manifest describes.
        """
        folder = Path(folder)
        with new_folder(folder, marker=MARKER, owns=is_ours) as fresh:
            with TraceWriter(fresh, manifest) as writer:
                count = 0
                for count, sequences in enumerate(layers, 1):
                    _check_tensors(count, sequences, manifest)
                    for index, tensors in enumerate(sequences):
                        for name in ("q", "k", "v", "out"):
                            writer.write(count - 1, index, name, getattr(tensors, name))
                if count < manifest.model.layers:
                    raise _save_error(f"layer {count}", "tensors", "nothing")
                writer.finish(manifest)
            checked = AttentionTrace.load(fresh)
        return replace(checked, folder=folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def tensors(self, layer: int, sequence: int) -> LayerTensors:
        """Read one layer of one sequence through the memory map; shape, dtype, finiteness are checked on every read."""
        with self._open(layer) as read:
            return read(sequence)

    @contextmanager
    def _open(self, layer: int) -> Iterator[Callable[[int], LayerTensors]]:
        """A reader of the sequences of one layer: the file's header, with all their names, is parsed once."""
        path = self.folder / layer_file(layer)
        try:
            with safe_open(str(path), framework="np") as stored:
                held = set(stored.keys())
                yield lambda sequence: self._read(stored, held, path, layer, sequence)
        except (SafetensorError, OSError, ValueError) as error:
            raise TraceError(
                "the tensor file can't be read",
                where=f"{path} (layer {layer})",
                expected="a safetensors file",
                got=str(error),
                remedy="restore the file from its origin, or capture the trace again",
            ) from error

    def _read(self, stored: Any, held: set[str], path: Path, layer: int, sequence: int) -> LayerTensors:
        arrays = {}
        for name, (dims, dtype) in tensor_shapes(self.manifest, sequence).items():
            key = tensor_key(sequence, name)
            if key not in held:
                raise _tensor_error("a tensor is missing", path, layer, sequence, name, str(dims), "nothing")
            view = stored.get_slice(key)
            got = (tuple(view.get_shape()), _DTYPES.get(view.get_dtype(), view.get_dtype()))
            if got != (dims, dtype):
                what = "a tensor has another shape or dtype than the manifest says"
                raise _tensor_error(what, path, layer, sequence, name, f"{dims} {dtype}", f"{got[0]} {got[1]}")
            arrays[name] = array = stored.get_tensor(key)
            if not np.isfinite(array).all():
                head, row = (int(index[0]) for index in np.nonzero(~np.isfinite(array))[:2])
                what = "a tensor holds NaN or infinity"
                where = f"head {head}, row {row}"
                raise _tensor_error(what, path, layer, sequence, name, f"finite numbers at {where}", "NaN or inf")
        return LayerTensors(**arrays)

    def layers(self) -> Iterator[list[LayerTensors]]:
        """Yield the tensors of every sequence, layer by layer."""
        for layer in range(self.manifest.model.layers):
            with self._open(layer) as read:
                tensors = [read(index) for index in range(len(self.manifest.sequences))]
            yield tensors

    def stored_bytes(self) -> int:
        """Size of the tensor files [bytes]."""
        return sum((self.folder / layer_file(layer)).stat().st_size for layer in range(self.manifest.model.layers))


MARKER = "manifest.json"
_OURS = re.compile(r"manifest\.json|layer_\d{3,}\.safetensors")
_DTYPES = {"F32": "float32", "F16": "float16"}


def is_ours(name: str) -> bool:
    """Whether a trace folder may hold a file of this name."""
    return _OURS.fullmatch(name) is not None


def _check_tensors(count: int, sequences: list[LayerTensors], manifest: Manifest) -> None:
    """Whether the `count`-th layer is one of the manifest's, with all tensors of all its sequences."""
    layer = f"layer {count - 1}"
    if count > manifest.model.layers:
        raise _save_error(layer, f"{manifest.model.layers} layers", f"{count} or more")
    if len(sequences) != len(manifest.sequences):
        raise _save_error(layer, f"{len(manifest.sequences)} sequences", str(len(sequences)))
    for index, tensors in enumerate(sequences):
        for name, (shape, _) in tensor_shapes(manifest, index).items():
            if getattr(tensors, name).shape != shape:
                got = str(getattr(tensors, name).shape)
                raise _save_error(f"{layer}, sequence {index}, tensor {name!r}", str(shape), got)


def _save_error(where: str, expected: str, got: str) -> TraceError:
    what, remedy = "the tensors are not those that the manifest describes", "make the manifest of what is saved"
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)


def _check_file(path: Path, entry: dict[str, object]) -> None:
    remedy = "restore the file from its origin, or capture the trace again"
    if not path.is_file():
        raise TraceError("a tensor file is missing", where=str(path), expected="a file", got="none", remedy=remedy)
    size = path.stat().st_size
    if entry.get("bytes") != size:
        raise TraceError(
            "a tensor file is truncated or foreign",
            where=str(path),
            expected=f"{entry.get('bytes')} bytes",
            got=f"{size} bytes",
            remedy=remedy,
        )
    digest = file_hash(path)
    if entry.get("sha256") != digest:
        raise TraceError(
            "a tensor file has the wrong SHA-256",
            where=str(path),
            expected=str(entry.get("sha256")),
            got=digest,
            remedy=remedy,
        )


def _tensor_error(what: str, path: Path, layer: int, sequence: int, name: str, expected: str, got: str) -> TraceError:
    return TraceError(
        what,
        where=f"{path}: layer {layer}, sequence {sequence}, tensor {name!r}",
        expected=expected,
        got=got,
        remedy="capture the trace again; no layer may differ from the manifest",
    )

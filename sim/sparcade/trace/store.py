"""`AttentionTrace`: Q, K, V of a model on disk, one memory-mapped safetensors file per layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sparcade._files import canonical_json, content_hash, file_hash, new_folder, parse_json
from sparcade.errors import TraceError
from sparcade.trace.manifest import Manifest, parse

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
        expected = {_layer_file(layer) for layer in range(manifest.model.layers)}
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
            for index in range(len(manifest.sequences)):
                trace.tensors(layer, index)
        return trace

    @staticmethod
    def save(folder: str | Path, manifest: Manifest, layers: Iterable[list[LayerTensors]]) -> AttentionTrace:
        """Write a trace folder atomically; `layers` yields, layer by layer, the tensors of each sequence."""
        folder = Path(folder)
        dtype = np.dtype(manifest.dtype)
        with new_folder(folder, marker="manifest.json", owns=_OURS.fullmatch) as fresh:
            files = {}
            for layer, sequences in enumerate(layers):
                path = fresh / _layer_file(layer)
                arrays = {}
                for index, tensors in enumerate(sequences):
                    for name in ("q", "k", "v"):
                        arrays[_key(index, name)] = np.ascontiguousarray(getattr(tensors, name), dtype=dtype)
                    arrays[_key(index, "out")] = np.ascontiguousarray(tensors.out, dtype=np.float32)
                save_file(arrays, str(path))
                path.chmod(0o644)
                files[path.name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
            (fresh / "manifest.json").write_text(canonical_json(manifest.to_dict(files)), encoding="utf-8")
            checked = AttentionTrace.load(fresh)
        return replace(checked, folder=folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def tensors(self, layer: int, sequence: int) -> LayerTensors:
        """Read one layer of one sequence through the memory map; shape, dtype, finiteness are checked on every read."""
        path = self.folder / _layer_file(layer)
        model, shape = self.manifest.model, self.manifest.sequences[sequence]
        rows, dim = len(shape.tokens), model.head_dim
        expected = {
            "q": ((model.heads, rows, dim), self.manifest.dtype),
            "k": ((model.kv_heads, rows, dim), self.manifest.dtype),
            "v": ((model.kv_heads, rows, dim), self.manifest.dtype),
            "out": ((model.heads, len(shape.output_rows), dim), "float32"),
        }
        arrays = {}
        try:
            with safe_open(str(path), framework="np") as stored:
                held = set(stored.keys())
                for name, (dims, dtype) in expected.items():
                    if _key(sequence, name) not in held:
                        raise _tensor_error("a tensor is missing", path, layer, sequence, name, str(dims), "nothing")
                    view = stored.get_slice(_key(sequence, name))
                    got = (tuple(view.get_shape()), _DTYPES.get(view.get_dtype(), view.get_dtype()))
                    if got != (dims, dtype):
                        what = "a tensor has another shape or dtype than the manifest says"
                        raise _tensor_error(what, path, layer, sequence, name, f"{dims} {dtype}", f"{got[0]} {got[1]}")
                    arrays[name] = stored.get_tensor(_key(sequence, name))
        except (SafetensorError, OSError, ValueError) as error:
            raise TraceError(
                "the tensor file can't be read",
                where=f"{path} (layer {layer})",
                expected="a safetensors file",
                got=str(error),
                remedy="restore the file from its origin, or capture the trace again",
            ) from error
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                head, row = (int(index[0]) for index in np.nonzero(~np.isfinite(array))[:2])
                what = "a tensor holds NaN or infinity"
                where = f"head {head}, row {row}"
                raise _tensor_error(what, path, layer, sequence, name, f"finite numbers at {where}", "NaN or inf")
        return LayerTensors(**arrays)

    def layers(self) -> Iterator[list[LayerTensors]]:
        """Yield the tensors of every sequence, layer by layer."""
        for layer in range(self.manifest.model.layers):
            yield [self.tensors(layer, index) for index in range(len(self.manifest.sequences))]

    def stored_bytes(self) -> int:
        """Size of the tensor files [bytes]."""
        return sum((self.folder / _layer_file(layer)).stat().st_size for layer in range(self.manifest.model.layers))


_OURS = re.compile(r"manifest\.json|layer_\d{3,}\.safetensors")
_DTYPES = {"F32": "float32", "F16": "float16"}


def _layer_file(layer: int) -> str:
    return f"layer_{layer:03d}.safetensors"


def _key(sequence: int, name: str) -> str:
    return f"sequence_{sequence:03d}.{name}"


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

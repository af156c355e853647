"""Capture: Q, K, V of a model on its inputs, streamed to a trace on disk.

Each sequence runs twice. The first run is stock attention, without any function of ours: it gives the outputs that
the trace is checked against. The second run has the hook: Q, K and V of a layer are checked against those outputs in
float32 and written as they arrive. Nothing outlives its layer step but what the model holds (weights, KV cache).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_UP, Context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from sparcade.errors import ConfigError, TraceError
from sparcade.trace import AttentionTrace, Excerpt, Manifest, ModelShape, Rounding, TraceWriter, attention_outputs
from sparcade.version import PACKAGE_VERSION
from sparcade_workloads.attention import STOCK, AttentionLayer, Call, hooked, implementation, probe
from sparcade_workloads.inputs import Input, run_shortest, run_steps
from sparcade_workloads.masks import mask_kinds
from sparcade_workloads.unfinished import unfinished

#: Largest accepted difference between the recomputed and the model's own attention output.
TOLERANCE = 1e-4

Floats = npt.NDArray[np.floating]
Errors = dict[str, float]


def capture(
    model: Any,
    inputs: Sequence[Input],
    folder: Path,
    *,
    name: str,
    source: str,
    layers: Sequence[int] | None = None,
    dtype: str = "float32",
    progress: Callable[[float], None] | None = None,
) -> AttentionTrace:
    """Capture the sequences and write the trace `folder`; a capture that was stopped goes on at the missing sequence.

    `name` and `source` say what was run, `layers` which layers are kept (None: all), `dtype` how Q, K, V are stored.
    The bytes depend on the arguments, the number of PyTorch's threads, the processor and the library versions only.

    Raises
    ------
    TraceError
        If the model can't be captured (`attention.probe`), or attention on what was captured differs from the
        model's own output by more than `TOLERANCE`.
    ConfigError
        If a layer does not exist, the context does not fit the model's window, or `folder` is not ours to write.
    """
    found = probe(model, lambda: run_shortest(model))
    chosen = _chosen(found, layers)
    _check_inputs(model, found, inputs)
    shape = _shape(name, found, chosen)
    manifest = Manifest(
        model=shape,
        sequences=tuple(item.sequence() for item in inputs),
        dtype=dtype,
        source=source,
        outputs_from="stock sdpa pass",
        stored_error=0.0,
    )
    request = {
        "manifest": manifest.to_dict({}),
        "images": [item.digest for item in inputs],
        "threads": torch.get_num_threads(),
        "versions": [PACKAGE_VERSION, torch.__version__, transformers.__version__],
    }
    with unfinished(folder, request) as work:
        with TraceWriter(work.folder, manifest) as writer:
            steps = _Steps(2 * sum(len(item.tokens) for item in inputs) * len(chosen), progress)
            for index, item in enumerate(inputs):
                if index in work.done:
                    steps.add(2 * len(item.tokens) * len(chosen))
                    continue
                run = _Run(model, [found[layer] for layer in chosen], writer, manifest, index, steps)
                run.stock(item)
                run.record(item)
                writer.sync()
                work.add(index, run.errors)
            writer.finish(_with_errors(manifest, list(work.done.values())))
        checked = AttentionTrace.load(work.folder)
    return replace(checked, folder=folder)


class _Steps:
    """Counts rows of layers that are done, for a progress bar."""

    def __init__(self, total: int, progress: Callable[[float], None] | None) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def add(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress(self._done / self._total)


class _Run:
    """One sequence: the two runs, and the errors found."""

    def __init__(
        self,
        model: Any,
        layers: Sequence[AttentionLayer],
        writer: TraceWriter,
        manifest: Manifest,
        sequence: int,
        steps: _Steps,
    ) -> None:
        self._model, self._layers, self._writer, self._steps = model, layers, writer, steps
        self._rounded = np.dtype(manifest.dtype)
        self._sequence = sequence
        self._rows = manifest.sequences[sequence].output_rows
        self._first = 0  #: token of the first row of the step
        self.errors: Errors = dict.fromkeys(("q", "k", "v", "output", "error_before", "stored"), 0.0)

    def stock(self, item: Input) -> None:
        """Store the model's own attention outputs, from the input of the module that reads them."""

        def taker(number: int, layer: AttentionLayer) -> Callable[[Any, tuple[Any, ...]], None]:
            def take(_module: Any, inputs: tuple[Any, ...]) -> None:
                given = inputs[0].float().reshape(-1, layer.heads, layer.head_dim).numpy().swapaxes(0, 1)
                at, local = self._output_rows(given.shape[1])
                self._writer.write(number, self._sequence, "out", given[:, local], first=at)
                self._steps.add(given.shape[1])

            return take

        handles = [
            self._model.get_submodule(layer.reader).register_forward_pre_hook(taker(number, layer))
            for number, layer in enumerate(self._layers)
        ]
        try:
            with implementation(self._model, STOCK):
                self._run(item)
        finally:
            for handle in handles:
                handle.remove()

    def record(self, item: Input) -> None:
        """Check and store Q, K, V of every step."""
        numbers = {layer.name: number for number, layer in enumerate(self._layers)}
        seen: list[str] = []

        def attend(call: Call) -> tuple[Any, Any]:
            if call.name in numbers:
                seen.append(call.name)
                self._store(numbers[call.name], call)
                self._steps.add(call.query.shape[2])
            return call.eager()

        def checked() -> None:
            if seen != list(numbers):
                what, expected = "not every layer ran once in its order", f"{len(numbers)} attention calls"
                raise _error(what, type(self._model).__name__, expected, f"{len(seen)} calls")
            seen.clear()

        with hooked(self._model, attend):
            self._run(item, checked)

    def _run(self, item: Input, after_step: Callable[[], None] = lambda: None) -> None:
        self._first = 0
        for stop in run_steps(self._model, item):
            after_step()
            self._first = stop

    def _output_rows(self, count: int) -> tuple[int, npt.NDArray[np.int64]]:
        """Of the step's rows those whose output is stored: the place of the first in `out`, and which rows they are."""
        begin, end = (bisect_left(self._rows, row) for row in (self._first, self._first + count))
        return begin, np.array(self._rows[begin:end], np.int64) - self._first

    def _store(self, number: int, call: Call) -> None:
        layer, writer, sequence, first = self._layers[number], self._writer, self._sequence, self._first
        tensors = {
            name: tensor[0].float().numpy() for name, tensor in (("q", call.query), ("k", call.key), ("v", call.value))
        }
        stop = first + tensors["q"].shape[1]
        if tensors["k"].shape[1] != stop:
            got = f"{tensors['k'].shape[1]} keys"
            raise _error("the cache does not hold one key per token", call.name, f"{stop} keys", got)
        if layer.mask not in mask_kinds(call.mask, first=first, keys=stop, where=call.name):
            raise _error("the mask changes within the model or the text", call.name, f"a {layer.mask} mask", "another")
        stored = {name: self._round(name, tensor, call.name) for name, tensor in tensors.items()}
        for name in ("k", "v"):
            if not np.array_equal(writer.read(number, sequence, name)[:, :first], stored[name][:, :first]):
                what, got = (
                    "the cache changed keys or values of earlier tokens",
                    f"a change of {name} before row {first}",
                )
                raise _error(what, call.name, "K and V as in the step before", got)
        for name, tensor in stored.items():
            writer.write(number, sequence, name, tensor if name == "q" else tensor[:, first:], first=first)
        at, local = self._output_rows(stop - first)
        rows = [first + int(row) for row in local]
        if not rows:
            return

        def outputs(by_name: dict[str, Floats]) -> Floats:
            return attention_outputs(
                by_name["q"][:, local], by_name["k"], by_name["v"], scaling=layer.scaling, rows=rows, mask=layer.mask
            )

        own = writer.read(number, sequence, "out")[:, at : at + len(rows)]
        exact = outputs(tensors)
        difference = float(np.abs(exact - own).max())
        if not difference <= TOLERANCE:  # NaN must fail as well
            raise _error(
                "attention on the captured Q, K, V is not what the model computes",
                call.name,
                f"a difference of at most {TOLERANCE:g} with mask {layer.mask!r}",
                f"{difference:.3g}",
            )
        self._note("error_before", difference)
        if self._rounded == np.float32:
            self._note("stored", difference)
            return
        rounded = outputs(stored)
        self._note("output", float(np.abs(rounded - exact).max()))
        self._note("stored", float(np.abs(rounded - own).max()))

    def _round(self, name: str, tensor: Floats, where: str) -> Floats:
        """The tensor as it is stored."""
        if self._rounded == np.float32:
            return tensor
        with np.errstate(over="ignore"):
            rounded = tensor.astype(self._rounded)
        if not np.isfinite(rounded).all():
            largest = f"{float(np.abs(tensor).max()):.3g} in {name}"
            raise TraceError(
                "a value does not fit the stored type",
                where=where,
                expected=f"at most {np.finfo(self._rounded).max:g} for {self._rounded}",
                got=largest,
                remedy="store float32",
            )
        self._note(name, float(np.abs(rounded.astype(np.float32) - tensor).max()))
        return rounded

    def _note(self, name: str, value: float) -> None:
        self.errors[name] = max(self.errors[name], value)


def _chosen(found: Sequence[AttentionLayer], layers: Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(len(found)))
    unknown = [layer for layer in layers if not 0 <= layer < len(found)]
    if unknown or not layers:
        raise ConfigError(
            "the model has no such layer",
            where="layers",
            expected=f"numbers in 0..{len(found) - 1}",
            got=str(unknown[0]) if unknown else "none",
            remedy="name layers of the model, such as 0,5-7",
        )
    return sorted(set(layers))


def _check_inputs(model: Any, found: Sequence[AttentionLayer], inputs: Sequence[Input]) -> None:
    longest = max(len(item.tokens) for item in inputs)
    decodes = any(item.prompt_tokens < len(item.tokens) for item in inputs)
    if decodes and found[0].mask == "full":
        raise ConfigError(
            "an encoder has no decode steps",
            where=type(model).__name__,
            expected="a decoder (GPT-2, Llama, ...), or a prompt alone",
            got="a full mask, and decode steps asked for",
            remedy="leave --decode",
        )
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    if window is not None and longest > window:
        raise ConfigError(
            "the context is longer than the model's sliding window",
            where=type(model).__name__,
            expected=f"at most {window} tokens: a trace has one key per token for every query",
            got=f"{longest} tokens",
            remedy="lower --prompt-tokens and --decode",
        )


def _shape(name: str, found: Sequence[AttentionLayer], chosen: Sequence[int]) -> ModelShape:
    kinds = {replace(found[layer], name="", reader="") for layer in chosen}
    if len(kinds) > 1:
        differing = [
            f"{field} {sorted({getattr(kind, field) for kind in kinds})}"
            for field in ("heads", "kv_heads", "head_dim", "scaling", "mask")
            if len({getattr(kind, field) for kind in kinds}) > 1
        ]
        raise _error("the layers differ", name, "one shape, scaling and mask in all layers", ", ".join(differing))
    (kind,) = kinds
    excerpt = Excerpt(layers=tuple(chosen), of=len(found)) if len(chosen) < len(found) else None
    return kind.shape(name, layers=len(chosen), excerpt=excerpt)


def _with_errors(manifest: Manifest, errors: Sequence[Errors]) -> Manifest:
    """The manifest with the largest errors of all sequences."""

    def largest(name: str) -> float:
        # Rounded up: the sums of a reader's NumPy may differ in the last bit, and must stay within the stored error.
        return float(Context(prec=3, rounding=ROUND_UP).create_decimal_from_float(max(each[name] for each in errors)))

    rounding = None
    if manifest.dtype != "float32":
        names = ("q", "k", "v", "output", "error_before")
        rounding = Rounding(**{name: largest(name) for name in names})
    return replace(manifest, stored_error=largest("stored"), rounding=rounding)


def _error(what: str, where: str, expected: str, got: str) -> TraceError:
    remedy = "capture another model or less text (docs/traces.md lists what works)"
    return TraceError(what, where=where, expected=expected, got=got, remedy=remedy)

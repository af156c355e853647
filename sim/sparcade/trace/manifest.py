"""`manifest.json` of a trace: what was run, on which text, with which shapes; parsed and checked field by field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from sparcade.errors import TraceError

SCHEMA = "sparcade.trace"
SCHEMA_VERSION = 1
#: Largest dimension accepted anywhere: far above any real model, far below what would overflow an index.
_LIMIT = 1 << 24
_LARGEST_SCALING = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Which layers of a model a trace holds, where it does not hold all: to a replay they are all there is."""

    layers: tuple[int, ...]  #: ascending, counted from 0 in the model
    of: int  #: layers of the model

    def __str__(self) -> str:
        return f"the trace holds {len(self.layers)} of the model's {self.of} layers: {', '.join(map(str, self.layers))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The attention geometry of a model."""

    name: str
    layers: int
    heads: int  #: query heads
    kv_heads: int  #: KV heads; equal to `heads` without grouped-query attention
    head_dim: int  #: D, elements per vector
    mask: str  #: "causal" (decoder) or "full" (encoder)
    scaling: float  #: factor on Q.K, usually D ** -0.5
    excerpt: Excerpt | None = None  #: None: `layers` are all layers of the model

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """One text: `prompt_tokens` read at once (step 0, prefill), then one token per decode step."""

    text: str
    tokens: tuple[str, ...]  #: token strings, prompt and decode
    token_ids: tuple[int, ...]
    key_positions: tuple[int, ...]  #: absolute position of each key
    row_steps: tuple[int, ...]  #: step in which each row was computed; 0 is prefill
    prompt_tokens: int
    output_rows: tuple[int, ...]  #: rows whose model output is stored

    @property
    def decode_steps(self) -> int:
        """Steps after the prompt."""
        return len(self.tokens) - self.prompt_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """What storing float16 changed, each the largest |change| over the whole trace."""

    q: float
    k: float
    v: float
    output: float  #: of the attention output in float64, at the `output_rows`
    error_before: float  #: largest |output of the float32 Q, K, V - stored output|

    def __str__(self) -> str:
        changes = ", ".join(f"{name} {getattr(self, name):.2g}" for name in ("q", "k", "v", "output"))
        return f"rounding to float16 changed at most: {changes}; error of the outputs before it {self.error_before:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a trace says about itself, except the tensors."""

    model: ModelShape
    sequences: tuple[Sequence, ...]
    dtype: str  #: of the stored Q, K, V: "float32" or "float16"
    source: str  #: how the trace was made (command, weights, text), for people
    outputs_from: str  #: which run the stored outputs come from
    stored_error: float  #: largest |output of the stored Q, K, V - stored output|, measured at capture
    rounding: Rounding | None = None  #: of captured float16 traces

    def to_dict(self, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Plain tables, with the name, size and SHA-256 of each tensor file; what is None is left out."""
        table = dataclasses.asdict(self)
        for holder, name in ((table, "rounding"), (table["model"], "excerpt")):
            if holder[name] is None:
                del holder[name]
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **table, "files": files}


def parse(raw: Any, *, where: str) -> tuple[Manifest, dict[str, dict[str, Any]]]:
    """Check the parsed JSON of a manifest and return it with its file table.

    Raises
    ------
    TraceError
        Naming the field that is absent, of another type, or inconsistent.
    """
    table = _table(raw, where, "the manifest")
    if table.get("schema") != SCHEMA:
        raise _error("the file is not a trace manifest", where, f"schema = {SCHEMA!r}", repr(table.get("schema")))
    if table.get("schema_version") != SCHEMA_VERSION:
        got = repr(table.get("schema_version"))
        raise _error("the trace has another schema version", where, str(SCHEMA_VERSION), got)
    model = _model(_table(table.get("model"), where, "model"), where)
    raw_sequences = table.get("sequences")
    if not isinstance(raw_sequences, list) or not raw_sequences:
        raise _error("the trace has no sequences", where, "a non-empty list", repr(raw_sequences)[:60])
    sequences = tuple(
        _sequence(_table(item, where, f"sequences[{index}]"), model, f"{where}: sequences[{index}]")
        for index, item in enumerate(raw_sequences)
    )
    dtype = _text(table, "dtype", where)
    if dtype not in ("float32", "float16"):
        raise _error("the tensors have an unsupported dtype", f"{where}: dtype", "float32 or float16", repr(dtype))
    manifest = Manifest(
        model=model,
        sequences=sequences,
        dtype=dtype,
        source=_text(table, "source", where),
        outputs_from=_text(table, "outputs_from", where),
        stored_error=_number(table, "stored_error", where),
        rounding=_rounding(table, where),
    )
    files = {
        name: _table(entry, where, f"files[{name!r}]")
        for name, entry in _table(table.get("files"), where, "files").items()
    }
    return manifest, files


def _model(table: dict[str, Any], where: str) -> ModelShape:
    where = f"{where}: model"
    model = ModelShape(
        name=_text(table, "name", where),
        mask=_text(table, "mask", where),
        scaling=_number(table, "scaling", where),
        excerpt=_excerpt(table, where),
        **{name: _count(table, name, where) for name in ("layers", "heads", "kv_heads", "head_dim")},
    )
    if model.excerpt and len(model.excerpt.layers) != model.layers:
        expected, got = f"{model.layers} layers", str(len(model.excerpt.layers))
        raise _error("the excerpt names other layers than the trace has", f"{where}.excerpt.layers", expected, got)
    if model.mask not in ("causal", "full"):
        raise _error("the mask kind is unsupported", f"{where}.mask", "'causal' or 'full'", repr(model.mask))
    if model.heads % model.kv_heads:
        raise _error(
            "the query heads do not divide into the KV heads",
            f"{where}.kv_heads",
            f"a divisor of heads = {model.heads}",
            str(model.kv_heads),
        )
    if not 0 < model.scaling <= _LARGEST_SCALING:
        expected = f"a number above 0, at most {_LARGEST_SCALING:g}"
        raise _error("the scaling is not plausible", f"{where}.scaling", expected, repr(model.scaling))
    return model


def _excerpt(table: dict[str, Any], where: str) -> Excerpt | None:
    if "excerpt" not in table:
        return None
    where = f"{where}.excerpt"
    raw = _table(table["excerpt"], where, "excerpt")
    excerpt = Excerpt(layers=_integers(raw, "layers", where), of=_count(raw, "of", where))
    if list(excerpt.layers) != sorted(set(excerpt.layers)) or any(layer >= excerpt.of for layer in excerpt.layers):
        expected = f"ascending numbers in 0..{excerpt.of - 1}"
        raise _error("the excerpt is not of the model's layers", f"{where}.layers", expected, repr(excerpt.layers[:8]))
    return excerpt


def _rounding(table: dict[str, Any], where: str) -> Rounding | None:
    if "rounding" not in table:
        return None
    raw, where = _table(table["rounding"], where, "rounding"), f"{where}: rounding"
    names = [field.name for field in dataclasses.fields(Rounding)]
    rounding = {name: _number(raw, name, where) for name in names}
    for name, value in rounding.items():
        if value < 0:
            raise _error("an error is negative", f"{where}.{name}", "a number from 0", repr(value))
    return Rounding(**rounding)


def _sequence(table: dict[str, Any], model: ModelShape, where: str) -> Sequence:
    tokens = table.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise _error("the tokens are not a list of strings", f"{where}.tokens", "strings", repr(tokens)[:60])
    if not tokens:
        raise _error("the sequence has zero tokens", f"{where}.tokens", "at least one token", "none")
    count = len(tokens)
    sequence = Sequence(
        text=_text(table, "text", where),
        tokens=tuple(tokens),
        token_ids=_integers(table, "token_ids", where),
        key_positions=_integers(table, "key_positions", where),
        row_steps=_integers(table, "row_steps", where),
        prompt_tokens=_count(table, "prompt_tokens", where),
        output_rows=_integers(table, "output_rows", where),
    )
    if sequence.prompt_tokens > count:
        raise _error(
            "the prompt is longer than the sequence",
            f"{where}.prompt_tokens",
            f"at most {count}",
            str(sequence.prompt_tokens),
        )
    if model.mask == "full" and sequence.decode_steps:
        raise _error(
            "an encoder has no decode steps", f"{where}.prompt_tokens", str(count), str(sequence.prompt_tokens)
        )
    for name in ("token_ids", "key_positions", "row_steps"):
        if len(getattr(sequence, name)) != count:
            got = str(len(getattr(sequence, name)))
            raise _error(f"{name} and tokens differ in length", f"{where}.{name}", f"{count} entries", got)
    if sequence.key_positions != tuple(range(count)):
        raise _error(
            "the key positions are not 0, 1, 2, ...",
            f"{where}.key_positions",
            "one key per token from position 0 (no sliding window, no padding)",
            repr(sequence.key_positions[:8]),
        )
    steps = (0,) * sequence.prompt_tokens + tuple(range(1, sequence.decode_steps + 1))
    if sequence.row_steps != steps:
        raise _error(
            "the row steps do not match the prompt length",
            f"{where}.row_steps",
            f"{sequence.prompt_tokens} times 0, then 1, 2, ...",
            repr(sequence.row_steps[:8]),
        )
    rows = sequence.output_rows
    if any(row >= count for row in rows) or list(rows) != sorted(set(rows)):
        raise _error(
            "the output rows are not ascending token rows", f"{where}.output_rows", f"0..{count - 1}", repr(rows[:8])
        )
    return sequence


def _table(value: Any, where: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error(f"{name} is not a table", where, "a JSON object", repr(value)[:60])
    return value


def _text(table: dict[str, Any], name: str, where: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise _error(f"{name} is not text", f"{where}.{name}", "a string", repr(value)[:60])
    return value


def _count(table: dict[str, Any], name: str, where: str) -> int:
    value = table.get(name)
    if type(value) is not int or not 1 <= value <= _LIMIT:
        raise _error(f"{name} is not a count", f"{where}.{name}", f"an integer in 1..{_LIMIT}", repr(value)[:60])
    return value


def _number(table: dict[str, Any], name: str, where: str) -> float:
    value: Any = table.get(name)
    if type(value) is int and abs(value) <= _LIMIT:
        value = float(value)
    if not isinstance(value, float) or not math.isfinite(value):
        raise _error(f"{name} is not a number", f"{where}.{name}", "a finite number", repr(value)[:60])
    return value


def _integers(table: dict[str, Any], name: str, where: str) -> tuple[int, ...]:
    value = table.get(name)
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise _error(f"{name} is not a list of counts", f"{where}.{name}", "integers from 0", repr(value)[:60])
    return tuple(value)


def _error(what: str, where: str, expected: str, got: str) -> TraceError:
    return TraceError(
        what, where=where, expected=expected, got=got, remedy="capture the trace again, or restore it from its origin"
    )

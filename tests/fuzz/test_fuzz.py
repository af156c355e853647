"""Random damage to traces, policies and workloads: a clear error or a right result, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import sparcade
from damage import contents, run_command, signature
from sparcade._files import file_hash
from sparcade.cli import main
from sparcade.policy import PolicyConfig
from sparcade.workload import Workload

Json = dict[str, Any]
EXAMPLES = 150
#: How a mutation picks among what is there: a number, taken modulo.
PICK = st.integers(0, 1 << 16)


@contextlib.contextmanager
def copy_of(original: Path) -> Iterator[Path]:
    """A copy of the originals that one example may damage."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(original, Path(folder) / "place"))


def outcome(place: Path, target: str, *options: str) -> Json | None:
    """Run, and return result.json; None after exactly one clear error that left every file as it was."""
    before = contents(place)
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(run_command(place, *options, target=target))
    if code == 0:
        assert error.getvalue() == ""
        return dict(json.loads((place / "out" / "result.json").read_text()))
    labels = [line.split(":")[0].strip() for line in error.getvalue().splitlines()]
    assert (code, labels) == (2, ["error", "where", "expected", "got", "remedy", "see"]), error.getvalue()
    assert out.getvalue() == ""
    assert contents(place) == before
    return None


# --- bytes and JSON ---------------------------------------------------------------------------------------------------

BYTES = st.tuples(st.sampled_from(("flip", "delete", "insert", "cut")), PICK, st.integers(1, 255))
#: A value a field may turn into; "tweak" changes a number by a little, "drop" removes the field.
VALUES = st.one_of(
    st.sampled_from(["drop", "tweak", "rename", None, True, "", "x", "\ud800", [], {}, [[0]], {"a": 1}]),
    st.sampled_from([0, 1, -1, 2, 13, 1 << 24, 1 << 31, 1 << 63, 10**30, 10**400]),
    st.sampled_from([0.5, -0.0, 1e300, 1.7e308, 5e-324, float("nan"), float("inf")]),
    st.text(max_size=5),
)
FIELDS = st.tuples(st.lists(PICK, min_size=1, max_size=4), VALUES)


def change_bytes(path: Path, kind: str, pick: int, byte: int) -> None:
    data = bytearray(path.read_bytes())
    place = pick * max(1, len(data)) // (1 << 16) % max(1, len(data))
    if kind == "flip" and data:
        data[place] ^= byte
    elif kind == "delete":
        del data[place : place + byte % 9]
    elif kind == "insert":
        data[place:place] = bytes([byte]) * (byte % 9)
    elif kind == "cut":
        del data[place:]
    path.write_bytes(bytes(data))


def change_field(table: Any, picks: list[int], value: Any) -> None:
    """Walk down by the picks as far as it goes, and change what stands there."""
    for last in range(len(picks)):
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        if not keys:
            return
        key = keys[picks[last] % len(keys)]
        if last < len(picks) - 1 and isinstance(table[key], dict | list):
            table = table[key]
            continue
        if value == "drop":
            del table[key]
        elif value == "rename" and isinstance(table, dict):
            table[f"{key}s"] = table.pop(key)
        elif value == "tweak" and isinstance(table[key], int | float):
            table[key] += 1 if picks[0] % 2 else -1
        else:
            table[key] = value
        return


# --- (a) traces -------------------------------------------------------------------------------------------------------

TENSORS = st.tuples(
    PICK, st.sampled_from("qkv"), PICK, st.sampled_from([0.0, 7.0, -1e-30, 1e19, 1e30, 3e38, np.inf, np.nan])
)
TRACES = st.lists(
    st.one_of(
        st.tuples(st.just("bytes"), PICK, BYTES),
        st.tuples(st.just("field"), FIELDS),
        st.tuples(st.just("field"), FIELDS),
        st.tuples(st.just("tensor"), TENSORS),
        st.tuples(st.just("swap")),
        st.tuples(st.just("sign")),
    ),
    min_size=1,
    max_size=3,
)


def damage_trace(trace: Path, changes: list[tuple[Any, ...]]) -> None:
    manifest = trace / "manifest.json"
    for kind, *details in changes:
        layers = sorted(trace.glob("*.safetensors"))
        if kind == "bytes":
            change_bytes([manifest, *layers][details[0] % 3], *details[1])
            continue
        try:
            table = json.loads(manifest.read_text())
        except ValueError:
            continue
        if kind == "field":
            change_field(table, *details[0])
        elif kind == "tensor":
            with contextlib.suppress(Exception):  # the bytes may be damaged already
                set_value(layers, *details[0])
        elif kind == "swap":
            first, second = (path.read_bytes() for path in layers)
            layers[0].write_bytes(second)
            layers[1].write_bytes(first)
        if kind in ("tensor", "sign") and isinstance(table, dict):
            table["files"] = signature(layers)
        with contextlib.suppress(UnicodeEncodeError):
            manifest.write_text(json.dumps(table))


def set_value(layers: list[Path], layer: int, name: str, place: int, value: float) -> None:
    path = layers[layer % len(layers)]
    arrays = load_file(str(path))
    tensor = arrays[f"sequence_000.{name}"].copy()
    tensor.reshape(-1)[place % tensor.size] = value
    save_file(arrays | {f"sequence_000.{name}": tensor}, str(path))


def meaning(trace: Path) -> Any:
    """All of a trace that its counters may depend on: tensors, geometry, prompt length."""
    table = json.loads((trace / "manifest.json").read_text())
    model = {name: value for name, value in table["model"].items() if name != "name"}
    prompts = [(len(sequence["tokens"]), sequence["prompt_tokens"]) for sequence in table["sequences"]]
    return model, prompts, {path.name: path.read_bytes() for path in trace.glob("*.safetensors")}


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(changes=TRACES)
@example([("field", ([6, 0], 10**400)), ("sign",)])
@example([("tensor", (0, "v", 0, 3e38))])
@example([("tensor", (0, "v", 0, 1e19))])
def test_traces(original: Path, changes: list[tuple[Any, ...]]) -> None:
    """What is damaged is refused; what passes is signed, and costs the same unless something that matters changed."""
    with copy_of(original) as place:
        damage_trace(place / "trace", changes)
        result = outcome(place, "trace")
        if result is None:
            return
        table = json.loads((place / "trace" / "manifest.json").read_text())
        for name, entry in table["files"].items():
            assert entry["sha256"] == file_hash(place / "trace" / name)
        if meaning(place / "trace") == meaning(original / "trace"):
            expected = sparcade.simulate(Workload.load(original / "work.npz"), sparcade.load_arch("spatten"))
            assert result["total"]["counters"] == expected.total()


# --- (b) policy TOML --------------------------------------------------------------------------------------------------

RATIO = st.sampled_from([0, 1, 0.5, "1/3", "2/4", 0.3, 1.0, "off", 1.5, -1, "x", "1/0", True, [1], 1e-300])
COUNT = st.sampled_from([0, 1, 2, 99, -1, 1.5, "1", False, 10**18, 10**30, "off"])
FLAG = st.sampled_from([True, False, 0, "true"])
SCHEDULE = {
    "start": RATIO,
    "end": RATIO,
    "front": COUNT,
    "staircase": st.one_of(RATIO, st.lists(RATIO, max_size=3), st.just([1, "1/2"])),
    "in_prefill": FLAG,
}
TABLES = {
    "tokens": {
        **SCHEDULE,
        "accumulate": st.sampled_from(["sum", "per-visible-query", "mean", 1, []]),
        "decay": RATIO,
        "decode_only": FLAG,
        "protect_first": COUNT,
        "protect_last": COUNT,
    },
    "heads": {**SCHEDULE, "min_heads": COUNT},
    "local_v": {"keep": RATIO, "in_prefill": FLAG},
    "progressive": {
        "msb_bits": st.sampled_from([4, 6, 8, 10, 12, 32, 7, 8.0, "8"]),
        "lsb_bits": st.sampled_from([0, 4, 3, -4]),
        "threshold": st.sampled_from([0, 0.1, 1, 2, -0.1, "0.1", 10**400]),
        "in_prefill": FLAG,
    },
}
POLICY_TABLES = st.fixed_dictionaries(
    {"source": st.sampled_from(["fuzz", "fuzz", "fuzz", 5])},
    optional={
        "name": st.sampled_from(["mine", "a/b", "", "[/b]", "[i]", "ü"]),
        "bits": st.sampled_from([4, 6, 8, 10, 12, 12, 32, 11, 0, -12, 12.0, 10**30]),
        "bitts": st.just(12),
        **{
            name: st.one_of(*[st.fixed_dictionaries({}, optional=keys)] * 5, st.sampled_from(["off", 1, [], {"x": 1}]))
            for name, keys in TABLES.items()
        },
    },
)


def toml(value: Any) -> str:
    """An inline TOML value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def same(asked: Any, told: Any) -> bool:
    """True when result.json says what the TOML said."""
    if isinstance(asked, dict):
        return isinstance(told, dict) and all(
            (name not in told) if item == "off" else (name in told and same(item, told[name]))
            for name, item in asked.items()
        )
    if isinstance(asked, list):
        return len(asked) == len(told) and all(map(same, asked, told))
    if isinstance(asked, bool) or isinstance(told, bool):
        return asked is told
    if isinstance(told, str) and told != asked:
        return Fraction(told) == Fraction(str(asked))
    return bool(asked == told)


def check_policy(original: Path, text: bytes) -> None:
    with copy_of(original) as place:
        (place / "mine.toml").write_bytes(text)
        result = outcome(place, "trace", "--policy", str(place / "mine.toml"))
        if result is None:
            return
        asked, told = tomllib.loads(text.decode()), result["workload"]["policy_settings"]
        assert same(asked, told), (asked, told)
        techniques = {field.name for field in dataclasses.fields(PolicyConfig)} - {"name", "source", "bits"}
        assert set(told) & techniques == {name for name in asked if name in techniques and asked[name] != "off"}


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(table=POLICY_TABLES)
def test_policy_tables(original: Path, table: Json) -> None:
    """A policy of random values is refused, or result.json says exactly what the file said."""
    check_policy(original, "\n".join(f"{name} = {toml(value)}" for name, value in table.items()).encode())


PRESETS = sorted((Path(sparcade.__file__).parent / "policy" / "presets").glob("*.toml"))


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(preset=st.sampled_from(PRESETS), changes=st.lists(BYTES, min_size=1, max_size=3))
def test_policy_text(original: Path, preset: Path, changes: list[tuple[str, int, int]]) -> None:
    """The same for a preset with random bytes changed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(preset, folder))
        for change in changes:
            change_bytes(path, *change)
        text = path.read_bytes()
    check_policy(original, text)


# --- (d) workloads ----------------------------------------------------------------------------------------------------

ARRAYS = ("rows", "queries", "passes", "key_ids", "value_ids")
CELLS = st.tuples(
    st.sampled_from(ARRAYS),
    PICK,
    PICK,
    st.sampled_from([0, 1, 2, 3, 8, 255, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, -1, "+1", "-1"]),
)
WORKLOADS = st.lists(
    st.one_of(
        st.tuples(st.just("cell"), CELLS),
        st.tuples(st.just("cell"), CELLS),
        st.tuples(st.just("length"), st.tuples(st.sampled_from(ARRAYS), PICK)),
        st.tuples(st.just("shape"), FIELDS),
    ),
    min_size=1,
    max_size=3,
)


def damage_workload(path: Path, changes: list[tuple[Any, ...]], *, signed: bool) -> None:
    """Write a workload with changed tables, past the checks of `Workload`."""
    work = Workload.load(path)
    tables: Json = {name: getattr(work, name).copy() for name in ARRAYS}
    shape = dataclasses.asdict(work.shape)
    for kind, details in changes:
        if kind == "cell":
            name, row, column, value = details
            table = tables[name]
            cells = table[table.dtype.names[column % len(table.dtype.names)]] if table.dtype.names else table
            if len(cells):
                place = row % len(cells)
                if isinstance(value, str):
                    value = int(cells[place]) + int(value)
                cells[place] = np.array(value & ((1 << 64) - 1), np.uint64).astype(cells.dtype)
        elif kind == "length":
            name, keep = details
            tables[name] = tables[name][: keep % (len(tables[name]) + 1)]
        else:
            change_field(shape, *details)
    old = work.content_hash
    changed = object.__new__(Workload)
    for name, value in {**tables, "released": work.released}.items():
        object.__setattr__(changed, name, value)
    archive = {"schema": "sparcade.workload", "schema_version": 1, "content_hash": old, "shape": shape}
    if signed:
        with contextlib.suppress(TypeError, ValueError):
            object.__setattr__(changed, "shape", dataclasses.replace(work.shape, **shape))
            archive["content_hash"] = changed.content_hash
    arrays = {name: np.ascontiguousarray(tables[name]) for name in ARRAYS}
    path.unlink()
    with zipfile.ZipFile(path, "w") as target:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            target.writestr(f"{name}.npy", buffer.getvalue())
        target.writestr("manifest.json", json.dumps(archive))


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(changes=WORKLOADS, signed=st.booleans())
@example([("cell", ("rows", 0, 12, (1 << 32) - 1))], False)  # a count of 4e9 keys
@example([("cell", ("passes", 0, 0, (1 << 32) - 1))], True)  # a pass over 4e9 elements
@example([("shape", ([5], 10**30))], True)  # max_context
@example([("shape", ([4], 1 << 31))], True)  # head_dim
@example([("shape", ([7], float("nan")))], False)  # policy_settings
@example([("shape", ([0], "\ud800"))], False)  # name
@example([("shape", ([0], "[/b]"))], True)
def test_workloads(original: Path, changes: list[tuple[Any, ...]], signed: bool) -> None:
    """Changed tables are refused, unsigned ones always; what passes keeps every invariant of a run.

    Without shrinking: a run that gets stuck takes seconds.
    """
    with copy_of(original) as place:
        damage_workload(place / "work.npz", changes, signed=signed)
        result = outcome(place, "work.npz")
        if result is not None and not signed:
            same_tables = Workload.load(original / "work.npz").content_hash
            assert result["workload"]["content_hash"] == same_tables


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(changes=st.lists(BYTES, min_size=1, max_size=2))
def test_workload_bytes(original: Path, changes: list[tuple[str, int, int]]) -> None:
    """A damaged file is refused, or still holds the very same workload."""
    with copy_of(original) as place:
        for change in changes:
            change_bytes(place / "work.npz", *change)
        result = outcome(place, "work.npz")
        if result is not None:
            assert result["workload"]["content_hash"] == Workload.load(original / "work.npz").content_hash

"""CSV files of the released form: what is read, and that every file comes back byte for byte."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import released_csv as csv
import sparcade
from sparcade._files import canonical_json
from sparcade.errors import WorkloadError
from sparcade.workload import Workload, export_csv, import_csv
from sparcade.workload.cascade import check_cascade
from sparcade.workload.csv_text import parse_csv
from sparcade.workload.released import COLUMNS, ReleasedColumns

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "spatten_workloads"


def read(folder: Path, text: str, seed: int = 0) -> Workload:
    (folder / "w.csv").write_bytes(text.encode())
    return import_csv(folder / "w.csv", seed)


def written(folder: Path, workload: Workload) -> bytes:
    export_csv(workload, folder / "again.csv")
    return (folder / "again.csv").read_bytes()


@settings(max_examples=150)
@given(text=csv.files())
def test_every_file_comes_back_byte_for_byte(text: str, tmp_path: Path) -> None:
    """Imported, saved, loaded, exported; and the tables say what the cells said."""
    workload = read(tmp_path, text)
    workload.save(tmp_path / "w.npz")
    loaded = Workload.load(tmp_path / "w.npz")
    assert loaded.content_hash == workload.content_hash
    assert written(tmp_path, loaded) == text.encode()
    cells = [one.strip().split(",") for one in text.removeprefix("\ufeff").replace("\r", "").split("\n")]
    names = [cell.strip() for cell in cells[0]]
    table = [dict(zip(names, map(str.strip, one), strict=True)) for one in cells[1:] if len(one) == 17 and one[1]]
    table = [row for row in table if not next(iter(row.values())).startswith("#")]
    rows, queries = loaded.rows, loaded.queries
    assert len(rows) == len(queries) == len(table)
    for row, query, given_row in zip(rows, queries, table, strict=True):
        number = {name: float(cell) for name, cell in given_row.items() if cell not in ("True", "False")}
        assert row["sequence"] == 0
        assert row["step"] == number["iteration_id"] + 1
        assert (row["layer"], row["head"], row["kv_head"]) == (
            number["layer_id"],
            number["head_id"],
            number["head_id"],
        )
        assert row["context"] == number["sentence_length_L"]
        assert query["token"] == row["context"] - 1
        assert row["keys"] == query["visible"] == number["key_fetch_num"]
        assert row["values"] == query["values"] == number["value_fetch_num"]
        assert row["msb_bits"] == (number["quant_key_bit"] if number["quant_key_bit"] > 0 else 32)
        assert row["value_bits"] == (number["quant_value_bit"] if number["quant_value_bit"] > 0 else 32)
        assert row["lsb_bits"] == 4 * (number["quant_key_bit"] in (4, 6, 8) and number["auto_requant_incre"] == 4)
        assert row["query_bits"] == 12
        assert query["refetch"] == (given_row["if_requant"] == "True")
        assert row["accumulate"] == (given_row["if_accumulate_importance"] == "True")
        if row["token_n"]:
            assert row["token_k"] == number["topk"] < row["token_n"]


@settings(max_examples=200)
@given(text=csv.files(), place=st.floats(0, 1), cut=st.integers(0, 6), noise=st.binary(max_size=4))
def test_a_damaged_file_is_refused_or_comes_back(
    text: str, place: float, cut: int, noise: bytes, tmp_path: Path
) -> None:
    data = text.encode()
    at = int(place * len(data))
    data = data[:at] + noise + data[at + cut :]
    (tmp_path / "w.csv").write_bytes(data)
    try:
        workload = import_csv(tmp_path / "w.csv")
    except WorkloadError as error:
        assert "w.csv" in error.where
    else:
        assert written(tmp_path, workload) == data


@settings(max_examples=200)
@given(
    text=csv.files(),
    array=st.sampled_from(["extra", "literals", "text"]),
    place=st.integers(0, 1 << 20),
    noise=st.binary(min_size=1, max_size=4),
)
def test_damaged_columns_are_refused_or_give_a_file_again(
    text: str, array: str, place: int, noise: bytes, tmp_path: Path
) -> None:
    workload = read(tmp_path, text)
    assert workload.released is not None
    table = getattr(workload.released, array).copy()
    raw = table.view(np.uint8).reshape(-1)
    at = place % len(raw)
    raw[at : at + len(noise)] = np.frombuffer(noise, np.uint8)[: len(raw) - at]
    try:
        changed = replace(workload, released=replace(workload.released, **{array: table}))
    except WorkloadError:
        return
    data = written(tmp_path, changed)
    (tmp_path / "again.csv").write_bytes(data)
    assert written(tmp_path, import_csv(tmp_path / "again.csv")) == data


@settings(max_examples=25)
@given(text=csv.files())
def test_what_imports_also_runs(text: str, tmp_path: Path) -> None:
    """Every law of a run holds for whatever a file asks for; or its cascade is refused."""
    workload = read(tmp_path, text)
    arch = sparcade.load_arch("spatten", ["dram.kind=ideal"])
    try:
        check_cascade(workload)
    except WorkloadError:
        return
    run = sparcade.simulate(workload, arch)
    assert run.total()["refetches"] == workload.queries["refetch"].sum()


@pytest.mark.reference
@pytest.mark.parametrize("pattern", ["small.csv", "*-per8.csv", "*-per8-step1+dedic.csv"])
def test_the_released_files_come_back_byte_for_byte(pattern: str, tmp_path: Path) -> None:
    found = list(REFERENCE.glob(pattern))
    if not found:
        pytest.skip(f"no released file {pattern} in {REFERENCE}")
    workload = import_csv(found[0])
    workload.save(tmp_path / "w.npz")
    assert written(tmp_path, Workload.load(tmp_path / "w.npz")) == found[0].read_bytes()
    assert workload.released is not None
    assert len(workload.released.literals) == 2  # header and name of the configuration: all rows stand in the tables


def test_what_selections_rank(tmp_path: Path) -> None:
    """The keys of the layer while the iteration goes on, then the next iteration's context as far as it exists."""
    rows = csv.two_layers()
    rows[3] = csv.line(layer_id=1, head_id=1, key_fetch_num=20, if_topk=True, topk=30)
    rows[7] = csv.line(
        iteration_id=1, layer_id=1, head_id=1, sentence_length_L=41, key_fetch_num=20, if_topk=True, topk=3
    )
    workload = read(tmp_path, csv.text(*rows))
    assert workload.rows["token_n"].tolist() == [0, 30, 0, 40, 0, 30, 0, 41]
    assert workload.rows["token_k"].tolist() == [0, 20, 0, 30, 0, 20, 0, 3]
    assert ((workload.rows["token_passes"] > 0) == (workload.rows["token_n"] > 0)).all()


def test_a_selection_of_all_is_no_event(tmp_path: Path) -> None:
    rows = csv.two_layers()
    rows[1] = csv.line(head_id=1, if_topk=True, topk=30)
    workload = read(tmp_path, csv.text(*rows))
    assert workload.rows["token_n"].tolist() == [0, 0, 0, 0, 0, 30, 0, 0]
    assert b"True,30\n" in written(tmp_path, workload)


def test_where_it_comes_from(tmp_path: Path) -> None:
    text = csv.text(csv.line())
    shape = read(tmp_path, text, seed=7).shape
    assert (shape.name, shape.ids, shape.layers, shape.heads, shape.kv_heads) == ("w", "synthetic", 1, 1, 1)
    assert (shape.head_dim, shape.max_context, shape.trace_hash) == (64, 40, "")
    assert shape.policy_settings == {"file": "w.csv", "sha256": hashlib.sha256(text.encode()).hexdigest(), "seed": 7}


def test_other_workloads_keep_their_hash_and_their_files(tmp_path: Path) -> None:
    """The columns of the released form enter hash and file only where there are any."""
    trace = sparcade.synthesize(tmp_path / "trace", seed=1, layers=2, heads=2, kv_heads=2, head_dim=8, prompt_tokens=5)
    workload = sparcade.apply(trace, sparcade.load_policy("spatten")).workload
    shape = {name: value for name, value in asdict(workload.shape).items() if name != "persistent"}
    digest = hashlib.sha256(canonical_json(shape).encode())
    for name in ("rows", "queries", "passes", "key_ids", "value_ids"):
        digest.update(getattr(workload, name).tobytes())
    assert workload.content_hash == digest.hexdigest()
    workload.save(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.npz") as archive:
        assert len(archive.namelist()) == 6
    imported = read(tmp_path, csv.text(csv.line()))
    assert imported.content_hash != replace(imported, released=None).content_hash


def test_a_workload_of_other_origin_is_written_from_its_tables(tmp_path: Path) -> None:
    workload = replace(read(tmp_path, csv.text(*csv.two_layers(if_requant=True), "# gone")), released=None)
    again = read(tmp_path, written(tmp_path, workload).decode())
    rows = csv.two_layers(if_requant=True)
    absent = {"quant_query_bit": -1, "auto_requant_thres": -1}
    table = parse_csv(csv.text(*rows).encode(), "given").table
    for name in COLUMNS:
        expected = absent.get(name, table[name])
        assert (parse_csv(written(tmp_path, again), "again").table[name] == expected).all(), name


def test_surviving_heads_are_numbered_anew(tmp_path: Path) -> None:
    workload = replace(read(tmp_path, csv.text(*csv.two_layers())), released=None)
    rows = workload.rows.copy()
    rows["head"] = rows["kv_head"] = rows["head"] * 3 + 1
    workload = replace(workload, rows=rows, shape=replace(workload.shape, heads=6, kv_heads=6))
    assert parse_csv(written(tmp_path, workload), "again").table["head_id"].tolist() == [0, 1] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {"rows": _set(w.rows, "step", [0, 0, 1, 1, 2, 2, 3, 3])}, "prefill"),
        (lambda w: {"rows": _set(w.rows, "sequence", [0] * 4 + [1] * 4)}, "2 sequences"),
        (lambda w: {"shape": replace(w.shape, heads=4)}, "share 2 KV heads"),
    ],
)
def test_what_the_columns_cannot_express(change: Any, words: str, tmp_path: Path) -> None:
    workload = replace(read(tmp_path, csv.text(*csv.two_layers())), released=None)
    workload = replace(workload, **change(workload))
    with pytest.raises(WorkloadError, match=words):
        export_csv(workload, tmp_path / "no.csv")
    assert not (tmp_path / "no.csv").exists()


def _set(table: Any, name: str, values: list[int]) -> Any:
    table = table.copy()
    table[name] = values
    return table


def test_columns_that_do_not_fit_the_rows_are_refused(tmp_path: Path) -> None:
    """Whatever of them is changed: the workload is inconsistent."""
    workload = read(tmp_path, csv.text("# a", *csv.two_layers(), "# b").replace("64.0", "64", 1))
    good = workload.released
    assert good is not None
    assert good.literals["row"].tolist() == [False, False, True, False]
    lines = good.literals

    def literals(name: str, index: int, value: int) -> ReleasedColumns:
        changed = lines.copy()
        changed[name][index] = value
        return replace(good, literals=changed)

    longer = np.append(good.text, np.uint8(10))
    bad = [
        replace(good, extra=good.extra[:-1]),
        replace(good, extra=_set(good.extra, "topk", [5] * 8)),
        replace(good, extra=_set(good.extra, "auto_requant_incre", [7] * 8)),
        replace(good, extra=_set(good.extra, "auto_requant_thres", [np.nan] * 8)),
        replace(good, literals=lines[:0], text=good.text[:0]),
        replace(good, literals=lines[1:]),
        replace(good, text=longer),
        replace(good, text=np.where(good.text == ord("#"), 0xFF, good.text).astype(np.uint8)),
        replace(good, text=np.where(good.text == ord("a"), 10, good.text).astype(np.uint8)),
        literals("line", 0, 1),
        literals("line", 1, 0),
        literals("line", 3, 4_000_000_000),
        literals("row", 2, 0),
        literals("row", 1, 1),
        literals("bytes", 1, 3),
    ]
    for released in bad:
        with pytest.raises(WorkloadError, match="inconsistent"):
            replace(workload, released=released)
    with pytest.raises(WorkloadError, match="inconsistent"):
        replace(workload, rows=_set(workload.rows, "token_k", [0, 7, 0, 0, 0, 7, 0, 0]))

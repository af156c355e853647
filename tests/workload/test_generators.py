"""Generated workloads: the published counts, the stated choices, and that every name runs."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sparcade
from sparcade.errors import InvariantError
from sparcade.policy import SpAtten
from sparcade.workload import export_csv, generate, import_csv
from sparcade.workload.csv_text import parse_csv
from sparcade.workload.definitions import NOT_PUBLISHED, Decoder, Encoder, find_definition, workload_names
from sparcade.workload.generators import lsb_rows
from sparcade.workload.released import COLUMNS, Table

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "spatten_workloads"
GLUE = ("cola", "mnli-m", "mnli-mm", "mrpc", "qnli", "qqp", "rte", "sst-2", "sts-b")
BENCHMARKS = [f"bert-{size}-{task}" for size in ("base", "large") for task in (*GLUE, "squad-v1", "squad-v2")]
BENCHMARKS += [
    f"gpt2-{size}-{task}" for size in ("small", "medium") for task in ("wikitext2", "wikitext103", "ptb", "1bw")
]
RELEASED = ["gpt2-small-per8", "gpt2-small-dense", "gpt2-medium-full", "gpt2-medium-dense", "small"]
#: Counts of LSB rows in the released file, per layer and per iteration.
BY_LAYER = [124, 172, 12, 1, 1, 1, 1, 1, 3, 1, 1, 5]
BY_ITERATION = [51, *[24] * 9, 16, *[12] * 3, 4, *[0] * 17]


def columns(name: str, folder: Path, seed: int = 0) -> Table:
    """The rows of a generated decoder in the released form."""
    export_csv(generate(name, seed), folder / "w.csv")
    return parse_csv((folder / "w.csv").read_bytes(), name).table


def test_the_names() -> None:
    assert len(BENCHMARKS) == 30
    assert workload_names() == sorted(BENCHMARKS + RELEASED)
    assert not set(workload_names()) & set(sparcade.bundled.bundled_names())


@pytest.mark.parametrize("name", BENCHMARKS + RELEASED)
def test_every_number_has_its_source(name: str) -> None:
    definition = find_definition(name)
    for field in dataclasses.fields(definition.work):
        default = field.default_factory() if callable(field.default_factory) else field.default
        if getattr(definition.work, field.name) != default:
            assert definition.source(field.name)
    for choice in definition.choices:
        assert NOT_PUBLISHED in choice
        assert "our choice" in choice
    assert bool(definition.choices) == (name not in [*RELEASED, "gpt2-medium-wikitext2"])


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("small", "small.csv"),
        ("gpt2-small-per8", "*-per8.csv"),
        ("gpt2-small-dense", "*-per8-step1+dedic.csv"),
    ],
)
def test_released_schedules_equal_the_released_files(name: str, pattern: str, tmp_path: Path) -> None:
    """Every column of every row; which heads of `per8` need LSBs is drawn, with the counts of the file."""
    found = list(REFERENCE.glob(pattern))
    if not found:
        pytest.skip(f"no released file {pattern} in {REFERENCE}")
    given = parse_csv(found[0].read_bytes(), str(found[0])).table
    ours = columns(name, tmp_path)
    assert len(given) == len(ours)
    for column in COLUMNS:
        if column != "if_requant":
            assert (given[column] == ours[column]).all(), column
    for by in ("layer_id", "iteration_id"):
        counts = [np.bincount(table[by], table["if_requant"]).tolist() for table in (given, ours)]
        assert counts[0] == counts[1]


def test_the_lsb_rows_of_per8(tmp_path: Path) -> None:
    tables = [columns("gpt2-small-per8", tmp_path, seed) for seed in (0, 1)]
    for table in tables:
        needs = table["if_requant"]
        assert np.bincount(table["layer_id"], needs).tolist() == BY_LAYER
        assert np.bincount(table["iteration_id"], needs).tolist() == BY_ITERATION
    assert (tables[0]["if_requant"] != tables[1]["if_requant"]).any()


def test_sums_that_no_table_has() -> None:
    heads = np.array([2, 2])
    assert lsb_rows((3, 1), (2, 2), heads).sum() == 4
    for by_iteration, by_layer in (((5, 0), (3, 2)), ((1, 1), (3, 0)), ((1, 1), (1, 0))):
        with pytest.raises(InvariantError):
            lsb_rows(by_iteration, by_layer, heads)


#: Rows, keys and values of the released files, as published in tables of their traffic.
@pytest.mark.parametrize(
    ("name", "rows", "keys", "values", "bits"),
    [
        ("gpt2-medium-full", 11328, 6143004, 1848398, (12, 0, 8)),
        ("gpt2-medium-wikitext2", 11328, 6143004, 1848398, (12, 0, 8)),
        ("gpt2-medium-dense", 12288, 12392448, 12392448, (32, 0, 32)),
        ("gpt2-small-dense", 4608, 4647168, 4647168, (32, 0, 32)),
        ("gpt2-small-per8", 4608, 1283172, 255180, (6, 4, 6)),
    ],
)
def test_sums_of_the_released_schedules(
    name: str, rows: int, keys: int, values: int, bits: tuple[int, int, int]
) -> None:
    workload = generate(name)
    assert (len(workload.rows), len(workload.key_ids), len(workload.value_ids)) == (rows, keys, values)
    for field, width in zip(("msb_bits", "lsb_bits", "value_bits"), bits, strict=True):
        assert set(workload.rows[field].tolist()) == {width}


def test_the_schedule_of_medium_full(tmp_path: Path) -> None:
    """Keys, values and heads per layer from iteration 1 on; selections; accumulation ends with the last selection."""
    table = columns("gpt2-medium-full", tmp_path)
    last = table[table["iteration_id"] == 31]
    per_layer = [last[last["layer_id"] == layer] for layer in range(24)]
    assert [len(rows) for rows in per_layer] == [16] * 16 + [13] * 6 + [10] * 2
    keys = [1024, 1024, 921, 819, 819, *[614] * 6, *[307] * 13]
    assert [rows["key_fetch_num"].tolist() for rows in per_layer] == [
        [k] * len(r) for k, r in zip(keys, per_layer, strict=True)
    ]
    values = [307, 307, 276, 245, 245, *[184] * 6, *[92] * 13]
    assert [rows["value_fetch_num"][0] for rows in per_layer] == values
    first = table[table["iteration_id"] == 0]
    assert set(first["key_fetch_num"]) == {993}
    assert set(first["value_fetch_num"]) == {307}
    asked = table[table["if_topk"]]
    assert len(asked) == 124
    assert set(zip(asked["layer_id"].tolist(), asked["topk"].tolist(), strict=True)) == {
        (1, 921),
        (2, 819),
        (4, 614),
        (10, 307),
    }
    assert set(asked["iteration_id"].tolist()) == set(range(1, 32))
    idle = table[~table["if_accumulate_importance"]]
    assert set(idle["iteration_id"]) == {31}
    assert set(idle["layer_id"]) == set(range(11, 24))
    assert not table["if_rescale_previous_importance"].any()
    assert not table["if_requant"].any()


def test_the_flags_of_medium_dense(tmp_path: Path) -> None:
    table = columns("gpt2-medium-dense", tmp_path)
    assert set(table["iteration_id"][~table["if_accumulate_importance"]]) == {31}
    rescaled = table[table["if_rescale_previous_importance"]]
    assert rescaled["iteration_id"].tolist() == list(range(7, 31))
    assert set(rescaled["layer_id"]) == {23}
    assert set(rescaled["head_id"]) == {15}


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("gpt2")])
def test_generation_benchmarks(name: str, tmp_path: Path) -> None:
    """992 tokens and 32 more; the published averages where a choice was made to meet them."""
    table = columns(name, tmp_path)
    assert np.unique(table["sentence_length_L"]).tolist() == list(range(993, 1025))
    work = find_definition(name).work
    assert isinstance(work, Decoder)
    if name == "gpt2-medium-wikitext2":
        return
    vectors = (table["key_fetch_num"] + table["value_fetch_num"]).sum()
    assert 2 * table["sentence_length_L"].sum() / vectors == pytest.approx(3.8, abs=0.02)
    assert work.layers * work.heads * 32 / len(table) == pytest.approx(1.1, abs=0.02)
    assert table["if_requant"].mean() == pytest.approx(0.059, abs=0.0002)
    assert set(table["quant_key_bit"]) == {8}
    assert set(table["auto_requant_thres"]) == {0.1}
    for step in range(1, 32):
        keys = [
            int(table["key_fetch_num"][(table["iteration_id"] == step) & (table["layer_id"] == layer)][0])
            for layer in range(work.layers)
        ]
        front = -(-15 * work.layers // 100)
        assert keys[:front] == [992 + step + 1] * front
        assert all(later < earlier for earlier, later in zip(keys[front - 1 :], keys[front:], strict=False))


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("bert")])
def test_encoder_benchmarks(name: str) -> None:
    """One prefill step; each layer has what the cascade before it left, by the schedule of the encoder preset."""
    workload, work = generate(name), find_definition(name).work
    assert isinstance(work, Encoder)
    rows, shape = workload.rows, workload.shape
    assert (shape.layers, shape.heads) == ((12, 12) if "base" in name else (24, 16))
    assert (shape.head_dim, shape.policy, shape.max_context) == (64, "spatten-encoder", work.tokens)
    assert set(rows["step"]) == {0}
    assert set(rows["msb_bits"]) == set(rows["value_bits"]) == {12}
    assert (rows["queries"] == rows["keys"]).all()
    assert (workload.queries["values"] == workload.queries["visible"]).all()
    alive, heads = set(range(work.tokens)), set(range(work.heads))
    front, head_front = -(-15 * work.layers // 100), -(-3 * work.layers // 10)
    for layer in range(work.layers):
        here = rows[rows["layer"] == layer]
        keep = 1 - Fraction(max(0, layer - front + 1), 2 * (work.layers - front))
        head_keep = 1 - Fraction(max(0, layer - head_front + 1), 12 * (work.layers - head_front))
        assert len(here) == max(1, int(head_keep * work.heads))
        assert set(here["keys"]) == {max(1, int(keep * work.tokens))}
        ids = {tuple(workload.key_ids[row["key_start"] :][: row["keys"]].tolist()) for row in here}
        assert len(ids) == 1
        fewer = set(next(iter(ids)))
        assert fewer <= alive
        assert set(here["head"].tolist()) <= heads
        if layer:
            before = rows[rows["layer"] == layer - 1][-1]
            event = (len(alive), len(fewer)) if len(fewer) < len(alive) else (0, 0)
            assert (before["token_n"], before["token_k"]) == event
            event = (len(heads), len(here)) if len(here) < len(heads) else (0, 0)
            assert (before["head_n"], before["head_k"]) == event
        alive, heads = fewer, set(here["head"].tolist())


def test_the_encoder_preset_has_only_what_the_generator_makes() -> None:
    policy = sparcade.load_policy("spatten-encoder")
    assert isinstance(policy, SpAtten)
    assert policy.config.local_v is None
    assert policy.config.progressive is None


@pytest.mark.parametrize("name", ["gpt2-small-ptb", "bert-large-sst-2", "gpt2-small-per8"])
def test_equal_seeds_give_equal_bytes(name: str, tmp_path: Path) -> None:
    for file in ("a", "b"):
        generate(name, 4).save(tmp_path / file)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert generate(name, 4).content_hash != generate(name, 5).content_hash


def test_a_generated_file_imports_as_the_same_work(tmp_path: Path) -> None:
    """Generators and import draw alike: the same ids, values and pass lists."""
    ours = generate("gpt2-small-ptb", 2)
    export_csv(ours, tmp_path / "w.csv")
    again = import_csv(tmp_path / "w.csv", 2)
    for name in ("rows", "queries", "passes", "key_ids", "value_ids"):
        assert (getattr(ours, name) == getattr(again, name)).all(), name

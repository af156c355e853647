"""Bad CSV files and names of workloads: one error with line, column, expected, got and remedy; nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import released_csv as csv
from damage import Refused
from sparcade.cli import main
from sparcade.workload.released import COLUMNS


def number(column: str) -> int:
    return list(COLUMNS).index(column) + 1


def at(line: int, column: str) -> str:
    return f"line {line}, column {number(column)} ({column})"


def changed(column: str, value: Any, **others: Any) -> bytes:
    """Eight good rows, but for a cell of line 6."""
    return csv.text(*csv.two_layers(**{column: value} | others)).encode()


def swapped(first: int, second: int) -> bytes:
    rows = csv.two_layers()
    rows[first], rows[second] = rows[second], rows[first]
    return csv.text(*rows).encode()


def without(*indices: int) -> bytes:
    return csv.text(*(row for index, row in enumerate(csv.two_layers()) if index not in indices)).encode()


def header(**renamed: str) -> bytes:
    return csv.text(csv.line(), header=",".join(renamed.get(name, name) for name in COLUMNS)).encode()


def less_a_column(name: str) -> bytes:
    index = number(name) - 1
    return "\n".join(
        ",".join(cell for place, cell in enumerate(line.split(",")) if place != index)
        for line in (csv.HEADER, csv.line())
    ).encode()


#: Contents of a file, and words of its error: place, expected, got, remedy.
FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "a missing column": (less_a_column("topk"), (at(1, "topk"), "a column is missing", "16 columns", "add the column")),
    "an unknown column": (
        header(key_fetch_num="key_fetch_nun"),
        ("line 1, column 6", "'key_fetch_nun'", "did you mean 'key_fetch_num'?"),
    ),
    "a column twice": (header(topk="if_topk"), ("line 1, column 17", "twice", "'if_topk'")),
    "one more column": (csv.text(csv.line() + ",1", header=csv.HEADER + ",energy").encode(), ("column 18", "'energy'")),
    "no header": (csv.line().encode(), ("line 1, column 1", "no such column", "'0'")),
    "text in a number": (
        changed("key_fetch_num", "many"),
        (at(6, "key_fetch_num"), "not a number", "an integer from 1", "'many'", "correct the cell"),
    ),
    "text in the iteration": (
        changed("iteration_id", "x"),
        (at(6, "iteration_id"), "not a number", "'x'", "a comment line begins with '#'"),
    ),
    "a fraction": (changed("key_fetch_num", "20.5"), (at(6, "key_fetch_num"), "not an integer", "'20.5'")),
    "an exponent": (changed("sentence_length_L", "1e3"), (at(6, "sentence_length_L"), "not an integer", "'1e3'")),
    "not a number": (changed("topk", "nan"), (at(6, "topk"), "not an integer", "'nan'")),
    "a long number": (changed("key_fetch_num", "9" * 5000), (at(6, "key_fetch_num"), "'999")),
    "a negative number": (changed("key_fetch_num", -3), (at(6, "key_fetch_num"), "out of range", "'-3'", "from 1")),
    "a negative iteration": (changed("iteration_id", -1), (at(6, "iteration_id"), "out of range", "from 0")),
    "no keys": (changed("key_fetch_num", 0), (at(6, "key_fetch_num"), "from 1", "'0'")),
    "no values": (changed("value_fetch_num", 0), (at(6, "value_fetch_num"), "from 1", "'0'")),
    "an endless context": (changed("sentence_length_L", 1 << 23), (at(6, "sentence_length_L"), "4194304")),
    "a huge head": (changed("embedding_length_D", 8200), (at(6, "embedding_length_D"), "8192")),
    "a hole": (changed("key_fetch_num", ""), (at(6, "key_fetch_num"), "the cell is empty", "''")),
    "a flag in lower case": (changed("if_topk", "true"), (at(6, "if_topk"), "True or False", "'true'")),
    "a threshold above 1": (changed("auto_requant_thres", 1.5), (at(6, "auto_requant_thres"), "from 0 to 1", "'1.5'")),
    "more keys than the context": (
        changed("key_fetch_num", 42),
        (at(6, "key_fetch_num"), "more keys than the context", "at most 41", "got:      42", "lower key_fetch_num"),
    ),
    "more values than keys": (
        changed("value_fetch_num", 31),
        (at(6, "value_fetch_num"), "more values than keys", "at most 30", "got:      31", "lower value_fetch_num"),
    ),
    "another context": (changed("sentence_length_L", 39), (at(7, "sentence_length_L"), "differs", "got:      41")),
    "another head size": (changed("embedding_length_D", 32), (at(6, "embedding_length_D"), "64 in all rows", "32")),
    "a head is missing": (without(4), (at(6, "head_id"), "not contiguous", "got:      1", "number the heads")),
    "a head in the middle is missing": (
        csv.text(csv.line(), csv.line(head_id=2)).encode(),
        (at(3, "head_id"), "not contiguous", "0, 1, 2", "got:      2"),
    ),
    "a row twice": (
        csv.text(csv.line(), csv.line()).encode(),
        (at(3, "head_id"), "stands twice", "(0, 0, 0)", "remove"),
    ),
    "heads out of order": (swapped(4, 5), (at(7, "head_id"), "out of order", "sort the rows")),
    "layers out of order": (swapped(4, 6), (at(7, "layer_id"), "out of order", "sort the rows")),
    "iterations out of order": (swapped(3, 4), (at(6, "iteration_id"), "out of order", "sort the rows")),
    "too few cells": (csv.text(csv.line(), "1,2,3").encode(), ("line 3, column 4", "17 cells", "3 cells")),
    "too many cells": (csv.text(csv.line() + ",1").encode(), ("line 2, column 18", "17 cells", "18 cells")),
    "no bytes": (b"", ("the file is empty", "a header line", "no bytes", "check the file")),
    "a header alone": (csv.text().encode(), ("line 1", "no rows", "at least one row")),
    "comments alone": (
        csv.text("# nothing", "", "x.yml" + "," * 16).encode(),
        ("line 4", "no rows", "3 lines of comments"),
    ),
    "not UTF-8": (changed("topk", "@").replace(b"@", b"\xff"), ("line 6, column 17", "not UTF-8", "byte 0xff")),
    "UTF-16": (changed("topk", -1).decode().encode("utf-16"), ("line 1, column 1", "not UTF-8", "byte 0xff")),
    "7-bit keys": (
        changed("quant_key_bit", 7),
        (at(6, "quant_key_bit"), "cannot express these bits", "-1, 4, 6, 8, 10, 12", "'7'", "next larger width"),
    ),
    "16-bit values": (changed("quant_value_bit", 16), (at(6, "quant_value_bit"), "cannot express", "'16'")),
    "an increment of 2": (changed("auto_requant_incre", 2), (at(6, "auto_requant_incre"), "cannot express", "'2'")),
    "LSBs without an increment": (
        changed("auto_requant_incre", -1, if_requant=True),
        (at(6, "auto_requant_incre"), "the increment is not 4", "got:      -1", "if_requant to False"),
    ),
    **{
        f"LSBs of {bits}-bit keys": (
            changed("quant_key_bit", bits, if_requant=True),
            (at(6, "if_requant"), "single-plane", f"quant_key_bit is {bits} here", "got:      True", "8 + 4 bits"),
        )
        for bits in (10, 12, -1)
    },
    "a selection of none": (
        changed("topk", 0, if_topk=True),
        (at(6, "topk"), "out of range", "'0'"),
    ),
    "a selection without k": (
        csv.text(csv.line(if_topk=True)).encode(),
        (at(2, "topk"), "keeps no token", "got:      -1", "give topk"),
    ),
    "k without a selection": (changed("topk", 5), (at(6, "topk"), "topk without a selection", "got:      5")),
    "a selection of more than there are": (
        csv.text(csv.line(if_topk=True, topk=31), csv.line(layer_id=1)).encode(),
        (at(2, "topk"), "more tokens than it has candidates", "got:      31", "lower topk"),
    ),
    "a selection of more than the context": (
        csv.text(csv.line(if_topk=True, topk=41)).encode(),
        (at(2, "topk"), "more tokens than it has candidates", "got:      41"),
    ),
    "a selection before the last head": (
        changed("topk", 20, if_topk=True),
        (at(6, "if_topk"), "before the last head", "got:      True", "last head"),
    ),
    "more than fits the memory": (
        csv.text(*(csv.line(head_id=h, sentence_length_L=1 << 22, key_fetch_num=1 << 22) for h in range(40))).encode(),
        (at(33, "key_fetch_num"), "more vectors", "134,217,728", "split the file"),
    ),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", FILES)
def test_bad_csv_file(place: Path, refused: Refused, name: str) -> None:
    content, words = FILES[name]
    (place / "bad.csv").write_bytes(content)
    text = refused(["workload", "import", str(place / "bad.csv"), "--out", str(place / "out.npz")], *words)
    assert "bad.csv" in text
    assert refused(["run", str(place / "bad.csv"), "--out", str(place / "out")]) == text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            [csv.line(), csv.line(layer_id=1, key_fetch_num=35)],
            ("a key comes back", "among the 30", "35 keys, 5 of them"),
        ),
        ([csv.line(), csv.line(layer_id=1), csv.line(layer_id=1, head_id=1)], ("a head comes back", "2 heads, 1 of")),
    ],
)
def test_what_comes_back_is_imported_but_not_run(
    place: Path, refused: Refused, capsys: pytest.CaptureFixture[str], lines: list[str], words: tuple[str, ...]
) -> None:
    (place / "back.csv").write_text(csv.text(*lines))
    refused(["run", str(place / "back.csv"), "--out", str(place / "out")], "back.csv, step 1, layer 1", *words)
    assert main(["workload", "import", str(place / "back.csv"), "--out", str(place / "back.npz")]) == 0
    assert main(["workload", "export", str(place / "back.npz"), "--out", str(place / "again.csv")]) == 0
    assert (place / "again.csv").read_bytes() == (place / "back.csv").read_bytes()
    capsys.readouterr()
    refused(["run", str(place / "back.npz"), "--out", str(place / "out")], "back.npz, step 1, layer 1", *words)


@pytest.fixture(name="good")
def _good(place: Path) -> Path:
    path = place / "good.csv"
    path.write_text(csv.text(*csv.two_layers()))
    return path


def test_the_good_file_is_good(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, export, run; each says where ids and scores come from."""
    assert main(["workload", "import", str(good), "--out", str(good.with_suffix(".npz")), "--seed", "3"]) == 0
    assert "ids, scores: synthetic, seed 3" in capsys.readouterr().out
    back = good.with_name("back.csv")
    assert main(["workload", "export", str(good.with_suffix(".npz")), "--out", str(back)]) == 0
    assert back.read_bytes() == good.read_bytes()
    for target in (good, good.with_suffix(".npz")):
        capsys.readouterr()
        assert main(["run", str(target), "--out", str(good.parent / "report")]) == 0
        assert "ids, scores: synthetic, seed" in capsys.readouterr().out


def test_a_folder_where_a_file_is_due(place: Path, refused: Refused, good: Path) -> None:
    (place / "folder.csv").mkdir()
    refused(["workload", "import", str(place / "folder.csv"), "--out", str(place / "out.npz")], "folder.csv")
    refused(["run", str(place / "folder.csv"), "--out", str(place / "out")], "folder.csv")
    (place / "folder.npz").mkdir()
    refused(["workload", "import", str(good), "--out", str(place / "folder.npz")], "folder.npz")
    refused(["workload", "export", str(place / "folder.npz"), "--out", str(place / "out.csv")], "folder.npz")


def test_no_such_file(place: Path, refused: Refused) -> None:
    refused(["workload", "import", str(place / "gone.csv"), "--out", str(place / "out.npz")], "gone.csv")
    refused(["workload", "export", str(place / "gone.npz"), "--out", str(place / "out.csv")], "gone.npz")
    refused(["run", str(place / "gone.csv")], "gone.csv")


def test_an_output_that_cannot_be_written(place: Path, refused: Refused, good: Path) -> None:
    (place / "file").write_text("mine")
    refused(["workload", "import", str(good), "--out", str(place / "file" / "out.npz")], str(place / "file"))
    refused(["workload", "generate", "small", "--out", str(place / "file" / "out.npz")], str(place / "file"))
    refused(["workload", "import", str(good), "--out", str(place / "out.zip")], "out.zip", ".npz")
    refused(["workload", "generate", "small", "--out", str(place / "out.zip")], "out.zip", ".npz")
    if os.geteuid():
        (place / "closed").mkdir(mode=0o500)
        refused(["workload", "import", str(good), "--out", str(place / "closed" / "out.npz")], "closed")


@pytest.mark.parametrize("seed", ["-1", str(1 << 64)])
def test_a_seed_out_of_range(place: Path, refused: Refused, good: Path, seed: str) -> None:
    out = ["--out", str(place / "out.npz"), "--seed", seed]
    refused(["workload", "import", str(good), *out], "--seed", "64 bits", seed)
    refused(["workload", "generate", "bert-base-cola", *out], "--seed", "64 bits", seed)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("gpt2-smal-wikitext2", "did you mean 'gpt2-small-wikitext2'?"),
        ("bert-base-sst2", "did you mean 'bert-base-sst-2'?"),
        ("GPT2-medium-ptb", "did you mean 'gpt2-medium-ptb'?"),
        ("xyzzy-0123", "generate --list"),
    ],
)
def test_no_such_name(place: Path, refused: Refused, name: str, remedy: str) -> None:
    refused(["workload", "generate", name, "--out", str(place / "out.npz")], name, remedy, "no such name")
    refused(["run", name, "--out", str(place / "out")], name, "did you mean" if "mean" in remedy else "check the path")


def test_no_name(refused: Refused) -> None:
    refused(["workload", "generate"], "no workload is named", "--list")


def test_a_workload_that_a_csv_cannot_express(place: Path, refused: Refused) -> None:
    """The trace's workload has a prefill step of ten queries a row."""
    out = str(place / "out.csv")
    refused(["workload", "export", str(place / "work.npz"), "--out", out], "work.npz", "prefill", "decode steps only")


def test_a_benchmark_with_a_policy(place: Path, refused: Refused) -> None:
    command = ["run", "small", "--policy", "dense", "--out", str(place / "out")]
    refused(command, "already holds its policy", "small")

"""Bad input gets one clear error (what, where, expected, got, remedy), exit code 2, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from damage import Refused, run_command, signature
from sparcade.cli import main

Json = dict[str, Any]


def edit(trace: Path, change: Callable[[Json], object]) -> None:
    """Change the manifest."""
    path = trace / "manifest.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def sign(trace: Path) -> None:
    """Bring sizes and SHA-256 up to date."""
    edit(trace, lambda table: table.update(files=signature(trace.glob("*.safetensors"))))


def retensor(trace: Path, layer: int, name: str, change: Callable[[Any], Any]) -> None:
    """Change one tensor of one layer and sign the file again; None removes it."""
    path = trace / f"layer_{layer:03d}.safetensors"
    arrays = load_file(str(path))
    changed = change(arrays.pop(f"sequence_000.{name}").copy())
    if changed is not None:
        arrays[f"sequence_000.{name}"] = np.ascontiguousarray(changed)
    save_file(arrays, str(path))
    sign(trace)


def poison(value: float, *place: int) -> Callable[[Any], Any]:
    """Write one value into a tensor."""

    def change(tensor: Any) -> Any:
        tensor[place] = value
        return tensor

    return change


def cut(path: Path, share: float) -> None:
    """Truncate a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


LAYER = "layer_001.safetensors"
FILES = {
    "truncated": (lambda t: cut(t / LAYER, 0.5), (LAYER, "truncated", "bytes")),
    "empty": (lambda t: cut(t / LAYER, 0), (LAYER, "0 bytes")),
    "wrong SHA-256": (lambda t: flip(t / LAYER), (LAYER, "SHA-256")),
    "layers swapped": (lambda t: (t / LAYER).replace(t / "layer_000.safetensors"), ("layer_000", "SHA-256")),
    "missing": (lambda t: (t / LAYER).unlink(), (LAYER, "missing")),
    "foreign, signed": (lambda t: [(t / LAYER).write_text("pickle"), sign(t)], (LAYER, "layer 1", "safetensors")),
    "no manifest": (lambda t: (t / "manifest.json").unlink(), ("manifest.json", "not a trace")),
    "manifest truncated": (lambda t: cut(t / "manifest.json", 0.5), ("manifest.json", "JSON")),
    "manifest empty": (lambda t: cut(t / "manifest.json", 0), ("manifest.json", "JSON")),
    "manifest not UTF-8": (lambda t: (t / "manifest.json").write_bytes(b"\xff\xfe{}"), ("manifest.json", "UTF-8")),
    "manifest is a list": (lambda t: (t / "manifest.json").write_text("[]"), ("manifest.json", "object")),
    "manifest too deep": (lambda t: (t / "manifest.json").write_text("[" * 99999), ("manifest.json",)),
    "manifest is a folder": (
        lambda t: [(t / "manifest.json").unlink(), (t / "manifest.json").mkdir()],
        ("manifest.json",),
    ),
    "NaN in Q": (lambda t: retensor(t, 1, "q", poison(np.nan, 1, 4, 2)), (LAYER, "layer 1", "'q'", "head 1, row 4")),
    "infinity in V": (lambda t: retensor(t, 0, "v", poison(-np.inf, 0, 9, 7)), ("layer 0", "'v'", "head 0, row 9")),
    "NaN in an output": (lambda t: retensor(t, 1, "out", poison(np.nan, 0, 0, 0)), ("layer 1", "'out'")),
    "head size differs": (lambda t: retensor(t, 1, "k", lambda k: k[..., :4]), ("layer 1", "'k'", "(1, 13, 4)")),
    "tokens differ": (lambda t: retensor(t, 1, "q", lambda q: q[:, :12]), ("layer 1", "'q'", "(2, 12, 8)")),
    "heads differ": (lambda t: retensor(t, 1, "v", lambda v: v[[0, 0]]), ("layer 1", "'v'", "(2, 13, 8)")),
    "float64": (lambda t: retensor(t, 1, "v", lambda v: v.astype("f8")), ("layer 1", "'v'", "float32", "F64")),
    "a tensor is missing": (lambda t: retensor(t, 1, "v", lambda v: None), ("layer 1", "'v'", "missing")),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["run", "info", "survivors", "make"])
def test_damaged_trace(place: Path, refused: Refused, name: str, command: str) -> None:
    damage, words = FILES[name]
    damage(place / "trace")
    trace, out = str(place / "trace"), str(place / "out")
    options = {
        "run": ["run", trace, "--out", out],
        "info": ["trace", "info", trace],
        "survivors": ["trace", "survivors", trace, "--out", out],
        "make": ["workload", "make", trace, "--out", f"{out}.npz"],
    }
    refused(options[command], *words)


NAN, INF = float("nan"), float("inf")
#: Wrong values of each field of the manifest; the error names the field.
FIELDS: dict[str, list[Any]] = {
    "schema": ["onnx", None],
    "schema_version": [2, "1"],
    "dtype": ["int8", "float16", None],
    "files": [[], {}, {"../x": {}}],
    "stored_error": [INF, "0"],
    "note_of_ones_own": [NAN],
    "model": [None, []],
    "model.name": [None, 5],
    "model.mask": ["sliding", None],
    "model.scaling": [0, -0.5, NAN, "0.5", True, 10**400, 1.7e308],
    "model.layers": [0, True, 10**9, 3, 1, "2"],
    "model.heads": [0, -2, 3, 1.0],
    "model.kv_heads": [0, 3, 2],
    "model.head_dim": [0, -8, 16],
    "sequences": [[], None, [5]],
    "sequences.0.text": [5, "\ud83d"],
    "sequences.0.tokens": [[], ["a"] * 12, ["a"] * 12 + [5], ["a"] * 12 + ["\ud83d"], "a" * 13],
    "sequences.0.token_ids": [[-1] * 13, [0] * 12, None],
    "sequences.0.key_positions": [list(range(4, 17)), [0.5] * 13],
    "sequences.0.row_steps": [[0] * 13, [0] * 9 + [1, 2, 3, 4]],
    "sequences.0.prompt_tokens": [0, 14, -1, 10.0],
    "sequences.0.output_rows": [[13], [2, 1], [1, 1], [0]],
}
#: Where the error is found elsewhere than in the field: in the tensors, or in the list of files.
ELSEWHERE = {"dtype": "layer 0", "model.heads": "", "model.kv_heads": "", "model.head_dim": "", "model.layers": "files"}
ELSEWHERE |= {"sequences.0.output_rows": "layer 0", "sequences.0.row_steps": "", "note_of_ones_own": ""}


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(field, value, id=f"{field}-{ascii(value)[:30]}") for field in FIELDS for value in FIELDS[field]],
)
def test_wrong_field_of_the_manifest(place: Path, refused: Refused, field: str, value: Any) -> None:
    def change(table: Any) -> None:
        *path, last = (int(part) if part.isdigit() else part for part in field.split("."))
        for part in path:
            table = table[part]
        table[last] = value

    edit(place / "trace", change)
    leaf = field.split(".")[-1]
    words = {leaf.replace("_", " "), leaf, ELSEWHERE.get(field, leaf), "is not JSON", "surrogates"}
    text = refused(run_command(place))
    assert any(word in text for word in words), text


def test_encoders_do_not_decode(place: Path, refused: Refused) -> None:
    edit(place / "trace", lambda table: table["model"].update(mask="full"))
    refused(run_command(place), "manifest.json", "prompt_tokens", "encoder")


def test_zero_tokens(place: Path, refused: Refused) -> None:
    edit(place / "trace", lambda table: table["sequences"][0].update(tokens=[]))
    refused(run_command(place), "manifest.json", "sequences[0].tokens", "zero tokens")


HUGE = "1267650600228229401496703205376"
#: Wrong values of each setting, as text; the error names the setting's last part.
VALUES: dict[str, list[str]] = {
    "dram": ["8"],
    "dram.channels": ["6", "0", "-8", "8.0", "eight", "true", "", "8\nmultipliers=64", "[" * 9999, HUGE],
    "dram.kind": ["hbm9", "1"],
    "dram.device": ["hbm9", "8", "true"],
    "dram.device.timing.n_rc": ["0", "1.5", HUGE],
    "dram.mapping": ["row", "PcBgCo;", "8"],
    "dram.outstanding": ["0", "-1", "1.5", HUGE],
    "dram.toggle_rate": ["2", "-0.1", "nan"],
    "dram.standby": ["1", "yes"],
    "dram.ideal.transaction_bytes": ["48", HUGE],
    "dram.ideal.energy_pj_per_bit": ["-1", "nan", "inf", f"1{'0' * 400}", f"1{'0' * 5000}"],
    "clock_ghz": ["0", "-1", "inf", "nan", "fast"],
    "multipliers": ["-512", "0", "1.5", HUGE],
    "address_fifo": ["1073741824"],
    "data_fifo": ["1073741824"],
    "fetch_latency": ["1073741824"],
    "topk.lanes": ["0", "-1", HUGE],
    "topk.capacity": ["0", HUGE],
    "topk.engine": ["fast"],
    "key_sram.lines": ["-1"],
    "gqa_share": ["1", "yes"],
    "layout": ["dense"],
    "policy.tokens.end": ["1.5", "-0.1", "nan", "inf", "1/0", "true", "half", "1e5000", "'1e5000'"],
    "policy.tokens.start": ["7"],
    "policy.tokens.front": ["-1", "1.5"],
    "policy.tokens.staircase": ["[1]", "[1, 2]", "0.5"],
    "policy.tokens.decay": ["1.1"],
    "policy.tokens.protect_first": ["-1"],
    "policy.tokens.accumulate": ["mean"],
    "policy.heads.end": ["7"],
    "policy.local_v.keep": ["2", "off"],
    "policy.bits": ["11", "14", "0", "-12", "12.0"],
    "policy.progressive.threshold": ["2", "-0.1", "nan", f"1{'0' * 400}"],
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("key", "value"),
    [pytest.param(key, value, id=f"{key}={ascii(value)[:30]}") for key in VALUES for value in VALUES[key]],
)
def test_wrong_value_of_a_setting(place: Path, refused: Refused, key: str, value: str) -> None:
    refused(run_command(place, "--set", f"{key}={value}"), key.split(".")[-1])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("dram.chanels=8", ["dram.chanels", "did you mean 'dram.channels'?"]),
        ("channels=8", ["did you mean 'dram.channels'?"]),
        ("multiplers=64", ["did you mean 'multipliers'?"]),
        ("xyzzy=1", ["xyzzy", "one of"]),
        ("dram.channels.count=8", ["'dram.channels' has no parts"]),
        ("dram.channels", ["KEY=VALUE"]),
        ("=8", ["KEY=VALUE"]),
        ("policy.tokens.ned=0.5", ["tokens.ned", "did you mean 'tokens.end'?"]),
        ("policy.token.end=0.5", ["did you mean 'tokens'?"]),
        ("policy.tokens.end=1.5", ["a keep ratio is outside [0, 1]", "3/2"]),
        ("policy.progressive.msb_bits=12", ["key format", "12 + 4"]),
        ("policy.progressive.lsb_bits=3", ["key format", "8 + 3"]),
        ("dram.channels=6", ["power of two", "6"]),
        ("clock_ghz=0.3333333333333333", ["clock_ghz", "simple ratio"]),
    ],
)
def test_bad_setting(place: Path, refused: Refused, setting: str, words: list[str]) -> None:
    refused(run_command(place, "--set", setting), *words)


def test_more_memory_than_an_address_reaches(place: Path, refused: Refused) -> None:
    sizes = ("channels=1024", "device.organisation.rows=16777216", "device.organisation.banks=16")
    words = [word for size in sizes for word in ("--set", f"dram.{size}")]
    refused(run_command(place, *words), "too large", "channels", "2^51", "at most 2^48")


CAPACITIES = {
    "softmax.fifo_beats": ["softmax.fifo_beats=1"],
    "topk.capacity": ["topk.capacity=4"],
    "key_sram.lines": ["multipliers=8", "key_sram.lines=4"],
    "value_sram.lines": ["multipliers=8", "value_sram.lines=4"],
    "live_allocations": ["live_allocations=1"],
}


@pytest.mark.parametrize("field", CAPACITIES)
@pytest.mark.parametrize("target", ["trace", "work.npz"])
def test_context_above_a_capacity(place: Path, refused: Refused, field: str, target: str) -> None:
    settings = [word for setting in CAPACITIES[field] for word in ("--set", setting)]
    refused(
        run_command(place, *settings, target=target),
        f"does not fit {field}",
        f"--set {field}=",
        target.split(".")[0][:4],
    )


#: Method of a user's policy, the expression it returns, and words of the error.
OPTIONS = {
    "policy typo": (["--policy", "spaten"], ("--policy spaten", "did you mean 'spatten'?")),
    "policy without a like": (["--policy", "xyzzy"], ("xyzzy", "dense")),
    "no policy TOML": (["--policy", "gone.toml"], ("gone.toml", "no such file")),
    "no policy file": (["--policy", "gone.py:Mine"], ("gone.py", "no such file")),
    "policy class not named": (["--policy", __file__], ("FILE.py:ClassName", "no class name")),
    "policy class with settings": (["--policy", f"{__file__}:X", "--set", "policy.bits=8"], ("policy.bits=8",)),
    "comparison typo": (["--compare", "dens"], ("did you mean 'dense'?",)),
    "arch typo": (["--arch", "spaten"], ("--arch spaten", "did you mean 'spatten'?")),
    "no arch TOML": (["--arch", "gone.toml"], ("gone.toml", "no such file")),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_option(place: Path, refused: Refused, name: str) -> None:
    options, words = OPTIONS[name]
    refused(run_command(place, *options), *words)


@pytest.mark.parametrize("target", ["gone", "gone.npz", "trace/gone", "stories260", "."])
def test_no_such_target(place: Path, refused: Refused, target: str) -> None:
    name = target if target == "stories260" else str(place / target)
    refused(["run", name, "--out", str(place / "out")], name, "stories260k" if target == "stories260" else "")


WORKLOADS = {
    "truncated": (lambda p: cut(p, 0.5), ("work.npz", "not a workload")),
    "empty": (lambda p: cut(p, 0), ("work.npz", "not a workload")),
    "text": (lambda p: p.write_text("rows"), ("work.npz", "not a workload")),
    "foreign archive": (lambda p: np.savez(p, a=np.arange(3)), ("work.npz", "manifest.json")),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_bad_workload_file(place: Path, refused: Refused, name: str) -> None:
    damage, words = WORKLOADS[name]
    damage(place / "work.npz")
    refused(run_command(place, target="work.npz"), *words)


@pytest.mark.parametrize("options", [["--policy", "dense"], ["--compare", "dense"], ["--set", "policy.bits=8"]])
def test_workload_with_a_policy(place: Path, refused: Refused, options: list[str]) -> None:
    refused(run_command(place, *options, target="work.npz"), "work.npz", "--policy", "already holds its policy")


def test_out_folder_with_foreign_files(place: Path, refused: Refused) -> None:
    """A folder of the user's own is refused and untouched, even beside a result of ours."""
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work")
    refused(run_command(place), "out", "thesis.tex", "another folder")
    (place / "out" / "result.json").write_text("{}")
    refused(run_command(place), "out", "thesis.tex")


def test_out_is_or_lies_in_a_file(place: Path, refused: Refused) -> None:
    (place / "out").write_text("a file of mine")
    refused(run_command(place), "out")
    refused(["run", str(place / "trace"), "--out", str(place / "out" / "deep")], str(place / "out"))
    refused(["trace", "synth", str(place / "out"), "--seed", "1"], str(place / "out"))
    refused(["trace", "survivors", str(place / "trace"), "--out", str(place / "out" / "deep")], str(place / "out"))
    refused(["workload", "make", str(place / "trace"), "--out", str(place / "out" / "w.npz")], str(place / "out"))


def test_out_is_a_folder_where_a_file_is_due(place: Path, refused: Refused) -> None:
    (place / "out.npz").mkdir()
    refused(["workload", "make", str(place / "trace"), "--out", str(place / "out.npz")], "out.npz")
    refused(["trace", "survivors", str(place / "trace"), "--out", str(place / "out.npz")], "out.npz")
    refused(["workload", "make", str(place / "trace"), "--out", str(place / "work.zip")], "work.zip", ".npz")


def test_out_is_the_trace_itself(place: Path, refused: Refused) -> None:
    refused(["run", str(place / "trace"), "--out", str(place / "trace")], "trace", "layer_000.safetensors")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--layers", "0"], "layers"),
        (["--heads", "-1"], "heads"),
        (["--heads", "4", "--kv-heads", "3"], "kv_heads"),
        (["--prompt-tokens", "0"], "prompt"),
        (["--decode-steps", "-1"], "decode"),
        (["--mask", "full", "--decode-steps", "2"], "decode"),
        (["--seed", "-1"], "seed"),
        (["--head-dim", "99999999999999"], "head_dim"),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_impossible_synthetic_trace(place: Path, refused: Refused, options: list[str], word: str) -> None:
    refused(["trace", "synth", str(place / "new"), "--seed", "1", *options], word)


@pytest.mark.parametrize("arguments", [["run", "minilm", "--polcy", "dense"], ["rnu"], [], ["trace", "synth", "x"]])
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["[/b]", "[bold]x", "$x_$", r"$\frac$", "100 $ or 5 $"])
def test_odd_names_are_only_names(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Markup of the terminal and mathematics of the pictures mean nothing in the name of a policy."""
    (place / "odd.toml").write_text(f"source = ''\nname = '{name}'\n")
    assert main(run_command(place, "--policy", str(place / "odd.toml"))) == 0
    printed, error = capsys.readouterr()
    assert name in printed
    assert error == ""

"""Policies outside the protocol, files that hold none, settings out of range: one clear error each."""

from __future__ import annotations

from pathlib import Path

import pytest

from damage import Refused, run_command

#: A policy of one's own that keeps everything; tests replace one answer.
METHODS = {
    "begin_sequence": "None",
    "keep_tokens": "given.candidates",
    "keep_heads": "given.candidates",
    "keep_values": "given.key_ids",
    "bits": "(12, 0, 0.0)",
}


def policy_file(place: Path, text: str | None = None, **answers: str) -> str:
    """A user's policy file; returns FILE.py:Mine."""
    path = place / "mine.py"
    head = "import sys; import numpy as np; from sparcade import TopK\n\nclass Mine:\n"
    lines = [f"    def {name}(self, given): return {answer}\n" for name, answer in (METHODS | answers).items()]
    path.write_text(text or head + "".join(lines))
    return f"{path}:Mine"


ANSWERS = [
    ("keep_tokens", "1 / 0", ["layer 0", "division", "line 5"]),
    ("begin_sequence", "{}['x']", ["KeyError"]),
    ("bits", "given.width", ["layer 0, head 0", "width", "line 8"]),
    ("bits", "(_ for _ in ()).throw(ValueError('a' + chr(10) + 'b'))", ["ValueError"]),
    ("keep_tokens", "sys.exit(0)", ["SystemExit"]),
    ("keep_heads", "given.candidates(1, 2)", ["TypeError"]),
    ("keep_tokens", "np.arange(given.context)[3 * (given.layer == 0):]", ["layer 1", "pruned before", "id 0"]),
    ("keep_tokens", "given.candidates[:-1]", ["newest"]),
    ("keep_tokens", "given.candidates[:0]", ["nothing would survive"]),
    ("keep_heads", "np.array([], int)", ["nothing would survive"]),
    ("keep_tokens", "None", ["None", "TopK"]),
    ("keep_tokens", "'all'", ["'all'", "TopK"]),
    ("keep_values", "None", ["layer 0, head 0", "None"]),
    ("keep_tokens", "given.candidates >= 0", ["integer ids", "True"]),
    ("keep_tokens", "np.stack([given.candidates] * 2)", ["integer ids"]),
    ("keep_values", "given.key_ids[[0, 0]]", ["id 0 twice"]),
    ("keep_heads", "[0, 7]", ["id 7"]),
    ("keep_values", "TopK(given.probabilities / 4096, 2)", ["head 0, query 0", "integers", "float64"]),
    ("keep_values", "TopK(np.zeros(99, int), 2)", ["scores", "(99,)"]),
    ("keep_values", "TopK([[1], [1, 2]], 2)", ["scores"]),
    ("keep_values", "TopK(-1 - given.key_ids, 1)", ["score", "-1"]),
    ("keep_values", "TopK(given.key_ids + 4096, 1)", ["2^12", "4096"]),
    ("keep_values", "TopK(given.probabilities, 0)", ["TopK.k", "0"]),
    ("keep_values", "TopK(given.probabilities, 2.5)", ["TopK.k", "2.5"]),
    ("keep_values", "TopK(given.probabilities, 1, (99,))", ["protected", "99"]),
    ("keep_values", "TopK(given.probabilities, 1, ('a',))", ["protected", "'a'"]),
    ("keep_values", "TopK(given.probabilities, 1, (0.5,))", ["protected", "0.5"]),
    ("keep_tokens", "TopK(given.probability[given.candidates], 2)", ["layer 0", "before the first layer"]),
    ("keep_tokens", "given.candidates.__setitem__(0, 99) or given.candidates", ["layer 0"]),
    ("keep_values", "given.probabilities.fill(9) or given.key_ids", ["layer 0"]),
    ("bits", "7, 0, 0.0", ["layer 0, head 0", "7 + 0"]),
    ("bits", "12, 4, 0.1", ["12 + 4"]),
    ("bits", "12", ["threshold", "12"]),
    ("bits", "'8', '4', '0.1'", ["'8'"]),
    ("bits", "8, 4, '0.1'", ["'0.1'"]),
    ("bits", "8, 4, float('nan')", ["threshold", "nan"]),
    ("bits", "float('inf'), 0, 0.0", ["inf"]),
    ("bits", "8 + 4 * given.head, 0, 0.0", ["head 1", "group"]),
    ("keep_keys", "given.candidates[:0]", ["layer 0, KV head 0", "nothing would survive"]),
    ("keep_keys", "[99]", ["layer 0, KV head 0", "id 99"]),
    ("keep_keys", "TopK(given.probability / 2, 3)", ["integers", "float64"]),
    ("structure", "given.heads", ["sequence 0", "Structure(heads = bool"]),
]


@pytest.mark.parametrize(("method", "answer", "words"), ANSWERS, ids=lambda item: ascii(item)[:40])
def test_policy_outside_the_protocol(place: Path, refused: Refused, method: str, answer: str, words: list[str]) -> None:
    refused(run_command(place, "--policy", policy_file(place, **{method: answer})), f"{method}()", *words)


SOURCES = {
    "syntax error": ("class Mine\n    pass\n", ("mine.py", "SyntaxError", "line 1")),
    "class missing": ("class Yours: pass\n", ("mine.py:Mine", "Mine")),
    "import missing": ("import no_such_module\nclass Mine: pass\n", ("mine.py", "no_such_module")),
    "methods missing": ("class Mine: pass\n", ("mine.py", "begin_sequence")),
    "constructor with arguments": ("class Mine:\n    def __init__(self, keep): pass\n", ("mine.py", "keep")),
    "leaves Python": ("import sys\nsys.exit(0)\n", ("mine.py", "SystemExit")),
    "not a class": ("Mine = 5\n", ("mine.py", "int")),
    "not Python": ("\x00\x01", ("mine.py",)),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("option", ["--policy", "--compare"])
def test_policy_file_that_is_no_policy(place: Path, refused: Refused, name: str, option: str) -> None:
    text, words = SOURCES[name]
    refused(run_command(place, option, policy_file(place, text)), *words)


TOML = {
    "syntax error": ("bits = = 12", ("mine.toml", "line 1")),
    "not UTF-8": (b"source = '\xff'", ("mine.toml", "UTF-8")),
    "no source": ("bits = 12", ("mine.toml", "source")),
    "unknown key": ("source = ''\nbitts = 12", ("mine.toml", "did you mean 'bits'?")),
    "unknown key in a table": ("source = ''\n[tokens]\nned = 1", ("tokens", "did you mean 'end'?")),
    "ratio outside [0, 1]": ("source = ''\n[tokens]\nend = 1.5", ("tokens", "end", "[0, 1]", "3/2")),
    "wrong type": ("source = ''\nbits = '12'", ("mine.toml", "bits", "int", "'12'")),
    "table expected": ("source = ''\ntokens = 4", ("tokens", "a table", "4")),
    "list of another type": ("source = ''\n[tokens]\nstaircase = [1, 'x']", ("staircase[1]", "'x'")),
    "unsupported bits": ("source = ''\nbits = 11", ("bits", "11 + 0")),
    "unknown kind": ("source = ''\nkind = 'h20'", ("mine.toml: kind", "did you mean 'h2o'?")),
    "kind of another type": ("source = ''\nkind = [1]", ("mine.toml: kind",)),
    "key of another kind": ("source = ''\nkind = 'h2o'\nrecnt = 0.1", ("mine.toml", "did you mean 'recent'?")),
    "share of H2O": ("source = ''\nkind = 'h2o'\nheavy = 2", ("heavy", "[0, 1]")),
    "no window": ("source = ''\nkind = 'streaming-llm'\nwindow = 0", ("window", "1..")),
    "negative sinks": ("source = ''\nkind = 'duo-attention'\nsinks = -1", ("sinks", "0..")),
    "budget within the window": ("source = ''\nkind = 'snapkv'\nbudget = 32", ("budget", "window of 32")),
    "even kernel": ("source = ''\nkind = 'snapkv'\nkernel = 4", ("kernel", "odd")),
    "unknown pooling": ("source = ''\nkind = 'snapkv'\npooling = 'mean'", ("pooling", "'average' or 'max'")),
    "no file of gates": ("source = ''\nkind = 'duo-attention'\ngates = 'no.tsv'", ("gates", "No such file")),
    "ragged table": (
        "source = ''\nkind = 'head-mask'\nimportance = {rows = [[1, 2], [3]]}",
        ("importance", "rows", "lengths [1, 2]"),
    ),
    "no mask": ("source = ''\nkind = 'head-mask'", ("mine.toml", "importance")),
    "no layers": ("source = ''\nkind = 'layer-drop'", ("rate, layers", "neither")),
    "layers twice": ("source = ''\nkind = 'layer-drop'\nrate = 0.5\nlayers = [1]", ("both", "rate = 'off'")),
    "rate above a half": ("source = ''\nkind = 'layer-drop'\nrate = '2/3'", ("rate", "(0, 1/2]", "2/3")),
    "unknown part": ("source = ''\nkind = 'layer-drop'\nrate = 0.5\npart = 'ffn'", ("part", "'attention'")),
    "no patch left": ("source = ''\nkind = 'evit'\nkeep = 0", ("keep", "(0, 1]")),
    "a number too long": (f"source = ''\nbits = 1{'0' * 5000}", ("mine.toml",)),
    "nested too deep": (f"source = {'[' * 9999}", ("mine.toml",)),
}


@pytest.mark.parametrize("name", TOML)
def test_bad_policy_toml(place: Path, refused: Refused, name: str) -> None:
    text, words = TOML[name]
    (place / "mine.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(run_command(place, "--policy", str(place / "mine.toml")), *words)

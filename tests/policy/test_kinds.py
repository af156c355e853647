"""Policies by kind: presets, settings, provenance, tables of heads."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from sparcade._presets import preset_names
from sparcade.errors import ConfigError
from sparcade.policy import PolicyConfig, load_policy, policy_name, policy_provenance, settings_class
from sparcade.policy.head_table import HeadTable, best
from sparcade.policy.kinds import KINDS

#: The published numbers, with what the papers and the authors' code say.
PUBLISHED = {
    "streaming-llm": {"sinks": 4, "window": 1020},
    "h2o": {"heavy": Fraction(1, 10), "recent": Fraction(1, 10)},
    "snapkv": {"window": 32, "budget": 2048, "kernel": 5, "pooling": "average"},
    "duo-attention": {"retrieval": Fraction(1, 2), "sinks": 64, "window": 256, "gates": None},
    "layer-drop": {"part": "layer", "rate": Fraction(1, 2), "layers": None},
    "evit": {"keep": Fraction(7, 10), "after": (3, 6, 9), "special": 1},
}


def test_every_kind_but_the_mask_has_a_preset_of_its_name() -> None:
    assert set(PUBLISHED) | {"head-mask", "spatten"} == set(KINDS)
    assert set(PUBLISHED) < set(preset_names("policy"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_hold_the_published_numbers(name: str) -> None:
    policy = load_policy(name)
    config = policy.config  # type: ignore[attr-defined]
    assert {key: getattr(config, key) for key in PUBLISHED[name]} == PUBLISHED[name]
    assert "20" in config.source and config.bits == 12
    assert (
        type(config)(name=name, source=config.source, **({"rate": Fraction(1, 2)} if name == "layer-drop" else {}))
        == config
    )
    assert policy_name(policy) == name
    assert policy_provenance(policy)["kind"] == name
    assert settings_class(name) is KINDS[name][0]


def test_spatten_says_no_kind() -> None:
    """Hashes of its workloads are as before there were kinds."""
    assert "kind" not in policy_provenance(load_policy("spatten"))
    assert settings_class("spatten") is PolicyConfig
    assert settings_class("examples/recent_window.py:RecentWindow") is None


def test_settings_change_the_name() -> None:
    changed = load_policy("streaming-llm", ["window=124", "bits=8"])
    assert policy_name(changed).startswith("streaming-llm+")
    assert policy_provenance(changed) | {"name": ""} == {
        "kind": "streaming-llm",
        "name": "",
        "source": policy_provenance(load_policy("streaming-llm"))["source"],
        "bits": 8,
        "sinks": 4,
        "window": 124,
    }


def test_gates_come_from_a_file_in_the_authors_form(tmp_path: Path) -> None:
    file = tmp_path / "full_attention_heads.tsv"
    file.write_text("9.000e-01\t1.0e-1\n2.5e-01\t1\n")
    policy = load_policy("duo-attention", [f"gates={file}"])
    assert policy.config.gates == HeadTable(rows=((0.9, 0.1), (0.25, 1.0)))  # type: ignore[attr-defined]
    told = policy_provenance(policy)
    assert told["gates"] == {"rows": [[0.9, 0.1], [0.25, 1.0]]}  # what it says, and not where it lay
    assert str(tmp_path) not in str(told)
    other = tmp_path / "commas.txt"
    other.write_text("# layer 0\n0.9, 0.1\n\n0.25 ,1  # layer 1\n")
    assert policy_name(load_policy("duo-attention", [f"gates={other}"])) == policy_name(policy)


@pytest.mark.parametrize("text", ["", "1 2\n3\n", "1 x\n", "nan 1\n", "1e999 1\n", "#\n"])
def test_files_that_hold_no_table(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.tsv"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_policy("duo-attention", [f"gates={file}"])
    assert "gates" in str(caught.value)


def test_the_best_of_a_table() -> None:
    scores = HeadTable(rows=((1, 3, 2), (3, 0, 2))).array
    assert best(scores, 3).tolist() == [[False, True, True], [True, False, False]]
    assert not best(scores, 0).any() and best(scores, 6).all()

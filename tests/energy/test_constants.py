"""Profiles, technology scaling, and the SRAM forms against CACTI's runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparcade.energy
from sparcade._presets import preset_names
from sparcade.energy import load_profile, scaling
from sparcade.energy.fit_sram import COLUMNS, cells_toml, fitted, read_runs
from sparcade.energy.sram import CELLS, TERMS, Memory, cells, node_factor, sram
from sparcade.errors import ConfigError

FOLDER = Path(sparcade.energy.__file__).parent
ROOT = Path(__file__).parents[2]
#: Runs of CACTI, shared with the project but not part of it.
RUNS = ROOT / ".." / "shared" / "data" / "cacti_sram.csv"
#: nm: energy at nominal supply, energy at 0.9 V, delay at nominal supply, area, all over 45 nm.
TABLE = {
    180: (25, None, 5.8, 19),
    130: (6.0, 3.83, 2.34, 6.4),
    90: (3.1, 2.36, 1.73, 2.8),
    65: (1.61, 1.51, 1.40, 1.5),
    45: (1, 1, 1, 1),
    40: (0.80, 0.86, 0.92, 0.775),
    32: (0.51, 0.65, 0.78, 0.46),
    28: (0.39, 0.52, 0.75, 0.37),
    22: (0.24, 0.34, 0.71, 0.25),
    16: (0.14, 0.23, 0.47, 0.19),
    7: (0.063, 0.12, 0.21, 0.059),
}


@pytest.mark.parametrize("nm", TABLE)
def test_scaling_gives_the_published_factors(nm: int) -> None:
    energy, same_supply, delay, area = TABLE[nm]
    assert scaling.energy(nm) / scaling.energy(45) == pytest.approx(energy, rel=0.03)
    if same_supply is not None:
        assert scaling.energy(nm, 0.9) / scaling.energy(45, 0.9) == pytest.approx(same_supply, rel=0.04)
    assert scaling.delay(nm) / scaling.delay(45) == pytest.approx(delay, rel=0.02)
    assert scaling.area(nm) == pytest.approx(area, rel=0.03)


def test_scaling_says_where_it_ends() -> None:
    for call in (lambda: scaling.energy(5), lambda: scaling.area(250), lambda: node_factor("read", 16)):
        with pytest.raises(ConfigError, match="outside the scaling data"):
            call()
    with pytest.raises(ConfigError, match="supply"):
        scaling.energy(28, 0.3)


def test_a_profile_moves_to_another_node_and_says_so() -> None:
    profile = load_profile()
    moved = profile.at_node(28, 0.9)
    assert moved.energy.mac.value / profile.energy.mac.value == pytest.approx(0.52 / 0.86, rel=0.02)
    assert moved.sram.read_square.value / profile.sram.read_square.value == pytest.approx(0.5395)
    assert moved.area.multiplier.value / profile.area.multiplier.value == pytest.approx(0.37 / 0.775, rel=0.03)
    assert moved.dram == profile.dram
    assert "scaled (derived) from 40 nm, 0.9 V to 28 nm, 0.9 V" in moved.label
    assert {constant.tag for name, constant in moved.constants.items() if name.startswith("energy")} == {"derived"}
    for name, constant in moved.constants.items():
        if constant.node != "any":
            before = profile.constants[name]
            assert constant.node == "28 nm"
            assert before.value * constant.low <= constant.value * before.low * (1 + 1e-12)
            assert before.value * constant.high >= constant.value * before.high * (1 - 1e-12)
    lower = profile.at_node(40, 0.8)
    assert lower.sram.write_root.value / profile.sram.write_root.value == pytest.approx((0.8 / 0.9) ** 2)
    assert lower.energy.mac.value < profile.energy.mac.value
    assert load_profile("spatten40nm-calibrated").at_node(28).is_calibrated


def test_the_two_profiles_are_never_taken_for_each_other() -> None:
    assert preset_names("energy") == ["first-principles", "spatten40nm-calibrated"]
    first, calibrated = load_profile(), load_profile("spatten40nm-calibrated")
    assert "nothing fitted" in first.label
    assert "CALIBRATED" in calibrated.label
    assert "never a prediction" in calibrated.label
    assert calibrated.to_dict()["label"] == calibrated.label
    assert set(first.to_dict()["constants"]["energy.mac"]) == {"value", "low", "high", "unit", "node", "source", "tag"}


def test_first_principles_holds_the_fits() -> None:
    profile = load_profile()
    for quantity in TERMS:
        for name, constant in profile.sram.terms(quantity).items():
            if name == "width":
                continue
            hp, lop = cells()["hp"][quantity], cells()["lop"][quantity]
            assert constant.value == hp[name]
            assert constant.low <= lop[name] * (1 - lop["rms_error"]) * 1.001
            assert constant.high >= hp[name] * (1 + hp["rms_error"]) * 0.999


def text(**changes: str) -> str:
    """The bundled profile with keys of [energy.mac] replaced; "" takes a key out."""
    whole = (FOLDER / "profiles" / "first-principles.toml").read_text(encoding="utf-8")
    head, table = whole.split("[energy.mac]\n", 1)
    table, rest = table.split("\n\n", 1)
    for key, value in changes.items():
        table = re.sub(rf"^{key} = .*$", f"{key} = {value}" if value else "", table, flags=re.MULTILINE)
    return f"{head}[energy.mac]\n{table}\n\n{rest}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": "-1.0"}, "energy: mac: value"),
        ({"value": "nan"}, "energy: mac: value"),
        ({"value": "inf"}, "energy: mac: value"),
        ({"value": '"much"'}, "energy: mac: value"),
        ({"value": ""}, "'value' is missing"),
        ({"low": "1.0"}, "energy: mac: low"),
        ({"high": "0.9"}, "energy: mac: low"),
        ({"low": "-0.1"}, "energy: mac: low"),
        ({"unit": '"nJ/MAC"'}, "energy.mac: unit"),
        ({"node": '"28 nm"'}, "energy.mac: node"),
        ({"node": '"forty"'}, "energy: mac: node"),
        ({"tag": '"guessed"'}, "energy: mac: tag"),
        ({"source": '""'}, "energy: mac: source"),
    ],
)
def test_a_bad_constant_is_rejected_by_its_name(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text(**changes))
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
    assert "mac" in str(caught.value)


@pytest.mark.parametrize("name", load_profile().constants)
def test_a_missing_constant_is_rejected_by_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    whole = (FOLDER / "profiles" / "first-principles.toml").read_text(encoding="utf-8")
    group, key = name.split(".")
    path.write_text(re.sub(rf"^\[{group}\.{key}\]\n(.+\n)+", "", whole, flags=re.MULTILINE))
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path))
    assert f"{key!r} is missing" in str(caught.value)
    assert group in caught.value.where


def test_a_file_of_the_user_is_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text(value="1.0"))
    assert load_profile(str(path)).name == "mine"
    assert load_profile(str(path)).energy.mac.value == 1.0
    with pytest.raises(ConfigError, match="first-principles"):
        load_profile("first-principle")


#: (KiB, bits, quantity, hp): CACTI's own numbers in energy_baselines.md 3.2.
POINTS = [
    (16, 512, "read", 20.6),
    (24, 768, "read", 40.4),
    (32, 1024, "read", 66.5),
    (96, 3072, "read", 505),
    (192, 6144, "read", 1935),
    (16, 512, "write", 40.0),
    (16, 512, "area", 0.0563),
    (192, 6144, "area", 2.99),
    (16, 512, "leakage", 12.1),
]


@pytest.mark.parametrize(("kib", "bits", "quantity", "cacti"), POINTS)
def test_the_form_is_near_single_macros(kib: int, bits: int, quantity: str, cacti: float) -> None:
    memory = Memory(words=kib * 8192 // bits, bits=bits)
    assert sram(quantity, memory).value == pytest.approx(cacti, rel=0.25)
    assert memory.is_fitted == (bits <= 3072)


def test_banks_divide_a_memory() -> None:
    """192 KiB that give 6,144 bits a cycle: pJ per bit by banks (energy_baselines.md 3.2)."""
    for cell, by_banks in (
        ("hp", {1: 0.315, 2: 0.164, 3: 0.115, 6: 0.065, 12: 0.040, 24: 0.028}),
        ("lop", {1: 0.174, 2: 0.091, 3: 0.064, 6: 0.036, 12: 0.023, 24: 0.016}),
    ):
        for banks, per_bit in by_banks.items():
            memory = Memory(words=256, bits=6144, banks=banks)
            assert sram("read", memory, cell).value / 6144 == pytest.approx(per_bit, rel=0.15)
    two, one = Memory(words=256, bits=6144, banks=2), Memory(words=256, bits=3072)
    assert sram("area", two).value == pytest.approx(2 * sram("area", one).value)


@pytest.mark.reference
@pytest.mark.skipif(not RUNS.exists(), reason="the runs of CACTI are not here")
def test_the_forms_are_those_of_the_runs() -> None:
    assert cells_toml(RUNS) == (FOLDER / "cells.toml").read_text(encoding="utf-8")
    for cell in CELLS:
        runs = fitted(read_runs(RUNS, cell))
        assert len(runs) == 93
        for quantity, (column, unit) in COLUMNS.items():
            form = cells()[cell][quantity]
            errors = np.array(
                [
                    sram(
                        quantity, Memory(words=int(row.capacity_bytes) * 8 // int(row.bits), bits=int(row.bits)), cell
                    ).value
                    / (getattr(row, column) * unit)
                    - 1
                    for row in runs.itertuples()
                ]
            )
            assert np.sqrt((errors**2).mean()) == pytest.approx(form["rms_error"], abs=2e-3)
            assert np.abs(errors).max() == pytest.approx(form["max_error"], abs=0.015)  # whole words
            assert form["rms_error"] < 0.21


def test_the_area_of_top_k_engines_is_that_of_our_synthesis() -> None:
    """Before the factor to 40 nm: cells of 14 engines, and their memories bit by bit; after it, the published range."""
    rows = pd.read_csv(ROOT / "reports" / "published" / "rtl_synth" / "synth.csv")
    rows = rows[rows["block"] == "top-k-engine"]
    bits, lanes = rows["score_bits"], rows["lanes"]
    cells_um2 = 18354 * (bits + rows["index_bits"]) + 480.4 * bits * lanes * np.log2(2 * lanes)
    errors = cells_um2 / rows["area_um2"] - 1
    assert np.sqrt((errors**2).mean()) < 0.04
    assert errors.abs().max() < 0.085
    assert (rows["capacity"] * (4 * bits + rows["index_bits"])).to_numpy() == pytest.approx(
        rows["memory_bits"].to_numpy(), rel=5e-3
    )
    area = load_profile().area
    element, paths, memory = 32 + 16, 32 * 16 * 5, 1024 * (4 * 32 + 16)

    def engine(end: str) -> float:
        logic = getattr(area.topk_bit, end) * element + getattr(area.topk_lane, end) * paths
        return float(logic + getattr(area.fifo, end) * memory) * 1e-6

    assert engine("low") == pytest.approx(0.166, rel=0.15)
    assert engine("high") == pytest.approx(0.294, rel=0.05)
    assert engine("low") < engine("value") < engine("high")


def test_profiles_are_complete_tables() -> None:
    for name in preset_names("energy"):
        raw = tomllib.loads((FOLDER / "profiles" / f"{name}.toml").read_text(encoding="utf-8"))
        flat = {f"{group}.{key}" for group, table in raw.items() if isinstance(table, dict) for key in table}
        assert flat == set(load_profile(name).constants)

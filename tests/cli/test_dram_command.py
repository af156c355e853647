"""`sparcade dram`: summary, JSON, command log, presets, devices of the user's own."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sparcade._presets import preset_names, preset_path
from sparcade.cli import main
from sparcade.dram import DramResult, DramSystem, Injection, load_device, read_stream
from sparcade.dram.check import read_command_log, violations
from sparcade.dram.device import Device

#: Below every device's size; a few rows, so that rows hit, miss and conflict.
REQUESTS = 1500
MEMORY = 1 << 22


@pytest.fixture(scope="module", name="stream")
def _stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of neighbours, then random reads and writes."""
    random = Random(7)
    lines = [f"R {64 * index:#x}" for index in range(REQUESTS // 3)]
    lines += [f"{random.choice('RRW')} {random.randrange(MEMORY):#x}" for _ in range(REQUESTS - len(lines))]
    path = tmp_path_factory.mktemp("stream") / "stream.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints; it succeeds in silence otherwise."""
    assert main(["dram", *map(str, arguments)]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    return str(out)


def table(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The same as JSON."""
    return dict(json.loads(printed(capsys, *arguments, "--json")))


def run(stream: Path, device: Device | str = "hbm2", injection: Injection | None = None, **options: Any) -> DramResult:
    """The library's answer."""
    system = DramSystem(device, **options)
    return system.run(read_stream(stream, system.address_map.address_limit), injection)


def test_json_is_the_result(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(stream)
    figures = table(capsys, stream)
    assert figures == json.loads(json.dumps(result.to_dict()))
    assert figures["schema"] == "sparcade.dram"
    assert figures["requests"] == figures["reads"] + figures["writes"] == REQUESTS
    assert sum(figures["rows"].values()) + figures["forwarded_reads"] + figures["coalesced_writes"] == REQUESTS
    assert min(figures["rows"].values()) > 0
    assert figures["ticks"] == result.ticks > 0
    assert figures["utilisation"] == figures["achieved_gbps"] / figures["peak_gbps"]
    assert figures["peak_gbps"] == 32.0
    assert figures["achieved_gbps"] == pytest.approx(32 * REQUESTS / result.ticks)
    banks = figures["banks"]
    assert sum(map(sum, banks["reads"])) == figures["commands"]["RD"]
    assert sum(map(sum, banks["writes"])) == figures["commands"]["WR"]
    assert sum(map(sum, banks["activations"])) == figures["commands"]["ACT"]
    assert figures["energy_total_joules"] == pytest.approx(sum(figures["energy_joules"].values()))


OPTIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "channels": (["--channels", "4"], {"channels": 4}),
    "mapping by name": (["--mapping", "RoBaRaCoCh"], {"mapping": "RoBaRaCoCh"}),
    "mapping by order": (
        ["--channels", "2", "--mapping", "column:3,channel,bg,pc,column,row,ba;ba.1^=row&6"],
        {"channels": 2, "mapping": "column:3,channel,bg,pc,column,row,ba;ba.1^=row&6"},
    ),
    "pace": (["--pace", "7.5"], {"injection": Injection(period=7.5)}),
    "outstanding": (["--max-outstanding", "3"], {"injection": Injection(max_outstanding=3)}),
    "outstanding per channel": (
        ["--channels", "2", "--max-outstanding-per-channel", "2"],
        {"channels": 2, "injection": Injection(max_outstanding_per_channel=2)},
    ),
    "settings": (
        ["--set", "timing.n_rp=20", "--set", "controller.refresh=per-bank"],
        {"device": load_device("hbm2", ["timing.n_rp=20", "controller.refresh=per-bank"])},
    ),
} | {name: (["--preset", name], {"device": name}) for name in preset_names("dram")}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_model(stream: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words, options = OPTIONS[name]
    figures = table(capsys, stream, *words)
    assert figures == json.loads(json.dumps(run(stream, **options).to_dict()))
    assert figures["requests"] == REQUESTS
    if name != "hbm2":
        assert figures != table(capsys, stream)


def test_energy_options(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, still, standby = (table(capsys, stream, *words) for words in ([], ["--toggle-rate", "0"], ["--standby"]))
    assert plain["toggle_rate"] == 0.5
    assert plain == table(capsys, stream, "--toggle-rate", "0.5")
    assert still["energy_joules"]["read"] < plain["energy_joules"]["read"]
    assert still["energy_joules"]["activation"] == plain["energy_joules"]["activation"]
    assert plain["energy_joules"]["standby"] == 0
    seconds = plain["ticks"] * 1e-9
    assert standby["energy_joules"]["standby"] == pytest.approx(37.5e-3 * seconds)
    bits = 256 * plain["commands"]["RD"]
    assert plain["energy_joules"]["read"] == pytest.approx(3.48e-12 * bits)
    assert plain["energy_joules"]["activation"] == pytest.approx(909e-12 * plain["commands"]["ACT"])


def rows_of(text: str) -> dict[str, str]:
    """Value by label of the printed table."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]
    return {label: value for label, _, value in cells}


def test_summary(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, text = table(capsys, stream), printed(capsys, stream)
    rows = rows_of(text)
    assert "hbm2 (HBM2), 1 channel, PcBgCo" in text
    assert {label: rows[label].replace(",", "") for label in ("requests", "reads", "writes", "ticks", "row hits")} == {
        "requests": str(REQUESTS),
        "reads": str(figures["reads"]),
        "writes": str(figures["writes"]),
        "ticks": str(figures["ticks"]),
        "row hits": str(figures["rows"]["hits"]),
    }
    assert rows["achieved"] == f"{figures['achieved_gbps']:.2f}"
    assert rows["peak"] == "32.0"
    assert rows["utilisation"] == f"{100 * figures['utilisation']:.1f}"
    assert rows["read latency, max"] == f"{figures['read_latency_ticks']['max']:,.1f}"
    assert rows["energy"] == f"{figures['energy_total_joules'] * 1e6:,.3f}"
    for name, count in figures["commands"].items():
        assert rows[f"command {name}"] == f"{count:,}"
    assert "O'Connor" in text
    assert "uncertainty" in text


HEAT_MAPS: list[tuple[list[str], list[str]]] = [
    ([], ["PseudoChannel 0", "PseudoChannel 1"]),
    (["--channels", "4"], ["PseudoChannel 0", "PseudoChannel 1"]),
    (["--preset", "hbm3"], [f"PseudoChannel {pc} Sid {sid}" for pc in (0, 1) for sid in (0, 1)]),
    (["--preset", "ddr4-3200", "--set", "organisation.ranks=2"], ["Rank 0", "Rank 1"]),
    (["--preset", "ddr5-4800"], ["Rank 0"]),
    (["--preset", "gddr6-14000"], ["channel"]),
]


@pytest.mark.parametrize(("options", "places"), HEAT_MAPS, ids=[" ".join(case[0]) for case in HEAT_MAPS])
def test_heat_map(stream: Path, capsys: pytest.CaptureFixture[str], options: list[str], places: list[str]) -> None:
    """One line per pseudo-channel or rank, on one line of an 80-column terminal too."""
    figures, text = table(capsys, stream, *options), printed(capsys, stream, *options)
    banks, organisation = figures["banks"], figures["device"]["organisation"]
    accesses = [sum(bank) for bank in zip(*banks["reads"], *banks["writes"], strict=True)]
    size, groups = organisation["banks"], organisation["bank_groups"]
    expected = [f"accesses per bank, bank groups side by side (█ = {max(accesses):,}; share of all in %)"]
    for index, place in enumerate(places):
        own = accesses[size * groups * index : size * groups * (index + 1)]
        cells = [(2 if size * groups <= 16 else 1) * " ░▒▓█"[-(-4 * count // max(accesses))] for count in own]
        line = "  ".join("".join(cells[start : start + size]) for start in range(0, len(cells), size))
        expected.append(f"  {place:24} {line}  {100 * sum(own) / sum(accesses):5.1f}")
    assert "\n".join(expected) in text


def test_clocks_of_the_summary_are_nanoseconds(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tick of HBM3 is half a clock of 0.625 ns."""
    figures, text = table(capsys, stream, "--preset", "hbm3"), printed(capsys, stream, "--preset", "hbm3")
    assert "0.3125 ns" in text
    assert figures["tick_ps"] == 312.5
    assert figures["seconds"] == pytest.approx(figures["ticks"] * 312.5e-12)
    assert rows_of(text)["read latency, p50"] == f"{figures['read_latency_ticks']['p50'] * 0.3125:,.1f}"


@pytest.mark.parametrize("preset", preset_names("dram"))
def test_command_log(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str) -> None:
    """The log obeys the device and holds what the JSON counts; twice the same bytes."""
    log, again = tmp_path / "log.csv", tmp_path / "again.csv"
    options = ["--preset", preset, "--channels", "2"]
    text = printed(capsys, stream, *options, "--json", "--commands", log)
    figures, device = json.loads(text), load_device(preset)
    entries = list(read_command_log(log, device))
    assert list(violations(entries, device)) == []
    assert Counter(device.rules.command_name(entry.command) for entry in entries) == figures["commands"]
    assert {entry.channel for entry in entries} == {0, 1}
    assert max(entry.clock for entry in entries) <= figures["ticks"]
    assert text == printed(capsys, stream, *options, "--json", "--commands", again)
    assert text == printed(capsys, stream, *options, "--json")
    assert log.read_bytes() == again.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "again.csv"}


def test_a_long_log_comes_in_parts_and_has_one_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(3)
    (tmp_path / "long").write_text("".join(f"R {random.randrange(1 << 31):#x}\n" for _ in range(30_000)))
    figures = table(capsys, tmp_path / "long", "--commands", tmp_path / "log.csv")
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(figures["commands"].values()) > 1 << 16
    assert sum(line.startswith("clock") for line in lines) == 1
    assert all(re.fullmatch(r"\d+,[A-Za-z_0-9]+(,-?\d+){8}", line) for line in lines[1:])


def test_the_log_replaces_an_old_one(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv").write_text("yesterday's\n" * 99_999)
    printed(capsys, stream, "--commands", tmp_path / "log.csv")
    assert "yesterday" not in (tmp_path / "log.csv").read_text()


@pytest.mark.parametrize("text", ["", "# nothing\n\n"])
def test_an_empty_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Nothing costs nothing, and its log is one that can be read."""
    (tmp_path / "empty").write_text(text)
    log = tmp_path / "log.csv"
    figures = table(capsys, tmp_path / "empty", "--commands", log)
    assert (figures["requests"], figures["ticks"], figures["utilisation"]) == (0, 0, 0.0)
    assert figures["energy_total_joules"] == 0.0
    assert rows_of(printed(capsys, tmp_path / "empty"))["requests"] == "0"
    assert list(read_command_log(log, load_device("hbm2"))) == []


def test_standard_input(stream: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = printed(capsys, stream, "--json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stream.read_bytes())))
    assert printed(capsys, "-", "--json") == expected


def test_no_path_is_in_the_output(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "copy").write_bytes(stream.read_bytes())
    assert printed(capsys, stream) == printed(capsys, tmp_path / "copy")
    assert stream.name not in printed(capsys, stream, "--json")


def test_list_of_presets(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, stream, "--preset", "list").split() == preset_names("dram")
    assert set(preset_names("dram")) >= {"hbm2", "hbm3", "ddr4-3200", "ddr5-4800", "lpddr5-6400", "gddr6-14000"}


def test_list_of_presets_needs_no_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--preset", "list").split() == preset_names("dram")


@pytest.mark.parametrize("preset", ["hbm2", "ddr4-3200", "lpddr5-6400"])
def test_a_device_file_equals_the_preset_it_copies(
    stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    text = preset_path("dram", preset).read_text()
    (tmp_path / "mine.toml").write_text(text)
    expected, own = (table(capsys, stream, "--preset", name) for name in (preset, tmp_path / "mine.toml"))
    assert own["device"].pop("name") == "mine"
    assert expected["device"].pop("name") == preset
    assert own == expected
    (tmp_path / "named.toml").write_text(f'name = "{preset}"\n{text}')
    expected["device"]["name"] = preset
    assert table(capsys, stream, "--preset", tmp_path / "named.toml") == expected


@pytest.mark.parametrize(
    "setting",
    ["timing.n_rcd_rd=20", "timing.n_refi=2000", "controller.row_policy=closed", "controller.refresh=none",
     "controller.scheduler=fr-fcfs-row-hit", "controller.read_queue=8", "organisation.banks=2"],
)  # fmt: skip
def test_settings_change_the_result(stream: Path, capsys: pytest.CaptureFixture[str], setting: str) -> None:
    plain, changed = table(capsys, stream), table(capsys, stream, "--set", setting)
    assert changed["ticks"] != plain["ticks"]
    part, _, value = setting.partition("=")
    group, _, key = part.partition(".")
    assert str(changed["device"][group][key]) == value
    assert re.fullmatch(r"hbm2\+[0-9a-f]{4}", changed["device"]["name"])
    assert changed["requests"] == REQUESTS


def test_a_setting_that_changes_nothing_keeps_the_name(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, stream, "--set", "timing.n_rp=14") == table(capsys, stream)


def test_a_log_is_checked_from_the_command_line(
    stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    assert main(["dram", str(stream), "--commands", str(log)]) == 0
    capsys.readouterr()
    assert main(["validate", "commands", str(log)]) == 0
    assert capsys.readouterr().out.endswith(" commands, 0 violations\n")
    assert main(["validate", "commands", str(log), "--set", "timing.n_rcd_rd=30"]) == 1
    assert "tRCD" in capsys.readouterr().out


def test_a_log_to_a_pipe_a_link_and_a_compressed_file(
    stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, packed, link = tmp_path / "log.csv", tmp_path / "log.csv.gz", tmp_path / "link.csv"
    link.symlink_to(tmp_path / "behind.csv")
    for target in (plain, packed, link, Path("/dev/null")):
        assert main(["dram", str(stream), "--commands", str(target)]) == 0
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()
    text = plain.read_text()
    assert (tmp_path / "behind.csv").read_text() == text == gzip.decompress(packed.read_bytes()).decode()
    assert main(["validate", "commands", str(packed)]) == 0
    capsys.readouterr()


def test_a_compressed_stream_through_a_pipe(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(stream.read_bytes()),))
    writer.start()
    through, direct = printed(capsys, pipe, "--json"), printed(capsys, stream, "--json")
    writer.join()
    assert through == direct


def test_the_json_says_how_the_stream_was_fed(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = table(capsys, stream, "--pace", "3", "--max-outstanding", "4", "--standby")
    assert figures["injection"] == {"period": 3.0, "max_outstanding": 4}
    assert figures["standby"] is True

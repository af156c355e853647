"""`sparcade dram` and `sparcade validate`: one clear error for bad input; differences from a reference are named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from damage import Refused
from sparcade._presets import preset_path
from sparcade.cli import main
from sparcade.dram.device import load_device

Json = dict[str, Any]

REQUESTS = b"R 0x0\nW 0x40\nR 0x2000\nR 0x40\n"


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """A small stream and a folder, in a folder whose files no refused command may touch."""
    (tmp_path / "stream.txt").write_bytes(REQUESTS)
    (tmp_path / "folder").mkdir()
    return tmp_path


def dram(place: Path, *options: str, stream: str = "stream.txt") -> list[str]:
    """The arguments of a run of the stream, its command log beside it."""
    return ["dram", str(place / stream), "--json", "--commands", str(place / "log.csv"), *options]


def settings(text: str) -> list[str]:
    """`--set` for each word."""
    return [word for setting in text.split() for word in ("--set", setting)]


# The stream.

MALFORMED = (
    b"X 0x40", b"R", b"R ", b"W\t", b"R0x40", b"RR 0x40", b"READ 0x40", b"RW 0x40", b"R 0", b"R 40", b"R 64", b"R x40",
    b"0x40", b"0x40 R", b"R 0x", b"R 0X ", b"R 0x 40", b"R 0xg", b"R 0x4g", b"R 0x40h", b"R 00x40", b"R 0x40 0x80",
    b"R 0x40 32", b"R 0x40 # why", b"R 0x40;", b"R,0x40", b"R:0x40", b"R -0x40", b"R +0x40", b"R 0x_40", b"R 0x4_0",
    b"R 0x4.0", b"R 0o40", b"R 0b1", b'"R" "0x40"', b"R \xef\xbc\x91", b"R\xc2\xa00x40", b"\xff\xfe",
    b"\xef\xbb\xbfR 0x40", b"R 0x40\0", b"\0", b"\0R 0x40", b"R \x0c0x40", b"R\x0b0x40", b"\x0cR 0x40", b"// R 0x40",
    b"; R 0x40", b"\rR 0x40", b" \r R 0x40", b"R\r0x40", b"R \r0x40", b"R 0x40\rR 0x80", b"R 0x40\r\0", b"\r\0",
    b"R 0x40" * 30, b"\x80" * 200,
)  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED, ids=ascii)
def test_malformed_line(place: Path, refused: Refused, line: bytes) -> None:
    (place / "bad.txt").write_bytes(b"# requests\nR 0x0\n\n" + line + b"\nR 0x20\n")
    text = refused(dram(place, stream="bad.txt"), "line is malformed", f"{place}/bad.txt, line 4", "'R 0xADDRESS'")
    assert len(text) < 1000


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_malformed_last_line(place: Path, refused: Refused, ending: bytes) -> None:
    (place / "bad.txt").write_bytes(b"R 0x0\r\nR 0x20\nR 0x" + ending)
    refused(dram(place, stream="bad.txt"), "bad.txt, line 3", "'R 0x")


@pytest.mark.parametrize("name", ["bad.txt", "bad.txt.gz"])
@pytest.mark.parametrize(
    ("line", "words"),
    [(b"R 0x40 oops", ("malformed", "oops")), (b"W 0x80000000", ("beyond the device", "0x80000000", "2048 MiB"))],
)
def test_bad_line_in_the_second_megabyte(
    place: Path, refused: Refused, name: str, line: bytes, words: tuple[str, ...]
) -> None:
    lines = [b"R 0x%08x" % (32 * index) for index in range(120_000)]
    lines[100_000] = line
    data = b"\n".join(lines)
    (place / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    refused(dram(place, stream=name), f"{name}, line 100,001", *words)


def test_endless_line(place: Path, refused: Refused) -> None:
    (place / "bad.gz").write_bytes(gzip.compress(b"R 0x0\n" + b"#" * (5 << 20), 1))
    refused(dram(place, stream="bad.gz"), "bad.gz, line 2", "a line longer than a mebibyte")


BEYOND = {
    "first": ("R 0x80000000", [], "0x80000000"),
    "last of 48 bits": ("R 0xffffffffffff", [], "0x80000000"),
    "13 digits": ("R 0x1000000000000", [], "0x80000000"),
    "64 bits": ("W 0xFFFFFFFFFFFFFFFF", [], "0x80000000"),
    "hundreds of digits": (f"W 0x{'f' * 300}", [], "0x80000000"),
    "two channels": ("R 0x100000000", ["--channels", "2"], "0x100000000"),
    "another device": ("R 0x200000000", ["--preset", "ddr4-3200"], "0x200000000"),
    "a smaller device": ("R 0x8000", settings("organisation.rows=1"), "0x8000"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_address_beyond_the_device(place: Path, refused: Refused, name: str) -> None:
    line, options, limit = BEYOND[name]
    (place / "bad.txt").write_text(f"R 0x0\n{line}\n")
    refused(
        dram(place, *options, stream="bad.txt"), "beyond the device", "bad.txt, line 2", f"below {limit} ", line[:15]
    )


def test_last_address_and_leading_zeros_are_fine(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "stream.txt").write_text(f"R 0x7fffffff\nR 0x{'0' * 300}40\n")
    assert main(dram(place)) == 0
    assert json.loads(capsys.readouterr().out)["reads"] == 2


FINE = {
    "CRLF": REQUESTS.replace(b"\n", b"\r\n"),
    "no final newline": REQUESTS.rstrip(),
    "CRLF, no final newline": REQUESTS.replace(b"\n", b"\r\n")[:-1],
    "comments": b"# R 0x80\n" + REQUESTS.replace(b"\n", b"\n  # \xff\xfe, 'x'\n#\n"),
    "blank lines": b"\n \n\t\n\r\n" + REQUESTS.replace(b"\n", b"\n\n") + b"\n \t\r\n  ",
    "spaces and tabs": REQUESTS.replace(b" ", b" \t  ").replace(b"\n", b"\t \n ").rstrip(),
    "lower case": REQUESTS.lower(),
    "upper case": REQUESTS.upper(),
    "gz": gzip.compress(REQUESTS),
    "two gz, one after the other": gzip.compress(REQUESTS[:9]) + gzip.compress(REQUESTS[9:]),
}


@pytest.mark.parametrize("name", FINE)
def test_fine_streams(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(dram(place)) == 0
    expected, log = capsys.readouterr(), (place / "log.csv").read_bytes()
    (place / "fine.bin").write_bytes(FINE[name])
    assert main(dram(place, stream="fine.bin")) == 0
    assert capsys.readouterr() == expected
    assert (place / "log.csv").read_bytes() == log


def flipped(data: bytes, *places: int) -> bytes:
    return bytes(byte ^ 0xFF if at in places else byte for at, byte in enumerate(data))


PACKED = gzip.compress(b"".join(b"R 0x%x\n" % (977 * index % 65536) for index in range(3000)))
FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "gz cut in its header": (PACKED[:7], ("stream.gz", "line 1")),
    "gz cut in its data": (PACKED[: len(PACKED) // 2], ("stream.gz, line ", "whole gzip file")),
    "gz cut in its check sum": (PACKED[:-3], ("stream.gz, line ", "whole gzip file")),
    "gz with a wrong check sum": (flipped(PACKED, len(PACKED) - 6), ("stream.gz, line ", "whole gzip file")),
    "gz with a wrong size": (flipped(PACKED, len(PACKED) - 1), ("stream.gz, line ", "whole gzip file")),
    "gz with wrong data": (flipped(PACKED, *range(2000, 2040)), ("stream.gz, line ", "whole gzip file")),
    "gz with a wrong first block": (flipped(PACKED, 10), ("stream.gz, line 1", "whole gzip file")),
    "gz of an unknown method": (flipped(PACKED, 2), ("stream.gz, line 1", "whole gzip file")),
    "gz and then text": (PACKED + b"R 0x0\n", ("stream.gz, line ", "whole gzip file")),
    "gz inside gz": (gzip.compress(PACKED), ("stream.gz, line 1", "malformed")),
    "bzip2": (b"BZh91AY&SY\x00\x01", ("stream.gz, line 1", "malformed")),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", ("stream.gz, line 1", "malformed")),
    "binary": (bytes(range(1, 256)) * 9, ("stream.gz, line 1", "malformed")),
    "zeros": (bytes(4096), ("stream.gz, line 1", "malformed")),
    "UTF-16": ("R 0x0\n".encode("utf-16"), ("stream.gz, line 1", "malformed")),
    "UTF-8 with a mark": ("\ufeffR 0x0\n".encode(), ("stream.gz, line 1", "malformed")),
    "JSON": (b'{"requests": [0, 32]}', ("stream.gz, line 1", "malformed")),
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_stream(place: Path, refused: Refused, name: str) -> None:
    data, words = FILES[name]
    (place / "stream.gz").write_bytes(data)
    refused(dram(place, stream="stream.gz"), *words)


@pytest.mark.parametrize("name", ["gone.txt", "gone.gz", "gone/stream.txt", "folder", "stream.txt/deep"])
def test_no_such_stream(place: Path, refused: Refused, name: str) -> None:
    refused(dram(place, stream=name), str(place / name))


def test_bad_standard_input(place: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"R 0x0\nR 64\n")))
    refused(["dram", "-", "--commands", str(place / "log.csv")], "line 2", "malformed", "'R 64'")


# The device.


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("hbm22", ("did you mean 'hbm2'?",)),
        ("HBM2", ("did you mean 'hbm2'?",)),
        ("ddr4", ("did you mean 'ddr4-3200'?",)),
        ("lpddr5", ("did you mean 'lpddr5-6400'?",)),
        ("hbm2.tml", ("did you mean 'hbm2'?",)),
        ("xyzzy", ("one of: ddr4-3200, ddr5-4800",)),
        ("", ("one of: ddr4-3200",)),
        ("gone.toml", ("no such file",)),
        ("../presets/hbm2", ("one of: ddr4-3200",)),
    ],
)
def test_unknown_preset(place: Path, refused: Refused, preset: str, words: tuple[str, ...]) -> None:
    refused(dram(place, "--preset", preset), preset, *words)


def test_an_unknown_preset_is_sought_in_its_option(place: Path, refused: Refused) -> None:
    refused(dram(place, "--preset", "xyzzy"), "--preset xyzzy")
    refused(dram(place, "--preset", "gone.toml"), "--preset gone.toml")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("timing.n_rpp=5", ("did you mean 'timing.n_rp'?",)),
        ("n_rp=5", ("did you mean 'timing.n_rp'?",)),
        ("tming.n_rp=5", ("did you mean 'timing'?",)),
        ("refresh=none", ("did you mean 'controller.refresh'?",)),
        ("controller.refesh=none", ("did you mean 'controller.refresh'?",)),
        ("organization.rows=8", ("did you mean 'organisation'?",)),
        ("energy.act=5", ("did you mean 'energy.act_pj'?",)),
        ("xyzzy=1", ("xyzzy", "one of", "timing")),
        ("timing.n_rp", ("KEY=VALUE",)),
        ("=5", ("KEY=VALUE",)),
        ("timing.n_rp.min=5", ("'timing.n_rp' has no parts",)),
        ("timing=5", ("timing", "a table", "5")),
    ],
)
def test_unknown_setting(place: Path, refused: Refused, setting: str, words: tuple[str, ...]) -> None:
    refused(dram(place, "--set", setting), *words)


HUGE = "1267650600228229401496703205376"
#: Wrong values of each setting, as text; the error names the setting's last part.
VALUES: dict[str, list[str]] = {
    "protocol": ["HBM4", "hbm2", "2"],
    "organisation.data_bits": ["0", "-64", "48", "64.0", "wide", "true", "1", HUGE],
    "organisation.prefetch": ["0", "3", "256"],
    "organisation.pseudo_channels": ["0", "3", "1024"],
    "organisation.ranks": ["0", "3"],
    "organisation.stack_ids": ["0", "3", "2"],
    "organisation.bank_groups": ["0", "6", "65536"],
    "organisation.banks": ["0", "-4", "5", "4.0", "1024", HUGE],
    "organisation.rows": ["0", "65535", "33554432", HUGE],
    "organisation.columns": ["0", "2", "100", HUGE],
    "organisation.access_bytes": ["0", "48", "16", "2048"],
    "timing.t_ck_ps": ["0", "-1", "9", "1000001", "nan", "inf", "1/0", "fast", "1/3"],
    "timing.n_bl": ["0", "-1", "2.0", "two", "true", "off", HUGE],
    "timing.n_cl": ["0", "-14", "1048577", "14ns"],
    "timing.n_faw": ["0", "1e3", "inf"],
    "timing.n_refi": ["0", "-3900", "nan"],
    "timing.n_ppd": ["-1", "off"],
    "timing.n_rtw": ["0", "-1", "1/2"],
    "controller.scheduler": ["fcfs", "FR-FCFS", "1"],
    "controller.row_policy": ["close", "", "true"],
    "controller.refresh": ["all_bank", "auto", "1"],
    "controller.cap": ["0", "-1", "1.5", HUGE],
    "controller.read_queue": ["0", "-1", "4097", HUGE],
    "controller.write_queue": ["0", "4097", "25"],
    "controller.write_high": ["0", "33", "6"],
    "controller.write_low": ["-1", "26", "1.0"],
    "energy.act_pj": ["-1", "nan", "inf", "1e10", "much", "off"],
    "energy.standby_mw": ["-0.1", "nan"],
    "energy.source": ["5"],
}
#: Where the error is found elsewhere than in the field.
ELSEWHERE = {"organisation.prefetch": "data_bits", "organisation.bank_groups": "banks"}
ELSEWHERE |= {"organisation.ranks": "pseudo_channels", "controller.write_queue": "write_high"}
ELSEWHERE |= {"controller.write_high": "write_low", "organisation.pseudo_channels": "banks"}


@pytest.mark.parametrize(
    ("key", "value"),
    [pytest.param(key, value, id=f"{key}={ascii(value)[:30]}") for key in VALUES for value in VALUES[key]],
)
def test_wrong_value_of_a_setting(place: Path, refused: Refused, key: str, value: str) -> None:
    leaf = key.split(".")[-1]
    text = refused(dram(place, "--set", f"{key}={value}"))
    assert leaf in text or ELSEWHERE.get(key, leaf) in text, text


#: Preset, settings that no device can have, and words of the reason.
IMPOSSIBLE: list[tuple[str, str, tuple[str, ...]]] = [
    ("hbm2", "timing.n_ccd_s=5", ("timing.n_ccd_l", "at least n_ccd_s = 5", "same bank group", "raise n_ccd_l")),
    ("hbm2", "timing.n_ccd_l=1", ("timing.n_ccd_l", "at least n_ccd_s = 2", "same bank group")),
    ("ddr5-4800", "timing.n_ccd_s_wr=49", ("timing.n_ccd_l_wr", "at least n_ccd_s_wr = 49")),
    ("hbm2", "timing.n_rrd_s=5", ("timing.n_rrd_l", "at least n_rrd_s = 5", "same bank group")),
    ("hbm2", "timing.n_wtr_s=9", ("timing.n_wtr_l", "at least n_wtr_s = 9", "same bank group")),
    ("hbm2", "timing.n_ras=13", ("timing.n_ras", "at least n_rcd_rd = 14", "close before its first read")),
    ("hbm2", "timing.n_rcd_rd=35", ("timing.n_ras", "at least n_rcd_rd = 35", "close before its first read")),
    ("hbm2", "timing.n_rcd_wr=35", ("timing.n_ras", "at least n_rcd_wr = 35", "close before its first write")),
    ("hbm2", "timing.n_rc=33", ("timing.n_rc", "at least n_ras = 34", "a row cycle")),
    ("hbm2", "timing.n_ras=49", ("timing.n_rc", "at least n_ras = 49", "a row cycle")),
    ("hbm2", "timing.n_faw=3", ("timing.n_faw", "at least n_rrd_s = 4", "four ACT")),
    ("lpddr5-6400", "timing.n_bl_max=1", ("timing.n_bl_max", "at least n_bl = 2", "longest burst")),
    ("hbm2", "timing.n_refi=349", ("timing.n_refi", "at least n_rfc", "refresh would not end")),
    ("hbm2", "timing.n_rfc=3901", ("timing.n_refi", "refresh would not end")),
    ("hbm2", "timing.n_rfc=3900", ("timing.n_refi", "refresh would not end")),  # nothing else is ever served
    ("hbm2", "timing.n_rfc_pb=351", ("timing.n_rfc", "n_rfc_pb = 351", "one bank refreshes no slower")),
    ("hbm2", "timing.n_rrefd=161", ("timing.n_rfc_pb", "n_rrefd = 161", "waits no longer")),
    ("hbm2", "controller.refresh=per-bank timing.n_rrefd=159", ("timing.n_refi", "REFpb")),
    ("hbm2", "controller.refresh=per-bank timing.n_rfc_pb=off timing.n_rrefd=off",
     ("timing.n_rfc_pb", "per-bank refresh")),
    ("hbm2", "controller.refresh=per-bank timing.n_rfc=160 timing.n_refi=200",
     ("timing.n_refi", "REFpb")),
    ("ddr4-3200", "controller.refresh=per-bank", ("controller.refresh", "all-bank or none", "DDR4", "per-bank")),
    ("ddr5-4800", "controller.refresh=per-bank timing.n_rfc_pb=300", ("controller.refresh", "DDR5", "per-bank")),
    ("lpddr5-6400", "timing.n_aad=0", ("timing.n_aad", "ACT1 to ACT2")),
    ("lpddr5-6400", "timing.n_aad=15", ("timing.n_aad", "before the row is read")),
    ("hbm2", "organisation.stack_ids=2", ("organisation.stack_ids", "HBM2")),
    ("hbm2", "organisation.pseudo_channels=1 organisation.ranks=2", ("organisation.ranks", "HBM2")),
    ("ddr4-3200", "organisation.pseudo_channels=2", ("organisation.pseudo_channels", "DDR4")),
    ("ddr4-3200", "organisation.ranks=2 organisation.pseudo_channels=2", ("pseudo-channels or ranks, not both",)),
    ("gddr6-14000", "organisation.ranks=2", ("organisation.ranks", "GDDR6")),
    ("hbm2", "organisation.columns=2", ("organisation.columns", "prefetch")),
    ("hbm2", "organisation.data_bits=1", ("organisation.data_bits", "8 to")),
    ("hbm2", "organisation.access_bytes=16", ("organisation.access_bytes", "32", "column step")),
    ("hbm2", "organisation.banks=512", ("organisation.banks", "banks a channel")),
    ("hbm2", "controller.write_low=26", ("controller.write_low", "drain would not end", "25")),
    ("hbm2", "controller.write_high=40", ("write_high", "1..32")),
    ("hbm2", "controller.write_queue=20", ("write_high", "1..20")),
    ("hbm2", "energy=off", ("energy", "[energy]", "[idd]", "neither")),
    ("ddr4-3200", "idd=off", ("energy", "neither")),
    ("ddr4-3200", "energy.act_pj=1 energy.read_pj_per_bit=1 energy.write_pj_per_bit=1 energy.source=x "
     "energy.uncertainty=x", ("energy", "both")),
    ("ddr4-3200", "idd.idd0=37", ("idd", "idd0 above idd2n")),
    ("ddr4-3200", "idd.idd4r=52", ("idd", "above idd3n")),
    ("ddr4-3200", "idd.idd4w=10", ("idd", "above idd3n")),
    ("ddr4-3200", "idd.idd5=52", ("idd", "above idd3n")),
    ("ddr4-3200", "idd.idd2n=-1", ("idd.idd2n", "not plausible")),
    ("ddr4-3200", "idd.vdd=-1.2", ("idd.vdd", "not plausible")),
    ("ddr4-3200", "idd.vdd=0", ("idd.vdd",)),
    ("ddr4-3200", "idd.devices=0", ("idd.devices",)),
    ("ddr4-3200", "idd.data_bits=0", ("idd.data_bits",)),
    ("ddr4-3200", "idd.data_rate_mbps=0", ("idd.data_rate_mbps",)),
    ("ddr4-3200", "idd.idd0=40", ("idd",)),  # the energy of an activation would be negative
]  # fmt: skip


@pytest.mark.parametrize(("preset", "text", "words"), IMPOSSIBLE, ids=[f"{case[0]} {case[1]}" for case in IMPOSSIBLE])
def test_impossible_device(place: Path, refused: Refused, preset: str, text: str, words: tuple[str, ...]) -> None:
    refused(dram(place, "--preset", preset, *settings(text)), *words)


def test_a_refresh_that_never_comes_is_not_blamed_on_the_row_policy(place: Path, refused: Refused) -> None:
    """Sets so slow that refreshes pile up: whatever the error says, the row policy is open already."""
    random = Random(1)
    lines = [f"{random.choice('RW')} {random.randrange(1 << 31):#x}\n" for _ in range(3000)]
    (place / "stream.txt").write_text("".join(lines))
    text = refused(dram(place, *settings("timing.n_rtw=16000")), "refresh")
    assert "open row policy" not in text


def device_toml(place: Path, change: Callable[[str], str], preset: str = "hbm2") -> str:
    """A user's device file: a preset's text, changed."""
    path = place / "mine.toml"
    path.write_text(change(preset_path("dram", preset).read_text()))
    return str(path)


IDD = """
[idd]
vdd = 1.2
idd0 = 65
idd2n = 40
idd3n = 55
idd4r = 390
idd4w = 500
idd5 = 250
devices = 1
data_rate_mbps = 2000
data_bits = 128
uncertainty = "x"
source = "x"
"""
TOMLS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "unknown key": (lambda t: t.replace("n_rp =", "n_rpp ="), ("timing", "n_rpp", "did you mean 'n_rp'?")),
    "unknown table": (lambda t: t.replace("[timing]", "[timings]"), ("timings", "did you mean 'timing'?")),
    "unknown key at the top": (lambda t: "speed = 5\n" + t, ("speed",)),
    "missing key": (lambda t: t.replace("n_ras = 34", ""), ("timing", "'n_ras' is missing")),
    "missing table": (lambda t: t.replace("[energy]", "[controller]"), ("controller", "act_pj")),
    "no protocol": (lambda t: t.replace('protocol = "HBM2"', ""), ("'protocol' is missing",)),
    "unknown protocol": (lambda t: t.replace('"HBM2"', '"HBM9"'), ("protocol", "'HBM3'", "HBM9")),
    "no source": (lambda t: t.replace("source =", "# source ="), ("'source' is missing",)),
    "text for a number": (lambda t: t.replace("n_rp = 14", 'n_rp = "14"'), ("n_rp", "int", "'14' (str)")),
    "fraction for a count": (lambda t: t.replace("n_rp = 14", "n_rp = 14.5"), ("n_rp", "14.5 (float)")),
    "truth for a count": (lambda t: t.replace("n_rp = 14", "n_rp = true"), ("n_rp", "(bool)")),
    "list for a count": (lambda t: t.replace("n_rp = 14", "n_rp = [14]"), ("n_rp", "(list)")),
    "date for a text": (lambda t: t.replace('protocol = "HBM2"', "protocol = 2026-01-01"), ("protocol", "(date)")),
    "number for a table": (
        lambda t: "timing = 5\n" + t.replace("[timing]", "[controller]"),
        ("timing", "a table", "5 (int)"),
    ),
    "table for a number": (lambda t: t.replace("n_rp = 14", "n_rp.min = 14"), ("n_rp", "(dict)")),
    "nan": (lambda t: t.replace("act_pj = 909", "act_pj = nan"), ("act_pj", "nan")),
    "inf": (lambda t: t.replace("act_pj = 909", "act_pj = inf"), ("act_pj", "inf")),
    "negative energy": (lambda t: t.replace("refresh_pj = 30400", "refresh_pj = -1"), ("energy.refresh_pj", "-1")),
    "negative current": (lambda t: t.replace("idd4w = 150", "idd4w = -150"), ("idd.idd4w", "-150")),
    "both energies": (lambda t: t + IDD, ("energy", "both", "[idd]")),
    "neither": (lambda t: t.partition("[energy]")[0], ("energy", "neither", "[idd]")),
    "a key twice": (lambda t: t + "standby_mw = 5\n", ("mine.toml", "not TOML")),
    "no TOML": (lambda t: "timing: 5", ("mine.toml", "not TOML", "line 1")),
    "empty": (lambda t: "", ("mine.toml", "'protocol' is missing")),
    "too deep": (lambda t: f"a = {'[' * 9999}", ("mine.toml",)),
    "channels are no part of a device": (lambda t: "channels = 8\n" + t, ("channels",)),
}


@pytest.mark.parametrize("name", TOMLS)
def test_bad_device_file(place: Path, refused: Refused, name: str) -> None:
    change, words = TOMLS[name]
    preset = device_toml(place, change, "ddr4-3200" if "current" in name else "hbm2")
    refused(dram(place, "--preset", preset), "mine.toml", *words)


def test_device_file_that_is_no_text_or_no_file(place: Path, refused: Refused) -> None:
    (place / "mine.toml").write_bytes(b"\xff\xfe")
    refused(dram(place, "--preset", str(place / "mine.toml")), "mine.toml", "not TOML")
    (place / "folder.toml").mkdir()
    refused(dram(place, "--preset", str(place / "folder.toml")), "folder.toml")


# Channels, mapping, injection, output.


@pytest.mark.parametrize("value", ["0", "-1", "3", "6", "12", "2048", "1000000", HUGE])
def test_impossible_channels(place: Path, refused: Refused, value: str) -> None:
    refused(dram(place, "--channels", value), "channels", "power of two", value)


def test_too_much_memory(place: Path, refused: Refused) -> None:
    words = settings("organisation.rows=16777216 organisation.banks=16")
    refused(dram(place, "--channels", "1024", *words), "too large", "2^48")


ORDER = "channel,pc,bg,column,ba,row"
MAPPINGS: dict[str, tuple[str, ...]] = {
    "": ("is no field", "RoBaRaCoCh"),
    "pcbgco": ("did you mean 'PcBgCo'?",),
    "PcBgC": ("did you mean 'PcBgCo'?",),
    "RoBaRaCo": ("did you mean 'RoBaRaCoCh'?",),
    "MOP4CLXR": ("did you mean 'MOP4CLXOR'?",),
    "xyzzy": ("'xyzzy' is no field", "one of channel, pc"),
    "channel,pc,bg,column,ba": ("row is not complete", "16 bits", "add row"),
    "channel,bg,column,ba,row": ("pc is not complete", "1 bits"),
    "channel,pc,bg,column:3,ba,row": ("column is not complete", "5 bits"),
    "row": ("is not complete",),
    "channel,pc,bg,colum,ba,row": ("'colum' is no field", "did you mean 'column'?"),
    "channel,pc,bg,column,bank,row": ("'bank' is no field",),
    "channel,pc,bg,Column,ba,row": ("'Column' is no field", "did you mean 'column'?"),
    "channel pc bg column ba row": ("is no field",),
    f"{ORDER},": ("'' is no field",),
    f",{ORDER}": ("'' is no field",),
    "channel,pc,bg,column:6,ba,row": ("'column:6'", "0 to 5 bits"),
    "channel,pc,bg,column:3,ba,row,column:3": ("'column:3'", "0 to 2 bits"),
    "channel,pc:2,bg,column,ba,row": ("'pc:2'", "0 to 1 bits"),
    "channel:1,pc,bg,column,ba,row": ("'channel:1'", "0 to 0 bits"),
    "channel,pc,bg,column:-1,ba,row,column": ("'column:-1'",),
    "channel,pc,bg,column:,ba,row": ("'column:'",),
    "channel,pc,bg,column:two,ba,row": ("'column:two'",),
    "channel,pc,bg,column:2.0,ba,row,column": ("'column:2.0'",),
    "channel,pc,bg,column:٣,ba,row,column": ("'column:٣'",),
    "channel,pc,bg,column:2:1,ba,row,column": ("'column:2:1'",),
    f"channel,pc,bg,column:{'9' * 5000},ba,row": ("column",),
    f"{ORDER},row": ("row",),
    f"{ORDER};ba.0": ("'ba.0' is no hash", "FIELD.BIT^=FIELD&MASK"),
    f"{ORDER};ba.0=row&1": ("is no hash",),
    f"{ORDER};ba.0^row&1": ("is no hash",),
    f"{ORDER};ba^=row&1": ("is no hash",),
    f"{ORDER};ba.0^=row": ("is no hash",),
    f"{ORDER};ba.0^=row&": ("is no hash",),
    f"{ORDER};ba.0^=row&0xg": ("is no hash",),
    f"{ORDER};ba.0^=row&-1": ("is no hash",),
    f"{ORDER};ba.0^=row&07": ("ba.0^=row&07",),
    f"{ORDER};ba.-1^=row&1": ("is no hash",),
    f"{ORDER};ba.0^=row&1,ba.1^=row&2": ("is no hash",),
    f"{ORDER};bank.0^=row&1": ("'bank' is no field",),
    f"{ORDER};ba.0^=rows&1": ("'rows' is no field", "did you mean 'row'?"),
    f"{ORDER};ba.2^=row&1": ("reaches beyond", "ba has 2 bits"),
    f"{ORDER};ba.0^=row&0x10000": ("reaches beyond", "row 16"),
    f"{ORDER};channel.0^=row&1": ("reaches beyond", "channel has 0 bits"),
    f"{ORDER};rank.0^=row&1": ("reaches beyond", "rank has 0 bits"),
    f"{ORDER};ba.0^=ba&1": ("hashes that can be undone", "lose 1 bits"),
    f"{ORDER};ba.0^=ba&3": ("hashes that can be undone",),
    f"{ORDER};row.5^=row&0xffff": ("hashes that can be undone",),
    f"{ORDER};pc.0^=bg&1;bg.0^=pc&1": ("hashes that can be undone",),
    f"{ORDER};ba.0^=row&1;row.0^=ba&1": ("hashes that can be undone",),
    f"{ORDER};pc.0^=bg&1;bg.0^=ba&1;ba.0^=pc&1": ("hashes that can be undone",),
    f"{ORDER};ba.0^=ba&2;ba.1^=ba&1": ("hashes that can be undone",),
    f"{ORDER};pc.0^=pc&1;bg.0^=bg&1": ("hashes that can be undone", "lose 2 bits"),
}


@pytest.mark.parametrize("text", MAPPINGS, ids=lambda text: ascii(text)[:60])
def test_bad_mapping(place: Path, refused: Refused, text: str) -> None:
    refused(dram(place, "--mapping", text), "mapping", *MAPPINGS[text])


def test_a_name_takes_no_hashes_and_the_remedy_is_not_the_name_again(place: Path, refused: Refused) -> None:
    text = refused(dram(place, "--mapping", "RoBaRaCoCh;ba.0^=row&1"), "RoBaRaCoCh;ba.0^=row&1")
    assert "did you mean 'RoBaRaCoCh'?" not in text


def test_a_mapping_for_other_channels(place: Path, refused: Refused) -> None:
    refused(dram(place, "--channels", "4", "--mapping", "pc,bg,column,ba,row"), "channel is not complete", "2 bits")
    refused(dram(place, "--channels", "4", "--mapping", f"channel:1,{ORDER.partition(',')[2]}"), "channel", "2 bits")
    refused(dram(place, "--preset", "gddr6-14000", "--mapping", f"{ORDER};pc.0^=row&1"), "pc has 0 bits")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "-0.5", "1e13", "1e400"])
def test_impossible_pace(place: Path, refused: Refused, value: str) -> None:
    refused(dram(place, f"--pace={value}"), "--pace", "pace is not possible")


@pytest.mark.parametrize("option", ["--max-outstanding", "--max-outstanding-per-channel"])
@pytest.mark.parametrize("value", ["0", "-1", HUGE])
def test_impossible_limit(place: Path, refused: Refused, option: str, value: str) -> None:
    refused(dram(place, f"{option}={value}"), option, value)


@pytest.mark.parametrize("value", ["-0.1", "1.01", "nan", "inf", "-inf"])
def test_impossible_toggle_rate(place: Path, refused: Refused, value: str) -> None:
    refused(dram(place, f"--toggle-rate={value}"), "--toggle-rate", "0 to 1", value)


@pytest.mark.parametrize(
    "options",
    [
        ["--channels=two"], ["--channels=2.0"], ["--channels="], ["--pace=fast"], ["--pace"], ["--max-outstanding=1.5"],
        ["--max-outstanding=nan"], ["--toggle-rate=half"], ["--comands=x"], ["--commands"], ["another.txt"],
        ["--json=1"],
    ],
)  # fmt: skip
def test_usage_errors_exit_with_2(place: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dram", str(place / "stream.txt"), *options])
    printed, error = capsys.readouterr()
    assert printed == ""
    assert "Traceback" not in error


def test_the_stream_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dram"]) == 2
    assert "stream" in capsys.readouterr().err


def test_commands_onto_a_folder_or_through_a_file(place: Path, refused: Refused) -> None:
    text = refused(["dram", str(place / "stream.txt"), "--commands", str(place / "folder")], f"{place / 'folder'}\n")
    assert ".folder." not in text  # the name of a file of our own says nothing
    log = place / "stream.txt" / "log.csv"
    refused(["dram", str(place / "stream.txt"), "--commands", str(log)], str(place / "stream.txt"))
    log = place / "stream.txt" / "deep" / "log.csv"
    refused(["dram", str(place / "stream.txt"), "--commands", str(log)], str(place / "stream.txt"))


def test_commands_into_a_missing_folder(place: Path, refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is made, as for every output, but not by a command that fails."""
    log = place / "new" / "deep" / "log.csv"
    (place / "bad.txt").write_text("R 0x0\nR\n")
    refused(["dram", str(place / "bad.txt"), "--commands", str(log)], "bad.txt, line 2")
    refused(["dram", str(place / "gone.txt"), "--commands", str(log)], "gone.txt")
    assert main(["dram", str(place / "stream.txt"), "--commands", str(log)]) == 0
    assert capsys.readouterr().err == ""
    assert [path.name for path in log.parent.iterdir()] == ["log.csv"]


def test_a_refused_run_leaves_the_old_log(place: Path, refused: Refused) -> None:
    (place / "log.csv").write_text("yesterday's\n")
    (place / "bad.txt").write_text("R 0x0\n" * 9999 + "R\n")
    refused(dram(place, stream="bad.txt"), "bad.txt, line 10,000")


def test_a_refused_energy_leaves_no_log(place: Path, refused: Refused) -> None:
    """What is wrong with the device is found before the stream is run."""
    refused(dram(place, "--preset", "ddr4-3200", *settings("idd.idd0=40")), "idd")


# Validation against reference runs.

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "dram_reference" / "dev"
RUNS = ("m_conflict@hbm2_1ch", "m_wr_rd_same_bank@hbm2_1ch", "m_mix_300@hbm2_1ch")
FIRST = "m_conflict"


@pytest.fixture
def reference(place: Path) -> Path:
    """Three small runs of the reference data."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data in {REFERENCE}")
    index = json.loads((REFERENCE / "index.json").read_text())
    index["runs"] = [next(run for run in index["runs"] if run["id"] == name) for name in RUNS]
    index["configs"] = {name: index["configs"][name] for name in {run["config"] for run in index["runs"]}}
    folder = place / "reference"
    for file in [Path(run[key]) for run in index["runs"] for key in ("trace", "cmdlog")]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REFERENCE / file, folder / file)
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def edit(folder: Path, change: Callable[[Json, Json], object]) -> None:
    """Change the index by a function of its first run and that run's config."""
    path = folder / "index.json"
    index = json.loads(path.read_text())
    run = index["runs"][0]
    change(run, index["configs"][run["config"]])
    path.write_text(json.dumps(index))


def retrace(folder: Path, data: bytes) -> None:
    """Another first stream, signed again; gzip if it is."""
    (folder / "traces" / f"{FIRST}.trace.gz").write_bytes(data)
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    edit(folder, lambda run, config: run.update(trace_sha256=hashlib.sha256(text).hexdigest()))


def validate(folder: Path) -> list[str]:
    return ["validate", "dram", str(folder)]


@pytest.mark.reference
def test_copied_runs_are_exact(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(validate(reference)) == 0
    printed, error = capsys.readouterr()
    assert error == ""
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(RUNS)
    assert all(line.endswith("exact") for line in lines)
    assert lines[-1] == "3/3 exact"


def differs(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Hold that the first run differs, with these words, and no other; the line."""
    assert main(validate(folder)) == 1
    printed, error = capsys.readouterr()
    assert error == ""
    first, *others, last = printed.splitlines()
    assert first.split()[0] == RUNS[0]
    assert [word for word in words if word not in first] == [], first
    assert all(line.endswith(" exact") for line in others)
    assert last == "2/3 exact"
    return first


NUMBERS = (
    "requests", "reads", "writes", "cycles", "avg_read_latency", "p50_read_latency", "p95_read_latency",
    "p99_read_latency", "max_read_latency", "row_hits", "row_misses", "row_conflicts", "read_row_hits",
    "read_row_misses", "read_row_conflicts", "write_row_hits", "write_row_misses", "write_row_conflicts",
    "achieved_GBps",
)  # fmt: skip


@pytest.mark.reference
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("step", [1, -1])
def test_changed_number(reference: Path, capsys: pytest.CaptureFixture[str], name: str, step: int) -> None:
    found: list[float] = []
    edit(reference, lambda run, config: [run.update({name: run[name] + step}), found.append(run[name])])
    line = differs(reference, capsys, f"{name} ", f" instead of {found[0]}")
    assert ";" not in line  # this number and no other


@pytest.mark.reference
def test_numbers_are_compared_to_their_last_place(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(reference, lambda run, config: run.update(avg_read_latency=56.0001))
    differs(reference, capsys, "avg_read_latency 56.0 instead of 56.0001")
    edit(reference, lambda run, config: run.update(avg_read_latency=56, achieved_GBps=0.799))
    differs(reference, capsys, "achieved_GBps 0.8 instead of 0.799")


@pytest.mark.reference
@pytest.mark.parametrize("change", [{"ACT": 3}, {"RD": 0}, {"WR": 1}, {"ACT1": 2}])
def test_changed_commands(reference: Path, capsys: pytest.CaptureFixture[str], change: Json) -> None:
    edit(reference, lambda run, config: run["commands"].update(change))
    differs(reference, capsys, "commands", str(change)[1:-1])


@pytest.mark.reference
def test_every_difference_is_named(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(reference, lambda run, config: run.update(cycles=81, row_hits=5))
    differs(reference, capsys, "cycles 80 instead of 81; ", "row_hits 0 instead of 5")


@pytest.mark.reference
@pytest.mark.parametrize(
    "value", ["80", None, [80], {"cycles": 80}, True], ids=["text", "nothing", "list", "table", "truth"]
)
def test_a_number_that_is_none(reference: Path, capsys: pytest.CaptureFixture[str], value: Any) -> None:
    edit(reference, lambda run, config: run.update(cycles=value))
    differs(reference, capsys, f"cycles 80 instead of {value}")


LOGS: dict[str, tuple[Callable[[list[str]], list[str]], tuple[str, ...]]] = {
    "clock": (lambda log: [log[0], log[1].replace("1,ACT", "2,ACT"), *log[2:]], ("line 2", "1,ACT", "2,ACT")),
    "command": (lambda log: [line.replace("PREpb", "PREab") for line in log], ("line 4", "PREpb", "PREab")),
    "bank": (lambda log: [*log[:-1], log[-1].replace("0,0,0,1,", "0,0,1,1,")], ("line 6", "0,0,0,1,", "0,0,1,1,")),
    "two lines swapped": (lambda log: [*log[:-2], log[-1], log[-2]], ("line 5",)),
    "first line missing": (lambda log: log[1:], ("line 1", "clock,command")),
    "a line missing": (lambda log: [*log[:3], *log[4:]], ("line 4",)),
    "last line missing": (lambda log: log[:-1], ("log of 6 lines instead of 5",)),
    "last line cut": (lambda log: [*log[:-1], log[-1][:-1]], ("line 6",)),
    "last line twice": (lambda log: [*log, log[-1]], ("log of 6 lines instead of 7",)),
    "a blank line": (lambda log: [*log[:2], "", *log[2:]], ("line 3",)),
    "empty": (lambda log: [], ("log of 6 lines instead of 0",)),
    "other text": (lambda log: ["# nothing"], ("line 1", "# nothing")),
}


@pytest.mark.reference
@pytest.mark.parametrize("name", LOGS)
def test_changed_command_log(reference: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    change, words = LOGS[name]
    path = reference / "cmdlogs" / f"{FIRST}.csv"
    log = path.read_text().splitlines()
    assert len(log) == 6
    path.write_text("".join(f"{line}\n" for line in change(log)))
    differs(reference, capsys, "command log", *words)


@pytest.mark.reference
def test_a_changed_stream_or_config_changes_the_numbers(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrace(reference, gzip.compress(b"R 0x0\nR 0x40\n"))
    differs(reference, capsys, "cycles", "row_conflicts 0 instead of 1")
    edit(reference, lambda run, config: config["timing_CK"].update(nRP=15))
    assert main(validate(reference)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0/3 exact"


def first_run(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder, lambda run, config: run.update(values))


def config_of_first(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder, lambda run, config: config.update(values))


def timing_of_first(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder, lambda run, config: config["timing_CK"].update(values))


def without(part: str, key: str) -> Callable[[Path], object]:
    def change(run: Json, config: Json) -> None:
        del {"run": run, "config": config, "timing": config["timing_CK"], "org": config["org"]}[part][key]

    return lambda folder: edit(folder, change)


def rewrite(value: Any) -> Callable[[Path], object]:
    text = value if isinstance(value, str) else json.dumps(value)
    return lambda folder: (folder / "index.json").write_text(text)


def log_bytes(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "cmdlogs" / f"{FIRST}.csv").write_bytes(data)


def trace_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "traces" / f"{FIRST}.trace.gz"
        path.write_bytes(change(path.read_bytes()))

    return damage


LOG, TRACE = f"{FIRST}.csv", f"{FIRST}.trace.gz"
FOLDERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing folder": (shutil.rmtree, ("reference/index.json", "No such file")),
    "no index": (lambda f: (f / "index.json").unlink(), ("reference/index.json", "No such file")),
    "index is a folder": (lambda f: [(f / "index.json").unlink(), (f / "index.json").mkdir()], ("index.json",)),
    "index empty": (rewrite(""), ("index.json",)),
    "index not JSON": (rewrite("runs: 59"), ("index.json",)),
    "index truncated": (rewrite('{"runs": ['), ("index.json",)),
    "index not UTF-8": (lambda f: (f / "index.json").write_bytes(b"\xff\xfe{}"), ("index.json",)),
    "index too deep": (rewrite("[" * 99999), ("index.json",)),
    "index is a list": (rewrite([]), ("index.json",)),
    "index is a number": (rewrite(5), ("index.json",)),
    "index of nothing": (rewrite({}), ("index.json", "runs")),
    "no runs": (rewrite({"runs": [], "configs": {}}), ("index.json", "at least one run")),
    "no configs": (rewrite({"runs": [{"id": "x", "config": "y"}]}), ("index.json", "configs")),
    "runs are a number": (rewrite({"runs": 5, "configs": {}}), ("index.json",)),
    "runs are texts": (rewrite({"runs": ["x"], "configs": {}}), ("index.json",)),
    "runs are a table": (rewrite({"runs": {"x": {}}, "configs": {}}), ("index.json",)),
    "NaN": (lambda f: rewrite((f / "index.json").read_text().replace('"cycles": 80', '"cycles": NaN'))(f),
            ("index.json", "NaN")),
    "run without id": (without("run", "id"), ("index.json, run 0", "id")),
    "run without trace": (without("run", "trace"), (RUNS[0], "trace")),
    "run without config": (without("run", "config"), (RUNS[0], "config")),
    "run of an unknown config": (first_run(config="hbm2_2ch"), (RUNS[0], "hbm2_2ch")),
    "config without timing": (without("config", "timing_CK"), (RUNS[0], "timing_CK")),
    "config without organisation": (without("config", "org"), (RUNS[0], "org")),
    "missing trace": (lambda f: (f / "traces" / TRACE).unlink(), (TRACE,)),
    "trace is a folder": (lambda f: [(f / "traces" / TRACE).unlink(), (f / "traces" / TRACE).mkdir()], (TRACE,)),
    "trace is a number": (first_run(trace=5), (RUNS[0],)),
    "trace truncated": (trace_bytes(lambda data: data[:-12]), (TRACE,)),
    "trace's packing damaged": (trace_bytes(lambda data: flipped(data, len(data) - 12)), (TRACE,)),
    "trace empty": (trace_bytes(lambda data: b""), (TRACE, "SHA-256")),
    "trace changed": (trace_bytes(lambda data: gzip.compress(b"R 0x0\nR 0x8020\n")), (TRACE, "SHA-256")),
    "other SHA-256": (first_run(trace_sha256="0" * 64), (TRACE, "SHA-256", "0" * 64)),
    "SHA-256 is no text": (first_run(trace_sha256=5), ("SHA-256",)),
    "trace malformed": (lambda f: retrace(f, gzip.compress(b"R 0x0\nR 8000\n")), (TRACE, "line 2", "malformed")),
    "trace beyond the device": (lambda f: retrace(f, b"R 0x80000000\n"), (TRACE, "line 1", "beyond the device")),
    "pace negative": (first_run(injection={"mode": "paced", "period": -1}), ("pace",)),
    "pace is a text": (first_run(injection={"mode": "paced", "period": "fast"}), ("fast",)),
    "limit of 0": (first_run(injection={"max_outstanding": 0}), ("max_outstanding", "0")),
    "limit is a text": (first_run(injection={"max_outstanding": "all"}), ("index.json",)),
    "injection is a text": (first_run(injection="asap"), ("index.json",)),
    "injection mode unknown": (first_run(injection={"mode": "random"}), ("random",)),
    "three channels": (config_of_first(channels=3), ("channels", "power of two")),
    "channels are a text": (config_of_first(channels="one"), ("one",)),
    "unknown mapping": (config_of_first(addr_mapper="RoBaRaCoCg"), ("did you mean 'RoBaRaCoCh'?",)),
    "unknown row policy": (config_of_first(row_policy="Timeout"), ("Timeout",)),
    "unknown refresh": (config_of_first(refresh="SameBank"), ("SameBank",)),
    "queue is a text": (config_of_first(read_queue="long"), ("read_queue", "long")),
    "watermark is a text": (config_of_first(wr_high_watermark="high"), ("high",)),
    "impossible timing": (timing_of_first(nRAS=10), ("n_ras", "at least n_rcd_rd = 14")),
    "timing is a text": (timing_of_first(nRAS="long"), ("long",)),
    "timing is a half": (timing_of_first(nRAS=34.5), ("n_ras",)),
    "timing zero": (timing_of_first(nBL=0), ("n_bl",)),
    "missing log": (lambda f: (f / "cmdlogs" / LOG).unlink(), (LOG,)),
    "log is a folder": (lambda f: [(f / "cmdlogs" / LOG).unlink(), (f / "cmdlogs" / LOG).mkdir()], (LOG,)),
    "log is binary": (log_bytes(b"\xff\xfe\x00" * 99), (LOG,)),
    "log packed and truncated": (log_bytes(gzip.compress(b"clock,command" * 99)[:-9]), (LOG,)),
    "log packed and damaged": (log_bytes(flipped(gzip.compress(b"clock,command" * 99), 10)), (LOG,)),
}  # fmt: skip


@pytest.mark.reference
@pytest.mark.parametrize("name", FOLDERS)
def test_damaged_reference(reference: Path, refused: Refused, name: str) -> None:
    damage, words = FOLDERS[name]
    damage(reference)
    refused(validate(reference), *words)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (config_of_first(standard="HBM9"), ("standard", "HBM9", "HBM2")),
        (without("config", "standard"), ("standard", "HBM2")),
        (config_of_first(scheduler="FIFO"), ("scheduler", "FIFO", "FRFCFS-RowHit")),
    ],
    ids=["standard", "no standard", "scheduler"],
)
def test_what_the_model_does_not_have(
    reference: Path, refused: Refused, damage: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    damage(reference)
    text = refused(validate(reference), RUNS[0], *words)
    assert "KeyError" not in text


def test_reference_folder_that_is_a_stream(place: Path, refused: Refused) -> None:
    refused(validate(place / "stream.txt"), "stream.txt")
    refused(validate(place / "folder"), "folder/index.json")
    refused(validate(place / "gone"), "gone/index.json")


@pytest.mark.parametrize("arguments", [["validate"], ["validate", "dram"], ["validate", "drum", "x"]])
def test_validate_needs_a_verb_and_a_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "Traceback" not in capsys.readouterr().err


def test_the_limits_above_are_those_of_the_preset() -> None:
    assert load_device("hbm2").organisation.channel_bytes == 1 << 31
    assert load_device("ddr4-3200").organisation.channel_bytes == 1 << 33

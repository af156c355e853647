"""Comparison with reference runs: a folder of request streams, results and command logs of an established simulator."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from sparcade._files import parse_json
from sparcade.config import override
from sparcade.dram.device import Device, load_device
from sparcade.dram.inject import Injection
from sparcade.dram.result import DramResult
from sparcade.dram.stream import UNREADABLE, open_stream, read_stream
from sparcade.dram.system import DramSystem
from sparcade.errors import SparcadeError, StreamError

T = TypeVar("T")

#: Standard -> the preset whose energy and optional fields a config starts from.
_PRESETS = {
    "HBM2": "hbm2",
    "HBM3": "hbm3",
    "DDR4": "ddr4-3200",
    "DDR5": "ddr5-4800",
    "LPDDR5": "lpddr5-6400",
    "GDDR6": "gddr6-14000",
}
#: Names in a config's `org` and `timing_CK` -> ours. A name that is listed nowhere is not used by the model.
_ORGANISATION = {
    "channel_width": "data_bits",
    "pseudochannel": "pseudo_channels",
    "rank": "ranks",
    "sid": "stack_ids",
    "bankgroup": "bank_groups",
    "bank": "banks",
    "row": "rows",
    "column": "columns",
}
_TIMING = {
    "tCK_ps": ("t_ck_ps",),
    "nBL": ("n_bl",),
    "nBL_min": ("n_bl",),
    "nBL_max": ("n_bl_max",),
    "nCL": ("n_cl",),
    "nCWL": ("n_cwl",),
    "nRCD": ("n_rcd_rd", "n_rcd_wr"),
    "nRCDRD": ("n_rcd_rd",),
    "nRCDWR": ("n_rcd_wr",),
    "nRP": ("n_rp",),
    "nRPab": ("n_rp_ab",),
    "nRAS": ("n_ras",),
    "nRC": ("n_rc",),
    "nWR": ("n_wr",),
    "nRTP": ("n_rtp",),
    "nRTPL": ("n_rtp",),
    "nCCDS": ("n_ccd_s",),
    "nCCDL": ("n_ccd_l",),
    "nCCDR": ("n_ccd_r",),
    "nCCDS_WR": ("n_ccd_s_wr",),
    "nCCDL_WR": ("n_ccd_l_wr",),
    "nRRDS": ("n_rrd_s",),
    "nRRDL": ("n_rrd_l",),
    "nFAW": ("n_faw",),
    "nWTRS": ("n_wtr_s",),
    "nWTRL": ("n_wtr_l",),
    "nPPD": ("n_ppd",),
    "nCS": ("n_cs",),
    "nRFC": ("n_rfc",),
    "nRFCab": ("n_rfc",),
    "nRFCpb": ("n_rfc_pb",),
    "nRREFD": ("n_rrefd",),
    "nREFI": ("n_refi",),
    "nAAD": ("n_aad",),
    "nWCKPST": ("n_wck_pst",),
}


#: Half a unit in the last stated place.
_ROUNDING = {"avg_read_latency": 0.5e-4, "achieved_GBps": 0.5e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One run beside ours; `differences` is empty when everything the reference states is equal."""

    name: str
    cycles: int
    differences: tuple[str, ...]


def compare_folder(folder: Path) -> Iterator[Comparison]:
    """Run every run of `folder`/index.json and compare whatever it states, command logs line by line.

    Raises
    ------
    StreamError
        When the folder is not laid out like the reference data, or asks for something the model does not have.
    """
    path = folder / "index.json"
    try:
        index = parse_json(path.read_text(encoding="utf-8"))
        runs, configs = list(index["runs"]), dict(index["configs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _layout(str(path), "index.json with 'configs' and 'runs'", repr(error)) from error
    if not runs:
        raise _layout(str(path), "at least one run", "none")
    for position, run in enumerate(runs):
        where = f"{path}, run {run.get('id', position) if isinstance(run, dict) else position}"
        try:
            yield _compare(folder, run, configs[run["config"]])
        except SparcadeError as error:
            raise type(error)(
                error.what,
                where=f"{where}: {error.where}",
                expected=error.expected,
                got=error.got,
                remedy=error.remedy,
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise _layout(where, "a run and its config, as in the reference data", repr(error)) from error


def _layout(where: str, expected: str, got: str) -> StreamError:
    return StreamError(
        "the reference folder is not laid out as expected",
        where=where,
        expected=expected,
        got=got,
        remedy="see docs/dram.md: index.json, traces/ and cmdlogs/",
    )


def _blocks(path: Path) -> Iterator[bytes]:
    """The text of a plain or gzip file, a mebibyte at a time."""
    try:
        with open_stream(path) as source:
            yield from iter(lambda: source.read(1 << 20), b"")
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _layout(str(path), "a file of text, plain or gzip", reason) from error


def _choice(table: dict[str, Any], key: str, known: Mapping[str, T], default: str) -> T:
    """What a word of a config stands for."""
    word = str(table.get(key, default))
    if word not in known:
        raise _layout(f"the {key} of a config", f"one of: {', '.join(map(repr, known))}", repr(word))
    return known[word]


def _compare(folder: Path, run: dict[str, Any], config: dict[str, Any]) -> Comparison:
    device = device_of(config)
    trace, digest = folder / run["trace"], hashlib.sha256()
    for block in _blocks(trace):
        digest.update(block)
    if digest.hexdigest() != run.get("trace_sha256", digest.hexdigest()):
        raise _layout(str(trace), f"SHA-256 {run['trace_sha256']}", digest.hexdigest())
    how = run.get("injection", {})
    _choice(how, "mode", {"asap": 0, "paced": 0}, "asap")
    if "cycles" not in run:
        raise _layout(str(folder / "index.json"), "the cycles of a run", f"none in {run['id']}")
    injection = Injection(
        period=float(how.get("period", 0)),
        max_outstanding=how.get("max_outstanding"),
        max_outstanding_per_channel=how.get("max_outstanding_per_channel"),
    )
    system = DramSystem(device, channels=int(config.get("channels", 1)), mapping=_mapping_of(config))
    logged: list[pd.DataFrame] = []
    log = logged.append if "cmdlog" in run else None
    result = system.run(read_stream(trace, system.address_map.address_limit), injection, log)
    differences = [
        f"{name} {ours} instead of {run[name]}"
        for name, ours in statistics(result).items()
        if name in run and not _equal(name, ours, run[name])
    ]
    if "cmdlog" in run:
        differences += _compare_log(folder / run["cmdlog"], pd.concat(logged))
    return Comparison(name=str(run["id"]), cycles=result.ticks, differences=tuple(differences))


def statistics(result: DramResult) -> dict[str, Any]:
    """Our figures under the names of the reference data."""
    name = result.device.rules.command_name
    figures: dict[str, Any] = {
        "requests": result.reads + result.writes,
        "reads": result.reads,
        "writes": result.writes,
        "cycles": result.ticks,
        "avg_read_latency": result.latency_mean,
        "max_read_latency": result.latency_max,
        "achieved_GBps": result.achieved_gbps,
        "commands": {name(command): count for command, count in sorted(result.commands.items()) if count},
    }
    figures |= {f"p{percent}_read_latency": result.percentile(percent) for percent in (50, 95, 99)}
    for kind in ("", "read", "write"):
        for outcome in ("hits", "misses", "conflicts"):
            figures[f"{kind}_row_{outcome}".lstrip("_")] = result.rows(kind, outcome)
    return figures


def _equal(name: str, ours: Any, theirs: Any) -> bool:
    """Equal; figures with decimals to the precision they are stated with."""
    if name in _ROUNDING:
        return bool(abs(ours - theirs) <= _ROUNDING[name] * (1 + 1e-6))
    return bool(ours == theirs)


def _compare_log(path: Path, ours: pd.DataFrame) -> list[str]:
    """The first difference of two command logs."""
    text = io.StringIO()
    ours.to_csv(text, index=False, lineterminator="\n")
    try:
        theirs = b"".join(_blocks(path)).decode().splitlines()
    except UnicodeDecodeError as error:
        raise _layout(str(path), "a command log: text", str(error)) from error
    mine = text.getvalue().splitlines()
    for line, (left, right) in enumerate(zip(mine, theirs, strict=False), start=1):
        if left != right:
            return [f"command log, line {line}: {left!r} instead of {right!r}"]
    return [] if len(mine) == len(theirs) else [f"command log of {len(mine)} lines instead of {len(theirs)}"]


def device_of(config: dict[str, Any]) -> Device:
    """The device and controller that a config of the reference data describes."""
    release = "2.0a" in str(config.get("simulator", ""))
    preset = "hbm2-spatten" if release else _choice(config, "standard", _PRESETS, "")
    settings = [
        f"organisation.{ours}={config['org'][theirs]}"
        for theirs, ours in _ORGANISATION.items()
        if theirs in config["org"]
    ]
    for theirs, value in config["timing_CK"].items():
        settings += [f"timing.{ours}={Fraction(str(value))}" for ours in _TIMING.get(theirs, ())]
    settings += _controller_settings(config, release)
    device = override(Device, load_device(preset), settings, where=str(config.get("timing_preset", preset)))
    return _with_turnaround(device, config)


def _with_turnaround(device: Device, config: dict[str, Any]) -> Device:
    """RD to WR follows from the config's own timings, in the form each protocol has."""
    t, clocks = device.timing, config["timing_CK"]
    rtw = {
        "HBM3": clocks.get("nRTW", 0),
        "DDR5": t.n_cl + t.n_bl + 4 - t.n_cwl,
        "GDDR6": t.n_cl + 1,
    }.get(device.protocol, t.n_cl + t.n_bl + 2 - t.n_cwl)
    extra = [f"timing.n_rtw={rtw}"]
    if device.protocol == "LPDDR5":
        extra += [f"timing.n_refpb={clocks['nPBR2PBR']}", f"timing.n_rrefd={clocks['nPBR2ACT']}"]
    return override(Device, device, extra, where=device.name)


_ROW_POLICIES = {"Open": "open", "ClosedCAP": "closed"}
_REFRESHES = {"AllBank": "all-bank", "AllBankRefresh": "all-bank", "PerBank": "per-bank", "NoRefresh": "none"}


def _first_word(config: dict[str, Any], key: str, default: str) -> str:
    """The name in a text such as "ClosedCAP (cap 4)"."""
    return str(config.get(key, default)).split(" ")[0].rstrip(",")


def _controller_settings(config: dict[str, Any], release: bool) -> list[str]:
    scheduler = _choice(config, "scheduler", {"FRFCFS": "fr-fcfs", "FRFCFS-RowHit": "fr-fcfs-row-hit"}, "FRFCFS")
    policy = _choice({"row_policy": _first_word(config, "row_policy", "Open")}, "row_policy", _ROW_POLICIES, "")
    refresh = _choice({"refresh": _first_word(config, "refresh", "AllBank")}, "refresh", _REFRESHES, "")
    cap = re.search(r"cap (\d+)", str(config.get("row_policy", "")))
    size = 32 if release else int(config.get("write_queue", 32))  # 2.0a accepts one more than its size
    high, low = (
        Fraction(str(config.get(f"wr_{which}_watermark", share))) * size
        for which, share in (("high", 0.8), ("low", 0.2))
    )
    settings = [
        f"controller.scheduler={scheduler}",
        f"controller.row_policy={policy}",
        f"controller.read_queue={config.get('read_queue', 32)}",
        f"controller.write_queue={config.get('write_queue', 32)}",
        f"controller.write_high={math.floor(high) + 1}",
        f"controller.write_low={math.ceil(low) - 1}",
        f"controller.refresh={'none' if release else refresh}",  # 2.0a's never fires on a device without ranks
    ]
    return settings + ([f"controller.cap={cap[1]}"] if cap else [])


#: Mappings that our names do not cover. The channel is always taken from the lowest bits there.
_MAPPINGS = {
    "ChRaBaRoCo": "channel,column,row,ba,bg,sid,rank,pc",
    "PcBgCo without": "channel,pc,bg,column,ba,rank,sid,row",  # without its bank hash
}


def _mapping_of(config: dict[str, Any]) -> str:
    text = str(config.get("addr_mapper", "RoBaRaCoCh"))
    known = [order for name, order in _MAPPINGS.items() if text.startswith(name)]
    return known[0] if known else _first_word(config, "addr_mapper", "RoBaRaCoCh")

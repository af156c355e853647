"""The kernel equals the plain-Python controller written from the rules, command by command."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest

from oracles import dram_literal
from oracles.random_streams import MAPPINGS, random_device, random_injection, random_requests
from sparcade.dram import Device, DramSystem, Injection, load_device, requests
from sparcade.errors import ConfigError


@pytest.mark.parametrize("seed", range(240))
def test_kernel_equals_the_literal_controller(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    device, channels = random_device(rng), rng.choice([1, 1, 2, 4])
    mapping = "RoBaRaCoCh" if device.protocol == "HBM2-release" else rng.choice(MAPPINGS)
    stream = random_requests(rng, device, channels, rng.choice([50, 300, 700]))
    monkeypatch.setattr(dram_literal, "STUCK_TICKS", 20_000)
    compare(stream, device, channels, mapping, random_injection(rng))


def test_an_idle_channel_has_turned_to_its_writes() -> None:
    """While one channel is busy no read waits in the other: it serves the writes of the first burst that it gets."""
    stream = [(False, i << 16) for i in range(33)]
    stream += [(True, 0x20 + (i << 16)) for i in range(7)] + [(False, 0x20 + (40 << 16))]
    compare(stream, load_device("hbm2"), 2, "RoBaRaCoCh", {"period": 0.0})


def compare(
    stream: list[tuple[bool, int]], device: Device, channels: int, mapping: str, injection: dict[str, Any]
) -> None:
    """Hold the kernel to the literal controller: commands, cycles, latencies, row results, or both stuck."""
    logged: list[pd.DataFrame] = []
    chunk = requests([address for _, address in stream], write=[write for write, _ in stream])

    def run() -> Any:
        system = DramSystem(device, channels=channels, mapping=mapping)
        return system.run([chunk], Injection(**injection), logged.append)

    try:
        want = dram_literal.run(
            stream, device, channels=channels, mapping=mapping, **injection | {"period": injection["period"] or None}
        )
    except RuntimeError:
        with pytest.raises(ConfigError, match="stuck"):
            run()
        return
    got = run()
    log = pd.concat(logged)
    levels = [log[level] for level in device.rules.levels]
    ours = list(zip(log["clock"], log["command"], log["Channel"], zip(*levels, strict=True), log["Row"], log["Column"],
                    log["type"], log["source"], strict=True))  # fmt: skip
    first = next((pair for pair in zip(ours, want.log, strict=False) if pair[0] != pair[1]), None)
    assert first is None
    assert len(ours) == len(want.log)
    assert got.ticks == want.cycles
    assert got.latency_sum == sum(want.latencies)
    assert got.latency_max == max(want.latencies, default=0)
    for percent in (50, 95, 99):
        ranked = sorted(want.latencies)
        assert not ranked or got.percentile(percent) == ranked[int(percent / 100 * len(ranked))]
    for kind in ("read", "write"):
        for outcome in ("hits", "misses", "conflicts"):
            assert got.rows(kind, outcome) == want.row[f"{kind}_{outcome}"]

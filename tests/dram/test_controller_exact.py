"""The kernel equals the plain-Python controller written from the rules, command by command."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest

from oracles import dram_literal
from oracles.random_streams import MAPPINGS, random_device, random_injection, random_requests
from sparcade.dram import DramSystem, Injection, requests
from sparcade.errors import ConfigError


@pytest.mark.parametrize("seed", range(240))
def test_kernel_equals_the_literal_controller(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    device, channels = random_device(rng), rng.choice([1, 1, 2, 4])
    mapping = "RoBaRaCoCh" if device.protocol == "HBM2-release" else rng.choice(MAPPINGS)
    stream = random_requests(rng, device, channels, rng.choice([50, 300, 700]))
    injection = random_injection(rng)
    monkeypatch.setattr(dram_literal, "STUCK_TICKS", 20_000)
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

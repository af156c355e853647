"""Random request streams, devices and injections: the cases on which the DRAM controller meets its oracle."""

import random
from typing import Any

from sparcade._presets import preset_names
from sparcade.dram.device import Device, load_device

MAPPINGS = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "PcBgCo")


def random_device(rng: random.Random) -> Device:
    """A preset with some of its timings and its controller changed."""
    name = rng.choice(preset_names("dram"))
    preset = load_device(name)
    settings = [
        f"controller.scheduler={rng.choice(['fr-fcfs', 'fr-fcfs', 'fr-fcfs-row-hit'])}",
        f"controller.row_policy={rng.choice(['open', 'open', 'open', 'closed'])}",
        f"controller.cap={rng.choice([1, 2, 4, 16])}",
    ]
    if name != "hbm2-spatten":
        kinds = ["all-bank", "all-bank", "none"] + ["per-bank"] * preset.rules.per_bank_refresh
        settings.append(f"controller.refresh={rng.choice(kinds)}")
    if rng.random() < 0.4:
        size = rng.choice([1, 2, 5, 16, 40])
        high = rng.randint(1, size)
        settings += [f"controller.read_queue={rng.choice([1, 3, 16, 48])}", f"controller.write_queue={size}"]
        settings += [f"controller.write_high={high}", f"controller.write_low={rng.randint(0, high - 1)}"]
    if rng.random() < 0.5:
        timing = preset.timing
        settings += [
            f"timing.n_cl={timing.n_cl + rng.randint(0, 9)}",
            f"timing.n_rp={timing.n_rp + rng.randint(0, 5)}",
            f"timing.n_rc={timing.n_rc + rng.randint(0, 40)}",
            f"timing.n_faw={timing.n_faw + rng.randint(0, 60)}",
            f"timing.n_wr={rng.randint(1, 2 * timing.n_wr)}",
            f"timing.n_wtr_l={timing.n_wtr_l + rng.randint(0, 20)}",
        ]
    if "Rank" in preset.rules.levels and rng.random() < 0.4:
        settings += [
            f"organisation.ranks={2 if name == 'lpddr5-6400' else rng.choice([2, 4])}",
            f"timing.n_cs={rng.randint(0, 4)}",
        ]
    return load_device(name, settings)


def random_requests(rng: random.Random, device: Device, channels: int, count: int) -> list[tuple[bool, int]]:
    """(write, address) of a stream that mixes runs, hot rows, random places and repeated addresses."""
    step, limit = device.organisation.transaction_bytes, device.organisation.channel_bytes * channels // 2
    writes = rng.choice([0.0, 0.0, 0.1, 0.5, 0.9])
    span = rng.choice([1 << 12, 1 << 16, 1 << 20, limit])
    run_length = rng.choice([1, 1, 4, 32])
    found: list[tuple[bool, int]] = []
    while len(found) < count:
        write, address = rng.random() < writes, rng.randrange(span // step) * step
        if found and rng.random() < 0.1:
            address = rng.choice(found[-40:])[1]
        found += [(write, (address + i * step) % limit) for i in range(rng.randint(1, run_length))]
    if channels > 1 and rng.random() < 0.3:  # one busy channel first, then a burst to the others
        found = [(False, i * step * channels) for i in range(60)] + found
    return found[:count]


def random_injection(rng: random.Random) -> dict[str, Any]:
    """Keyword arguments of `Injection`."""
    return {
        "period": rng.choice([0.0, 0.0, 0.0, 0.7, 3.3, 40.0]),
        "max_outstanding": rng.choice([None, None, 1, 7, 16]),
        "max_outstanding_per_channel": rng.choice([None, None, None, 4]),
    }

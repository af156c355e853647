"""What one run of the bench does, passed into the simulator as text, and what happened in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sparcade.topk import TopKParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Shape of the engine, lists to draw or a file of them, and the chance of a stall per cycle on each side."""

    params: TopKParams
    lists: int = 0
    file: str = ""
    seed: int
    input_stalls: float = 0.0
    output_stalls: float = 0.0
    outcome: str = ""  #: file that takes what happened

    def to_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Setting:
        """What `to_text` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"params": TopKParams(**fields["params"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened in a run of the simulated RTL: coverage, and when each list's last row moved."""

    coverage: dict[str, int]
    ends: list[int]

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """What `save` wrote."""
        return cls(**json.loads(path.read_text()))


def without_and_with_stalls(**fields: Any) -> list[Setting]:
    """A setting, and one of the next seed with stalls on all sides."""
    plain = Setting(**fields)
    return [plain, replace(plain, seed=plain.seed + 1, input_stalls=0.3, output_stalls=0.4)]

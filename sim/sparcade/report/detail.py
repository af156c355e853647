"""What the page of a run needs beyond result.json: detail.json.gz in its folder.

The command, who survived where, the importance of the tokens, their texts, the layers of the compared run, and what the
modules did in a short window.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparcade._files import canonical_json, parse_json
from sparcade.accelerator.result import KINDS
from sparcade.energy import PARTS
from sparcade.errors import ConfigError
from sparcade.evaluation import PHASES, Evaluation
from sparcade.report.pipeline_figure import pipeline_table
from sparcade.trace import AttentionTrace

DETAIL = "detail.json.gz"
SCHEMA = "sparcade.run.detail"
SCHEMA_VERSION = 1
#: Sequences whose tokens are kept, from the first.
MOST_SEQUENCES = 8
#: Fractional bits of an importance.
_FRACTION = 12
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTokens:
    """The tokens of one step of a sequence."""

    step: int  #: 0 is the prompt
    alive: Mask  #: [layers, context] a head read the token in the layer
    importance: npt.NDArray[np.float64] | None  #: [layers, context] rank of the candidates before the layer, or NaN


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTokens:
    """The tokens of a sequence: in its prompt and in its last decode step."""

    texts: tuple[str, ...] | None  #: None without a trace
    steps: tuple[StepTokens, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """detail.json.gz."""

    command: str  #: makes the run again; "" where it is not known
    survival: list[dict[str, Any]]  #: by phase and layer: shares of tokens, heads and values, means over rows
    sequences: tuple[SequenceTokens, ...]
    sequence_count: int
    compared: list[dict[str, Any]]  #: layers of the compared run
    pipeline: dict[str, Any] | None  #: `pipeline_table` of a short window, where one was kept


def detail_of(evaluation: Evaluation, trace: AttentionTrace | None, command: str) -> dict[str, Any]:
    """Plain values for `write_detail`."""
    work = evaluation.run.workload
    count = int(work.rows["sequence"].max()) + 1
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "survival": _survival(evaluation),
        "sequence_count": count,
        "sequences": [_sequence(evaluation, trace, index) for index in range(min(count, MOST_SEQUENCES))],
        "compared": _compared(evaluation),
        "pipeline": pipeline_table(evaluation.excerpt) if evaluation.excerpt else None,
    }


def write_detail(path: Path, detail: dict[str, Any]) -> None:
    """Write what `detail_of` gave; equal values give equal bytes."""
    path.write_bytes(gzip.compress(canonical_json(detail).encode(), mtime=0))


def read_detail(path: Path) -> Detail:
    """Read the file again.

    Raises
    ------
    ConfigError
        When it was not written by this version.
    """
    try:
        value = parse_json(gzip.decompress(path.read_bytes()).decode())
        if (value["schema"], value["schema_version"]) != (SCHEMA, SCHEMA_VERSION):
            raise ValueError(f"schema {value['schema']!r}, version {value['schema_version']!r}")
        return Detail(
            command=value["command"],
            survival=value["survival"],
            sequences=tuple(map(_read_sequence, value["sequences"])),
            sequence_count=value["sequence_count"],
            compared=value["compared"],
            pipeline=value["pipeline"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(
            "the detail of a run cannot be read",
            where=str(path),
            expected=f"{SCHEMA}, version {SCHEMA_VERSION}, as 'sparcade run' writes it",
            got=str(error) or type(error).__name__,
            remedy="run it again, or delete this file: the page then leaves out what it holds",
        ) from None


def _survival(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Means by phase and layer: of tokens over rows, of heads over steps, of values over queries."""
    work, run = evaluation.run.workload, evaluation.run
    rows, queries = work.rows, work.queries
    owner = np.repeat(np.arange(len(rows)), rows["queries"])
    tokens = rows["keys"] / rows["context"]
    values = np.bincount(owner, queries["values"] / np.maximum(queries["visible"], 1), minlength=len(rows))
    layers, steps = rows["layer"].astype(np.int64), rows["sequence"].astype(np.int64) << 32 | rows["step"]
    table = []
    for phase in PHASES:
        mine = run.phase(phase)
        passes = len(np.unique(steps[mine]))
        for layer in np.unique(layers[mine]).tolist():
            chosen = mine & (layers == layer)
            table.append(
                {
                    "phase": phase,
                    "layer": layer,
                    "tokens": _rounded(tokens[chosen].mean()),
                    "heads": _rounded(np.count_nonzero(chosen) / passes / work.shape.heads),
                    "values": _rounded(values[chosen].sum() / rows["queries"][chosen].sum()),
                }
            )
    return table


def _rounded(value: Any) -> float:
    """Nine digits: the same on every machine, whatever the order of a sum."""
    return round(float(value), 9)


def _compared(evaluation: Evaluation) -> list[dict[str, Any]]:
    """What the outlines of the layers' bars need."""
    if evaluation.baseline is None:
        return []
    transaction = evaluation.run.arch.dram.transaction_bytes
    return [
        {
            "phase": layer["phase"],
            "layer": layer["layer"],
            "cycles": layer["cycles"],
            "bytes_moved": sum(layer[f"tx_{kind}"] for kind in KINDS) * transaction,
            "energy_joules": sum(layer[f"energy_{part}_joules"] for part in PARTS),
        }
        for layer in evaluation.layers(evaluation.baseline)
    ]


def _sequence(evaluation: Evaluation, trace: AttentionTrace | None, index: int) -> dict[str, Any]:
    rows = evaluation.run.workload.rows
    steps = np.unique(rows["step"][rows["sequence"] == index])
    texts = None if trace is None else list(trace.manifest.sequences[index].tokens)
    return {"texts": texts, "steps": [_step(evaluation, index, step) for step in sorted({*steps[[0, -1]].tolist()})]}


def _step(evaluation: Evaluation, index: int, step: int) -> dict[str, Any]:
    work, replay = evaluation.run.workload, evaluation.replay
    mine = work.rows[(work.rows["sequence"] == index) & (work.rows["step"] == step)]
    context = int(mine["context"][0])
    alive = np.zeros((work.shape.layers, context), np.bool_)
    scores: list[list[int] | None] | None = None
    if replay is None:
        for row in mine:
            alive[row["layer"], work.key_ids[row["key_start"] : row["key_start"] + row["keys"]]] = True
    else:
        for layer in range(work.shape.layers):
            alive[layer, replay.survivors[index, step, layer]] = True
        ranked = [replay.scores.get((index, step, layer), {}).get("token") for layer in range(work.shape.layers)]
        if any(each is not None for each in ranked):
            scores = [None if each is None else each.tolist() for each in ranked]
    return {
        "step": step,
        "context": context,
        "alive": [np.packbits(layer).tobytes().hex() for layer in alive],
        "scores": scores,
    }


def _read_sequence(value: dict[str, Any]) -> SequenceTokens:
    texts = value["texts"]
    return SequenceTokens(texts=None if texts is None else tuple(texts), steps=tuple(map(_read_step, value["steps"])))


def _read_step(value: dict[str, Any]) -> StepTokens:
    context = value["context"]
    packed = [np.frombuffer(bytes.fromhex(layer), np.uint8) for layer in value["alive"]]
    alive = np.stack([np.unpackbits(layer, count=context).astype(np.bool_) for layer in packed])
    importance = None
    if value["scores"] is not None:
        importance = np.full(alive.shape, np.nan)
        for layer, scores in enumerate(value["scores"]):
            # Candidates are all tokens, then the survivors of the layer before. An engine that evicts keys, or whose
            # layers lack some, has others: they are not known here.
            before = alive[layer - 1] if layer else np.ones(context, np.bool_)
            if scores is not None and len(scores) == before.sum():
                importance[layer, before] = np.array(scores) / (1 << _FRACTION)
    return StepTokens(step=value["step"], alive=alive, importance=importance)

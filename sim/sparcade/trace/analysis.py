"""What the attention of a trace is like: how concentrated, on which tokens, in which heads. Unpruned, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade.errors import ConfigError
from sparcade.trace.store import AttentionTrace, LayerTensors

Floats = npt.NDArray[np.float64]

#: Shares of a row's probability, or of a layer's importance, that are asked for.
HELD = (0.90, 0.95, 0.99)
#: Thresholds of the LSB decision.
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
#: A sum of probabilities this little below a share holds it: rounding of up to some thousand terms.
_ROUNDING = 1e-9
#: Rows of one head computed at once.
_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The tables of an analysis. A phase is "prefill" or "decode"."""

    sinks: int
    window: int
    heads: pd.DataFrame  #: `head_table`
    lsb: pd.DataFrame  #: phase, layer, threshold, `below`: share of rows whose largest probability is below it
    tokens: pd.DataFrame  #: `token_table`
    hitters: pd.DataFrame  #: `hitter_table`


@dataclass(slots=True, kw_only=True)
class _Rows:
    """Statistics of all rows of a layer, head by head."""

    columns: dict[str, list[Floats]] = field(default_factory=dict)

    def add(self, **values: Floats) -> None:
        for name, column in values.items():
            self.columns.setdefault(name, []).append(column)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({name: np.concatenate(parts) for name, parts in self.columns.items()})


def analyse(
    trace: AttentionTrace,
    *,
    sinks: int = 4,
    window: int = 64,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Analyse every row of every layer and head.

    Parameters
    ----------
    sinks, window : first tokens, and tokens nearest to the query (the last ones it sees; in an encoder half of them on
        each side), that a streaming head attends to (StreamingLLM, DuoAttention).
    thresholds : of the largest probability, below which the LSB plane would be fetched. The hardware decides on
        probabilities of the MSB plane; these are those of the float model.
    """
    for name, value in (("sinks", sinks), ("window", window)):
        if value < 0:
            raise ConfigError(
                f"{name} is negative", where=name, expected="0 or more tokens", got=str(value), remedy=f"{name} = 4"
            )
    model, sequences = trace.manifest.model, trace.manifest.sequences
    rows, importances = _Rows(), []
    for index, sequence in enumerate(sequences):
        for layer in range(model.layers):
            tensors = trace.tensors(layer, index)
            seen = _add_rows(
                rows, tensors, layer=layer, prompt_tokens=sequence.prompt_tokens, sinks=sinks, window=window,
                mask=model.mask, scaling=model.scaling,
            )  # fmt: skip
            importances.append((index, layer, seen))
            if progress is not None:
                progress(len(importances) / (len(sequences) * model.layers))
    frame = rows.frame()
    frame["phase"] = np.where(frame["decode"] == 1, "decode", "prefill")
    tokens = token_table(trace, importances)
    return Analysis(
        sinks=sinks,
        window=window,
        heads=head_table(frame),
        lsb=_lsb_table(frame, thresholds),
        tokens=tokens,
        hitters=hitter_table(tokens),
    )


def head_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the rows of each phase, layer and head.

    Returns
    -------
    phase, layer, head, rows; visible: keys a row sees; largest, largest_median: of the largest probability;
    entropy_bits; entropy_share: of the log2 of the visible keys; keys_90, keys_95, keys_99: least share of the visible
    keys that holds so much of the probability; sinks, local, elsewhere: its share on the first tokens, on the
    window, and on all others, over rows that see others (NaN without one).
    """
    keys = ["phase", "layer", "head"]
    groups = rows.groupby(keys, sort=True)
    table = groups.agg(
        rows=("largest", "size"),
        visible=("visible", "mean"),
        largest=("largest", "mean"),
        largest_median=("largest", "median"),
        entropy_bits=("entropy_bits", "mean"),
        entropy_share=("entropy_share", "mean"),
        **{name: (name, "mean") for name in map(_held_name, HELD)},
    )
    far = rows[rows["others"] > 0].groupby(keys, sort=True)[["sinks", "local", "elsewhere"]].mean()
    table = table.join(far).reset_index()
    table[["layer", "head"]] = table[["layer", "head"]].astype(np.int64)
    return table.sort_values(["phase", "layer", "head"], ascending=[False, True, True], ignore_index=True)


def token_table(trace: AttentionTrace, importances: Sequence[tuple[int, int, Floats]]) -> pd.DataFrame:
    """Importance of each token in each layer: probability it got, summed over heads and rows.

    Parameters
    ----------
    importances : sequence, layer, and [2, T] the sums over prompt and decode rows.

    Returns
    -------
    sequence, layer, token, text, prefill, decode, importance (both), cumulative (over this layer and those before).
    """
    parts: list[pd.DataFrame] = []
    sums: dict[int, Floats] = {}
    for index, layer, importance in importances:
        total = importance.sum(axis=0)
        sums[index] = sums[index] + total if layer else total
        part = {"sequence": index, "layer": layer, "token": np.arange(len(total))}
        texts = list(trace.manifest.sequences[index].tokens)
        values = {"prefill": importance[0], "decode": importance[1], "importance": total, "cumulative": sums[index]}
        parts.append(pd.DataFrame({**part, "text": texts, **values}))
    return pd.concat(parts, ignore_index=True)


def hitter_table(tokens: pd.DataFrame) -> pd.DataFrame:
    """How few tokens hold the importance, the mean over the sequences.

    Returns
    -------
    layer, of ("layer": this layer's importance; "cumulative": up to this layer; "decode": this layer's, decode rows
    only), tokens_90, tokens_95, tokens_99: least share of the tokens that holds so much.
    """
    lines = []
    columns = {"layer": "importance", "cumulative": "cumulative", "decode": "decode"}
    for (_, layer), group in tokens.groupby(["sequence", "layer"], sort=True):
        for of, column in columns.items():
            values = group[column].to_numpy(float)
            if values.sum() > 0:
                shares = _held(values[None] / values.sum())[:, 0] / len(values)
                lines.append((layer, of, *shares))
    names = [f"tokens_{round(100 * share)}" for share in HELD]
    table = pd.DataFrame(lines, columns=["layer", "of", *names])
    return table.groupby(["of", "layer"], sort=True, as_index=False).mean()[["layer", "of", *names]]


def _lsb_table(rows: pd.DataFrame, thresholds: Sequence[float]) -> pd.DataFrame:
    lines = [
        (phase, layer, threshold, float((group["largest"] < threshold).mean()))
        for (phase, layer), group in rows.groupby(["phase", "layer"], sort=True)
        for threshold in thresholds
    ]
    table = pd.DataFrame(lines, columns=["phase", "layer", "threshold", "below"]).astype({"layer": np.int64})
    return table.sort_values(["phase", "layer", "threshold"], ascending=[False, True, True], ignore_index=True)


def _add_rows(
    rows: _Rows,
    tensors: LayerTensors,
    *,
    layer: int,
    prompt_tokens: int,
    sinks: int,
    window: int,
    mask: str,
    scaling: float,
) -> Floats:
    """Add the rows of a layer of one sequence; returns the importance [2, T] of its tokens: prompt, decode rows."""
    heads, count, _ = tensors.q.shape
    group = heads // tensors.k.shape[0]
    ids = np.arange(count)
    importance = np.zeros((2, count))
    for head in range(heads):
        keys = tensors.k[head // group].astype(np.float64).T
        for start in range(0, count, _ROWS):
            at = ids[start : start + _ROWS]
            scores = scaling * (tensors.q[head, at].astype(np.float64) @ keys)
            sees = ids <= at[:, None] if mask == "causal" else np.ones(scores.shape, np.bool_)
            scores[~sees] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            p: Floats = weights / weights.sum(axis=1, keepdims=True)
            decode = at >= prompt_tokens
            importance[0] += p[~decode].sum(axis=0)
            importance[1] += p[decode].sum(axis=0)
            visible = sees.sum(axis=1).astype(np.float64)
            first = sees & (ids < sinks)
            distance = np.abs(at[:, None] - ids)
            near = sees & ~first & (distance < window if mask == "causal" else distance <= window // 2)
            others = sees & ~first & ~near
            entropy = -np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1)
            rows.add(
                layer=np.full(len(at), float(layer)),
                head=np.full(len(at), float(head)),
                decode=decode.astype(np.float64),
                visible=visible,
                largest=p.max(axis=1),
                entropy_bits=entropy,
                entropy_share=np.where(visible > 1, entropy / np.log2(np.maximum(visible, 2)), np.nan),
                others=others.sum(axis=1).astype(np.float64),
                sinks=np.where(first, p, 0.0).sum(axis=1),
                local=np.where(near, p, 0.0).sum(axis=1),
                elsewhere=np.where(others, p, 0.0).sum(axis=1),
                **{_held_name(share): held / visible for share, held in zip(HELD, _held(p), strict=True)},
            )
    return importance


def _held(shares: Floats) -> Floats:
    """[HELD, n]: least number of elements of each row [n, T] of shares that hold so much of it."""
    sums = np.cumsum(np.sort(shares, axis=1)[:, ::-1], axis=1)
    return np.stack([1.0 + np.sum(sums < share - _ROUNDING, axis=1) for share in HELD])


def _held_name(share: float) -> str:
    return f"keys_{round(100 * share)}"

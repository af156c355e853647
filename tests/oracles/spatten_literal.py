"""Literal, slow transcription of SpAtten's pruning algorithm: the oracle of the policy tests.

Written from the text of design.md ("Interfaces and decisions": Fixed point, Pruning, Top-k) and uarch.md sections 1
and 3.2 alone, and never from the simulator. One plain loop per sum, in the stated order: the results are compared
bit for bit. Floats are summed by explicit loops because the builtin `sum` of newer Pythons compensates.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453
SATURATED = 2**32 - 1  # importance of a token or a head: 32 bits unsigned, 12 of them fractional
Q_BITS = 12

Number = int | float  # a fixed-point word, or a float64 where nothing is quantised
Word = list[Number]  # one vector of D elements
Pass = tuple[int, int, int]  # (size of the list, elements > pivot, elements == pivot)


@dataclass(frozen=True)
class Progressive:
    """Progressive quantisation of the keys (uarch.md 1.5)."""

    msb: int
    lsb: int = 4
    threshold: float = 0.1
    in_prefill: bool = False


@dataclass(frozen=True)
class Tokens:
    """Cascade token pruning (uarch.md 1.2, design.md Pruning)."""

    start: Fraction = Fraction(1)
    end: Fraction = Fraction(1, 4)
    front: int | None = None  # None: ceil(0.15 layers)
    staircase: list[Fraction] | None = None
    accumulate: str = "sum"  # or "per-visible-query"
    decay: Fraction = Fraction(1)
    decode_only: bool = False
    protect_first: int = 0
    protect_last: int = 0
    in_prefill: bool = True


@dataclass(frozen=True)
class Heads:
    """Cascade head pruning (uarch.md 1.3, design.md Pruning)."""

    start: Fraction = Fraction(1)
    end: Fraction = Fraction(7, 8)
    front: int | None = None  # None: ceil(0.30 layers)
    staircase: list[Fraction] | None = None
    in_prefill: bool = True
    min_heads: int = 8


@dataclass(frozen=True)
class LocalV:
    """Local value pruning (uarch.md 1.4)."""

    keep: Fraction
    in_prefill: bool = False


@dataclass(frozen=True)
class Params:
    """A policy; None switches a technique off. static_bits 32 means float inputs."""

    static_bits: int = 12
    progressive: Progressive | None = None
    tokens: Tokens | None = None
    heads: Heads | None = None
    local_v: LocalV | None = None


class Query(TypedDict):
    token: int
    visible: list[int]
    p12: list[int]  # of the visible keys, ascending ids
    lsb: bool
    value_ids: list[int]
    passes: list[Pass]
    out: list[float]


class Row(TypedDict):
    key_ids: list[int]
    bits: tuple[int, int]  # (msb, lsb); single plane: lsb 0
    queries: list[Query]


class Event(NamedTuple):
    kind: str  # "token" or "head"
    step: int
    layer: int  # about to run
    n: int
    k: int
    scores: list[int]
    passes: list[Pass]


@dataclass
class Result:
    survivors: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # (step, layer) -> token ids
    heads: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # (step, layer) -> head ids
    rows: dict[tuple[int, int, int], Row] = field(default_factory=dict)  # (step, layer, head)
    events: list[Event] = field(default_factory=list)
    importance: list[int] = field(default_factory=list)  # per token, at the end of the sequence
    seen_fp: list[int] = field(default_factory=list)
    head_importance: list[int] = field(default_factory=list)


class Plane(NamedTuple):
    """One tensor of one head in words, with its scale."""

    words: list[Word]
    scale: float


class Attended(NamedTuple):
    query: Query
    acc: list[Number]  # the output before its final scale


class Case(NamedTuple):
    """The arguments of `run`."""

    q: list[NDArray[np.float32]]
    k: list[NDArray[np.float32]]
    v: list[NDArray[np.float32]]
    prompt: int
    mask: str
    scaling: float
    params: Params


def row_bits(params: Params, step: int) -> tuple[int, int]:
    """design.md Fixed point: (msb, lsb); two planes in decode, one static plane in prefill unless forced."""
    prog = params.progressive
    if prog is not None and (step > 0 or prog.in_prefill):
        return prog.msb, prog.lsb
    return params.static_bits, 0


def encode(x: NDArray[np.float32], bits: int, prompt: int) -> Plane:
    """design.md Fixed point: scale = max|x| / (2^(b-1) - 1) over the prompt, frozen; saturating."""
    rows: list[list[float]] = np.asarray(x, dtype=np.float64).tolist()
    if bits == 32:
        return Plane([list(row) for row in rows], 1.0)
    limit = 2 ** (bits - 1) - 1
    largest = 0.0
    for row in rows[:prompt]:
        for value in row:
            largest = max(largest, abs(value))
    scale = largest / limit if largest != 0.0 else 1.0
    words: list[Word] = []
    for row in rows:
        words.append([max(-limit, min(limit, math.floor(value / scale + 0.5))) for value in row])
    return Plane(words, scale)


def dot(a: Word, b: Word) -> Number:
    """design.md Fixed point: Q x K, exact on integers, sequential in float mode."""
    total: Number = 0.0 if isinstance(a[0], float) else 0
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


def exponential(x: float) -> float:
    """design.md Fixed point: exp as 2^n times a 5th-order polynomial of the remainder."""
    n = math.floor(x * LOG2E + 0.5)
    r = x - n * LN2
    poly = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0)))))
    if n < -1000:
        return 0.0
    return math.ldexp(poly, n)


def probabilities(query: Word, keys: list[Word], c: float) -> tuple[list[float], list[int]]:
    """design.md Fixed point: the softmax of one row, and its words min(4095, floor(4096 p + 1/2))."""
    dots = [dot(query, key) for key in keys]
    largest = max(dots)
    exps = [exponential(float(value - largest) * c) for value in dots]
    total = 0.0
    for e in exps:
        total += e
    p = [e / total for e in exps]
    return p, [min(4095, math.floor(4096.0 * value + 0.5)) for value in p]


def msb_plane(word: Word, lsb: int) -> Word:
    """design.md Fixed point: the MSB plane is the arithmetic right shift of the full word, left-aligned."""
    return [(int(value) >> lsb) << lsb for value in word]


def top_k(scores: list[int], ids: list[int], k: int) -> list[int]:
    """design.md: the k largest, ties to the lowest id, in ascending (original) order."""
    best_first = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))
    return sorted(ids[i] for i in best_first[:k])


def pass_list(scores: list[int], target: int, bits: int) -> list[Pass]:
    """design.md Top-k with the 1-based rule of uarch.md 3.2: head pivot, or by the bits."""
    if not 0 < target < len(scores):
        return []
    current, lo, hi = list(scores), 0, 2**bits - 1
    passes: list[Pass] = []
    while True:
        below = 2 ** max(0, (lo ^ hi).bit_length() - 1)  # weight of the highest bit that may differ
        by_bits = len(passes) > 0 and len(current) > passes[-1][0] - passes[-1][0] // 8
        pivot = hi // below * below if by_bits else current[0]
        greater = len([s for s in current if s > pivot])
        equal = len([s for s in current if s == pivot])
        passes.append((len(current), greater, equal))
        if greater >= target:
            current = [s for s in current if s > pivot]
            lo = pivot
        elif greater + equal >= target:
            return passes
        else:
            target -= greater + equal
            current = [s for s in current if s < pivot]
            hi = pivot - 1 if by_bits else pivot


def keep_values(p12: list[int], visible: list[int], local_v: LocalV | None) -> tuple[list[int], list[Pass]]:
    """uarch.md 1.4: the largest probabilities of this row; local_v None here means not active in this row."""
    if local_v is None:
        return list(visible), []
    k = max(1, math.floor(local_v.keep * len(visible)))
    return top_k(p12, visible, k), pass_list(p12, k, 12)


def weighted_values(weight: dict[int, Number], values: list[Word], kept: list[int], zero: Number) -> list[Number]:
    """uarch.md 1.1: prob x V over the kept keys in ascending order, not renormalised."""
    acc = []
    for d in range(len(values[0])):
        total = zero
        for key in kept:
            total += weight[key] * values[key][d]
        acc.append(total)
    return acc


def attend(case: Case, step: int, planes: tuple[Plane, Plane, Plane], token: int, visible: list[int]) -> Attended:
    """uarch.md 1.5, 1.4, then prob x V: one query of one head."""
    q, k, v = planes
    (msb, lsb), prog, local_v = row_bits(case.params, step), case.params.progressive, case.params.local_v
    c = case.scaling if msb == 32 else (q.scale * k.scale) * case.scaling
    full = [k.words[key] for key in visible]
    p, p12 = probabilities(q.words[token], [msb_plane(word, lsb) for word in full] if lsb > 0 else full, c)
    refetch = prog is not None and lsb > 0 and max(p12) < math.floor(4096.0 * prog.threshold + 0.5)
    if refetch:
        p, p12 = probabilities(q.words[token], full, c)
    kept, passes = keep_values(p12, visible, local_v if local_v and (step > 0 or local_v.in_prefill) else None)
    if msb == 32:
        acc = weighted_values(dict(zip(visible, p, strict=True)), v.words, kept, 0.0)
        out = [float(a) for a in acc]
    else:
        acc = weighted_values(dict(zip(visible, p12, strict=True)), v.words, kept, 0)
        out = [(float(a) * v.scale) / 4096.0 for a in acc]
    query = Query(token=token, visible=visible, p12=p12, lsb=refetch, value_ids=kept, passes=passes, out=out)
    return Attended(query, acc)


def accumulate_tokens(result: Result, rows: list[Row]) -> None:
    """uarch.md 1.2: after a layer, the column sums of its probability matrices, saturating once per layer."""
    increment = [0] * len(result.importance)
    for row in rows:
        for query in row["queries"]:
            for key, p12 in zip(query["visible"], query["p12"], strict=True):
                increment[key] += p12
                result.seen_fp[key] += 4096
    for key, inc in enumerate(increment):
        result.importance[key] = min(result.importance[key] + inc, SATURATED)


def output_magnitude(accs: list[list[Number]], v_scale: float, floating: bool) -> int:
    """uarch.md 1.3, design.md Pruning: sum of |output| times the V scale, rounded to 12 fractional bits."""
    total: Number = 0.0 if floating else 0
    for acc in accs:
        for a in acc:
            total += abs(a)
    return math.floor((total * 4096.0 if floating else float(total) * v_scale) + 0.5)


def decay(result: Result, factor: Fraction) -> None:
    """design.md Pruning, optional decay: at the start of every decode step, exact, rounded down."""
    result.importance = [math.floor(value * factor) for value in result.importance]
    result.seen_fp = [math.floor(value * factor) for value in result.seen_fp]


def token_score(result: Result, token: int, accumulate: str) -> int:
    """design.md Pruning: `sum` as published, or divided by the rows in which the key was visible."""
    if accumulate == "sum":
        return result.importance[token]
    if result.seen_fp[token] == 0:
        return 0
    return result.importance[token] * 4096 // result.seen_fp[token]


def keep_fraction(rule: Tokens | Heads, layer: int, layers: int) -> Fraction:
    """design.md Pruning: 1 for l < f, else start + (end - start)(l - f + 1)/(layers - f); absolute."""
    if rule.staircase is not None:
        return rule.staircase[layer]
    share = Fraction(15, 100) if isinstance(rule, Tokens) else Fraction(30, 100)
    front = math.ceil(share * layers) if rule.front is None else rule.front
    if layer < front:
        return Fraction(1)
    return rule.start + (rule.end - rule.start) * Fraction(layer - front + 1, layers - front)


def is_protected(token: int, context: int, mask: str, rule: Tokens) -> bool:
    """design.md Pruning: the newest token survives its own step; `protect` lists more."""
    newest = mask == "causal" and token == context - 1
    return newest or token < rule.protect_first or token >= context - rule.protect_last


def select(result: Result, event: Event, pool: list[int]) -> list[int]:
    """design.md Top-k: the k best of the pool, charged as an event; bypassed when all or none stay."""
    if event.k >= event.n:
        return list(pool)
    if event.k == 0:
        return []
    result.events.append(event._replace(passes=pass_list(event.scores, event.k, 32)))
    return top_k(event.scores, pool, event.k)


def select_tokens(result: Result, case: Case, rule: Tokens, step: int, layer: int, candidates: list[int]) -> list[int]:
    """design.md Pruning: k = max(1, floor(keep L0)); the protected tokens count in k."""
    context = case.prompt + step
    k = max(1, math.floor(keep_fraction(rule, layer, len(case.q)) * context))
    protected = [token for token in candidates if is_protected(token, context, case.mask, rule)]
    pool = [token for token in candidates if token not in protected]
    scores = [token_score(result, token, rule.accumulate) for token in pool]
    event = Event("token", step, layer, len(pool), max(0, k - len(protected)), scores, [])
    return sorted(protected + select(result, event, pool))


def select_heads(result: Result, case: Case, rule: Heads, step: int, layer: int, candidates: list[int]) -> list[int]:
    """design.md Pruning: heads are ranked per query head; none is protected; off for small models."""
    if len(case.q[0]) < rule.min_heads:
        return candidates
    k = max(1, math.floor(keep_fraction(rule, layer, len(case.q)) * len(case.q[0])))
    scores = [result.head_importance[head] for head in candidates]
    return select(result, Event("head", step, layer, len(candidates), k, scores, []), candidates)


def encode_head(case: Case, step: int, layer: int, head: int) -> tuple[Plane, Plane, Plane]:
    """design.md Fixed point: Q is 12 bits, K is MSB + LSB, V one plane; a KV head serves a group of heads."""
    msb, lsb = row_bits(case.params, step)
    kv_head = head // (len(case.q[layer]) // len(case.k[layer]))
    q = encode(case.q[layer][head], 32 if msb == 32 else Q_BITS, case.prompt)
    k = encode(case.k[layer][kv_head], msb + lsb, case.prompt)
    v = encode(case.v[layer][kv_head], msb, case.prompt)
    return q, k, v


def run_layer(result: Result, case: Case, step: int, layer: int, tokens: list[int], heads: list[int]) -> None:
    """uarch.md 1.1: one head at a time, one query at a time; then the importances of the layer."""
    newest = case.prompt + step - 1
    rows: list[Row] = []
    for head in heads:
        planes = encode_head(case, step, layer, head)
        row = Row(key_ids=list(tokens), bits=row_bits(case.params, step), queries=[])
        accs = []
        for token in tokens if step == 0 else [newest]:
            visible = [key for key in tokens if case.mask == "full" or key <= token]
            attended = attend(case, step, planes, token, visible)
            row["queries"].append(attended.query)
            accs.append(attended.acc)
        magnitude = output_magnitude(accs, planes[2].scale, row["bits"][0] == 32)
        result.head_importance[head] = min(SATURATED, result.head_importance[head] + magnitude)
        result.rows[step, layer, head] = row
        rows.append(row)
    if step > 0 or case.params.tokens is None or not case.params.tokens.decode_only:
        accumulate_tokens(result, rows)


def run(
    q: list[NDArray[np.float32]],
    k: list[NDArray[np.float32]],
    v: list[NDArray[np.float32]],
    *,
    prompt_tokens: int,
    mask: str,
    scaling: float,
    params: Params,
) -> Result:
    """uarch.md 1.2, 1.6 and design.md Pruning: prefill, then one decode step per further token."""
    length, all_heads = q[0].shape[1], q[0].shape[0]
    assert mask == "causal" or (mask == "full" and length == prompt_tokens)
    assert params.tokens is None or params.tokens.accumulate in ("sum", "per-visible-query")
    case = Case(q, k, v, prompt_tokens, mask, scaling, params)
    result = Result(importance=[0] * length, seen_fp=[0] * length, head_importance=[0] * all_heads)
    for step in range(length - prompt_tokens + 1):
        tokens, heads = list(range(prompt_tokens + step)), list(range(all_heads))
        if step > 0 and params.tokens is not None:
            decay(result, params.tokens.decay)
        for layer in range(len(q)):
            first = step == 0 and layer == 0
            if params.tokens is not None and not first and (step > 0 or params.tokens.in_prefill):
                tokens = select_tokens(result, case, params.tokens, step, layer, tokens)
            if params.heads is not None and not first and (step > 0 or params.heads.in_prefill):
                heads = select_heads(result, case, params.heads, step, layer, heads)
            result.survivors[step, layer] = list(tokens)
            result.heads[step, layer] = list(heads)
            run_layer(result, case, step, layer, tokens, heads)
    return result

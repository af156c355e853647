"""Literal, slow forward passes of three small models with SpAtten inside: the oracle of the closed loop.

Written from docs/policies.md ("In the closed loop") and the papers of the models, in NumPy float64, never from the
engine or the hook. Here a pruned token truly leaves: from then on its row is in no array. The attention of one query
is that of `spatten_literal`, which was written from the design text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oracles import spatten_literal as literal

F = NDArray[np.float64]
Weights = dict[str, F]


@dataclass
class Net:
    """A model as four functions; `positions` are those of the rows of x."""

    layers: int
    heads: int
    kv_heads: int
    dim: int
    causal: bool
    embed: Callable[[list[int], list[int]], F]  # ids, positions -> x [n, d]
    project: Callable[[int, F, list[int]], tuple[F, F, F]]  # layer, x, positions -> q, k, v [heads, n, D]
    finish: Callable[[int, F, F], F]  # layer, x, attention output [n, H * D] -> x
    read: Callable[[F], F]  # x of the last layer -> last hidden states


@dataclass
class Steps:
    """What the oracle saw."""

    result: literal.Result
    tokens: list[list[int]] = field(default_factory=list)  # per step, whose rows `outputs` holds
    outputs: list[F] = field(default_factory=list)  # per step


def run(net: Net, ids: list[int], prompt: int, params: literal.Params) -> Steps:
    """Prefill, then one decode step per further token."""
    length = len(ids)
    blank = [np.zeros((net.heads, 1, 1), np.float32)] * net.layers
    mask = "causal" if net.causal else "full"
    case = literal.Case(blank, blank, blank, prompt, mask, net.dim**-0.5, params)
    result = literal.Result(importance=[0] * length, seen_fp=[0] * length, head_importance=[0] * net.heads)
    steps = Steps(result)
    # (tensor, layer, head) -> token -> vector: what was ever computed.
    known: dict[tuple[str, int, int], dict[int, NDArray[np.float32]]] = {}
    ran = [set(range(net.heads)) for _ in range(net.layers)]  # heads that ran in every step so far
    for step in range(length - prompt + 1):
        alive = list(range(prompt + step))
        rows = alive if step == 0 else alive[-1:]  # tokens whose hidden states exist in this step
        heads = list(range(net.heads))
        x = net.embed([ids[token] for token in rows], rows)
        if step > 0 and params.tokens is not None:
            literal.decay(result, params.tokens.decay)
        for layer in range(net.layers):
            first = step == 0 and layer == 0
            have = set(rows) | set(known.get(("k", layer, 0), {}))
            alive = [token for token in alive if token in have]
            heads = [head for head in heads if head in ran[layer]]
            if params.tokens is not None and not first and (step > 0 or params.tokens.in_prefill):
                alive = literal.select_tokens(result, case, params.tokens, step, layer, alive)
            if params.heads is not None and not first and (step > 0 or params.heads.in_prefill):
                heads = literal.select_heads(result, case, params.heads, step, layer, heads)
            ran[layer] &= set(heads)
            x = x[[index for index, token in enumerate(rows) if token in alive]]  # the others leave, for good
            rows = [token for token in rows if token in alive]
            result.survivors[step, layer], result.heads[step, layer] = list(alive), list(heads)
            for letter, tensor in zip("qkv", net.project(layer, x, rows), strict=True):
                for head, vectors in enumerate(tensor.astype(np.float32)):
                    known.setdefault((letter, layer, head), {}).update(zip(rows, vectors, strict=True))
            x = net.finish(layer, x, attention(net, case, result, known, step, layer, alive, rows, heads))
        steps.tokens.append(rows)
        steps.outputs.append(net.read(x))
    return steps


def attention(
    net: Net,
    case: literal.Case,
    result: literal.Result,
    known: dict[tuple[str, int, int], dict[int, NDArray[np.float32]]],
    step: int,
    layer: int,
    alive: list[int],
    rows: list[int],
    heads: list[int],
) -> F:
    """Attention of one layer [len(rows), H * D]; a pruned head adds nothing. Importance grows."""
    msb, lsb = literal.row_bits(case.params, step)
    out = np.zeros((len(rows), net.heads, net.dim), np.float32)
    written: list[literal.Row] = []
    for head in heads:
        kv_head = head // (net.heads // net.kv_heads)
        planes = (
            encode(known["q", layer, head], 32 if msb == 32 else 12, case.prompt),
            encode(known["k", layer, kv_head], msb + lsb, case.prompt),
            encode(known["v", layer, kv_head], msb, case.prompt),
        )
        row = literal.Row(key_ids=list(alive), bits=(msb, lsb), queries=[])
        accs = []
        for index, token in enumerate(rows):
            visible = [key for key in alive if not net.causal or key <= token]
            attended = literal.attend(case, step, planes, token, visible)
            row["queries"].append(attended.query)
            accs.append(attended.acc)
            out[index, head] = attended.query["out"]
        grown = result.head_importance[head] + literal.output_magnitude(accs, planes[2].scale, msb == 32)
        result.head_importance[head] = min(literal.SATURATED, grown)
        result.rows[step, layer, head] = row
        written.append(row)
    if step > 0 or case.params.tokens is None or not case.params.tokens.decode_only:
        literal.accumulate_tokens(result, written)
    return out.reshape(len(rows), -1).astype(np.float64)


def encode(vectors: dict[int, NDArray[np.float32]], bits: int, prompt: int) -> literal.Plane:
    """Words of the tokens that exist; the scale is that of the prompt's tokens among them."""
    tokens = sorted(vectors)
    plane = literal.encode(
        np.array([vectors[token] for token in tokens]), bits, len([token for token in tokens if token < prompt])
    )
    absent: list[None] = [None] * len(plane.words[0])  # can't be computed with
    words: list[literal.Word] = [absent] * (max(tokens) + 1)
    for token, word in zip(tokens, plane.words, strict=True):
        words[token] = word
    return literal.Plane(words, plane.scale)


def split(x: F, heads: int) -> F:
    """[n, heads * D] -> [heads, n, D]."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def layer_norm(x: F, weight: F, bias: F, eps: float) -> F:
    """Ba et al. 2016."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def gpt2(w: Weights, layers: int, heads: int) -> Net:
    """Radford et al. 2019: pre-norm, learned positions; weights [in, out]."""

    def norm(name: str, x: F) -> F:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(name: str, x: F) -> F:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def project(layer: int, x: F, _positions: list[int]) -> tuple[F, F, F]:
        block = f"h.{layer}"
        q, k, v = np.split(linear(f"{block}.attn.c_attn", norm(f"{block}.ln_1", x)), 3, axis=-1)
        return split(q, heads), split(k, heads), split(v, heads)

    def finish(layer: int, x: F, attended: F) -> F:
        block = f"h.{layer}"
        x = x + linear(f"{block}.attn.c_proj", attended)
        inner = linear(f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x))
        inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        return x + linear(f"{block}.mlp.c_proj", inner)

    embedding, places = w["wte.weight"], w["wpe.weight"]
    return Net(
        layers,
        heads,
        heads,
        embedding.shape[1] // heads,
        True,
        lambda ids, positions: embedding[ids] + places[positions],
        project,
        finish,
        lambda x: norm("ln_f", x),
    )


def bert(w: Weights, layers: int, heads: int) -> Net:
    """Devlin et al. 2019: post-norm, learned positions and one segment; weights [out, in]."""

    def norm(name: str, x: F) -> F:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    def linear(name: str, x: F) -> F:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def project(layer: int, x: F, _positions: list[int]) -> tuple[F, F, F]:
        block = f"encoder.layer.{layer}.attention.self"
        q, k, v = (split(linear(f"{block}.{name}", x), heads) for name in ("query", "key", "value"))
        return q, k, v

    def finish(layer: int, x: F, attended: F) -> F:
        block = f"encoder.layer.{layer}"
        x = norm(f"{block}.attention.output.LayerNorm", x + linear(f"{block}.attention.output.dense", attended))
        inner = linear(f"{block}.intermediate.dense", x)
        inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        return norm(f"{block}.output.LayerNorm", x + linear(f"{block}.output.dense", inner))

    def embed(ids: list[int], positions: list[int]) -> F:
        base = "embeddings"
        x = w[f"{base}.word_embeddings.weight"][ids] + w[f"{base}.position_embeddings.weight"][positions]
        return norm(f"{base}.LayerNorm", x + w[f"{base}.token_type_embeddings.weight"][0])

    dim = w["embeddings.word_embeddings.weight"].shape[1] // heads
    return Net(layers, heads, heads, dim, False, embed, project, finish, lambda x: x)


def llama(w: Weights, layers: int, heads: int, kv_heads: int) -> Net:
    """Touvron et al. 2023: pre-norm by root mean square, rotary positions, grouped queries, gated MLP."""

    def norm(name: str, x: F) -> F:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * w[f"{name}.weight"]

    def linear(name: str, x: F) -> F:
        return x @ w[f"{name}.weight"].T

    def rotate(x: F, positions: list[int]) -> F:
        half = x.shape[-1] // 2
        angles = np.outer(positions, 10000.0 ** (-np.arange(half) / half))
        left, right = x[..., :half], x[..., half:]
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)

    def project(layer: int, x: F, positions: list[int]) -> tuple[F, F, F]:
        block = f"layers.{layer}"
        x = norm(f"{block}.input_layernorm", x)
        q, k, v = (linear(f"{block}.self_attn.{name}_proj", x) for name in "qkv")
        return rotate(split(q, heads), positions), rotate(split(k, kv_heads), positions), split(v, kv_heads)

    def finish(layer: int, x: F, attended: F) -> F:
        block = f"layers.{layer}"
        x = x + linear(f"{block}.self_attn.o_proj", attended)
        inner = norm(f"{block}.post_attention_layernorm", x)
        gate = linear(f"{block}.mlp.gate_proj", inner)
        gated = gate / (1 + np.exp(-gate)) * linear(f"{block}.mlp.up_proj", inner)
        return x + linear(f"{block}.mlp.down_proj", gated)

    embedding = w["embed_tokens.weight"]
    return Net(
        layers,
        heads,
        kv_heads,
        embedding.shape[1] // heads,
        True,
        lambda ids, _positions: embedding[ids],
        project,
        finish,
        lambda x: norm("norm", x),
    )

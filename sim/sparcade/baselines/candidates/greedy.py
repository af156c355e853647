"""A3's greedy candidate search over sorted key columns (Ham et al., HPCA 2020): which keys a query is worth.

Every column of K is sorted once. Per iteration, the largest product q_j K_ij that is left in any column is added to the
score of its key, then the smallest, unless the sum of everything added so far is negative. Keys with a score above zero
are the candidates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def sorted_columns(keys: Floats) -> Ints:
    """[D, n] key ids of each column of `keys` [n, D], ascending by (value, id)."""
    return np.ascontiguousarray(np.argsort(keys, axis=0, kind="stable").T)


def find_candidates(queries: Floats, keys: Floats, visible: Ints, iterations: Ints) -> Flags:
    """[m, n] the candidates of each query [m, D] among its first `visible` [m] keys [n, D].

    Parameters
    ----------
    iterations : [m], at least 1 each; the search also ends when no product is left.

    Notes
    -----
    Of equal products the one of the lowest column is taken; in a column the ends are those of the sorted order, so that
    equal values go by id. When no score is above zero, the touched key with the largest score is the candidate (of
    equal ones that with the lowest id).
    """
    found = np.zeros((len(queries), len(keys)), np.bool_)
    order = sorted_columns(keys)
    ends = np.empty((2, keys.shape[1]), np.int64)
    products = np.empty((2, keys.shape[1]))
    scores = np.empty(len(keys))
    touched = np.empty(len(keys), np.bool_)
    search_queries(queries, keys, order, visible, iterations, ends, products, scores, touched, found)
    return found


@kernel
def search_queries(
    queries: Floats,
    keys: Floats,
    order: Ints,
    visible: Ints,
    iterations: Ints,
    ends: Ints,
    products: Floats,
    scores: Floats,
    touched: Flags,
    found: Flags,
) -> None:
    """`find_candidates` with its scratch: ends, products [2, D], scores, touched [n]; writes `found` [m, n].

    ends[0] and ends[1] are the low and high end of what is left of a column; products[0] the smallest and products[1]
    the largest product left in it.
    """
    columns = queries.shape[1]
    for i in range(queries.shape[0]):
        query, limit = queries[i], visible[i]
        for key in range(limit):
            scores[key] = 0.0
            touched[key] = False
        for j in range(columns):
            ends[0, j] = 0
            ends[1, j] = order.shape[1] - 1
            refresh(query, keys, order, limit, ends, products, j)
        total = 0.0
        for _ in range(iterations[i]):
            for side in (1, 0):
                if side == 0 and total < 0.0:
                    continue
                best = 0
                for j in range(1, columns):
                    if (products[1, j] > products[1, best]) if side == 1 else (products[0, j] < products[0, best]):
                        best = j
                product = products[side, best]
                if not np.isfinite(product):
                    continue
                high = (query[best] >= 0.0) == (side == 1)
                key = order[best, ends[1, best] if high else ends[0, best]]
                if high:
                    ends[1, best] -= 1
                else:
                    ends[0, best] += 1
                scores[key] += product
                touched[key] = True
                total += product
                refresh(query, keys, order, limit, ends, products, best)
        fallback, any_found = -1, False
        for key in range(limit):
            found[i, key] = scores[key] > 0.0
            any_found = any_found or found[i, key]
            if touched[key] and (fallback < 0 or scores[key] > scores[fallback]):
                fallback = key
        if not any_found:
            found[i, fallback] = True


@kernel
def refresh(query: Floats, keys: Floats, order: Ints, limit: int, ends: Ints, products: Floats, j: int) -> None:
    """Step the ends of column j over keys that the query can't see; its products are infinite when nothing is left."""
    while ends[0, j] <= ends[1, j] and order[j, ends[0, j]] >= limit:
        ends[0, j] += 1
    while ends[0, j] <= ends[1, j] and order[j, ends[1, j]] >= limit:
        ends[1, j] -= 1
    if ends[0, j] > ends[1, j]:
        products[0, j] = np.inf
        products[1, j] = -np.inf
        return
    low = query[j] * keys[order[j, ends[0, j]], j]
    high = query[j] * keys[order[j, ends[1, j]], j]
    products[0, j] = low if query[j] >= 0.0 else high
    products[1, j] = high if query[j] >= 0.0 else low

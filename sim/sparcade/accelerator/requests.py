"""What a fetch request asks for: vectors of one plane of one job, where they lie, and their transactions."""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.accelerator.plan import OUTPUT_BITS, Plan
from sparcade.accelerator.state import PLANE_K, PLANE_LSB, PLANE_OUT, PLANE_Q, PLANE_V


@kernel
def vectors_of(plan: Plan, plane: int, job: int) -> int:
    """Vectors of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane in (PLANE_K, PLANE_LSB):
        return row.keys
    return row.new if plane == PLANE_V else 1


@kernel
def bits_of(plan: Plan, plane: int, job: int) -> int:
    """Bits of a vector of a request, over the heads it carries, per word."""
    row = plan.rows[plan.jobs[job].row]
    if plane == PLANE_Q:
        return row.query_bits
    if plane == PLANE_K:
        return row.msb_bits * row.heads_fetched
    if plane == PLANE_LSB:
        return row.lsb_bits
    if plane == PLANE_V:
        return row.value_bits * row.heads_fetched
    return OUTPUT_BITS


@kernel
def base_of(plan: Plan, plane: int, job: int) -> int:
    """Base address of the region of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane == PLANE_Q:
        return plan.geometry.q_base
    if plane == PLANE_K:
        return row.k_base
    if plane == PLANE_LSB:
        return row.lsb_base
    return row.v_base if plane == PLANE_V else plan.geometry.out_base


@kernel
def vector_id(plan: Plan, plane: int, job: int, index: int) -> int:
    """Position in its region of the index-th vector of a request."""
    row = plan.rows[plan.jobs[job].row]
    if plane in (PLANE_Q, PLANE_OUT):
        return plan.jobs[job].vector
    if plane == PLANE_V:
        return int(plan.new_values[row.new_start + index])
    return int(plan.key_ids[row.key_start + index])


@kernel
def transactions_of(plan: Plan, plane: int, job: int) -> int:
    """Transactions of one padded vector."""
    size = 8 * plan.geometry.transaction_bytes
    return (plan.geometry.head_dim * bits_of(plan, plane, job) + size - 1) // size


@kernel
def span_of(plan: Plan, plane: int, job: int, vector: int) -> tuple[int, int]:
    """First and last transaction of a vector, counted from the base of its region."""
    geometry = plan.geometry
    if geometry.packed:
        words = geometry.head_dim * bits_of(plan, plane, job)
        first = vector * words // 8 // geometry.transaction_bytes
        return first, (((vector + 1) * words + 7) // 8 - 1) // geometry.transaction_bytes
    size = transactions_of(plan, plane, job)
    return vector * size, vector * size + size - 1

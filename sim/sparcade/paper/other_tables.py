"""What no run of ours can say: measurements of GPUs, and models that were trained for the paper."""

from __future__ import annotations

from sparcade.paper.comparison import Table, beyond
from sparcade.paper.published import number, of_figure

_HAT = "a transformer found and trained for the paper (search on machine translation): no weights, no lengths"


def other_table() -> Table:
    """Figures 2, 16 and 17, and what the text says of GPUs."""
    rows = [beyond(each, "a measurement of the paper's GPU and CPU") for each in of_figure("Fig. 2")]
    rows += [beyond(each, _HAT) for each in (*of_figure("Fig. 16"), *of_figure("Fig. 17"))]
    rows.append(
        beyond(number("text", "cpu_gpu_token_pruning_speedup_BERT_batch"), "a measurement of the paper's GPU and CPU")
    )
    return Table(key="others", title="Figures 2, 16 and 17: not ours to measure", rows=tuple(rows))

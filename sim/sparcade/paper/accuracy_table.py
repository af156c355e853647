"""Fig. 21: the paper's trade-off curves, and our closed-loop curves on other models and sets beside them."""

from __future__ import annotations

import csv
from functools import partial

from sparcade.paper.comparison import Row, Table, beside, beyond
from sparcade.paper.figures import Points, draw_lines
from sparcade.paper.published import DATA, of_figure

_NO_WEIGHTS = (
    "fine-tuned weights of the paper are not published; our closed-loop curve is of another model on another set, "
    "without fine-tuning"
)


def accuracy_table() -> Table:
    """Change of the metric over the pruning ratio."""
    published = of_figure("Fig. 21")
    rows: list[Row] = [beyond(each, _NO_WEIGHTS) for each in published]
    curves = _closed_loop()
    rows += [
        beside("Fig. 21", f"{name}, ratio {ratio:.3g}", "relative accuracy change", change, "closed loop, ours")
        for name, points in curves.items()
        for ratio, change in points
    ]
    paper: dict[str, list[tuple[float, float]]] = {}
    for each in published:
        name, text = each.name.split("=")
        label = {
            "token_pruning_ratio": "paper: tokens, GPT-2-Small on PTB",
            "head_pruning_ratio": "paper: heads, BERT-Base on CoLA",
        }[name]
        paper.setdefault(label, []).append((float(text), 100 * each.amount))
    ours: Points = {f"ours: {name}": [(x, 100 * y) for x, y in points] for name, points in curves.items()}
    return Table(
        key="fig21",
        title="Fig. 21: accuracy over pruning ratio",
        rows=tuple(rows),
        notes=(
            "Not the same experiment: the paper's models were fine-tuned for two hours after pruning, ours were not; "
            "models and sets differ. Ratio: tokens (heads) over those that are left, mean over layers. Change: of "
            "accuracy, or of perplexity with its sign turned, over that of the unpruned 12-bit model. "
            "docs/accuracy.md has the curves with their standard errors and the controls.",
        ),
        draw=partial(
            draw_lines,
            {name: sorted(points) for name, points in paper.items()},
            ours,
            "pruning ratio",
            "change of the metric [%]",
        ),
    )


def _closed_loop() -> dict[str, list[tuple[float, float]]]:
    """(ratio, relative change) of our curves, as published in reports/published/accuracy."""
    curves: dict[str, list[tuple[float, float]]] = {}
    with (DATA / "closed_loop.csv").open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            curves.setdefault(line["curve"], []).append((float(line["ratio"]), float(line["change"])))
    return curves

"""The 30 benchmarks of the paper, by model."""

from __future__ import annotations

from sparcade.paper.runs import Measured, Runs

SETS = ("wikitext2", "wikitext103", "ptb", "1bw")
TASKS = ("squad-v1", "squad-v2", "cola", "mnli-m", "mnli-mm", "mrpc", "qnli", "qqp", "rte", "sst-2", "sts-b")
SMALL = tuple(f"gpt2-small-{name}" for name in SETS)
MEDIUM = tuple(f"gpt2-medium-{name}" for name in SETS)
GPT2 = (*SMALL, *MEDIUM)
BERT = tuple(f"bert-{size}-{name}" for size in ("base", "large") for name in TASKS)
ALL = (*BERT, *GPT2)
#: The one benchmark whose schedule was released.
RELEASED = "gpt2-medium-wikitext2"
#: Attention of the paper's TITAN Xp for 32 tokens [ms]: Table IV, and a fit to Figures 14 and 15 (uarch.md 7.8).
TITAN_MS = {
    "medium": ("Table IV", "GPU/Attn_latency"),
    "small": ("derived", "implied/gpu_attention_latency/gpt2-small"),
}


def found(runs: Runs, names: tuple[str, ...]) -> list[Measured] | None:
    """The runs of benchmarks on the full design; None when one was left out."""
    each = [runs.find(name) for name in names]
    known = [run for run in each if run is not None]
    return known if len(known) == len(each) else None


def size_of(name: str) -> str:
    """ "small" or "medium" of a GPT-2 benchmark."""
    return name.split("-")[1]

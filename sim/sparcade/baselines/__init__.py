"""Other accelerators, GPUs and CPUs on the same trace or workload, with a stated normalisation (docs/baselines.md)."""

from sparcade.baselines import a3, dense, mnnfast, roofline
from sparcade.baselines.compare import Comparison, Ratios, compare
from sparcade.baselines.normalisation import Normalisation, stream_efficiency
from sparcade.baselines.paper_measured import framework_overhead, paper_table, published_speedups
from sparcade.baselines.quotes import Quote, quotes
from sparcade.baselines.record import Part, Record
from sparcade.baselines.table_iii import Throughput, table_iii
from sparcade.baselines.work import DenseWork

__all__ = [
    "Comparison",
    "DenseWork",
    "Normalisation",
    "Part",
    "Quote",
    "Ratios",
    "Record",
    "Throughput",
    "a3",
    "compare",
    "dense",
    "framework_overhead",
    "mnnfast",
    "paper_table",
    "published_speedups",
    "quotes",
    "roofline",
    "stream_efficiency",
    "table_iii",
]

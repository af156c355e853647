"""The paper beside Sparcade: every number SpAtten (HPCA 2021) published, and what our own runs say of it."""

from sparcade.paper.comparison import Kind, Row, Table
from sparcade.paper.published import Number, number, numbers

__all__ = ["Kind", "Number", "Row", "Table", "number", "numbers"]

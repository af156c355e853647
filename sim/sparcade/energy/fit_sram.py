"""Fit the forms of `sparcade.energy.sram` to CACTI runs.

`python -m sparcade.energy.fit_sram shared/data/cacti_sram.csv` prints cells.toml.

Least squares of the relative error, no coefficient below zero, over the runs at 40 nm of one bank that CACTI was asked
to balance. The factors of other nodes are geometric means over the macros that were run at every node.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparcade.energy.sram import CELLS, TERMS

Floats = npt.NDArray[np.float64]
#: Column of CACTI's table, and factor to our unit: pJ, pJ, mW, mm2.
COLUMNS = {"read": ("read_nj", 1e3), "write": ("write_nj", 1e3), "leakage": ("leak_mw_per_bank", 1.0)}
COLUMNS |= {"area": ("area_mm2", 1.0)}
NODES = (65, 45, 40, 32, 28, 22)


def read_runs(path: Path, cell: str) -> pd.DataFrame:
    """The balanced one-bank runs of a cell type, with `kib`, `bits`, `nm`."""
    table = pd.read_csv(path)
    table = table[(table["cell"] == f"itrs-{cell}") & (table["objective"] == "bal") & (table["banks"] == 1)]
    return table.assign(
        kib=table["capacity_bytes"] / 1024, bits=table["word_bits"], nm=(table["node_um"] * 1000).round().astype(int)
    )


def fitted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are fitted: 40 nm, 1 to 256 KiB, words of 32 to 3,072 bits."""
    return runs[(runs["nm"] == 40) & runs["kib"].between(1, 256) & runs["bits"].between(32, 3072)]


def terms(quantity: str, kib: Floats, bits: Floats) -> Floats:
    """[runs, terms] of the form of a quantity."""
    columns = {"root": np.sqrt(kib), "root_width": np.sqrt(kib) * bits, "square": bits**2, "capacity": kib}
    return np.stack([columns[name] for name in TERMS[quantity]], axis=1)


def fit(quantity: str, runs: pd.DataFrame) -> tuple[Floats, float, float]:
    """Coefficients of a quantity, and the rms and largest relative error."""
    column, unit = COLUMNS[quantity]
    measured = runs[column].to_numpy(float) * unit
    relative = terms(quantity, runs["kib"].to_numpy(float), runs["bits"].to_numpy(float)) / measured[:, None]
    best: tuple[float, Floats] | None = None
    for size in range(1, relative.shape[1] + 1):  # with so few terms, every set of them is tried
        for kept in map(list, itertools.combinations(range(relative.shape[1]), size)):
            found = np.linalg.lstsq(relative[:, kept], np.ones(len(relative)), rcond=None)[0]
            loss = float(((relative[:, kept] @ found - 1) ** 2).sum())
            if (found >= 0).all() and (best is None or loss < best[0]):
                coefficients = np.zeros(relative.shape[1])
                coefficients[kept] = found
                best = loss, coefficients
    assert best is not None
    errors = relative @ best[1] - 1
    return best[1], float(np.sqrt((errors**2).mean())), float(np.abs(errors).max())


def node_factors(quantity: str, runs: pd.DataFrame) -> list[float]:
    """A quantity over that at 40 nm at each of `NODES`."""
    column = COLUMNS[quantity][0]
    table = runs.pivot_table(index=["capacity_bytes", "word_bits"], columns="nm", values=column).dropna()
    return [float(np.exp(np.log(table[nm] / table[40]).mean())) for nm in NODES]


def cells_toml(path: Path) -> str:
    """The text of cells.toml."""
    lines = [
        "# SRAM forms, fitted by `python -m sparcade.energy.fit_sram` to runs of CACTI 7 (commit 1ffd8df) at 40 nm:"
    ]
    lines += ["# one bank, one read-write port, 350 K, 1 to 256 KiB in words of 32 to 3,072 bits. Errors are relative."]
    lines += [
        "# node_factors: over 40 nm, geometric mean of the macros run at every node; leakage as the node's devices."
    ]
    for cell in CELLS:
        runs = read_runs(path, cell)
        for quantity in TERMS:
            coefficients, rms, largest = fit(quantity, fitted(runs))
            lines += ["", f"[{cell}.{quantity}]"]
            lines += [f"{name} = {value:.4g}" for name, value in zip(TERMS[quantity], coefficients, strict=True)]
            lines += [f"rms_error = {rms:.3f}", f"max_error = {largest:.3f}"]
            factors = ", ".join(f"{factor:.4g}" for factor in node_factors(quantity, runs))
            lines += [f"node_factors = [{factors}]"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(cells_toml(Path(sys.argv[1])))

"""docs/energy.md shows the constants as they are: `python tests/energy/test_docs.py` writes its tables anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sparcade.accelerator.counters import COUNTERS
from sparcade.arch import load_arch
from sparcade.energy import BLOCKS, PARTS, EnergyProfile, Estimate, area_mm2, block_power, load_profile, scaling, total
from sparcade.energy.sram import CELLS, NODES, TERMS, Memory, cells, node_factor, sram

PAGE = Path(__file__).parents[2] / "docs" / "energy.md"
#: Fig. 13 and Table II of the paper (HPCA 2021): mm2, W.
PUBLISHED = {
    "qkv_fetcher": (2.649, 0.24),
    "qk": (7.123, 1.13),
    "softmax": (0.791, 0.50),
    "topk": (0.498, 0.08),
    "pv": (7.222, 0.53),
    "others": (0.430, 0.12),
}
LOGIC_SRAM = {"logic": 1.36, "sram": 1.24}


def first_principles() -> str:
    return constants(load_profile())


def calibrated() -> str:
    return constants(load_profile("spatten40nm-calibrated"))


def constants(profile: EnergyProfile) -> str:
    """A row for each constant."""
    lines = [profile.label, "", "| constant | value | low | high | unit | node | tag | source |", "|" + "---|" * 8]
    for name, each in profile.constants.items():
        numbers = " | ".join(f"{number:.4g}" for number in (each.value, each.low, each.high))
        lines.append(f"| `{name}` | {numbers} | {each.unit} | {each.node} | {each.tag} | {each.source} |")
    return "\n".join(lines) + "\n"


def forms() -> str:
    """Coefficients and errors of the SRAM forms."""
    lines = ["| cell | quantity | coefficients | rms error | largest error |", "|" + "---|" * 5]
    for cell in CELLS:
        for quantity, terms in TERMS.items():
            form = cells()[cell][quantity]
            shown = ", ".join(f"{name} {form[name]:.4g}" for name in terms)
            lines.append(f"| {cell} | {quantity} | {shown} | {form['rms_error']:.1%} | {form['max_error']:.1%} |")
    return "\n".join(lines) + "\n"


def banks() -> str:
    """192 KiB in words of 6,144 bits, by banks."""
    lines = ["| banks | a bank | read hp / lop [pJ/bit] | write hp / lop [pJ/bit] | area hp [mm2] |", "|" + "---|" * 5]
    for count in (1, 2, 3, 6, 12, 24):
        memory = Memory(words=256, bits=6144, banks=count)
        energies = [
            " / ".join(f"{sram(quantity, memory, cell).value / 6144:.3f}" for cell in ("hp", "lop"))
            for quantity in ("read", "write")
        ]
        note = "" if memory.is_fitted else " (extrapolated)"
        size = f"{memory.kib / count:g} KiB x {6144 // count}{note}"
        lines.append(f"| {count} | {size} | {' | '.join(energies)} | {sram('area', memory).value:.2f} |")
    return "\n".join(lines) + "\n"


def nodes() -> str:
    """Factors of technology scaling."""
    lines = ["| node [nm] | nominal supply [V] | energy | energy at 0.9 V | delay | area | SRAM read, write, area |"]
    lines.append("|" + "---|" * 7)
    for nm in (180, 130, 90, 65, 45, 40, 32, 28, 22, 20, 16, 14, 10, 7):
        logic = [
            scaling.energy(nm) / scaling.energy(45),
            scaling.energy(nm, 0.9) / scaling.energy(45, 0.9) if nm < 180 else None,
            scaling.delay(nm) / scaling.delay(45),
            scaling.area(nm),
        ]
        memory = "-"
        if NODES[-1] <= nm <= NODES[0]:
            memory = ", ".join(
                f"{node_factor(quantity, nm) / node_factor(quantity, 45):.2f}" for quantity in ("read", "write", "area")
            )
        shown = " | ".join("-" if factor is None else f"{factor:.3g}" for factor in logic)
        lines.append(f"| {nm} | {scaling.nominal_supply(nm):.2f} | {shown} | {memory} |")
    return "\n".join(lines) + "\n"


def areas() -> str:
    """Area of the preset `spatten` beside Fig. 13."""
    arch, drawn = load_arch("spatten"), load_arch("spatten", ["key_sram.banks=1", "value_sram.banks=1"])
    ours, wide, fitted = (
        area_mm2(arch, load_profile()),
        area_mm2(drawn, load_profile()),
        area_mm2(arch, load_profile("spatten40nm-calibrated")),
    )
    lines = ["| block | Fig. 13 | first-principles | with one bank | calibrated, by construction |", "|" + "---|" * 5]
    for block in BLOCKS:
        cells_of = [told(ours[block]), told(wide[block]), f"{fitted[block].value:.2f}"]
        lines.append(f"| {block} | {PUBLISHED[block][0]:.2f} | {' | '.join(cells_of)} |")
    sums = [told(total(table.values())) for table in (ours, wide)]
    published = sum(area for area, _ in PUBLISHED.values())
    lines.append(f"| total | {published:.2f} | {' | '.join(sums)} | {total(fitted.values()).value:.2f} |")
    return "\n".join(lines) + "\n"


def powers() -> str:
    """On-chip power at the activity the paper's numbers imply, beside Fig. 13 and Table II."""
    cycles = 1_000_000
    work = {counter.name: 0 for counter in COUNTERS.values()} | {
        "cycles": cycles,
        "macs_qk": 324 * cycles,
        "macs_pv": 162 * cycles,
        "softmax_elements": 5 * cycles,
        "importance_updates": 5 * cycles,
        "topk_elements": 32 * cycles,
        "tx_k_msb": 150 * cycles // 32,
    }
    arch, drawn = load_arch("spatten"), load_arch("spatten", ["key_sram.banks=1", "value_sram.banks=1"])
    ours = block_power(work, arch=arch, profile=load_profile())
    wide = block_power(work, arch=drawn, profile=load_profile())
    fitted = block_power(work, arch=arch, profile=load_profile("spatten40nm-calibrated"))
    lines = ["| part | published [W] | first-principles [W] | with one bank [W] | calibrated, by construction [W] |"]
    lines.append("|" + "---|" * 5)
    for name, published in ({block: watts for block, (_, watts) in PUBLISHED.items()} | LOGIC_SRAM).items():
        found = [(table.blocks | table.kinds)[name] for table in (ours, wide, fitted)]
        shown = [told(found[0]), told(found[1]), f"{found[2].value:.2f}"]
        lines.append(f"| {name} | {published:.2f} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def told(estimate: Estimate) -> str:
    """Value and range."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


MAKERS: tuple[Callable[[], str], ...] = (first_principles, calibrated, forms, banks, nodes, areas, powers)


def test_the_tables_are_those_of_the_constants() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for maker in MAKERS:
        shown = block(maker.__name__).search(text)
        assert shown is not None
        assert shown[2] == maker(), "python tests/energy/test_docs.py writes it anew"


def test_the_page_names_every_part_and_block() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*PARTS, *BLOCKS) if f"`{name}`" not in text] == []


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for maker in MAKERS:
        fresh = maker()
        page = block(maker.__name__).sub(lambda found, fresh=fresh: found[1] + fresh + found[3], page)
    PAGE.write_text(page, encoding="utf-8")

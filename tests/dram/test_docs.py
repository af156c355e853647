"""docs/dram.md shows what its commands and code do."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from sparcade.cli import main
from sparcade.dram import load_device
from sparcade.dram.mapping import address_map, parse_mapping

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dram.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs() -> None:
    code = PAGE.split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/dram.md", "exec"), {})


def test_the_table_of_mappings_is_what_the_benchmark_prints() -> None:
    path = ROOT / "benchmarks" / "dram_mappings.py"
    spec = importlib.util.spec_from_file_location("dram_mappings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = re.search(r"<!-- mappings:begin -->\n(.*?)<!-- mappings:end -->", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == module.mapping_table(), "python benchmarks/dram_mappings.py writes it anew"


def test_the_written_out_mapping_is_accepted() -> None:
    text = PAGE.split("--mapping '")[1].split("'")[0]
    device = load_device("hbm2")
    address_map(parse_mapping(text, device, 16), device, 16)


def test_the_settings_of_the_page_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "stream.txt"
    stream.write_text("R 0x40\nW 0x80\n")
    for setting in ("timing.n_rcd_rd=16", "controller.refresh=per-bank"):
        assert f"`--set {setting}`" in PAGE
        assert main(["dram", str(stream), "--set", setting]) == 0
    assert "GB/s" in capsys.readouterr().out

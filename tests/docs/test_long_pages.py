"""The pages whose commands take longest do what they say: see test_pages.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from doc_pages import LONG, ROOT, page_name, run_page


@pytest.mark.parametrize("page", [ROOT / "docs" / name for name in LONG], ids=page_name)
def test_the_commands_of_a_page_run_in_an_empty_folder(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)

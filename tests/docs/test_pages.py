"""README and docs do what they say, and what they show of the code is the code's.

The pages that take longest are in test_long_pages.py, for another processor.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import types
from pathlib import Path

import matplotlib as mpl
import pytest

from doc_pages import COMMANDS, LONG, PAGES, PYTHON, ROOT, SHELL, blocks, is_command, page_name, run_page

DOCS = ROOT / "docs"
MOST_TAGS = 5
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def script(name: str) -> types.ModuleType:
    """A script of docs as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in LONG], ids=page_name)
def test_the_commands_of_a_page_run_in_an_empty_folder(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_few_commands_are_left_out() -> None:
    tags = [block for page in PAGES for block in blocks(page) if block.needs]
    assert len(tags) <= MOST_TAGS, [block.place for block in tags]
    assert all(len(block.needs) > 10 for block in tags)


def test_no_command_hides_in_a_block_that_does_not_run() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.kind not in (SHELL, PYTHON, "inline"):
                hidden = [line for line in block.text.splitlines() if line.split()[:1] and line.split()[0] in COMMANDS]
                assert not [line for line in hidden if is_command(line)], block.place


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in _LINK.findall(text):
            target, _, anchor = link.partition("#")
            if target.startswith("http"):
                continue
            path = (page.parent / target) if target else page
            assert path.exists(), f"{page_name(page)}: {link}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
                assert anchor in anchors, f"{page_name(page)}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    names = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert [name for name in sorted(names) if f"]({name})" not in index] == []


def test_the_reference_is_made_from_the_code() -> None:
    module = script("make_reference")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "make docs writes it anew"


def test_a_setting_without_a_description_is_found() -> None:
    @dataclasses.dataclass(frozen=True)
    class Silent:
        said: int = 1  #: something
        mute: int = 2

    with pytest.raises(LookupError, match=r"Silent\.mute"):
        list(script("make_reference").entries(Silent))


def test_the_gallery_is_what_is_drawn(tmp_path: Path) -> None:
    module = script("make_gallery")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "make gallery writes it anew"
    committed = {path.name: path.read_bytes() for path in module.FOLDER.iterdir()}
    assert sum(map(len, committed.values())) < 1_000_000
    for attempt in ("first", "again"):
        module.draw(tmp_path / attempt)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert drawn.keys() == committed.keys()
    if mpl.__version__ == module.DRAWN_WITH:
        assert [name for name, data in drawn.items() if data != committed[name]] == [], "make gallery draws them anew"

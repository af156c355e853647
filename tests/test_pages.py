"""Errors name a page of the documentation that exists, and `sparcade docs` prints it."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from sparcade import pages
from sparcade.cli import _COMMANDS, _PAGES, main
from sparcade.errors import ConfigError, MissingError, SparcadeError
from sparcade.pages import page_names, page_title, read_page

DOCS = Path(__file__).parent.parent / "docs"


def classes(base: type[SparcadeError] = SparcadeError) -> list[type[SparcadeError]]:
    for module in ("formal.prove", "synth.tools", "bench.runner"):
        try:
            importlib.import_module(f"sparcade_rtl.{module}")
        except ModuleNotFoundError:
            assert module == "formal.prove"  # needs Amaranth
    return [base, *(each for child in base.__subclasses__() for each in classes(child))]


def made(kind: type[SparcadeError]) -> SparcadeError:
    return kind("it is wrong", where="here", expected="a", got="b", remedy="c")


def test_every_class_of_errors_names_a_page_that_exists() -> None:
    found = classes()
    assert len(found) >= 10
    for kind in found:
        assert (DOCS / f"{kind.page}.md").is_file(), kind
        assert f"see:      docs/{kind.page}.md (sparcade docs {kind.page})" in str(made(kind)).splitlines()[-1]
    special = [kind for kind in found if kind not in (SparcadeError, ConfigError)]
    assert all(kind.page != SparcadeError.page for kind in special)


def test_an_error_crosses_processes_with_its_page() -> None:
    error = made(MissingError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is MissingError
    assert str(again) == str(error)


def test_the_list_has_every_page(capsys: Any) -> None:
    assert main(["docs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    on_disk = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
    assert [line.split()[0] for line in lines] == on_disk == page_names()
    assert page_title("glossary") == "Glossary"


def test_a_page_is_printed_as_it_is(capsys: Any) -> None:
    assert main(["docs", "policies"]) == 0
    assert capsys.readouterr().out == (DOCS / "policies.md").read_text(encoding="utf-8")
    assert read_page("policies.md") == read_page("policies")


@pytest.mark.parametrize(("name", "remedy"), [("polices", "did you mean 'policies'?"), ("../README", "did you mean")])
def test_a_page_that_does_not_exist(capsys: Any, name: str, remedy: str) -> None:
    assert main(["docs", name]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert remedy.partition("?")[0] in error or "use one of the names above" in error


def test_pages_of_the_wheel_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "only.md").write_text("# The only one\n")
    monkeypatch.setattr(pages, "__file__", str(tmp_path / "pages.py"))
    assert page_names() == ["only"]
    assert page_title("only") == "The only one"


def test_every_command_has_a_page_that_helps(capsys: Any) -> None:
    assert set(_PAGES) == {module.__name__.rpartition(".")[2] for module in _COMMANDS}
    assert set(_PAGES.values()) <= set(page_names())
    assert main(["run", "minilm", "--energy", "nope"]) == 2
    assert capsys.readouterr().err.endswith(
        "see:      docs/change-the-hardware.md (sparcade docs change-the-hardware)\n"
    )

"""The pages of docs/: in the wheel they lie in the package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

from sparcade.errors import SparcadeError, did_you_mean

_ENDING = ".md"


def page_names() -> list[str]:
    """Names of the pages: paths below docs/ without their ending, such as "policies"."""
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{_ENDING}"))


def read_page(name: str) -> str:
    """The Markdown text of a page.

    Raises
    ------
    SparcadeError
        When there is none of that name.
    """
    names = page_names()
    if name.removesuffix(_ENDING) not in names:
        raise SparcadeError(
            f"there is no page {name!r}",
            where=f"sparcade docs {name}",
            expected=f"one of: {', '.join(names)}",
            got=repr(name),
            remedy=did_you_mean(name, names),
        )
    return (_folder() / f"{name.removesuffix(_ENDING)}{_ENDING}").read_text(encoding="utf-8")


def page_title(name: str) -> str:
    """The first heading of a page."""
    lines = (line for line in read_page(name).splitlines() if line.startswith("# "))
    return next(lines, name).removeprefix("# ")


def _folder() -> Path:
    package = Path(__file__).parent
    inside = package / "docs"
    return inside if inside.is_dir() else package.parents[1] / "docs"

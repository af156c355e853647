"""The pages of README and docs as a reader uses them: from top to bottom, in one empty folder.

    python tests/doc_pages.py [--bin FOLDER] [PAGE ...]

runs pages; with --bin, on the installation with that bin folder. What runs, in the order of the page:

- blocks of `sh`, and inline code that begins with `sparcade`, `python` or `echo` and has an argument;
- blocks of `python`, all in one namespace; with `>>>` as doctests. One that begins with a comment `# NAME.py` is saved
  under that name instead, as are blocks of `toml`, `tsv` and `text` that begin so;
- the lines of an `output` block must be among those that the commands above it printed, in this order; `...` is any.

`examples` of the repository lies in the folder. `<!-- needs: REASON -->` above a block leaves it out. Inline code that
only names a command (`sparcade run`, `make test`), or says how one is used with upper-case words (`sparcade report
FOLDER`), does not run; its command and options, or targets, must exist.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
#: Pages of docs with the longest commands (models, RTL): tested on another processor than the rest.
LONG = ("accuracy.md", "sweep-on-a-cluster.md", "traces.md", "tutorial.md", "use-the-rtl.md")
COMMANDS = ("sparcade", "python", "make", "echo")
SHELL, PYTHON, FILES, OUTPUT = "sh", "python", ("toml", "tsv", "text"), "output"
#: A block left out, and why.
NEEDS = re.compile(r"<!-- needs: (.+) -->")
_FENCE = re.compile(r"^```(\w*)$")
_INLINE = re.compile(r"`([^`]+)`")
_FILE = re.compile(r"#\s+([\w.-]+\.\w+)$")
_PLACEHOLDER = re.compile(r"(?<![\w.-])[A-Z]{2,}\b|\.\.\.|\[")
#: Characters that only a shell understands.
_SHELL_ONLY = frozenset("|<>$;&*`(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of a page that does something."""

    page: str
    line: int
    kind: str  #: of the fence, or "inline"
    text: str
    needs: str = ""

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name that its first line gives it as a file."""
        named = _FILE.match(self.text.split("\n", 1)[0])
        return named[1] if named and self.kind in (PYTHON, *FILES) else None

    @property
    def commands(self) -> list[str]:
        """Shell commands, one each."""
        if self.kind == "inline":
            return [self.text] if is_command(self.text) else []
        if self.kind != SHELL or self.needs:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def page_name(page: Path) -> str:
    """README.md, docs/rtl.md."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Everything of a page that is a fence, or inline code that begins with a command."""
    found: list[Block] = []
    name, needs, kind, start = page_name(page), "", None, 0
    body: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if kind is not None:
            if line == "```":
                found.append(Block(page=name, line=start, kind=kind, text="\n".join(body), needs=needs))
                kind, needs = None, ""
            else:
                body.append(line)
        elif fence := _FENCE.match(line):
            kind, start, body = fence[1] or "plain", number, []
        elif tag := NEEDS.match(line):
            needs = tag[1]
        elif line.strip():
            needs = ""
            for span in _INLINE.findall(line.replace("\\|", "|")):
                if span.split()[0] in COMMANDS:
                    found.append(Block(page=name, line=number, kind="inline", text=span))
    return found


def is_command(span: str) -> bool:
    """Whether inline code can run as it stands; else it names a command, or says how one is used."""
    words = span.split()
    if words[0] == "make" or _PLACEHOLDER.search(span):
        return False
    if words[0] != "sparcade":
        return len(words) > 1
    return len(words) > 1 + len(_verbs(words))


def check_mention(block: Block) -> None:
    """Raise unless the command and options that inline code names exist."""
    words = block.text.split()
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= {*targets}, f"{block.place}: {block.text!r}"
    if words[0] != "sparcade":
        return
    known = {text for action in _parser(_verbs(words))._actions for text in action.option_strings}
    if len(words) > 1 and not _verbs(words):
        raise AssertionError(f"{block.place}: there is no command {block.text!r}")
    for word in words:
        option = word.strip("[]").partition("=")[0]
        if option.startswith("-") and option not in known:
            raise AssertionError(f"{block.place}: {block.text!r}: there is no option {option}")


@dataclass(slots=True)
class PageRun:
    """A page being run in a folder; `bin` names the installation, None for the one that runs this."""

    folder: Path
    bin: Path | None = None
    ran: int = 0
    printed: str = ""
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    doctests: str = ""  #: with `bin`: those of the page, run at its end

    def run(self, block: Block) -> None:
        """Carry out a block; an `AssertionError` says what went wrong."""
        if block.needs:
            return
        if block.file:
            (self.folder / block.file).write_text(block.text + "\n", encoding="utf-8")
        elif block.kind == PYTHON:
            self._python(block)
        elif block.kind == OUTPUT:
            self._compare(block)
        elif block.commands:
            self.printed = "".join(self._command(block, command) for command in block.commands)
            self.ran += len(block.commands)
        elif block.kind == "inline":
            check_mention(block)

    def end(self, page: Path) -> None:
        """Run what was kept for the end of a page."""
        if self.doctests:
            (self.folder / "page.txt").write_text(self.doctests, encoding="utf-8")
            self._command(Block(page=page_name(page), line=0, kind=SHELL, text=""), "python -m doctest page.txt")

    def _command(self, block: Block, command: str) -> str:
        if self.bin is None and command.startswith("sparcade ") and not _SHELL_ONLY & set(command):
            code, printed = _in_process(shlex.split(command, comments=True)[1:])
        else:
            path = f"{self.bin or Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=self.folder,
                env=os.environ | {"PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            code, printed = done.returncode, done.stdout
        assert code == 0, f"{block.place}: {command}\nexit code {code}\n{printed[-3000:]}"
        return printed

    def _python(self, block: Block) -> None:
        if self.bin is not None and ">>>" in block.text:
            self.doctests += f"{block.text}\n\n"
        elif self.bin is not None:
            self._command(block, f"python - <<'END'\n{block.text}\nEND")
        elif ">>>" not in block.text:
            with contextlib.redirect_stdout(io.StringIO()) as text:
                exec(compile(block.text, block.place, "exec"), self.names)
            self.printed = text.getvalue()
        else:
            test = doctest.DocTestParser().get_doctest(block.text, self.names, block.place, None, block.line)
            report = io.StringIO()
            runner = doctest.DocTestRunner()
            runner.run(test, out=report.write, clear_globs=False)
            self.names |= test.globs
            assert not runner.summarize(verbose=False).failed, report.getvalue()
        self.ran += 1

    def _compare(self, block: Block) -> None:
        lines = iter([line.rstrip() for line in self.printed.splitlines()])
        for wanted in block.text.splitlines():
            if wanted.strip() != "...":
                assert any(line == wanted.rstrip() for line in lines), (
                    f"{block.place}: not printed (in this order): {wanted!r}\n{self.printed}"
                )


def run_page(page: Path, folder: Path, bin_folder: Path | None = None) -> int:
    """Run a page in an empty folder; returns how many commands and Python blocks ran."""
    run = PageRun(folder=folder, bin=bin_folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    with _working_in(folder):
        for block in blocks(page):
            run.run(block)
        run.end(page)
    return run.ran


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before, columns, path, modules = Path.cwd(), os.environ.get("COLUMNS"), list(sys.path), set(sys.modules)
    os.chdir(folder)
    os.environ["COLUMNS"] = "90"
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _in_process(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of `sparcade`, without the second that a process takes to start."""
    from sparcade.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, text.getvalue()


def _parser(verbs: list[str]) -> argparse.ArgumentParser:
    """The parser of a command."""
    from unittest import mock

    from sparcade.cli import main

    kept: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser, *_: object) -> None:
        kept.append(parser)
        raise SystemExit

    with mock.patch.object(argparse.ArgumentParser, "parse_args", keep), contextlib.suppress(SystemExit):
        main([])
    parser = kept[0]
    for verb in verbs:
        parser = _choices(parser)[verb]
    return parser


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _verbs(words: list[str]) -> list[str]:
    """The words of a command that name it: ["trace", "info"]."""
    verbs: list[str] = []
    choices = _choices(_parser([]))
    for word in words[1:]:
        if word not in choices:
            break
        verbs.append(word)
        choices = _choices(choices[word])
    return verbs


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, help="bin folder of an installation; default: the one that runs this")
    options.add_argument("pages", nargs="*", type=Path, default=PAGES)
    chosen = options.parse_args()
    for each in chosen.pages:
        with tempfile.TemporaryDirectory() as scratch:
            count = run_page(each.resolve(), Path(scratch), chosen.bin and chosen.bin.resolve())
        sys.stdout.write(f"{page_name(each.resolve())}: {count} ran\n")

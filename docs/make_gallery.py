"""Write docs/gallery.md and the pictures of docs/gallery: `make gallery`, or `python docs/make_gallery.py`.

Pictures of runs are drawn from the bundled traces, in a few seconds; those of results that take longer to make are the
committed ones of reports/published. The same matplotlib (`DRAWN_WITH`) draws the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparcade.cli import main
from sparcade.report.run_report import RunReport, read_run
from sparcade.report.survival_figure import draw_tokens
from sparcade.report.svg import save_png, save_svg

DOCS = Path(__file__).resolve().parent
FOLDER = DOCS / "gallery"
PAGE = DOCS / "gallery.md"
PUBLISHED = DOCS.parent / "reports" / "published"
#: Another version may draw other bytes.
DRAWN_WITH = "3.11.2"
SWEEP = """# front.toml
workloads = "minilm"
compare = "dense"

[axes]
dram.channels = [2, 4, 8, 16]
policy.tokens.end = [0.25, 0.5, 0.75, 1.0]

[objectives]
cycles = "min"
output_cosine = "max"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of the page."""

    file: str
    title: str
    text: str
    draw: Callable[[Path, Path], None]  #: (scratch folder, where the picture goes)


def sparcade_command(line: str) -> None:
    """Run a command, silently."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if main(line.split()):
            raise SystemExit(f"failed: sparcade {line}")


def survival(scratch: Path, target: Path) -> None:
    """Tokens of a sentence, layer by layer."""
    detail = run_of(scratch).detail
    assert detail is not None
    sequence = detail.sequences[0]
    save_png(draw_tokens(sequence.steps[0], sequence.texts), target)


def layers(scratch: Path, target: Path) -> None:
    """DRAM, energy and cycles of each layer."""
    save_svg(run_of(scratch).picture(), target)


def run_of(scratch: Path) -> RunReport:
    """The run that pictures are drawn of."""
    if not (scratch / "run").exists():
        sparcade_command(f"run minilm --compare dense --out {scratch / 'run'}")
    return read_run(scratch / "run" / "result.json")


def front(scratch: Path, target: Path) -> None:
    """The Pareto front of a small sweep."""
    (scratch / "front.toml").write_text(SWEEP, encoding="utf-8")
    sparcade_command(f"sweep {scratch / 'front.toml'} --out {scratch / 'front'} --workers 1")
    sparcade_command(f"report {scratch / 'front'} --format png --out {target}")


PICTURES = (
    Picture(
        file="survival.png",
        title="Who survives",
        text="A sentence in `minilm` under `spatten-encoder`: who is read in each layer, and the importance that its "
        "tokens were chosen by. From the report of `sparcade run minilm`.",
        draw=survival,
    ),
    Picture(
        file="layers.svg",
        title="Where bytes, energy and cycles go",
        text="Per layer, beside dense on the same hardware. From `sparcade run minilm --compare dense`.",
        draw=layers,
    ),
    Picture(
        file="front.png",
        title="A front",
        text="DRAM channels and share of tokens kept against cycles and output cosine. From "
        "`sparcade sweep FILE.toml` and `sparcade report FOLDER`, on this file:\n\n```toml\n" + SWEEP + "```",
        draw=front,
    ),
)
#: Committed results: picture, title, text.
COMMITTED = (
    (
        "accuracy/stories260k-tokens/accuracy.svg",
        "Accuracy against cost",
        "Perplexity of stories260K in the closed loop over the share of tokens kept, ranked by importance and at "
        "random. [accuracy.md](accuracy.md) has all curves; `make accuracy`.",
    ),
    (
        "rtl_cycles/cycles.svg",
        "Cycles of the top-k engine",
        "Simulated RTL, model and the released formula over n and k. `sparcade rtl cycles` makes it, "
        "[use-the-rtl.md](use-the-rtl.md).",
    ),
    (
        "rtl_engines/engines.svg",
        "Two engines and a sorter",
        "Throughput, area and energy. `sparcade rtl compare`; [use-the-rtl.md](use-the-rtl.md).",
    ),
    ("rtl_synth/synth.svg", "Synthesis", "Area, depth and timing over lanes. `make synth`."),
)


def draw(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for picture in PICTURES:
            picture.draw(Path(scratch), folder / picture.file)


def page() -> str:
    """The page: pictures drawn here, committed ones, and those of the paper where they are."""
    parts = ["# Gallery", "What Sparcade draws; `make gallery` writes this page and its pictures."]
    for picture in PICTURES:
        parts += [f"## {picture.title}", picture.text, f"![{picture.title}](gallery/{picture.file})"]
    for file, title, text in COMMITTED:
        parts += [f"## {title}", text, f"![{title}](../reports/published/{file})"]
    figures = sorted(path.relative_to(PUBLISHED) for path in (PUBLISHED / "paper").rglob("*.svg"))
    if figures:
        parts += ["## The paper", "Its figures, made again: [paper.md](paper.md)."]
        parts += [f"![{path.stem}](../reports/published/{path.as_posix()})" for path in figures]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    draw(FOLDER)
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {sum(path.stat().st_size for path in FOLDER.iterdir()):,} bytes of pictures\n")

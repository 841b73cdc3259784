"""The HTML page about a run, or about several that are compared.

It has its pictures inside, no script, and nothing from elsewhere.
"""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

import pdeopt
from pdeopt.run.errors import UsageError
from pdeopt.run.pictures.canvas.style import styled
from pdeopt.run.pictures.comparison_figure import draw_comparison
from pdeopt.run.pictures.in_time.animation import animated_state
from pdeopt.run.pictures.run_pictures import ANIMATION_FILE, PICTURES
from pdeopt.run.report.report_tables import (
    TextTable,
    facts,
    history,
    nested,
    results,
    settings,
    side_by_side,
    split,
    two_columns,
    versions,
)
from pdeopt.run.store.directory import REPORT_FILE, refuse_foreign, write_text
from pdeopt.run.store.regular_file import is_regular, read_bytes
from pdeopt.run.store.stored_run import StoredRun, drawing_errors, read_runs, reading_errors

#: The captions of the pictures of a run directory by name, in their order on the page.
PICTURE_CAPTIONS = {
    "result": "Coefficient, data fit and state",
    "curves": "What sensors measured in time, and what is predicted there",
    "times": "Fields at some times",
    "animation": "State in time",
    "components": "Components of vectors",
    "parts": "Parts of the state",
    "complex": "Real part, magnitude and phase of a complex state",
    "segmentation": "Segmentation",
    "scene": "Coefficient in three dimensions",
    "live": "Coefficient while the run goes on",
    "history": "Objective, its terms and the norm of the gradient",
    "strength": "How the strength of the regularization was chosen",
    "reference": "Reference measurement and its prediction",
}
#: The bytes with which a PNG file begins.
PNG_START = b"\x89PNG\r\n\x1a\n"
#: The bytes with which a PNG file ends.
PNG_END = b"IEND\xaeB`\x82"
#: The bytes with which a GIF file begins.
GIF_START = b"GIF89a"
#: The byte with which a GIF file ends.
GIF_END = b"\x3b"
#: The number of pixels of a page for one of a picture: as large as on paper, where a page has 96 an inch.
PICTURE_SCALE = 96 / 150
#: The options of the command line that say where and how loudly, not what, and the number of words after each.
OUTPUT_OPTIONS = {"--out": 1, "--quiet": 0, "--verbose": 0, "--live": 0, "--no-pictures": 0}


@dataclass(frozen=True)
class PagePicture:
    """A PNG picture, or an animation in GIF, inside the page.

    Attributes:
        source: The content as a data: URI.
        width: The width at which it is shown, in pixels of the page.
        height: The height at which it is shown, in pixels of the page.
        caption: The text below the picture.
        alt: The text in place of the picture.
    """

    source: str
    width: int
    height: int
    caption: str
    alt: str

    @classmethod
    def of(cls, content: bytes, caption: str, alt: str) -> PagePicture:
        """Return the picture of a PNG or GIF file's content.

        Raises:
            ValueError: The content is no whole file of these.
        """
        if content.startswith(GIF_START) and content.endswith(GIF_END):
            width, height = (int.from_bytes(content[place : place + 2], "little") for place in (6, 8))
            return cls(_data_uri("gif", content), width, height, caption, alt)
        if not (content.startswith(PNG_START) and content.endswith(PNG_END)):
            raise ValueError("it is no whole PNG or GIF picture; 'pdeopt plot' draws it again")
        width, height = (round(int.from_bytes(content[place : place + 4], "big") * PICTURE_SCALE) for place in (16, 20))
        return cls(_data_uri("png", content), width, height, caption, alt)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


@dataclass(frozen=True)
class RunSection:
    """The section of the page about one run.

    Attributes:
        anchor: The name of the place on the page, for links.
        name: The short name of the run.
        title: The problem with the options that were given.
        status: The status of the run.
        message: The reason for its end, in words.
        facts: The outcome in a few numbers: name and text.
        command: The command that repeats the run; empty where it is not recorded.
        pictures: The pictures.
        tables: The tables that are shown.
        folded: The tables that are shown when they are unfolded.
        unverified: Whether it is known that derivatives were not verified.
    """

    anchor: str
    name: str
    title: str
    status: str
    message: str
    facts: list[tuple[str, str]]
    command: str
    pictures: list[PagePicture]
    tables: list[TextTable]
    folded: list[TextTable]
    unverified: bool


def write_report(directories: Sequence[Path], out: Path | None) -> Path:
    """Write the page about runs, and return its path.

    Args:
        directories: The run directories.
        out: The path of the page; None for report.html, of a single run in its directory.

    Raises:
        UsageError: A directory holds no run, or the page cannot be written.
    """
    runs = read_runs(directories)
    target = out or (directories[0] if len(runs) == 1 else Path()) / REPORT_FILE
    if out is None:
        refuse_foreign(target)
    with drawing_errors(runs.values()):
        text = _page(runs)
    try:
        write_text(target, text)
    except OSError as error:
        raise UsageError(f"cannot write the report {target}: {error.strerror or error}") from error
    return target


def _page(runs: Mapping[str, StoredRun]) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sections = [_section(f"run-{k}", name, run) for k, (name, run) in enumerate(runs.items(), 1)]
    return environment.get_template("page.html").render(
        title=sections[0].title if len(runs) == 1 else f"{len(runs)} runs compared",
        sections=sections,
        comparison=_comparison(runs) if len(runs) > 1 else None,
        version=pdeopt.__version__,
        today=date.today().isoformat(),
    )


def _comparison(runs: Mapping[str, StoredRun]) -> dict[str, Any]:
    with styled():
        content = _png(draw_comparison(runs))
    alt = f"Histories and reconstructions of {', '.join(runs)}"
    found = side_by_side("Settings", {name: settings(run) for name, run in runs.items()})
    different, same = split(found)
    return {
        "picture": PagePicture.of(content, "Histories, and reconstructions on one color scale", alt),
        "results": side_by_side("Results", {name: results(run) for name, run in runs.items()}),
        "different": different,
        "same": same,
    }


def _section(anchor: str, name: str, run: StoredRun) -> RunSection:
    return RunSection(
        anchor=anchor,
        name=name,
        title=run.title,
        status=run.status,
        message=run.summary.get("message", "there is no summary.json: the run goes on, or was ended from outside"),
        facts=facts(run),
        command=_command(run),
        pictures=_pictures(run),
        tables=[two_columns("Results", results(run)), *nested(run), two_columns("Settings", settings(run))],
        folded=[history(run), two_columns("Versions", versions(run))],
        unverified="verification" in run.summary and not run.summary["verification"],
    )


def _command(run: StoredRun) -> str:
    """Return the command that repeats a run in a folder of its own, "" where it is not recorded."""
    words, kept = run.words, []
    raised = ["--max-iterations", str(run.config.get("max_iterations"))] if run.config.get("resumed") else []
    dropped = {**OUTPUT_OPTIONS, **({raised[0]: 1} if raised else {})}
    while words:
        word = words.pop(0)
        name, joined, _ = word.partition("=")
        if name not in dropped:
            kept.append(word)
        elif not joined:
            del words[: dropped[name]]
    return shlex.join(["pdeopt", *kept, *raised]) if kept else ""


def _pictures(run: StoredRun) -> list[PagePicture]:
    """Return the pictures of the run directory; those that it does not have are drawn."""
    found = []
    for name, caption in PICTURE_CAPTIONS.items():
        path = run.path / (ANIMATION_FILE if name == "animation" else f"{name}.png")
        with reading_errors(path):
            content = read_bytes(path) if is_regular(path) else _drawn(name, run)
            if content is not None:
                found.append(PagePicture.of(content, caption, f"{caption} of {run.title}, {_outcome(run)}"))
    return found


def _outcome(run: StoredRun) -> str:
    return ", ".join([run.status, *(f"{name} {value}" for name, value in facts(run))])


def _drawn(name: str, run: StoredRun) -> bytes | None:
    if name == "animation" and run.fields is not None:
        with styled():
            return animated_state(run.fields)
    if name not in PICTURES:
        return None
    with styled():
        figure = PICTURES[name](run, "iterations")
    return None if figure is None else _png(figure)


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()

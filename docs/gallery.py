"""Sphinx extension: a page for every problem that `pdeopt list` shows, made by running it; and the pictures of pages.

The runs are kept in docs/_build, and made again when the problem file, its options here, or pdeopt's version changes. A
run that fails fails the build.
"""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import page_pictures
from kept_runs import Job, run_all
from PIL import Image
from sphinx.application import Sphinx

from pdeopt.cli import main
from pdeopt.run.problem_files.loading import first_line, problem_files

#: Options of the command, where the defaults take long.
OPTIONS: dict[str, tuple[str, ...]] = {
    "elastic_moduli": ("--n", "10"),
    "diffusion_in_time": ("--n", "4", "--steps", "16"),
    "eit_tank": ("--cells", "8", "--level", "4"),
    "hyperelastic_modulus": ("--n", "5"),
    "navier_stokes": ("--n", "8"),
    "p_laplace": ("--n", "16", "--gamma", "1e-8"),
    "thermal_recovery": ("--gradient-tolerance", "5e-3"),
}
PICTURES = {
    "result": "What was found, and how it fits the data.",
    "unknowns": "The parameters, one by one.",
    "curves": "What sensors measured in time, and what is predicted there.",
    "times": "Fields at some times.",
    "animation": "The state in time.",
    "parts": "The parts of the state.",
    "segmentation": "What the data are segmented into.",
    "reference": "The reference measurement, and how it is predicted.",
    "complex": "A state of complex numbers, and its adjoint.",
    "strength": "How the strength of the regularization was chosen.",
    "history": "The way there: the objective, its terms, and the norm of the gradient.",
}
#: Entries of summary.json in words; what a problem adds of its own is shown by its name.
NUMBERS = {
    "status": "status",
    "message": "because",
    "objective": "objective J(m)",
    "misfit": "misfit",
    "expected_misfit": "misfit that noise alone gives",
    "regularization": "regularization",
    "gradient_norm": "norm of the gradient",
    "relative_error": "relative error",
    "initial_relative_error": "relative error of the initial guess",
    "noise_level": "noise level σ",
    "data": "data",
    "parameters": "parameters",
    "regularization_strength": "strength of the regularization",
    "iterations": "iterations",
    "cg_iterations": "CG iterations",
    "evaluations": "evaluations",
    "factorizations": "factorizations",
    "solves": "solves",
    "optimizer": "optimizer",
    "inner_product": "inner product",
    "solver": "linear solver",
    "seconds": "seconds, compilation included",
}
DETAILS = {"problem", "discrepancy", "strength_rule"}
MARKUP = re.compile(r"([*_<>\[\]|\\])")


@dataclass(frozen=True)
class Entry:
    """A problem of the gallery: its name, its file, and the folder for what is made of it."""

    name: str
    file: Path
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def command(self) -> tuple[str, ...]:
        return ("run", self.name, *OPTIONS.get(self.name, ()))

    @property
    def job(self) -> Job:
        words = [*self.command, "--quiet", "--out", "run"]
        inputs = (self.file.read_text(encoding="utf-8"),)
        return Job(f"pdeopt {' '.join(self.command)}", self.folder, run_command, words, inputs)


def run_command(words: list[str]) -> None:
    """pdeopt with these words. Raises AssertionError where it fails."""
    assert main(words) == 0


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", _make)
    app.connect("source-read", page_pictures.place)
    return {"parallel_read_safe": True}


def _make(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    made, pages = docs / "_build" / "gallery", docs / "gallery"
    entries = [Entry(name, file, made / name) for name, file in problem_files().items()]
    run_all([*(entry.job for entry in entries), *page_pictures.jobs(docs)])
    for entry in entries:
        _thumbnail(entry.run)
    texts = {f"{entry.name}.md": _page(entry, pages) for entry in entries}
    _write({**texts, "index.md": _index(entries, pages)}, pages)


def _thumbnail(run: Path) -> None:
    """The upper row of the result, once."""
    if (run / "thumbnail.png").is_file():
        return
    with Image.open(run / "result.png") as picture:
        width, height = picture.size
        row = picture.convert("RGB").crop((0, int(0.045 * height), width, int(0.52 * height)))
    row.thumbnail((960, 960))
    row.save(run / "thumbnail.png")


def _page(entry: Entry, pages: Path) -> str:
    summary = json.loads((entry.run / "summary.json").read_text(encoding="utf-8"))
    return f"""# {entry.name}

{_mathematics(entry.file)}

## Run it

```sh
pdeopt {" ".join(entry.command)}
```

{_figures(entry.run, pages)}

## The numbers

{_table(summary)}

## The code

{{download}}`{entry.file.name} <{_from(pages, entry.file)}>`, after the lines above:

```{{literalinclude}} {_from(pages, entry.file)}
:language: python
:lines: {_end_of_docstring(entry.file) + 1}-
```
"""


def _mathematics(file: Path) -> str:
    """The docstring of a problem as Markdown: what is indented is a formula, nothing but backticks is markup."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return "\n".join(line if line.startswith("    ") else _escaped(line) for line in docstring.splitlines())


def _escaped(line: str) -> str:
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _end_of_docstring(file: Path) -> int:
    return ast.parse(file.read_text(encoding="utf-8")).body[0].end_lineno or 0


def _figures(run: Path, pages: Path) -> str:
    files = {path.stem: path for path in sorted([*run.glob("*.png"), *run.glob("*.gif")]) if path.stem != "thumbnail"}
    ordered = [name for name in (*PICTURES, *files) if name in files]
    return "\n\n".join(
        f":::{{figure}} {_from(pages, files[name])}\n:alt: {name} of the run\n\n"
        f"{PICTURES.get(name, name.replace('_', ' '))}\n:::"
        for name in dict.fromkeys(ordered)
    )


def _table(summary: dict[str, Any]) -> str:
    own = {name: f"`{name}`" for name in summary if name not in NUMBERS and not name.endswith("_solves")}
    rows = [
        f"| {label} | {_shown(value)} |"
        for name, label in {**NUMBERS, **own}.items()
        if name not in DETAILS and isinstance(value := summary.get(name), str | int | float) and value != 0
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def _shown(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _escaped(str(value))


def _index(entries: list[Entry], pages: Path) -> str:
    cards = "\n".join(_card(entry, pages) for entry in entries)
    names = "\n".join(entry.name for entry in entries)
    return f"""# Gallery

The problems that come with pdeopt. Each page was made by running its command, on {os.cpu_count()} cores that were
shared with other runs: times are upper limits.

::::{{container}} gallery
{cards}
::::

```{{toctree}}
:hidden:

{names}
```
"""


def _card(entry: Entry, pages: Path) -> str:
    picture = _from(pages, entry.run / "thumbnail.png")
    return f""":::{{container}} card
[![{entry.name}]({picture})]({entry.name}.md)

**[{entry.name}]({entry.name}.md)**

{_escaped(first_line(entry.file))}
:::"""


def _from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _write(texts: dict[str, str], folder: Path) -> None:
    """Only what has changed, so that only that is built again; pages of problems that are gone go, too."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""The documentation is run, as a reader would: every block of code on every page, in order, in an empty folder.

Python blocks of a page share their names. In sh blocks each line is a command. A text block right after one shows the
beginning of its output, or parts of it, line by line; numbers and spacing may differ, words not. An HTML comment above
a block says what else is to be done with it:

    <!-- not run: REASON -->    its commands are parsed only
    <!-- added to FILE -->      it is a part of that file
    <!-- part of FILE -->       it stands in that file, which a command wrote
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pdeopt.cli import main
from pdeopt.run.arguments import parse

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
#: Pages without a block that is run.
NOTHING_TO_RUN = {
    "docs/changelog.md": "CHANGELOG.md",
    "docs/conventions.md": "names and formats; the other pages use them",
    "docs/index.md": "README.md",
    "docs/performance.md": "measurements, each with the command that took it",
    "docs/theory.md": "formulas",
    "docs/your_own_mesh_and_data.md": "to be written",
}
#: Pages that take more than about 20 seconds.
LONG = ("README.md", "docs/command_line.md")
BLOCK = re.compile(r"(?:<!-- (not run|added to|part of):? (.*?) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
#: Words of a command that stand for something the reader has.
PLACEHOLDER = re.compile(r"[A-Z]{3,}")


class Block(NamedTuple):
    """One block of code: what the comment above says, about what, in which language."""

    role: str
    what: str
    language: str
    code: str


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page):
    return [Block(*found) for found in BLOCK.findall(text_of(page))]


def commands_of(block):
    """The words of each line; comments are gone, and so is what sets up an environment."""
    lines = [shlex.split(line, comments=True) for line in block.code.splitlines()]
    return [words for words in lines if words and words[0] not in ("pip", "uv")]


def is_run(block, words):
    return block.role != "not run" and not any(PLACEHOLDER.fullmatch(word) for word in words)


def executed(page):
    """The blocks of a page of which something is run."""
    blocks = [block for block in blocks_of(page) if block.role != "not run"]
    return [
        block
        for block in blocks
        if block.language == "python" or (block.language == "sh" and any(is_run(block, w) for w in commands_of(block)))
    ]


def check_words(words):
    """That a command could be run: its options exist."""
    if words[0] == "pdeopt":
        parse(words[1:])
    else:
        assert (ROOT / words[1]).is_file(), words


def run_words(words):
    """A command of pdeopt in this process, a script of this repository in another."""
    if words[0] == "pdeopt":
        assert main(words[1:]) == 0, words
    else:
        assert words[0] == "python", words
        subprocess.run([sys.executable, ROOT / words[1], *words[2:]], check=True)


def masked(text):
    """The lines without their numbers and spacing."""
    numbers = re.compile(r"[-+]?\b\d[\d.]*(e[-+]?\d+)?")
    return [re.sub(r"\s+", " ", numbers.sub("#", line)).strip() for line in text.splitlines()]


def run_page(page, capsys):
    """Do what a page says, in the current folder; returns the names that its Python blocks define."""
    namespace: dict = {}
    output = ""
    for block in blocks_of(page):
        if block.role == "added to":
            with Path(block.what).open("a", encoding="utf-8") as file:
                file.write("\n\n" + block.code)
        elif block.role == "part of":
            assert block.code.strip() in Path(block.what).read_text(encoding="utf-8"), f"{page}: {block.code}"
        elif block.language == "text":
            assert set(masked(block.code)) <= {*masked(output), "…"}, f"{page} shows another output than\n{output}"
        elif block.language == "python":
            exec(compile(block.code, page, "exec"), namespace)
        elif block.language == "sh":
            for words in commands_of(block):
                (run_words if is_run(block, words) else check_words)(words)
        output = capsys.readouterr().out if block.language in ("sh", "python") else output
    return namespace


def in_turn(page):
    marks = [pytest.mark.slow] if page in LONG else []
    return pytest.param(page, marks=marks)


@pytest.mark.parametrize("page", [in_turn(page) for page in PAGES if page not in NOTHING_TO_RUN])
def test_page_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    SHOWN.get(page, lambda names: None)(run_page(page, capsys))


@pytest.mark.parametrize("page", PAGES)
def test_only_the_pages_of_the_table_run_nothing(page):
    assert bool(executed(page)) != (page in NOTHING_TO_RUN)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_run_has_a_reason_and_is_parsed(page):
    skipped = [block for block in blocks_of(page) if block.role == "not run"]
    for block in skipped:
        assert block.what
        assert block.language == "sh"
        for words in commands_of(block):
            check_words(words)


def test_little_is_not_run():
    commands = [words for page in PAGES for b in blocks_of(page) if b.language == "sh" for words in [(b, commands_of(b))]]
    skipped = [words for block, all_words in commands for words in all_words if not is_run(block, words)]
    assert len(skipped) <= 4, skipped


def readme(names):
    assert names["result"].status == "converged"
    assert names["error"] < 0.1


def optimizers(names):
    assert names["result"].status == "converged"
    assert names["result"].iterations <= 30
    assert names["choice"].status == "converged"


def impedance_tomography(names):
    truth, image, places = names["truth"], names["image"], names["V"].locations
    assert np.hypot(*(places[:, image.argmin()] - places[:, truth.argmin()])) < 0.02
    assert names["jacobian"].shape == (16, 16, len(image))


def wall(names):
    with np.load("runs/wall/result.npz") as result:
        assert result["coefficient"].shape == result["truth"].shape


#: What is to be seen after a page was done.
SHOWN = {
    "README.md": readme,
    "docs/which_optimizer_and_regularization.md": optimizers,
    "docs/impedance_tomography.md": impedance_tomography,
    "docs/adding_a_problem.md": wall,
}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page))
    made = ("gallery/", "api/")  # by Sphinx, and written in reStructuredText; it checks them
    missing = [x for x in links if not x.startswith(made) and not (ROOT / page).parent.joinpath(x).exists()]
    assert not missing


@pytest.mark.parametrize("room", ["sparse", "fem", "pde", "inverse", "optimize", "optimize.strength", "verify", "eit"])
def test_the_reference_has_all_public_names(room, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from plain_docstrings import public_names

    page = (ROOT / f"docs/api/{room}.rst").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto(?!module)\w+:: (\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(public_names(room))

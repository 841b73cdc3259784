"""Run a page of the documentation as a reader would: every block of code, in order, in the current folder.

Python blocks of a page share their names. In sh blocks each line is a command; those that set up an environment (pip,
uv) are passed over, and those with a word in capitals, which stands for something the reader has, are parsed only. A
text block after a sh or python block shows lines of its output: times, spacing, and the last digits of numbers may
differ. A comment above a block says what else is to be done with it:

    <!-- not run: REASON -->    its commands are parsed only
    <!-- added to FILE -->      it is a part of that file
    <!-- part of FILE -->       it stands in that file, which a command wrote

`python docs/code_blocks.py PAGE` does it.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from pdeopt.cli import main
from pdeopt.cli.arguments import parse
from pdeopt.sparse import clear_memo

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?:<!-- (not run|added to|part of):? (.*?) -->\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z]{3,}")
NUMBER = re.compile(r"[-+]?\b\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TIME = re.compile(r"\b[\d.]+ s\b")
#: Numbers that are shown agree with those that come out to this part of them, or to rounding.
TOLERANCE, ROUNDING = 0.1, 1e-9


class Block(NamedTuple):
    """A block of code: what the comment above says, and about what; its language and its text."""

    role: str
    what: str
    language: str
    code: str


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page of Markdown, those within its directives too, which are in no language that is run."""
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command of a block, without comments and without what sets up an environment."""
    if block.language != "sh":
        return []
    lines = [shlex.split(line, comments=True) for line in block.code.splitlines()]
    return [words for words in lines if words and words[0] not in ("pip", "uv")]


def is_run(block: Block, words: list[str]) -> bool:
    return block.role != "not run" and not any(PLACEHOLDER.fullmatch(word) for word in words)


def runs_something(block: Block) -> bool:
    if block.language == "python":
        return block.role != "not run"
    return any(is_run(block, words) for words in commands_of(block))


def check(words: list[str]) -> None:
    """That a command could be run: its options, or its script, exist. Raises UsageError, AssertionError."""
    if words[0] == "pdeopt":
        parse(words[1:])
    else:
        assert (ROOT / words[1]).is_file(), words


def run(words: list[str]) -> None:
    """A command of pdeopt in this process, a script of this repository in another."""
    if words[0] == "pdeopt":
        clear_memo()  # or a command would find the factorizations of those before it
        status = main(words[1:])
        assert status == 0, f"{' '.join(words)} ended with status {status}"
    else:
        assert words[0] == "python", words
        subprocess.run([sys.executable, ROOT / words[1], *words[2:]], check=True)


def run_page(page: Path) -> dict[str, Any]:
    """Do what a page says, in the current folder; returns the names that its Python blocks define.

    Raises AssertionError where a command fails, or where the page shows what is not there.
    """
    names: dict[str, Any] = {}
    output = ""
    for block in blocks_of(page):
        if block.role == "added to":
            _add(block)
        elif block.role == "part of":
            assert block.code.strip() in Path(block.what).read_text(encoding="utf-8"), block.code
        elif block.language == "text":
            _compare(block.code, output)
        elif block.language in ("sh", "python"):
            output = _output(block, page, names)
    return names


def _add(block: Block) -> None:
    with Path(block.what).open("a", encoding="utf-8") as file:
        file.write(("\n\n" if file.tell() else "") + block.code)


def _output(block: Block, page: Path, names: dict[str, Any]) -> str:
    with redirect_stdout(io.StringIO()) as output:
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
        for words in commands_of(block):
            (run if is_run(block, words) else check)(words)
    return output.getvalue()


def _compare(shown: str, output: str) -> None:
    missing = [line for line in shown.splitlines() if line != "…" and not _is_in(line, output.splitlines())]
    assert not missing, f"shown is {missing}, the output was\n{output}"


def _is_in(shown: str, lines: list[str]) -> bool:
    words, numbers = _taken_apart(shown)
    return any(words == other and all(map(_agree, numbers, found)) for other, found in map(_taken_apart, lines))


def _taken_apart(line: str) -> tuple[str, list[float]]:
    """A line without numbers, times and spacing, and the numbers."""
    timeless = TIME.sub("", line)
    return " ".join(NUMBER.sub("#", timeless).split()), [float(number) for number in NUMBER.findall(timeless)]


def _agree(a: float, b: float) -> bool:
    return abs(a - b) <= max(TOLERANCE * abs(a), ROUNDING)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]).resolve())

"""The text of Abaqus and CalculiX decks: keywords, options and data lines, also of included files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pdeopt.io.errors import FileError

#: The keywords whose data lines are read.
MESH_KEYWORDS = {"NODE", "ELEMENT", "NSET", "ELSET", "SURFACE", "INSTANCE"}
#: The keywords that make or move nodes and elements in ways that are not read.
UNREAD_KEYWORDS = {"NGEN", "NFILL", "NCOPY", "NMAP", "ELGEN", "ELCOPY", "SYSTEM"}
#: The largest depth to which files include each other.
MAX_INCLUDE_DEPTH = 20
#: The largest number of files of a deck, those that it includes among them.
MAX_FILES = 1000


class Line(NamedTuple):
    """A data line.

    Attributes:
        number: The number of the line in its file, from 1.
        cells: The texts between its commas.
        goes_on: Whether it goes on in the next line.
        after_blank: Whether a blank line precedes it.
    """

    number: int
    cells: list[str]
    goes_on: bool
    after_blank: bool


class Block(NamedTuple):
    """A keyword with its data lines.

    Attributes:
        path: The file that the keyword is in.
        number: The number of the keyword's line in it, from 1.
        keyword: The keyword, in capitals.
        options: The value of each option, by its name in capitals; "" for options without a value.
        lines: The data lines, empty for keywords that say nothing about the mesh.
    """

    path: Path
    number: int
    keyword: str
    options: dict[str, str]
    lines: list[Line]

    def at(self, line: Line | None = None) -> str:
        """Return the place of the keyword, or of a data line, as the beginning of a message.

        Args:
            line: The data line; None for the keyword.
        """
        return f"{self.path}, line {line.number if line else self.number}"

    def option(self, name: str) -> str:
        """Return the value of an option.

        Args:
            name: The name of the option, in capitals.

        Raises:
            FileError: The option is missing, or has no value.
        """
        if not self.options.get(name):
            raise FileError(f"{self.at()}: *{self.keyword} has no {name}=…, which says what it defines")
        return self.options[name]


def blocks_of(path: Path, depth: int = 0, opened: list[Path] | None = None) -> Iterator[Block]:
    """Yield the keywords of a deck in their order, those of included files in their place.

    Args:
        path: The path of the deck.
        depth: How deep this file is included; 0 for the deck itself.
        opened: The files that were opened before this one; None for the deck itself.

    Raises:
        FileError: Included files are missing, include each other or are too many, nodes or elements are generated, or
            data lines precede the first keyword.
    """
    opened = [] if opened is None else opened
    opened.append(path)
    if len(opened) > MAX_FILES:
        raise FileError(
            f"{path}: more than {MAX_FILES} files are included; expected fewer: do they include each other?"
        )
    if depth > MAX_INCLUDE_DEPTH:
        raise FileError(f"{path}: files include each other, {MAX_INCLUDE_DEPTH} deep; expected an end")
    block: Block | None = None
    for piece in _pieces(path):
        if isinstance(piece, Line):
            if block is None:
                raise FileError(f"{path}, line {piece.number}: no Abaqus deck: expected a keyword such as *NODE")
            block.lines.append(piece)
            continue
        if block is not None:
            yield from _completed(block, depth, opened)
        block = piece
    if block is not None:
        yield from _completed(block, depth, opened)


def _pieces(path: Path) -> Iterator[Block | Line]:
    """Yield the keywords of one file, and the data lines of those that matter; comments are left out.

    Raises:
        FileError: A keyword makes or moves nodes or elements.
    """
    lines = path.read_bytes().decode(errors="replace").splitlines()
    matters, after_blank, k = True, False, 0
    while k < len(lines):
        text, number = lines[k].strip(), k + 1
        k += 1
        if text.startswith("**"):
            continue
        if not text:
            after_blank = True
        elif text.startswith("*"):
            while text.endswith(",") and k < len(lines) and not lines[k].startswith("*"):
                text, k = text + lines[k].strip(), k + 1
            keyword, *options = (cell.strip() for cell in text[1:].split(","))
            pairs = (option.partition("=") for option in options if option)
            block = Block(path, number, " ".join(keyword.upper().split()), {}, [])
            block.options.update({name.strip().upper(): value.strip().strip('"') for name, _, value in pairs})
            if block.keyword in UNREAD_KEYWORDS:
                raise FileError(
                    f"{block.at()}: *{block.keyword} makes or moves nodes or elements and is not read; write the deck "
                    "with all of them listed (in Abaqus/CAE: Job → Write Input)"
                )
            matters, after_blank = block.keyword in MESH_KEYWORDS, False
            yield block
        elif matters:
            cells = [cell.strip().strip('"') for cell in text.split(",")]
            yield Line(number, cells[:-1] if text.endswith(",") else cells, text.endswith(","), after_blank)
            after_blank = False


def _completed(block: Block, depth: int, opened: list[Path]) -> Iterator[Block]:
    """Yield a block with the lines of the file that it names; for ``*INCLUDE``, the blocks of that file.

    Raises:
        FileError: The file that it names is missing.
    """
    name = block.options.get("INPUT")
    if name is None or (block.keyword != "INCLUDE" and block.keyword not in MESH_KEYWORDS):
        yield block
        return
    path = block.path.parent / name
    if not path.is_file():
        raise FileError(f"{block.at()}: the file {name!r} that it includes is missing; keep the two together")
    if block.keyword == "INCLUDE":
        yield from blocks_of(path, depth + 1, opened)
    else:
        own = [piece for piece in _pieces(path) if isinstance(piece, Line)]
        yield Block(path, block.number, block.keyword, block.options, own + block.lines)

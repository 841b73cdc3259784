"""The check of a Gmsh file by its text: its reader takes a file that is cut short for a whole one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pdeopt.io.errors import FileError

#: The line of a physical group: its dimension, its number and its name.
PHYSICAL_NAME = re.compile(rb'\s*(\d)\s+(-?\d+)\s+"(.*)"\s*')
#: The sections that hold rows of numbers.
NUMBER_SECTIONS = {b"Entities", b"Nodes", b"Elements"}
#: The message where nodes have parametric coordinates.
PARAMETRIC_MESSAGE = (
    "nodes have parametric coordinates, which are not read: save it without (in Gmsh: Mesh.SaveParametric = 0)"
)


def is_gmsh(path: Path) -> bool:
    """Return whether a file begins like a .msh file of Gmsh."""
    with path.open("rb") as file:
        return file.read(20).lstrip().startswith((b"$MeshFormat", b"$Comments"))


def check_sections(path: Path) -> None:
    """Check the sections of a .msh file.

    Args:
        path: The path of the file.

    Raises:
        FileError: The file is cut short or damaged, gives one name to two groups, numbers nodes from 0, is partitioned,
            or has parametric coordinates.
    """
    content = path.read_bytes()
    lines = content.splitlines()
    _check_end(path, lines)
    _check_names(path, lines)
    _check_kind(path, lines)
    if _version(lines)[0].startswith(b"2") and not _is_binary(lines):
        _check_counts(path, lines)
        _check_numbering(path, lines)
    if _version(lines)[0] in (b"4", b"4.1"):
        _check_nodes(path, content, lines)


def announced_elements(path: Path) -> int | None:
    """Return the number of elements that a .msh file announces, or None where it announces none."""
    content = path.read_bytes()
    lines = content[:10_000].splitlines()
    _, found, rest = content.partition(b"$Elements")
    if found and _is_binary(lines) and _version(lines)[0].startswith(b"4"):
        header = np.frombuffer(rest[:32].partition(b"\n")[2][:16], "<u8")
        return int(header[1]) if len(header) == 2 else None
    words = rest[:200].lstrip().split(b"\n")[0].split()
    number = words[-1:] if len(words) < 2 else words[1:2]
    return int(number[0]) if number and number[0].isdigit() else None


def _check_kind(path: Path, lines: list[bytes]) -> None:
    """Refuse a partitioned mesh and parametric coordinates, which meshio does not read.

    Raises:
        FileError: The mesh is one of these; the message names the option of Gmsh that changes it.
    """
    if any(line.startswith(b"$PartitionedEntities") for line in lines):
        raise FileError(
            f"{path}: the mesh is partitioned, which is not read: save it whole (in Gmsh: Mesh → Unpartition, or "
            "Mesh.NbPartitions = 0)"
        )
    if any(line.startswith(b"$ParametricNodes") for line in lines):
        raise FileError(f"{path}: {PARAMETRIC_MESSAGE}")


def _check_nodes(path: Path, content: bytes, lines: list[bytes]) -> None:
    """Refuse blocks of nodes that are fewer than announced: the reader would invent the others.

    Raises:
        FileError: There are fewer or more nodes than announced, they have parametric coordinates, or the file is of
            format 4.0 and its header says 4.
    """
    section = content.partition(b"$Nodes")[2].partition(b"$EndNodes")[0]
    if _is_binary(lines):
        data = section.partition(b"\n")[2]  # a number may begin with the byte of a line end
        (blocks, announced), at, found = np.frombuffer(data[:16], "<u8") if len(data) >= 32 else (0, 0), 32, 0
        for _ in range(blocks):
            if at + 20 > len(data):
                return
            (parametric,), (n,) = np.frombuffer(data, "<i4", 1, at + 8), np.frombuffer(data, "<u8", 1, at + 12)
            if parametric:
                raise FileError(f"{path}: {PARAMETRIC_MESSAGE}")
            at, found = at + 20 + 32 * int(n), found + int(n)
    else:
        words = section.split()
        if _version(lines)[0] == b"4" and len(section[:200].lstrip().partition(b"\n")[0].split()) == 2:
            raise FileError(f"{path}: the file is of format 4.0, and its header says 4: save it as 4.1 or 2.2")
        if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
            return  # first_unreadable_place says where
        blocks, announced = map(int, words[:2])
        at, found = 4, 0
        for _ in range(blocks):
            head = words[at : at + 4]
            if len(head) < 4 or not head[3].isdigit():
                return
            if head[2] != b"0":
                raise FileError(f"{path}: {PARAMETRIC_MESSAGE}")
            at, found = at + 4 + 4 * int(head[3]), found + int(head[3])
    if found != announced:
        raise FileError(
            f"{path}: section $Nodes announces {announced} nodes, and its blocks hold {found}: it is damaged; write it "
            "anew"
        )


def first_unreadable_place(path: Path) -> str:
    """Return the place of the first line that should hold numbers and does not, to begin a message with.

    For a binary file, and where there is no such line, it is the path alone.
    """
    lines = path.read_bytes().splitlines()
    if _is_binary(lines):
        return f"{path}"
    for name, start, end in _sections(lines):
        for k in range(start + 1, end) if name in NUMBER_SECTIONS else ():
            if not _are_numbers(lines[k]):
                return f"{path}, line {k + 1}: {_shown(lines[k])} in section ${name.decode()} is no row of numbers"
    return f"{path}"


def _check_end(path: Path, lines: list[bytes]) -> None:
    last = max((k for k, line in enumerate(lines) if line.strip()), default=-1)
    if _is_binary(lines):
        name = lines[last].rpartition(b"$End")[2].strip()
        if b"$End" not in lines[last] or b"$" + name not in lines:
            raise FileError(f"{path}: the binary file is cut short: it does not end with $EndElements; write it anew")
        return
    for name, start, end in _sections(lines):
        if end > last:
            raise FileError(
                f"{path}, line {last + 1}: the file is cut short: section ${name.decode(errors='replace')}, begun in "
                f"line {start + 1}, has no $End{name.decode(errors='replace')}; it ends with {_shown(lines[last])}"
            )


def _check_names(path: Path, lines: list[bytes]) -> None:
    """Refuse two groups of one name: the reader keeps groups by name, and would forget the first.

    Raises:
        FileError: Two groups have one name.
    """
    seen: dict[bytes, tuple[int, bytes]] = {}
    for name, start, end in _sections(lines[:10_000]):  # names come first
        for k in range(start + 1, end) if name == b"PhysicalNames" else ():
            match = PHYSICAL_NAME.fullmatch(lines[k])
            if match and match[3] in seen:
                line, dimension = seen[match[3]]
                raise FileError(
                    f"{path}, line {k + 1}: the name {match[3].decode(errors='replace')!r} is given to a physical group"
                    f" of dimension {match[1].decode()}, and in line {line} to one of dimension {dimension.decode()}; "
                    "give each group a name of its own"
                )
            if match:
                seen[match[3]] = k + 1, match[1]


def _check_counts(path: Path, lines: list[bytes]) -> None:
    for name, start, end in _sections(lines):
        if name in NUMBER_SECTIONS and start + 1 < end and lines[start + 1].strip().isdigit():
            announced, found = int(lines[start + 1]), sum(bool(line.strip()) for line in lines[start + 2 : end])
            if announced != found:
                raise FileError(
                    f"{path}, line {start + 2}: section ${name.decode()} announces {announced} rows and has {found}"
                )


def _check_numbering(path: Path, lines: list[bytes]) -> None:
    """Refuse a node 0: the reader would take it for the last one.

    Raises:
        FileError: There is a node 0.
    """
    for name, start, end in _sections(lines):
        for k in range(start + 2, end) if name in (b"Nodes", b"Elements") else ():
            words = lines[k].split()
            tags = words[2] if name == b"Elements" and len(words) > 3 else b""
            nodes = words[3 + int(tags) :] if tags.isdigit() else words[: name == b"Nodes"]
            if b"0" in nodes:
                raise FileError(f"{path}, line {k + 1}: there is a node 0; expected nodes that are numbered from 1")


def _sections(lines: list[bytes]) -> list[tuple[bytes, int, int]]:
    """Return (name, first line, last line) of each section; lines count from 0.

    The last line is ``len(lines)`` where it is missing.
    """
    found: list[tuple[bytes, int, int]] = []
    name, start = b"", 0
    for k, line in enumerate(lines):
        if not line.startswith(b"$"):
            continue
        if not name:
            name, start = line[1:].strip(), k
        elif line.strip() == b"$End" + name:
            found.append((name, start, k))
            name = b""
    return [*found, (name, start, len(lines))] if name else found


def _version(lines: list[bytes]) -> list[bytes]:
    """Return the version of the format, 0 for ASCII or 1 for binary, and the size of numbers in bytes."""
    at = next((k for k, line in enumerate(lines) if line.strip() == b"$MeshFormat"), len(lines))
    words = lines[at + 1].split() if at + 1 < len(lines) else []
    return words if len(words) == 3 else [b"4", b"0", b"8"]


def _is_binary(lines: list[bytes]) -> bool:
    return _version(lines)[1] == b"1"


def _are_numbers(line: bytes) -> bool:
    try:
        [float(word) for word in line.split()]
    except ValueError:
        return False
    return True


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return repr(text if len(text) <= 40 else text[:40] + "…")

"""Meshes from Abaqus and CalculiX decks: nodes, elements, sets, surfaces, parts and instances."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from pdeopt.io.errors import FileError, did_you_mean
from pdeopt.io.meshes.formats.abaqus_text import Block, Line, blocks_of
from pdeopt.io.meshes.formats.numbering import numbering_warnings

#: The kinds of plane elements, by their number of nodes.
PLANE_KINDS = {3: "triangle", 4: "quad", 6: "triangle6", 8: "quad8", 9: "quad9"}
#: The kinds of solid elements, by their number of nodes.
SOLID_KINDS = {
    **{4: "tetra", 5: "pyramid", 6: "wedge", 8: "hexahedron", 10: "tetra10", 15: "wedge15"},
    **{20: "hexahedron20", 27: "hexahedron27"},
}
#: The kinds of elements of curves, by their number of nodes.
CURVE_KINDS = {2: "line", 3: "line3"}
#: The names of element types as patterns, whose group is the number of nodes, with their kinds by that number.
ELEMENT_TYPES = (
    (re.compile(r"STRI(6)5"), PLANE_KINDS),
    (re.compile(r"(?:AC|DC|C)3D(\d+)[A-Z]*"), SOLID_KINDS),
    (re.compile(r"(?:CPS|CPE|CPEG|CAX|CGAX|[DA]C2D|[DA]CAX|DS|SFM3D|M3D|R3D|STRI|S)([34689])[A-Z]*\d?"), PLANE_KINDS),
    (re.compile(r"(?:T[23]D|[DA]C1D|[DA]CAX|R2D|RAX)([23])[A-Z]*"), CURVE_KINDS),
)
#: The names of beams and pipes; the pattern's group is their number of nodes less one.
BEAM_TYPE = re.compile(r"(?:B|PIPE)[23]([12])[A-Z]*")
#: The names of elements that are no part of a domain: they join points, or stand at one.
POINTWISE_TYPE = re.compile(r"MASS|ROTARYI|(?:SPRING|DASHPOT)[12A]|CONN[23]D2")
#: The number of nodes of an element, by its kind.
NODES_OF_KIND = {kind: count for kinds in (PLANE_KINDS, SOLID_KINDS, CURVE_KINDS) for count, kind in kinds.items()}
#: The vertices of each edge, by the kind of element.
EDGES_OF_KIND = {"triangle": ((0, 1), (1, 2), (2, 0)), "quad": ((0, 1), (1, 2), (2, 3), (3, 0))}
#: The vertices of face S1, S2, … by the kind of element.
FACES_OF_KIND: dict[str, tuple[tuple[int, ...], ...]] = {
    **{f"triangle{order}": EDGES_OF_KIND["triangle"] for order in ("", "6")},
    **{f"quad{order}": EDGES_OF_KIND["quad"] for order in ("", "8", "9")},
    **{f"tetra{order}": ((0, 1, 2), (0, 3, 1), (1, 3, 2), (2, 3, 0)) for order in ("", "10")},
    **{
        f"hexahedron{order}": (
            *((0, 1, 2, 3), (4, 7, 6, 5), (0, 4, 5, 1)),
            *((1, 5, 6, 2), (2, 6, 7, 3), (3, 7, 4, 0)),
        )
        for order in ("", "20", "27")
    },
}
#: The kind of a facet, by its number of vertices.
FACET_KINDS = {2: "line", 3: "triangle", 4: "quad"}

#: A number or a name in a part's instance, "" where there are none.
Key = tuple[str, Any]


class Entry(NamedTuple):
    """A data line of a set or surface.

    Attributes:
        scope: The instance in which the set is defined, "" for the assembly.
        instance: The instance whose numbers the line holds.
        block: The keyword to which the line belongs.
        line: The data line.
    """

    scope: str
    instance: str
    block: Block
    line: Line


class Deck:
    """The nodes, elements, sets and surfaces of a deck.

    Attributes:
        path: The path of the deck.
        points: The coordinates x, y, z of each node.
        nodes: The place in ``points`` of each node, by (instance, number).
        elements: The place in ``kinds`` and ``corners`` of each element, by (instance, number).
        kinds: The kind of each element.
        corners: The nodes of each element, by place.
        pointwise: The nodes, by place, of each element that is left out, by its (instance, number).
        sets: The pieces in which each set is defined, by "NSET", "ELSET" or "SURFACE" and then by (scope, name in
            capitals).
        spelling: The spelling of each name where it is written first, by the name in capitals.
        notes: What may be wrong with the deck.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: list[list[float]] = []
        self.nodes: dict[Key, int] = {}
        self.elements: dict[Key, int] = {}
        self.kinds: list[str] = []
        self.corners: list[list[int]] = []
        self.pointwise: dict[Key, list[int]] = {}
        self.notes: list[str] = []
        self.sets: dict[str, dict[Key, list[Entry]]] = {"NSET": {}, "ELSET": {}, "SURFACE": {}}
        self.spelling: dict[str, str] = {}
        for instance, block in _in_place(path):
            read = {"NODE": self._nodes, "ELEMENT": self._elements}.get(block.keyword)
            if read:
                read(instance, block)
            elif block.keyword in self.sets:
                name = block.option("NAME" if block.keyword == "SURFACE" else block.keyword)
                self._add(block.keyword, instance, name, block, block.lines or [Line(block.number, [], False, False)])
        if not self.elements:
            raise FileError(f"{path}: there are no elements; expected *NODE and *ELEMENT with their data")

    def _nodes(self, instance: str, block: Block) -> None:
        for line in block.lines:
            number, x = _integer(block, line, line.cells[0]), [_number(block, line, cell) for cell in line.cells[1:4]]
            if not x or (instance, number) in self.nodes:
                what = f"node {number} is there twice" if x else "a node without coordinates"
                raise FileError(f"{block.at(line)}: {what}; expected each node once, as number, x, y, z")
            self.nodes[instance, number] = len(self.points)
            self.points.append(x + [0.0] * (3 - len(x)))
        if "NSET" in block.options:
            self._add("NSET", instance, block.options["NSET"], block, [_first(line) for line in block.lines])

    def _elements(self, instance: str, block: Block) -> None:
        if POINTWISE_TYPE.fullmatch(block.option("TYPE").upper()):
            self._pointwise(instance, block)
            return
        kind, last, firsts = _kind(block), 0, []
        lines = iter(block.lines)
        for line in lines:
            numbers, first = [_integer(block, line, cell) for cell in line.cells if cell], line
            while len(numbers) <= NODES_OF_KIND[kind] and (more := next(lines, None)):
                line, numbers = more, numbers + [_integer(block, more, cell) for cell in more.cells if cell]
            if len(numbers) != NODES_OF_KIND[kind] + 1:
                raise FileError(
                    f"{block.at(line)}: an element of {len(numbers) - 1} nodes; {block.options['TYPE']} has "
                    f"{NODES_OF_KIND[kind]}: a line before it may be cut or missing"
                )
            number, nodes = numbers[0], numbers[1:]
            lost = [node for node in nodes if (instance, node) not in self.nodes]
            if lost or (instance, number) in self.elements:
                what = f"has node {lost[0]}, which the deck does not define" if lost else "is there twice"
                raise FileError(f"{block.at(line)}: element {number} {what}")
            if first.after_blank and number > last + 1 > 1:
                raise FileError(
                    f"{block.at(first)}: a blank line before it, and numbers {last + 1} to {number - 1} are missing: "
                    "a line was lost there; write the deck anew, or remove the blank line if that is as meant"
                )
            self.elements[instance, number] = len(self.kinds)
            self.kinds.append(kind)
            self.corners.append([self.nodes[instance, node] for node in nodes])
            firsts.append(_first(first))
            last = number
        if "ELSET" in block.options:
            self._add("ELSET", instance, block.options["ELSET"], block, firsts)

    def _pointwise(self, instance: str, block: Block) -> None:
        for line in block.lines:
            nodes = [(instance, int(cell)) for cell in line.cells[1:] if cell.isdecimal()]
            found = [self.nodes[node] for node in nodes if node in self.nodes]
            self.pointwise[instance, _integer(block, line, line.cells[0])] = found
        self.notes.append(f"{block.at()}: {len(block.lines)} elements of type {block.options['TYPE']} are left out")
        if "ELSET" in block.options:
            self._add("ELSET", instance, block.options["ELSET"], block, [_first(line) for line in block.lines])

    def public(self, what: str) -> list[Key]:
        """Return the keys of all sets of one kind, without those that Abaqus made for itself.

        Args:
            what: The kind of the sets: "NSET", "ELSET" or "SURFACE".
        """
        return [key for key, entries in self.sets[what].items() if "INTERNAL" not in entries[0].block.options]

    def nodes_of_surface(self, key: Key) -> set[int]:
        """Return the nodes of a surface of nodes, by place.

        Args:
            key: The scope and name of the surface.
        """
        entries = (entry for entry in self.sets["SURFACE"][key] if entry.line.cells)
        return {n for e in entries for n in self._of("NSET", e, e.line.cells[0])}

    def _add(self, what: str, scope: str, name: str, block: Block, lines: list[Line]) -> None:
        self.spelling.setdefault(name.upper(), name)
        instance = block.options.get("INSTANCE", scope).upper()
        self.sets[what].setdefault((scope, name.upper()), []).extend(Entry(scope, instance, block, k) for k in lines)

    def members(self, what: str, key: Key, above: tuple[Key, ...] = ()) -> set[int]:
        """Return the nodes or elements of a set in all its pieces, by place.

        Those of the sets in it are among them.

        Args:
            what: The kind of the set: "NSET" or "ELSET".
            key: The scope and name of the set.
            above: The keys of the sets that hold this one.

        Raises:
            FileError: The deck does not define a member, or a set holds itself.
        """
        found: set[int] = set()
        for entry in self.sets[what][key]:
            block, line = entry.block, entry.line
            source = block.options.get("ELSET") if (what, block.keyword) == ("NSET", "NSET") else None
            if source:  # the nodes of these elements
                found |= {node for e in self._of("ELSET", entry, source) for node in self.corners[e]}
            elif "GENERATE" in block.options and line.cells:
                found |= self._generated(what, entry)
            else:
                for cell in line.cells:
                    found |= self._of(what, entry, cell, (*above, key)) if cell else set()
        return found

    def _generated(self, what: str, entry: Entry) -> set[int]:
        """Return those nodes or elements of a range of numbers that the deck defines, by place.

        Decks have ranges with holes in them, and ranges that reach beyond the last number: this is noted.

        Args:
            what: The kind of the set: "NSET" or "ELSET".
            entry: The data line with the range.

        Raises:
            FileError: The line is no range, or the deck defines none of its numbers.
        """
        _, instance, block, line = entry
        table = self.nodes if what == "NSET" else self.elements
        given = [_integer(block, line, cell) for cell in line.cells if cell]
        if len(given) not in (2, 3) or given[0] > given[1] or min(given[2:], default=1) < 1:
            raise FileError(f"{block.at(line)}: {given} is no range; expected its first and last number, and a step")
        first, end, step = (*given, 1)[:3]
        numbers, count = range(first, end + 1, step), (end - first) // step + 1
        few = numbers if count < len(table) else (n for where, n in table if where == instance)
        found = {table[instance, n] for n in few if n in numbers and (instance, n) in table}
        left_out = sum(what == "ELSET" and where == instance and n in numbers for where, n in self.pointwise)
        missing = count - len(found) - left_out
        which = f"{block.at(line)}: from {first} to {end} by {step}"
        if missing == count:
            raise FileError(f"{which}: the deck defines none of these numbers")
        if missing:
            self.notes.append(f"{which}: the deck does not define {missing} of these {count} numbers")
        return found

    def _of(self, what: str, entry: Entry, text: str, above: tuple[Key, ...] = ()) -> set[int]:
        """Return the nodes or elements that a number or the name of a set stands for, by place.

        Args:
            what: The kind of the set: "NSET" or "ELSET".
            entry: The data line that has the number or name.
            text: The number or name.
            above: The keys of the sets that hold this one.

        Raises:
            FileError: The deck does not define it, or a set holds itself.
        """
        block, line, scopes, given = entry.block, entry.line, [entry.instance, entry.scope, ""], text
        if not any((scope, text.upper()) in self.sets[what] for scope in scopes):  # names may have dots in them
            within, _, rest = text.upper().rpartition(".")
            scopes, text = ([within], rest) if within else (scopes, text)
        table = self.nodes if what == "NSET" else self.elements
        if text.isdecimal():
            within = scopes[0]
            if what == "ELSET" and (within, int(text)) in self.pointwise:
                return set()
            if (within, int(text)) not in table:
                thing = "node" if what == "NSET" else "element"
                name = block.options.get("NAME") or block.options.get(what, "")
                raise FileError(
                    f"{block.at(line)}: {name!r} names {thing} {text}, which the deck does not define: lines are "
                    "missing there, or the set is of another mesh"
                )
            return {table[within, int(text)]}
        for key in ((scope, text.upper()) for scope in scopes):
            if key in self.sets[what]:
                if key in above:
                    raise FileError(f"{block.at(line)}: the set {text!r} holds itself; expected sets of other sets")
                return self.members(what, key, above)
        known = [self.spelling[name] for _, name in self.sets[what]]
        raise FileError(
            f"{block.at(line)}: there is no *{what} {given!r}, and it is no number{did_you_mean(given, known)}"
        )

    def faces(self, key: Key) -> list[tuple[int, ...]]:
        """Return the facets of a surface in all its pieces, each as its vertices, by place.

        The vertices of each are in an order whose normal points outward.

        Args:
            key: The scope and name of the surface.

        Raises:
            FileError: The deck does not define the elements, or they have no such face.
        """
        found: list[tuple[int, ...]] = []
        for entry in (entry for entry in self.sets["SURFACE"][key] if entry.line.cells):
            block, line = entry.block, entry.line
            face = line.cells[1].upper() if len(line.cells) > 1 else ""
            members = self._of("ELSET", entry, line.cells[0])
            if face in ("SPOS", "SNEG"):  # the element is a facet itself
                turn = 1 if face == "SPOS" else -1
                found += [tuple(self.corners[e][: 3 if "tri" in self.kinds[e] else 4])[::turn] for e in members]
                continue
            for element in members:
                sides = FACES_OF_KIND.get(self.kinds[element], ())
                letters = "SE" if sides and len(sides[0]) == 2 else "S"  # the edges of shells are E1, E2, …
                if face and not (face[:1] in letters and face[1:] in map(str, range(1, len(sides) + 1))):
                    raise FileError(
                        f"{block.at(line)}: {face!r} is no face of {self.kinds[element]}; expected S1, S2, …"
                    )
                for side in [sides[int(face[1:]) - 1]] if face else sides:
                    facet = tuple(self.corners[element][vertex] for vertex in side)
                    if face or self._owners[frozenset(facet)] == 1:
                        found.append(self._outward(element, facet))
        return found

    @cached_property
    def _owners(self) -> Counter[frozenset[int]]:
        """The number of elements that have each facet, by its vertices."""
        pairs = ((nodes, FACES_OF_KIND.get(kind, ())) for kind, nodes in zip(self.kinds, self.corners, strict=True))
        return Counter(frozenset(nodes[vertex] for vertex in side) for nodes, sides in pairs for side in sides)

    def _outward(self, element: int, facet: tuple[int, ...]) -> tuple[int, ...]:
        """Return the vertices of a facet in an order whose normal points out of the element.

        The normal points to the right of a curve.

        Args:
            element: The place of the element.
            facet: The vertices of the facet, by place.
        """
        x = np.array([self.points[node] for node in facet])
        along = x[-1] - x[0]
        normal = np.cross(x[1] - x[0], along) if len(facet) > 2 else np.array([along[1], -along[0], 0.0])
        out = x.mean(0) - np.mean([self.points[node] for node in self.corners[element]], 0)
        return facet if normal @ out > 0 else facet[::-1]


def read_deck(path: Path) -> tuple[Any, list[str]]:
    """Return the mesh of a deck as a meshio mesh, and what may be wrong with it.

    Args:
        path: The path of the deck.

    Returns:
        The mesh, whose cell sets are element sets and surfaces and whose point sets are node sets and surfaces of
        nodes, and warnings.

    Raises:
        FileError: The deck has elements of unknown types, names numbers or sets that it does not define, or generates a
            part of it: see `pdeopt.io.meshes.formats.abaqus_text`.
    """
    import meshio

    deck = Deck(path)
    kinds = list(dict.fromkeys(deck.kinds))
    of_kind = {kind: [k for k, other in enumerate(deck.kinds) if other == kind] for kind in kinds}
    place = {element: (row, kind) for kind, members in of_kind.items() for row, element in enumerate(members)}
    cells = [(kind, np.array([deck.corners[e] for e in members])) for kind, members in of_kind.items()]
    groups: dict[str, dict[int, list[int]]] = {}  # name → block → rows
    points: dict[str, set[int]] = {}
    numbers = [np.array([number for _, number in keys]) for keys in (deck.nodes, [*deck.elements, *deck.pointwise])]
    loose = np.array([node for nodes in deck.pointwise.values() for node in nodes], int)
    notes = numbering_warnings(path, numbers[0], [*(nodes for _, nodes in cells), loose], numbers[1])
    for key in deck.public("ELSET"):
        group = groups.setdefault(deck.spelling[key[1]], {})
        for element in sorted(deck.members("ELSET", key)):
            row, kind = place[element]
            group.setdefault(kinds.index(kind), []).append(row)
    for key in deck.public("NSET"):
        points.setdefault(deck.spelling[key[1]], set()).update(deck.members("NSET", key))
    for key in deck.public("SURFACE"):
        name, block = deck.spelling[key[1]], deck.sets["SURFACE"][key][0].block
        kind = block.options.get("TYPE", "ELEMENT").upper()
        if kind == "NODE":
            points.setdefault(name, set()).update(deck.nodes_of_surface(key))
        elif kind != "ELEMENT" or {"COMBINE", "CROP", "TRIM"} & set(block.options):
            notes.append(f"{block.at()}: the surface {name!r} is left out: it does not list faces of elements or nodes")
        else:
            for count, facets in groupby(sorted(deck.faces(key), key=len), len):
                groups.setdefault(name, {})[len(cells)] = list(range(len(rows := list(facets))))
                cells.append((FACET_KINDS[count], np.array(rows)))
    sets = {name: [np.array(group.get(k, []), int) for k in range(len(cells))] for name, group in groups.items()}
    node_sets = {name: np.array(sorted(members), int) for name, members in points.items()}
    notes += dict.fromkeys(deck.notes)
    return meshio.Mesh(np.array(deck.points), cells, cell_sets=sets, point_sets=node_sets), notes


def _in_place(path: Path) -> Iterator[tuple[str, Block]]:
    """Yield the blocks of a deck, each with the name of its instance, "" where it is in none.

    The blocks of a part come where the part is put into the assembly, and are moved there. Without an assembly they
    come last, under the name of their part where there are several.

    Args:
        path: The path of the deck.

    Raises:
        FileError: An instance is of a part that the deck does not define, or its position is none.
    """
    parts: dict[str, list[Block]] = {}
    current: list[Block] | None = None
    instance, move, placed = "", None, False
    for block in map(_cartesian, blocks_of(path)):
        if block.keyword == "PART":
            current = parts.setdefault(block.option("NAME").upper(), [])
        elif block.keyword == "END PART":
            current = None
        elif current is not None:
            current.append(block)
        elif block.keyword == "INSTANCE":
            instance, move, placed = block.option("NAME").upper(), _movement(block), True
            part = block.options.get("PART", "").upper()
            if part and part not in parts:
                raise FileError(f"{block.at()}: there is no *PART {part!r}{did_you_mean(part, list(parts))}")
            yield from ((instance, _moved(own, move)) for own in parts.get(part, []))
        elif block.keyword == "END INSTANCE":
            instance, move = "", None
        else:
            yield instance, _moved(block, move)
    if not placed:  # parts without an assembly
        yield from (("" if len(parts) == 1 else name, block) for name, blocks in parts.items() for block in blocks)


def _movement(block: Block) -> list[tuple[Line, list[float]]]:
    """Return the data lines of an instance, each with its numbers: a translation, then a rotation.

    The translation is dx, dy, dz; the rotation is two points of its axis and an angle in degrees.

    Raises:
        FileError: There are other lines or numbers.
    """
    lines = [(line, [_number(block, line, cell) for cell in line.cells]) for line in block.lines]
    if len(lines) > 2 or [len(x) for _, x in lines] not in ([], [3], [3, 7]):
        raise FileError(
            f"{block.at()}: no position of an instance; expected dx, dy, dz and x1, y1, z1, x2, y2, z2, angle"
        )
    return lines


def _cartesian(block: Block) -> Block:
    """Return nodes of radius, angle in degrees and z as nodes of x, y and z, other blocks as they are.

    Raises:
        FileError: The nodes are in another coordinate system than a Cartesian or cylindrical one.
    """
    system = block.options.get("SYSTEM", "").upper() or "R"
    if block.keyword != "NODE" or system == "R":
        return block
    if system != "C":
        expected = "expected R (Cartesian) or C (cylindrical)"
        raise FileError(f"{block.at()}: nodes of SYSTEM={system} are not read; {expected}: write x, y, z")
    lines = []
    for line in block.lines:
        radius, degrees, *z = [_number(block, line, cell) for cell in [*line.cells[1:4], "0", "0"]][:3]
        x = (radius * np.cos(np.radians(degrees)), radius * np.sin(np.radians(degrees)), *z)
        lines.append(line._replace(cells=[line.cells[0], *(repr(float(xi)) for xi in x)]))
    return block._replace(lines=lines)


def _moved(block: Block, move: list[tuple[Line, list[float]]] | None) -> Block:
    if block.keyword != "NODE" or not move:
        return block
    lines = []
    for line in block.lines:
        x = np.array([*(_number(block, line, cell) for cell in line.cells[1:4]), 0.0, 0.0, 0.0])[:3] + move[0][1]
        for _, (*ends, angle) in move[1:]:
            a, b = np.reshape(ends, (2, 3))
            x = a + Rotation.from_rotvec(np.radians(angle) * (b - a) / np.linalg.norm(b - a)).apply(x - a)
        lines.append(line._replace(cells=[line.cells[0], *map(repr, x.tolist())]))
    return block._replace(lines=lines)


def _kind(block: Block) -> str:
    given = block.option("TYPE").upper()
    if match := BEAM_TYPE.fullmatch(given):
        return CURVE_KINDS[int(match[1]) + 1]
    for pattern, kinds in ELEMENT_TYPES:
        if (match := pattern.fullmatch(given)) and int(match[1]) in kinds:
            return kinds[int(match[1])]
    raise FileError(
        f"{block.at()}: elements of type {given!r} are not read; expected such as CPS3, CPS4, C3D4, C3D8 and T2D2: "
        "take them out of the deck where they are no part of the domain"
    )


def _first(line: Line) -> Line:
    return line._replace(cells=line.cells[:1])


def _integer(block: Block, line: Line, cell: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", cell):
        raise FileError(f"{block.at(line)}: {cell!r} is no whole number; expected one in *{block.keyword}")
    return int(cell)


def _number(block: Block, line: Line, cell: str) -> float:
    try:
        return float(cell.upper().replace("D", "E") or 0)
    except ValueError as error:
        raise FileError(f"{block.at(line)}: {cell!r} is no number; expected coordinates") from error

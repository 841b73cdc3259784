"""Sphinx extension: docstrings that were written to be read in an editor, as reStructuredText.

In them `x` is code, |x| an absolute value, x* a name, and a paragraph that is indented a formula. Items of "Args:" and
"Attributes:" may share a line, ``weight: α. smoothing: ε.``
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy.typing
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import stringify_annotation

#: The rooms of pdeopt that have a page.
ROOMS = sorted(page.stem for page in (Path(__file__).parent / "api").glob("*.rst"))
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Example:")
CODE = re.compile(r"(``.+?``|`[^`]+`)")
#: What ArrayLike of JAX and NumPy stand for.
ARRAY_LIKES = [stringify_annotation(kind, "smart") for kind in (jax.typing.ArrayLike, numpy.typing.ArrayLike)]
MARKUP = re.compile(r"([|*_\\])")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _convert, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _find_public)
    return {"parallel_read_safe": True}


def _readable(app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, returns: str | None):
    """Without what is no Python (defaults made anew for each object), and with ArrayLike by its name."""
    for long in ARRAY_LIKES if signature else ():
        signature = signature.replace(long, "~numpy.typing.ArrayLike")
    return signature and signature.replace("<factory>", "..."), returns


def _convert(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _formulas(_one_item_a_line([_escaped(line) for line in lines], _items(value)))
    if what in ("attribute", "data", "property"):
        lines.insert(0, "\\ ")  # nothing; or napoleon takes what stands before a colon for a type


def _escaped(line: str) -> str:
    """Nothing but backticks is markup; >>> lines are Python."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = CODE.split(line)
    parts[::2] = [MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _items(value: Any) -> set[str]:
    """What "Args:" and "Attributes:" of an object may name."""
    try:
        names = set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        names = set()
    return names | set(getattr(value, "__annotations__", {}))


def _one_item_a_line(lines: list[str], names: set[str]) -> Iterator[str]:
    """Split lines of a section before the names that are explained there."""
    known = "|".join(re.escape(MARKUP.sub(r"\\\1", name)) for name in sorted(names))
    item = re.compile(rf"(?<=\.) (?=(?:{known})(?:, (?:{known}))*: )") if names else None
    section = False
    for line in lines:
        if line.strip():
            section = line in SECTIONS[:2] or (section and line.startswith("    "))
        indent = line[: len(line) - len(line.lstrip())]
        parts = item.split(line.lstrip()) if item and section else [line.lstrip()]
        yield from (indent + part for part in parts)


def _formulas(lines: Iterator[str]) -> list[str]:
    """Paragraphs that are indented, outside of sections, become literal blocks."""
    result: list[str] = []
    section = False
    for line in lines:
        if line.strip() and not line.startswith(" "):
            section = line in SECTIONS
        if line.startswith("    ") and not section and not (result and result[-1].startswith("    ")):
            starts = not result or not result[-1].strip()
            result += ["::", ""] if starts and not line.lstrip().startswith(">>>") else []
        result.append(line)
    return result


def _find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Links to public names from wherever they are mentioned, and by whichever module they are defined in."""
    target = node["reftarget"]
    name = target.split(".")[-1]
    if node.get("refdomain") != "py" or len(target) < 3:  # letters of formulas
        return None
    rooms = [room for room in ROOMS if target == name or target.startswith(f"pdeopt.{room}.")]
    public = [f"pdeopt.{room}.{name}" for room in rooms if name in importlib.import_module(f"pdeopt.{room}").__all__]
    if len(public) != 1:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", public[0], node, content)

"""Sphinx: the documentation site. `uv run --group docs sphinx-build -W --keep-going -b html docs docs/_build/html`."""

import importlib
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import jax  # noqa: E402
import numpy.typing  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx.addnodes import pending_xref  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.environment import BuildEnvironment  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import pdeopt  # noqa: E402

project = "pdeopt"
copyright = "the authors of pdeopt, MIT license"
version = release = pdeopt.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "gallery",
]
exclude_patterns = ["_build"]
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    (r"py:obj", r".*"),  # single backticks in docstrings: code, and a link where it names something public
    (r"py:class", r"(np|numpy|sp|scipy|jax|skfem|collections|pathlib|optional|float|int|str)\b.*"),
    (r"py:class", r"pdeopt\.(inversion|run)\..*|Figure|pandas\..*"),  # what a solution is made of
    (r"py:class", r"AnyParameter|ArrayLike|BoundsLike|Values"),  # short names of unions, which the docstrings spell out
    (r"py:class", r"pdeopt\..*\.Symmetric"),  # any object that multiplies like a symmetric matrix
    # types that are made and taken by public functions, and are nothing to build on
    (r"py:class", r"pdeopt\..*\.(Coefficients|Equation|Factor|Inclusion|PhantomObject|Rows|Tables|\w+Product)"),
    (r"py:class", r"pdeopt\..*\.(PreparedSolves|StepTable|TimePoints)"),
]
smartquotes_action = "D"  # dashes only

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
napoleon_use_param = False  # "gamma, delta: …" stays one item
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"pdeopt {version}"
html_static_path = ["_static"]
html_css_files = ["pdeopt.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = ">>> |\\.\\.\\. |\\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"

#: The rooms of pdeopt that have a page, with their public names.
PUBLIC = {
    room: importlib.import_module(f"pdeopt.{room}").__all__
    for room in sorted(page.stem for page in (DOCS / "api").glob("*.rst"))
}


def public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Link a name, or the module that defines it, to the room that exports it, if there is exactly one."""
    path, _, name = node["reftarget"].rpartition(".")
    rooms = [room for room in PUBLIC if name in PUBLIC[room] and (not path or path.startswith(f"pdeopt.{room}."))]
    if node.get("refdomain") != "py" or len(rooms) != 1:
        return None
    target = f"pdeopt.{rooms[0]}.{name}"
    return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)


def readable(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write ArrayLike by its name, and a default that every object makes anew as an ellipsis."""
    if signature:
        for array_like in (jax.typing.ArrayLike, numpy.typing.ArrayLike):
            signature = signature.replace(stringify_annotation(array_like, "smart"), "~numpy.typing.ArrayLike")
        signature = signature.replace("<factory>", "...")
    return signature, returns


def setup(app: Sphinx) -> None:
    """Connect `public_name` and `readable` to Sphinx."""
    app.connect("missing-reference", public_name)
    app.connect("autodoc-process-signature", readable)

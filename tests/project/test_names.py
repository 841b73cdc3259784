"""Names of constants: one meaning each in the whole project, one a line; and first lines of docstrings."""

import ast
from pathlib import Path

PDEOPT = Path(__file__).parents[2] / "pdeopt"

#: The largest number of characters of the first line of a docstring.
MAX_FIRST_LINE = 100


def constants(path):
    """Each constant of a module, with what it is set to, and whether the assignment sets no other name."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            yield from ((name.id, ast.unparse(node.value), len(names) == 1) for name in names if name.id.isupper())


FOUND = [(path.relative_to(PDEOPT), *found) for path in sorted(PDEOPT.rglob("*.py")) for found in constants(path)]


def test_a_constant_has_one_value_in_the_whole_project():
    places = {}
    for path, name, value, _ in FOUND:
        places.setdefault(name, {}).setdefault(value, []).append(str(path))
    several = {name: values for name, values in places.items() if len(values) > 1}
    assert not several, f"give each meaning a name of its own: {several}"


def test_each_constant_is_set_on_a_line_of_its_own():
    assert not [f"{path}: {name}" for path, name, _, alone in FOUND if not alone]


def long_first_lines(text):
    """The first lines of the docstrings of a module that are too long."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    return [text.partition("\n")[0] for text in texts if len(text.partition("\n")[0]) > MAX_FIRST_LINE]


def test_the_first_line_of_a_docstring_is_short():
    found = {str(path.relative_to(PDEOPT)): long_first_lines(path.read_text()) for path in PDEOPT.rglob("*.py")}
    assert not {path: lines for path, lines in found.items() if lines}
    assert long_first_lines(f'def f():\n    """{101 * "x"}\n\n    More.\n    """\n') == [101 * "x"]

"""The rooms of the design, read off the imports: which may know which, and which libraries each may use."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "pdeopt").rglob("*.py"))
#: What each room may import of the others, besides itself.
ROOMS = {
    "pdeopt": set(),
    "sparse": set(),
    "fem": {"sparse"},
    "pde": {"sparse", "fem"},
    "inverse": {"sparse", "fem", "pde", "optimize"},
    "io": {"sparse", "fem"},
    "eit": {"sparse", "fem", "pde", "inverse", "optimize", "io"},
    "optimize": set(),
    "verify": set(),
    "run": {"sparse", "fem", "pde", "inverse", "io", "eit", "optimize", "verify", "run", "pdeopt"},
    "cli": {"sparse", "fem", "pde", "inverse", "io", "eit", "optimize", "verify", "run", "pdeopt"},
    "__main__": {"cli", "pdeopt"},
}
#: Where each library may be imported, as beginnings of paths inside pdeopt/.
LIBRARIES = {
    "skfem": ("fem/", "io/", "eit/tank", "run/"),
    "rslab": ("sparse/solvers/",),
    "cvxopt": ("sparse/solvers/",),
    "pyamg": ("sparse/solvers/",),
    "pypardiso": ("sparse/solvers/",),
    "scipy.sparse.linalg": ("sparse/solvers/",),
    "scipy.optimize": ("optimize/",),
    "matplotlib": ("run/",),
    "mpl_toolkits": ("run/",),
    "meshio": ("run/", "io/"),
    "jinja2": ("run/",),
    "pyvista": ("run/",),
    "rich": ("run/", "cli.py"),
    "argparse": ("run/", "cli.py"),
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def imports(path, deferred=True):
    """All modules that a file imports, ``from a import b`` as both a and a.b; ``deferred``: also inside functions."""
    tree = ast.parse(path.read_text())
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)}
    typing_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for n in ast.walk(block)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in typing_only or (not deferred and id(node) in inside):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "pdeopt"


def internal(path, deferred=True):
    """Modules of pdeopt that a file imports."""
    return {name for name in imports(path, deferred) if name in MODULES and name != module_name(path)}


def test_the_rooms_are_those_of_the_design():
    assert {room(module) for module in MODULES} - {"problems"} <= set(ROOMS)
    assert set(ROOMS) <= {room(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module):
    home = room(module)
    for name in internal(MODULES[module]):
        assert room(name) in ROOMS[home] | {home}, f"{module} ({home}) imports {name}"


def test_only_the_roof_knows_the_roof():
    for module, path in MODULES.items():
        if room(module) not in ("run", "cli", "__main__"):
            assert not {room(name) for name in internal(path)} & {"run", "cli"}, module
        if room(module) == "run":
            assert "cli" not in {room(name) for name in internal(path)}, module


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_in_its_room_only(library):
    for path in FILES:
        used = any(name == library or name.startswith(library + ".") for name in imports(path))
        inside = str(path.relative_to(ROOT / "pdeopt")).startswith(LIBRARIES[library])
        assert inside or not used, f"{path.relative_to(ROOT)} imports {library}"


def test_there_are_no_import_cycles():
    graph = {module: internal(path, deferred=False) - {module} for module, path in MODULES.items()}
    # a package's own __init__ collects its modules; importing a sibling module runs it, but needs nothing of it
    for module in graph:
        graph[module] = {name for name in graph[module] if not module.startswith(name + ".")}
    done, path = set(), []

    def visit(module):
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for name in sorted(graph[module]):
            visit(name)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_no_module_bears_the_name_of_a_function_that_it_exports():
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        assert module.split(".")[-1] not in defined, module
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            siblings = {name.split(".")[-1] for name in MODULES if name.startswith(module + ".")}
            exported = {
                alias.asname or alias.name
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            assert not siblings & exported, f"{module}: {siblings & exported}"


HEAVY = ["matplotlib", "meshio", "rich", "jinja2", "pyvista"]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pdeopt", [*HEAVY, "jax", "skfem", "scipy"]),
        ("pdeopt.sparse", [*HEAVY, "skfem", "scipy.optimize", "pyamg"]),
        ("pdeopt.inverse", [*HEAVY, "scipy.optimize"]),
        ("pdeopt.optimize", [*HEAVY, "jax", "skfem", "pdeopt.sparse", "scipy.optimize"]),
        ("pdeopt.verify", [*HEAVY, "jax", "skfem", "pdeopt.sparse", "scipy"]),
    ],
)
def test_importing_a_room_does_not_import(module, unwanted):
    report = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_starts_without_heavy_libraries():
    report = "import sys, pdeopt.cli; print([m for m in ('jax', 'matplotlib', 'skfem', 'meshio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

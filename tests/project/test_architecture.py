"""The rooms of the design, read off the imports: which may know which, and which libraries each may use."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "pdeopt").rglob("*.py"))
#: What each room may import of the others, besides itself.
CORE = {"sparse", "fem", "pde", "inverse", "optimize", "verify", "inversion"}
ROOMS = {
    "errors": set(),
    "pdeopt": {"api"},  # its names, when they are asked for
    "sparse": set(),
    "fem": {"sparse"},
    "pde": {"sparse", "fem"},
    "inverse": {"sparse", "fem", "pde", "optimize"},
    "io": {"sparse", "fem"},
    "optimize": set(),
    "verify": set(),
    "inversion": CORE,
    "eit": {"sparse", "fem", "pde", "inverse", "optimize", "io"},
    "run": {*CORE, "io", "pdeopt"},
    "api": {*CORE, "io", "run", "pdeopt"},
    "cli": {*CORE, "io", "run", "pdeopt"},
    "__main__": {"cli", "pdeopt"},
}
#: The rooms of `run`, each of which may import from those before it.
RUN_FLOORS = [
    *(
        "run.errors",
        "run.store.views",
        "run.store.data",
        "run.store",
        "run.watch",
        "run.pictures.canvas",
        "run.pictures.in_time",
        "run.pictures",
        "run.problem_files",
    ),
    *("run.execution", "run.report", "run.sweep"),
]
#: Where each library may be imported, as beginnings of paths inside pdeopt/.
LIBRARIES = {
    "skfem": ("fem/", "io/", "eit/tanks/", "run/"),
    "rslab": ("sparse/solvers/",),
    "cvxopt": ("sparse/solvers/",),
    "pyamg": ("sparse/solvers/",),
    "pypardiso": ("sparse/solvers/",),
    "scipy.sparse.linalg": ("sparse/solvers/", "optimize/libraries/"),  # SciPy's optimizers take its operators
    "scipy.optimize": ("optimize/",),
    "nlopt": ("optimize/libraries/",),
    "ipyopt": ("optimize/libraries/",),
    "matplotlib": ("run/pictures/", "run/sweep/figure", "run/report/"),
    "mpl_toolkits": ("run/pictures/",),
    "PIL": ("run/pictures/",),
    "meshio": ("run/store/mesh_output", "io/"),
    "jinja2": ("run/report/",),
    "msgspec": ("run/",),
    "pyvista": ("run/pictures/",),
    "rich": ("run/", "cli/", "api"),
    "argparse": ("cli/",),
}
#: The folders of pdeopt, as paths inside it.
FOLDERS = sorted({str(path.parent.relative_to(ROOT / "pdeopt")) for path in FILES} - {"."})
#: The modules that a folder may have, ``__init__.py`` among them; a folder with more is several rooms.
MOST_MODULES = 14


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
    roots = {name for name in names if "." not in name}
    for node in ast.walk(tree):  # import scipy; scipy.optimize.minimize(…)
        if isinstance(node, ast.Attribute) and id(node) not in typing_only:
            chain = ast.unparse(node)
            if chain.split(".")[0] in roots and chain.replace(".", "").isidentifier():
                names.add(chain)
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
        assert room(name) in ROOMS[home] | {home, "errors"}, f"{module} ({home}) imports {name}"


def folder(module):
    """The folder that a module is in, as sparse.solvers; of a room that is one file, that file."""
    parts = MODULES[module].relative_to(ROOT / "pdeopt").parent.parts
    return ".".join(parts) or room(module)


def test_the_rooms_of_the_roof_stand_on_each_other():
    def floor(module):
        name = "run.errors" if module == "pdeopt.run.errors" else folder(module)
        return RUN_FLOORS.index(name)

    for module in MODULES:
        if module.startswith("pdeopt.run."):
            for name in internal(MODULES[module]):
                if name.startswith("pdeopt.run."):
                    assert floor(name) <= floor(module), f"{module} imports {name}"


def test_only_the_roof_knows_the_roof():
    for module, path in MODULES.items():
        if room(module) not in ("run", "cli", "__main__", "api", "pdeopt"):
            assert not {room(name) for name in internal(path)} & {"run", "cli", "api"}, module


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_in_its_room_only(library):
    for path in FILES:
        used = any(name == library or name.startswith(library + ".") for name in imports(path))
        inside = str(path.relative_to(ROOT / "pdeopt")).startswith(LIBRARIES[library])
        assert inside or not used, f"{path.relative_to(ROOT)} imports {library}"


def test_direct_solvers_know_nothing_of_iterative_ones():
    for module, path in MODULES.items():
        if module.startswith("pdeopt.sparse.solvers.direct"):
            assert not [name for name in internal(path) if name.startswith("pdeopt.sparse.solvers.krylov")], module


def circle(graph):
    """Return a circle of a graph, as its nodes in order with the first one again at the end, or []."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            path.append(node)
            for other in sorted(graph[node]):
                if found := visit(other):
                    return found
            path.pop()
            done.add(node)
        return []

    return next((found for node in graph if (found := visit(node))), [])


def test_there_are_no_import_cycles():
    graph = {module: internal(path, deferred=False) - {module} for module, path in MODULES.items()}
    # a package's own __init__ collects its modules; importing a sibling module runs it, but needs nothing of it
    for module in graph:
        graph[module] = {name for name in graph[module] if not module.startswith(name + ".")}
    assert not circle(graph)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_has_more_modules_than_a_reader_can_survey(folder):
    modules = list((ROOT / "pdeopt" / folder).glob("*.py"))
    assert len(modules) <= MOST_MODULES, f"{folder} has {len(modules)}; make rooms of it"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_between_the_folders_of_a_room_go_one_way(folder):
    home = ".".join(["pdeopt", *Path(folder).parts])
    inside = len(home.split(".")) + 1

    def part(module):
        """The folder or single module directly inside this one that holds a module."""
        return ".".join(module.split(".")[:inside])

    graph = {}
    for module in MODULES:
        if module.startswith(home + "."):
            names = {part(name) for name in internal(MODULES[module]) if name.startswith(home + ".")}
            graph[part(module)] = graph.get(part(module), set()) | names - {part(module)}
    assert not circle(graph)


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

"""The documentation is run, as a reader would; docs/code_blocks.py says how."""

import functools
import importlib
import inspect
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from pdeopt.run.errors import UsageError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

from code_blocks import blocks_of, commands_of, is_run, run_page, runs_something  # noqa: E402

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
#: Pages without a block that is run.
NOTHING_TO_RUN = {
    "docs/architecture.md": "a picture of the rooms",
    "docs/changelog.md": "CHANGELOG.md",
    "docs/conventions.md": "letters and units; the other pages use them",
    **{f"docs/{name}.md": "the manual; the other pages use it" for name in ("forms", "solvers", "screen")},
    **{f"docs/{name}.md": "files; the other pages use them" for name in ("run_directory", "stopping_and_resuming")},
    "docs/index.md": "README.md",
    "docs/processes_and_threads.md": "what holds between processes; tests/sparse/test_processes.py does it",
    "docs/performance.md": "measurements, each with the command that took it",
    "docs/theory.md": "formulas",
    "docs/what_pdeopt_does_not_do.md": "limits",
}
#: Pages that something else follows.
FOLLOWED = {
    "docs/your_own_mesh_and_data.md": "test_io_example.py",
    "docs/your_first_inverse_problem.md": "the site, which is made of the pictures that the page draws",
}

#: Words of commands on a page, and those that are run in their place: coarser meshes, and less in the runs of a sweep.
QUICKER = {
    "README.md": {
        "--noise 0.03 --out noisy": "--noise 0.03 --n 16 --out noisy",
        "--dim 3 --solver": "--dim 3 --n 4 --solver",
        "--regularization-strength discrepancy": "--noise 0.03 --n 16 --regularization-strength discrepancy",
        "--noise 0.01,0.1 --n 16,32": "--no-check --no-pictures --noise 0.1 --n 8,16",
    },
    "docs/command_line.md": {
        "robin --regularization": "robin --no-check --no-pictures --n 3 --regularization",
        "robin --initial-seed 0,1,2": "poisson_control --no-check --no-pictures --n 3 --initial-seed 0,1",
        "--gamma 0,10,1e4,1e7": "--n 3 --no-check --no-pictures --gamma 0,10",
    },
}


def readme(names):
    """The main job reconstructs at one percent noise, at its defaults."""
    summary, config = (json.loads(Path(f"runs/conductivity/{name}.json").read_text()) for name in ("summary", "config"))
    assert summary["status"] == "converged"
    assert config["options"]["noise"] == 0.01
    assert summary["relative_error"] < 0.10
    assert 1 / 1.5 <= summary["discrepancy"] <= 1.5
    assert names["solution"].summary["status"] == names["mine"].summary["status"] == "converged"
    assert names["mine"].summary["relative_error"] < 0.1


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


#: What is to be seen when a page was done.
SEEN = {
    "README.md": readme,
    "docs/adding_a_problem.md": wall,
    "docs/impedance_tomography.md": impedance_tomography,
    "docs/which_optimizer_and_regularization.md": optimizers,
}


def module_name(file):
    return ".".join(file.relative_to(ROOT / "pdeopt").with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in {**NOTHING_TO_RUN, **FOLLOWED}])
def test_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    for words, quicker in QUICKER.get(page, {}).items():
        assert text.count(words) == 1, words
        text = text.replace(words, quicker)
    Path("page.md").write_text(text, encoding="utf-8")
    names = run_page(Path("page.md"))
    SEEN.get(page, lambda _: None)(names)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_runs_nothing_is_a_decision(page):
    assert any(map(runs_something, blocks_of(ROOT / page))) != (page in NOTHING_TO_RUN)


def test_what_is_not_run_is_little_and_has_a_reason():
    blocks = [block for page in PAGES for block in blocks_of(ROOT / page)]
    assert all(block.what for block in blocks if block.role)
    skipped = [words for block in blocks for words in commands_of(block) if not is_run(block, words)]
    assert len(skipped) <= 5, skipped


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```sh\npdeopt run nothing_of_that_name\n```\n", "status 2"),
        ("<!-- not run: long -->\n```sh\npdeopt run robin --nois 1\n```\n", "--nois"),
        ("```python\nprint('error 0.031 after 12')\n```\n\n```text\nerrors 0.031 after 12\n```\n", "errors"),
        ("```python\nprint('error 0.031 after 12')\n```\n\n```text\nerror 0.031 after 14\n```\n", "after 14"),
        ("```sh\npdeopt new mine\n```\n\n<!-- part of mine.py -->\n```python\nno = 1\n```\n", "no = 1"),
    ],
)
def test_a_page_that_says_what_is_not_so_is_found_out(page, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(page, encoding="utf-8")
    with pytest.raises((AssertionError, UsageError), match=complaint):
        run_page(Path("page.md"))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    made = ("gallery/", "api/")  # by Sphinx, which checks links to them
    assert not [x for x in links if not x.startswith(made) and not (ROOT / page).parent.joinpath(x).exists()]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.rst")), ids=lambda path: path.stem)
def test_the_reference_has_all_public_names(page):
    documented = re.findall(r"^\.\. auto(?!module)\w+:: (\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(importlib.import_module(f"pdeopt.{page.stem}").__all__)


def test_every_room_with_public_names_has_a_page():
    files = (ROOT / "pdeopt").rglob("*.py")
    rooms = {module_name(file) for file in files if "\n__all__ = " in file.read_text(encoding="utf-8")}
    inner = {"sparse.solvers", "inverse.regularization", "__init__", "cli"}  # what other pages show
    assert rooms - inner == {page.stem for page in (ROOT / "docs" / "api").glob("*.rst")}


def members_of(value):
    """What a class of pdeopt defines for others to use: methods and properties."""
    inner = vars(value) if inspect.isclass(value) and value.__module__.startswith("pdeopt.") else {}
    public = {name: getattr(member, "__func__", member) for name, member in inner.items() if not name.startswith("_")}
    kinds = (types.FunctionType, property, functools.cached_property)
    return {name: member for name, member in public.items() if isinstance(member, kinds)}


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.rst")), ids=lambda path: path.stem)
def test_everything_public_is_documented(page):
    room = importlib.import_module(f"pdeopt.{page.stem}")
    public = {name: getattr(room, name) for name in room.__all__}
    inner = {f"{name}.{key}": member for name, value in public.items() for key, member in members_of(value).items()}
    code = {name: value for name, value in public.items() if inspect.isclass(value) or inspect.isroutine(value)}
    assert not [name for name, value in {**code, **inner}.items() if not inspect.getdoc(value)]

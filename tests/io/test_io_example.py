"""The page on meshes and data of one's own: its files are made, its commands run, and its bad files refused."""

import io
import json
import re
import runpy
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import meshio
import numpy as np
import pytest

from pdeopt.cli import main
from pdeopt.run.store.history import read_history

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/your_own_mesh_and_data.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(\w+\.py)`[^`]*```python\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
REFUSED = re.findall(r"^\$ (pdeopt .*)\n(pdeopt: error: .*)$", PAGE, re.MULTILINE)


def command(line):
    """Exit status and what was said on stderr."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        return main(shlex.split(line)[1:]), said.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page was followed."""
    path = tmp_path_factory.mktemp("plate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.syspath_prepend(str(path))
        for name, code in FILES.items():
            Path(name).write_text(code, encoding="utf-8")
        for line in COMMANDS:
            if line.startswith("python "):
                runpy.run_path(line.split()[1])
            else:
                assert command(line) == (0, ""), line
        sys.modules.pop("plate", None)
    return path


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_the_problem_file_has_at_most_40_lines():
    assert len(FILES["plate.py"].splitlines()) <= 40
    assert set(FILES) == {"plate.py", "make_files.py"}


def test_the_source_is_found_where_it_was_put(inside):
    for name, fall in (("plate", 1e3), ("fine", 1.1)):
        with np.load(f"runs/{name}/result.npz") as result:
            peak = result["p"][:, result["coefficient"].argmax()]
        assert np.hypot(*(peak - [0.06, 0.08])) < 0.013
        objective = read_history(Path(f"runs/{name}/history.csv"))["objective"]
        assert objective[0] > fall * objective[-1]
    first = read_history(Path("runs/fine/history.csv"))["misfit"][0]
    assert first < 0.01 * read_history(Path("runs/plate/history.csv"))["misfit"][0], "it starts where the other ended"


def test_the_numbers_of_the_page(inside):
    misfit = read_history(Path("runs/plate/history.csv"))["misfit"]
    said = int(re.search(r"after about (\d+) iterations", PAGE)[1])
    assert len(misfit) - 1 == pytest.approx(said, rel=0.25)
    summary = json.loads(Path("runs/plate/summary.json").read_text(encoding="utf-8"))
    said = float(re.search(r"at a misfit of ([\d.]+) × that of the noise", PAGE)[1])
    assert summary["discrepancy"] == pytest.approx(said, abs=0.03)
    assert "\n".join(Path("temperatures.csv").read_text(encoding="utf-8").splitlines()[:3]) in PAGE
    with np.load("runs/plate/result.npz") as result:
        said = float(re.search(r"its peak, ([\d.]+) MW/m³", PAGE)[1])
        assert result["coefficient"].max() / 1e6 == pytest.approx(said, rel=0.05)


def test_the_groups_of_the_page_are_in_the_file(inside):
    names = re.findall(r'Physical \w+\("(\w+)"\)', PAGE)
    assert sorted(meshio.read("plate.msh").field_data) == sorted(names)


def in_millimeters(cells):
    return ",".join([*(f"{float(x) * 1e3:g}" for x in cells[:2]), *cells[2:]])


def bad_files():
    """From the good ones, in the current folder."""
    mesh, data = Path("plate.msh").read_text(), Path("temperatures.csv").read_text(encoding="utf-8")
    header, *rows = data.splitlines()
    cells = [row.split(",") for row in rows]
    texts = {
        "cut.msh": mesh[: mesh.index("$Elements") + 2000],
        "renamed.msh": mesh.replace('"hot"', '"warm"'),
        "no_y.csv": "\n".join([header.replace("y (m),", ""), *(",".join(row[:1] + row[2:]) for row in cells)]),
        "nan.csv": data.replace(cells[3][2], "nan", 1),
        "kelvin.csv": data.replace("temperature (°C)", "temperature (K)"),
        "millimeters.csv": "\n".join([header, *map(in_millimeters, cells)]),
    }
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8")


def test_bad_files_are_refused_with_the_messages_of_the_page(inside):
    bad_files()
    assert len(REFUSED) == 6
    before = sorted(Path().rglob("*"))
    for line, message in REFUSED:
        assert command(line) == (2, f"{message}\n")
    assert sorted(Path().rglob("*")) == before

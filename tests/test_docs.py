"""The documentation's code is run, as a reader would."""

import re
from pathlib import Path

import numpy as np
import pytest

from pdeopt.cli import main

ROOT = Path(__file__).parent.parent


def code_of(page: str) -> str:
    return "\n\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL))


def test_example_of_the_readme_recovers_the_conductivity():
    namespace: dict = {}
    exec(compile(code_of("README.md"), "README.md", "exec"), namespace)
    assert namespace["result"].status == "converged"
    assert namespace["error"] < 0.1


def test_examples_of_the_page_on_optimizers_converge():
    namespace: dict = {}
    page = "docs/which_optimizer_and_regularization.md"
    exec(compile(code_of(page), page, "exec"), namespace)
    assert namespace["result"].status == "converged"
    assert namespace["result"].iterations <= 30
    assert namespace["choice"].status == "converged"


def test_example_of_the_page_on_impedance_tomography_finds_the_object():
    namespace: dict = {}
    page = "docs/impedance_tomography.md"
    exec(compile(code_of(page), page, "exec"), namespace)
    truth, image = namespace["truth"], namespace["image"]
    places = namespace["V"].locations
    assert np.hypot(*(places[:, image.argmin()] - places[:, truth.argmin()])) < 0.02
    assert namespace["jacobian"].shape == (16, 16, len(image))


@pytest.fixture
def wall(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wall.py").write_text(code_of("docs/adding_a_problem.md"), encoding="utf-8")
    return "./wall.py"


def test_problem_of_the_tutorial_runs(wall):
    assert main(["run", wall, "--n", "2", "--out", "out", "--quiet"]) == 0
    result = np.load("out/result.npz")
    assert result["coefficient"].shape == result["truth"].shape


def test_problem_of_the_tutorial_passes_its_check(wall):
    assert main(["check", wall, "--n", "1"]) == 0


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing

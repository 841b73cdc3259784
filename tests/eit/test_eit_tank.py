"""The problem eit_tank from the command line: measured and simulated tanks, other meshes, and what it refuses."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pdeopt.cli import main
from pdeopt.eit import shape_fit
from pdeopt.eit.measurements import simulation
from pdeopt.eit.shape_fit import ShapeFit, ShapeFitter
from pdeopt.eit.tanks.tank import Tank
from pdeopt.eit.tanks.tank_disk import disk_mesh

ROOT = Path(__file__).parents[2]
KTC = ROOT.parent / "shared" / "ktc2023"
SCORES = ROOT / "scripts" / "ktc_score.py"
measured = pytest.mark.skipif(not KTC.is_dir(), reason="the challenge's data are not beside the project")
pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def quick_outlines(monkeypatch):
    """The first iterations find an object; the others make its outline more exact."""
    monkeypatch.setattr(shape_fit, "MAX_REFINEMENT_ITERATIONS", 6)


def run(out, *words):
    """The summary and the arrays of a run on a coarse mesh."""
    assert main(["run", "eit_tank", "--out", str(out), "--no-check", "--quiet", "--cells", "8", *map(str, words)]) == 0
    return json.loads((out / "summary.json").read_text()), np.load(out / "result.npz")


def refusal(capsys, *words):
    assert main(["run", "eit_tank", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@measured
@pytest.mark.slow
def test_a_measured_target_is_imaged_segmented_and_scored(tmp_path):
    summary, arrays = run(tmp_path / "run", "--data", KTC, "--target", 3, "--level", 7)
    assert summary["score"] > 0.7
    assert summary["data_kept"] == 513
    assert summary["data_kept"] + summary["data_left_out_by_level"] == summary["data_measurements"] == 2356
    assert arrays["segmentation"].shape == (256, 256)
    assert arrays["segmentation"].dtype == np.uint8
    assert set(np.unique(arrays["segmentation"])) == {0, 2}
    assert arrays["reference_measured"].shape == arrays["reference_predicted"].shape == (31, 76)
    assert np.isfinite(arrays["reference_measured"]).sum() == 513
    for picture in ("result", "history", "segmentation", "reference"):
        assert (tmp_path / "run" / f"{picture}.png").stat().st_size > 5000


@measured
@pytest.mark.slow
def test_absolute_voltages_are_imaged_and_segmented(tmp_path):
    summary, arrays = run(tmp_path, "--data", KTC, "--target", 3, "--no-pictures", "--imaging", "absolute")
    assert summary["score"] > 0.7
    assert_conducting_object(summary, arrays)


def assert_conducting_object(summary, arrays):
    assert (arrays["coefficient"] > 0).all()
    assert arrays["coefficient"].max() > 1.5 * summary["background_conductivity"], "the object of target 3 conducts"


@measured
@pytest.mark.slow
def test_total_variation_images_too(tmp_path, monkeypatch):
    """The objects, which no regularization changes, are left out."""
    monkeypatch.setattr(ShapeFitter, "best", lambda _: ShapeFit([], 0.0, 0.0))
    words = ["--level", 7, "--no-pictures", "--regularization", "tv", "--regularization-strength", 3]
    assert_conducting_object(*run(tmp_path, "--data", KTC, "--target", 3, *words))


@pytest.mark.slow
def test_a_simulated_tank_on_a_mesh_of_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "MIDDLE_EDGE", 1 / 16)
    mesh = disk_mesh(Tank(radius=0.2, coverage=0.4), 0.2 / 7)
    mesh.save(tmp_path / "tank.msh")
    options = ["--objects", 1, "--level", 7, "--radius", 0.2, "--coverage", 0.4, "--mesh", tmp_path / "tank.msh"]
    summary, arrays = run(tmp_path / "run", *options, "--max-iterations", 5, "--regularization-strength", 100)
    assert arrays["p"].shape == mesh.p.shape
    assert json.loads(str(arrays["views"]))["segmentation"]["extent"][1] == pytest.approx(0.2)
    assert arrays["mark_labels"][-1] == "32"
    assert summary["background_conductivity"] == pytest.approx(0.8, rel=0.05)
    assert summary["score"] > 0.6


@measured
@pytest.mark.slow
def test_the_table_of_scores_has_a_row_for_each_target(monkeypatch, capsys):
    """Scores are those of the objects, whatever was imaged."""
    spec = importlib.util.spec_from_file_location("ktc_score", SCORES)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    quick = ["--cells", "8", "--max-iterations", "0", "--regularization-strength", "1", "--no-check", "--no-pictures"]
    monkeypatch.setattr(script, "pdeopt", lambda words: main([*words, *quick]))
    monkeypatch.setattr(script, "targets", lambda folder: [3])
    monkeypatch.setattr(sys, "argv", ["ktc_score.py", str(KTC), "--level", "7"])
    script.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["level", "target", "objects", "score", "seconds"]
    assert said[1].split()[:2] == ["7", "3"]
    assert float(said[2].split()[-1]) == float(said[1].split()[3]) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "nowhere"], "nowhere is no folder"),
        (["--level", 8], "level = 8"),
        (["--cells", 1], "cells is 1.0"),
        (["--radius", -1], "radius of the tank"),
        (["--coverage", 1], "0.01 to 0.99"),
        (["--objects", -1], "-1 objects"),
        (["--seed", -1], "seed is -1"),
        (["--target", 2], "--data DIR"),
        (["--mesh", "nothing.msh"], "there is no such file"),
        (["--imaging", "relative"], "relative"),
    ],
)
def test_what_cannot_be_is_refused(capsys, words, expected):
    assert expected in refusal(capsys, "--quiet", *words)


@measured
def test_a_mesh_that_is_not_around_the_origin_is_refused(capsys, tmp_path):
    disk_mesh(Tank(), 0.02).translated((0.1, 0.0)).save(tmp_path / "tank.msh")
    said = refusal(capsys, "--data", KTC, "--mesh", tmp_path / "tank.msh")
    assert "has its middle at [0.1, 0.0]; expected a mesh around the origin" in said


@pytest.mark.slow
def test_a_folder_without_targets_has_no_scores(tmp_path):
    command = [sys.executable, str(SCORES), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds no data1.mat" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_folder_without_the_target_is_refused(capsys, tmp_path):
    savemat(tmp_path / "ref.mat", {"Injref": np.eye(2)})
    assert "it has data of targets none and a ref.mat" in refusal(capsys, "--data", tmp_path, "--target", 5)

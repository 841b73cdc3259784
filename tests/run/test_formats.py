"""The formats of the files that other tools read: each has its number, and those without one are read."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from run_directories import fields_on, write_run

import pdeopt
from pdeopt.cli import main
from pdeopt.run.store.history import read_history
from pdeopt.run.store.stored_run import read_run, read_summary, write_summary

FILES = ("config.json", "summary.json", "history.csv", "result.npz")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A whole run with a format in every file."""
    monkeypatch.chdir(tmp_path)
    path = write_run(tmp_path / "run", fields_on("P1"), config={"format": 1})
    write_summary(path / "summary.json", read_summary(path / "summary.json"))
    return path


def format_in(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())["format"]
    if path.suffix == ".npz":
        return int(np.load(path)["format"])
    return int(list(csv.DictReader(path.open()))[-1]["format"])


def set_format(path, number):
    """Replace the format of a file; None takes it away, as in a file of the version before."""
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        del values["format"]
        path.write_text(json.dumps(values if number is None else {**values, "format": number}))
    elif path.suffix == ".npz":
        arrays = {name: array for name, array in np.load(path).items() if name != "format"}
        np.savez(path, **arrays if number is None else {**arrays, "format": number})
    else:
        lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
        ends = [""] * len(lines) if number is None else [",format", *[f",{number}"] * (len(lines) - 1)]
        path.write_text("".join(f"{line}{end}\n" for line, end in zip(lines, ends, strict=True)))


@pytest.mark.slow
def test_python_and_the_command_write_the_format_of_every_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pdeopt.run.pictures.run_pictures.PICTURES", {})
    words = ["run", "poisson_control", "--n=4", "--max-iterations=1", "--no-check", "--out=command", "--quiet"]
    assert main(words) == 0
    solution = pdeopt.solve(pdeopt.build("poisson_control", n=4), max_iterations=1, verify=False, progress=False)
    solution.save("python")
    for folder in ("command", "python"):
        assert [format_in(Path(folder, name)) for name in FILES] == [1, 1, 3, 2]
    assert "format" not in {**read_run(Path("command")).summary, **read_history(Path("command/history.csv"))}


@pytest.mark.slow
def test_a_directory_without_formats_is_plotted_and_reported(run):
    for name in FILES:
        set_format(run / name, None)
    assert main(["plot", str(run)]) == 0
    assert main(["report", str(run)]) == 0


def test_a_history_of_the_time_before_constraints_is_read(run):
    """Format 2 has no violations: there were none."""
    path = run / "history.csv"
    rows = list(csv.DictReader(path.open()))
    for row in rows:
        del row["violation"]
        row["format"] = "2"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    history = read_history(path)
    np.testing.assert_array_equal(history["violation"], np.zeros(len(rows)))
    assert main(["plot", str(run)]) == 0


@pytest.mark.parametrize("name", FILES)
def test_a_newer_format_is_refused_with_what_to_do(run, capsys, name):
    set_format(run / name, 4)
    assert main(["plot", str(run)]) == 2
    said = capsys.readouterr().err
    assert f"{name}: its format is 4; this version of pdeopt reads up to" in said
    assert said.endswith(": update it\n")
    assert main(["report", str(run)]) == 2


def test_a_format_that_is_no_number_is_refused(run, capsys):
    set_format(run / "config.json", "one")
    assert main(["resume", str(run)]) == 2
    assert "its format is 'one'; expected a whole number" in capsys.readouterr().err

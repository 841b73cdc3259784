"""Reconstruct all targets of a folder of the Kuopio Tomography Challenge 2023 and print their scores.

    python scripts/ktc_score.py DATA_DIR [--level L ...]

Scores are those of the challenge, the mean structural similarity of the two classes; every target is reconstructed by
the same rule, that of `pdeopt run eit_tank`.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pdeopt.cli import main as pdeopt
from pdeopt.eit.measurements.ktc import targets
from pdeopt.inverse import InputError


def reconstruct(folder, target, level):
    """The summary of `pdeopt run eit_tank`."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        out = Path(scratch) / "run"
        asked = {"--data": folder, "--target": target, "--level": level, "--out": out}
        status = pdeopt(["run", "eit_tank", *(str(word) for option in asked.items() for word in option)])
        if status != 0:
            sys.exit(status)
        return json.loads((out / "summary.json").read_text())


def score_level(folder, level):
    """Print a row for each target and their mean."""
    scores = []
    found_targets = targets(folder)
    if not found_targets:
        raise InputError(f"{folder} holds no data1.mat, data2.mat, …; give the folder of the challenge's data")
    for target in found_targets:
        start = time.perf_counter()
        found = reconstruct(folder, target, level)
        scores.append(found.get("score", np.nan))
        seconds = time.perf_counter() - start
        print(f"{level:5d} {target:6d} {found['objects']:7d} {scores[-1]:7.3f} {seconds:8.1f}", flush=True)
    known = [score for score in scores if not np.isnan(score)]
    print(f"{level:5d}   mean of {len(known):3d}  {np.mean(known) if known else np.nan:7.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Scores of all targets of a KTC 2023 folder.")
    parser.add_argument("folder", type=Path, help="with ref.mat, dataN.mat and trueN.mat")
    parser.add_argument("--level", type=int, nargs="+", default=[1], help="1 to 7 (default: 1)")
    arguments = parser.parse_args()
    print("level target objects   score  seconds")
    try:
        for level in arguments.level:
            score_level(arguments.folder, level)
    except InputError as error:
        sys.exit(f"ktc_score: {error}")


if __name__ == "__main__":
    main()

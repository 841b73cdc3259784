"""The file checkpoint.npz: the last iterate of a run, and what problem it is of."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np

import pdeopt
from pdeopt.errors import describe
from pdeopt.io.npz import read_arrays
from pdeopt.run.errors import UsageError
from pdeopt.run.store.directory import write_arrays
from pdeopt.run.store.regular_file import is_regular

#: The name of the file in a run directory.
CHECKPOINT_FILE = "checkpoint.npz"
#: The format of the files that a run goes on from; another one is refused. Answers of format 1 were in JSON.
CHECKPOINT_FORMAT = 2
#: The largest relative difference of misfits, or regularizations, that count as those of the same problem.
SAME_PROBLEM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The last iterate of a run that can be resumed, and what problem it is of.

    Attributes:
        format: The format of the files.
        version: The version of pdeopt.
        problem: The name of the problem.
        source: The SHA-256 digest of the problem file.
        initial_misfit: The misfit at the initial guess.
        parameter: The last iterate m, (p,).
        iteration: Its number.
        objective: The objective there.
        regularization: The regularization there.
        gradient_norm: The norm of the gradient there.
        strength: The strength of the regularization there, as a factor of the problem's own.
        seconds: The time from the start of the command to the last iterate.
    """

    format: int
    version: str
    problem: str
    source: str
    initial_misfit: float
    parameter: np.ndarray
    iteration: int
    objective: float
    regularization: float
    gradient_norm: float
    strength: float
    seconds: float

    def refuse_other(self, path: Path) -> None:
        """Refuse to go on from here with a run of another problem file or version.

        Args:
            path: The problem file.

        Raises:
            UsageError: The checkpoint is of another problem, file, version or format.
        """
        if self.format != CHECKPOINT_FORMAT:
            _refuse(f"has the format {self.format}, and this pdeopt reads {CHECKPOINT_FORMAT}")
        if self.version != pdeopt.__version__:
            _refuse(f"was written by pdeopt {self.version}, and this is {pdeopt.__version__}")
        if self.problem != path.stem:
            _refuse(f"is of the problem {self.problem}, and the run is of {path.stem}")
        if self.source != file_digest(path):
            _refuse(f"was written before {path} was changed (undo the change to go on)")

    def refuse_other_values(self, misfit: float, size: int) -> None:
        """Refuse to go on from here with a problem that has other data or parameters.

        Args:
            misfit: The misfit at the initial guess of the problem.
            size: The number of its parameters.

        Raises:
            UsageError: One of them differs from that of the checkpoint.
        """
        if size != len(self.parameter):
            _refuse(f"has {len(self.parameter)} parameters, and the problem has {size} now")
        if not math.isclose(misfit, self.initial_misfit, rel_tol=SAME_PROBLEM_TOLERANCE, abs_tol=1e-300):
            _refuse(
                f"has the misfit {self.initial_misfit:.10g} at the initial guess, and the problem has {misfit:.10g} "
                "now: its data, its mesh, its initial guess or something that it imports was changed"
            )

    def refuse_other_regularization(self, regularization: float) -> None:
        """Refuse to go on from here with a problem that has another regularization.

        Args:
            regularization: The problem's regularization at the last iterate, with the strength that it had.

        Raises:
            UsageError: It differs from that of the checkpoint.
        """
        if not math.isclose(
            regularization,
            self.regularization,
            rel_tol=SAME_PROBLEM_TOLERANCE,
            abs_tol=SAME_PROBLEM_TOLERANCE**2 * abs(self.objective),
        ):
            _refuse(
                f"has the regularization {self.regularization:.10g} at its last iterate, and the problem has "
                f"{regularization:.10g} there now: something that it imports was changed"
            )


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a file, as a whole or not at all."""
    write_arrays(path, {part.name: np.asarray(getattr(checkpoint, part.name)) for part in fields(checkpoint)})


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint that a file holds, or None where there is no file.

    Raises:
        UsageError: The file is no checkpoint, or is damaged.
    """
    if not is_regular(path):
        return None
    try:
        arrays = read_arrays(path, "a checkpoint")
        given = {name: array if name == "parameter" else array.item() for name, array in arrays.items()}
        checkpoint = msgspec.convert(given, Checkpoint)
        if checkpoint.parameter.ndim != 1 or checkpoint.parameter.dtype != float:
            raise ValueError("its parameter is of another kind than a run writes")
    except Exception as error:  # a file can hold anything
        raise UsageError(f"{path} is no checkpoint, or damaged: {describe(error)}") from error
    return checkpoint


def _refuse(reason: str) -> None:
    remedy = "start a new run ('pdeopt run PROBLEM --initial-guess DIR' starts where this one is)"
    raise UsageError(f"the checkpoint {reason}; {remedy}")

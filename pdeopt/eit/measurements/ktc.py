"""Measured data in the format of the Kuopio Tomography Challenge 2023.

There is one MATLAB file for water alone, and one for each target.

A folder holds ref.mat with Injref (L, K), the currents in mA into L electrodes of K patterns, Mpat (L, q), whose column
j takes the difference ``U_j − U_{j+1}``, and Uelref (q K), the voltages in V, entry q k + j being difference j under
pattern k; dataN.mat with Inj, Mpat and Uel, the same with objects in the tank; and, where it is known, trueN.mat with
the segmentation. (Räsänen et al., "Kuopio Tomography Challenge 2023 open electrical impedance tomographic dataset".)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from pdeopt.eit.electrodes.patterns import BALANCE_TOLERANCE
from pdeopt.eit.images.pixels import checked_labels
from pdeopt.inverse import InputError

#: The challenge's levels of difficulty.
LEVELS = range(1, 8)
#: The largest difference of currents that are equal, as a part of the largest current.
CURRENT_TOLERANCE = 1e-6
#: The factor by which objects do not change the rms of the voltages; another unit does.
MAX_RMS_FACTOR = 20
#: The size above which a voltage is a fault, as a multiple of what 99 % of the voltages are below.
OUTLIER_FACTOR = 10
#: The part of patterns with negative power above which it is no accident of single electrodes.
MAX_NEGATIVE_POWERS = 1 / 6


@dataclass(frozen=True, eq=False)
class TankData:
    """A measurement of a tank with and without objects, under K current patterns at L electrodes.

    The patterns are the same with and without objects.

    Attributes:
        currents: The currents (L, K) into each electrode, mA; each pattern's sum is 0.
        differences: The weights (L, q) of the electrodes' voltages, whose column j takes ``U_j − U_{j+1}``; all that
            the file has.
        reference: The voltages (q, K) of water alone, V; 0 where not valid.
        voltages: The voltages (q, K) with objects, V; 0 where not valid.
        valid: Which of them are in both files and not left out by the level, (q, K) bool.
        patterns: The columns (K,) of the file's currents that were kept, from 0.
        truth: The labels (256, 256), 0 water, 1 resistive, 2 conductive, row 0 at the top; None where unknown.
        counts: The numbers of "measurements" in the file and of those "kept", "missing_in_file" and
            "left_out_by_level", which sum up to it; and the numbers of "patterns_left_out" and "electrodes_left_out".
    """

    currents: np.ndarray
    differences: np.ndarray
    reference: np.ndarray
    voltages: np.ndarray
    valid: np.ndarray
    patterns: np.ndarray
    truth: np.ndarray | None
    counts: dict[str, int]

    def __post_init__(self) -> None:
        for array in (self.currents, self.differences, self.reference, self.voltages, self.valid, self.patterns):
            array.setflags(write=False)

    @classmethod
    def of(
        cls,
        currents: np.ndarray,
        differences: np.ndarray,
        reference: np.ndarray,
        voltages: np.ndarray,
        measured: np.ndarray,
        *,
        left_out: np.ndarray,
        truth: np.ndarray | None = None,
        what: str = "nothing is left",
    ) -> TankData:
        """Return what is left of a measurement without some electrodes; shapes are those of the attributes.

        Left out are patterns that drive one of them, and differences that touch one; and patterns of which nothing was
        measured.

        Args:
            currents: The currents (L, K) into each electrode, mA.
            differences: The weights (L, q) of the electrodes' voltages.
            reference: The voltages (q, K) of water alone, V.
            voltages: The voltages (q, K) with objects, V.
            measured: Which voltages were measured, (q, K) bool.
            left_out: The electrodes that are left out, as numbers from 0.
            truth: The labels (256, 256); None where unknown.
            what: What it means if nothing is left, in words, as the beginning of the message.

        Raises:
            InputError: Nothing is left.
        """
        valid = measured & _without(left_out, currents, differences)
        counts = _counts(measured, valid, left_out)
        if not valid.any():
            raise InputError(
                f"{what}: of {valid.size} measurements {counts['missing_in_file']} are NaN in the files, and the level "
                f"leaves out {counts['left_out_by_level']}; choose a lower level"
            )
        kept = valid.any(0)
        return cls(
            currents=currents[:, kept],
            differences=differences,
            reference=np.where(valid, reference, 0)[:, kept],
            voltages=np.where(valid, voltages, 0)[:, kept],
            valid=valid[:, kept],
            patterns=np.flatnonzero(kept),
            truth=truth,
            counts=counts,
        )


def targets(folder: Path | str) -> list[int]:
    """Return the numbers N of the folder's files dataN.mat, ascending.

    Args:
        folder: The folder of the files.

    Raises:
        InputError: There is no folder.
    """
    matches = (re.fullmatch(r"data([1-9]\d*)\.mat", name) for name in _files(folder))
    return sorted(int(match[1]) for match in matches if match)


def left_out_electrodes(level: int) -> np.ndarray:
    """Return the electrodes, from 0, that a level does without.

    These are none at level 1, two more at each, 12 at level 7.

    Args:
        level: The level of difficulty, 1 to 7.

    Raises:
        InputError: The level is none of 1 to 7.
    """
    if isinstance(level, bool) or not isinstance(level, (int, np.integer)) or level not in LEVELS:
        raise InputError(f"level = {level!r}; expected one of the challenge's {LEVELS[0]} (all data) to {LEVELS[-1]}")
    return np.arange(2 * (level - 1))


def read_ktc(folder: Path | str, target: int, level: int = 1) -> TankData:
    """Read the voltages of one target and of water alone that both files have and the level leaves in.

    A level leaves out the patterns that drive one of its electrodes, and the differences that touch one. NaN says that
    a voltage was not measured; a pattern with NaN among its currents, or without any current, is left out.

    Args:
        folder: The folder of ref.mat, dataN.mat and perhaps trueN.mat, in letters of either case.
        target: The number N of the target.
        level: The level of difficulty, 1 to 7; electrodes are left out besides what the files lack.

    Returns:
        The data of the target.

    Raises:
        InputError: Files are missing or no MATLAB files; variables are missing, no real numbers or of shapes that do
            not fit; currents differ between the files or do not sum up to 0; signs and units cannot be; the truth is no
            segmentation; or nothing is left. The message has the file, the variable, what was got, what was expected
            and a remedy.
    """
    left_out = left_out_electrodes(level)
    water, tank = _read_recordings(folder, target)
    _check_same_patterns(water, tank)
    measured = water.measured & tank.measured
    _check_voltages(water, tank, measured)
    return TankData.of(
        water.currents,
        water.differences,
        water.voltages,
        tank.voltages,
        measured,
        left_out=left_out,
        truth=_read_truth(folder, target),
        what=f"level {level} leaves nothing of {tank.file}",
    )


@dataclass(frozen=True, eq=False)
class _Recording:
    """The measurement in one file.

    Attributes:
        file: The path of the file.
        currents: The currents (L, K) into each electrode, mA; NaN where there are none.
        differences: The weights (L, q) of the electrodes' voltages.
        voltages: The voltages (q, K), V; NaN where there are none.
    """

    file: Path
    currents: np.ndarray
    differences: np.ndarray
    voltages: np.ndarray

    @property
    def driven(self) -> np.ndarray:
        """The patterns that have known currents which are not all 0, as (K,) bool."""
        return np.isfinite(self.currents).all(0) & self.currents.any(0)

    @property
    def measured(self) -> np.ndarray:
        """The voltages that are there, under a known current, as (q, K) bool."""
        return np.isfinite(self.voltages) & self.driven

    def power(self, k: int) -> float:
        """Return the power Σ_l I_l U_l of one pattern, mW.

        It is NaN where the known differences do not connect the pattern's electrodes.

        Args:
            k: The number of the pattern, from 0.
        """
        known = np.isfinite(self.voltages[:, k])
        differences, current = self.differences[:, known], self.currents[:, k]
        weights = np.linalg.lstsq(differences, current, rcond=None)[0]
        gap = abs(differences @ weights - current).max()
        return float(weights @ self.voltages[known, k]) if gap < 1e-6 * abs(current).max() else np.nan


# -- files ------------------------------------------------------------------------------------------------------------


def _files(folder: Path | str) -> dict[str, Path]:
    """Return the folder's files by their names in small letters.

    Raises:
        InputError: There is no folder.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds ref.mat and data1.mat")
    return {path.name.lower(): path for path in sorted(Path(folder).iterdir())}


def _find(folder: Path | str, name: str) -> Path:
    files = _files(folder)
    if name not in files:
        there = ", ".join(map(str, targets(folder))) or "none"
        raise InputError(
            f"{folder} holds no {name}; it has data of targets {there} and {'a' if 'ref.mat' in files else 'no'} "
            "ref.mat, and needs ref.mat (water alone) and dataN.mat of target N: give one of these targets, or the "
            "folder into which the challenge's archive was unpacked"
        )
    return files[name]


@dataclass(frozen=True, eq=False)
class _Variables:
    """The variables of one MATLAB file, by name.

    Attributes:
        file: The path of the file.
        values: The value of each variable, by its name.
    """

    file: Path
    values: dict[str, Any]

    @classmethod
    def of(cls, file: Path) -> _Variables:
        """Return the variables of a MATLAB file.

        Args:
            file: The path of the file.

        Raises:
            InputError: It cannot be read as a MATLAB file of version 4 to 7.
        """
        try:
            values = loadmat(file)
        except Exception as error:  # a broken file makes the reader raise any of a dozen kinds
            raise InputError(
                f"{file} cannot be read as a MATLAB file of version 4 to 7 ({type(error).__name__}: {error}); it is "
                "truncated, of another kind or in version 7.3: fetch it again, or save it with '-v7'"
            ) from error
        return cls(file, {name: value for name, value in values.items() if not name.startswith("__")})

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def real(self, name: str) -> np.ndarray:
        """Return a variable as 64-bit floating-point numbers, at least 2-D; NaN may be among them.

        Args:
            name: The name of the variable.

        Raises:
            InputError: The variable is missing, empty, no real numbers, or has infinities.
        """
        if name not in self:
            there = ", ".join(sorted(self.values)) or "nothing"
            raise InputError(f"{self.file} holds no variable {name}, only {there}; save it under that name")
        value = self.values[name]
        array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
        if array.dtype.kind not in "biuf":
            kind = "complex" if array.dtype.kind == "c" else f"of type {array.dtype}"
            raise InputError(f"{name} of {self.file} is {kind}; expected real numbers: save the amplitudes alone")
        if not array.size or np.isinf(array).any():
            got = f"holds {np.isinf(array).sum()} infinities" if array.size else f"is empty, of shape {array.shape}"
            raise InputError(f"{name} of {self.file} {got}; expected numbers, and NaN for what is missing")
        return array.astype(float)


def _read_recordings(folder: Path | str, target: int) -> tuple[_Recording, _Recording]:
    """Return the recordings of water alone and of the target.

    Args:
        folder: The folder of the files.
        target: The number of the target.
    """
    files = [_find(folder, "ref.mat"), _find(folder, f"data{target}.mat")]
    water = _recording(_Variables.of(files[0]), "Injref", "Uelref")
    return water, _recording(_Variables.of(files[1]), "Inj", "Uel", water)


def _recording(variables: _Variables, currents: str, voltages: str, water: _Recording | None = None) -> _Recording:
    """Return the recording in the variables of one file; what they lack is that of water alone.

    Currents and differences may be missing, voltages may not.

    Args:
        variables: The variables of the file.
        currents: The name of the variable of currents.
        voltages: The name of the variable of voltages.
        water: The recording of water alone; None where this is it.

    Raises:
        InputError: Variables are missing or their shapes do not fit each other.
    """
    injected = water.currents if water and currents not in variables else _currents(variables, currents)
    taken = water.differences if water and "Mpat" not in variables else _differences(variables)
    if len(taken) != len(injected):
        raise InputError(
            f"{variables.file}: {currents} has shape {injected.shape} and Mpat {taken.shape}; expected as many rows in "
            "both, one an electrode: transpose the one that has them as columns"
        )
    values = variables.real(voltages)
    shape = taken.shape[1], injected.shape[1]
    if values.size != shape[0] * shape[1] or values.size != max(values.shape):
        raise InputError(
            f"{voltages} of {variables.file} has shape {values.shape}; expected one column of {shape[0] * shape[1]}: "
            f"{shape[0]} differences (columns of Mpat) for each of {shape[1]} patterns (columns of {currents}); put "
            "NaN for measurements that are missing"
        )
    return _Recording(variables.file, injected, taken, values.reshape(shape[::-1]).T)


def _currents(variables: _Variables, name: str) -> np.ndarray:
    currents = variables.real(name)
    net, size = np.nan_to_num(currents.sum(0)), np.nan_to_num(abs(currents).sum(0))
    wrong = abs(net) > BALANCE_TOLERANCE * size
    if wrong.any():
        k = int(wrong.argmax())
        raise InputError(
            f"{name} of {variables.file} has shape {currents.shape}, and its column {k + 1} sums up to {net[k]:.3g} "
            "mA; expected 0, what goes into one electrode comes out of others: give a row an electrode and a column a "
            "pattern, with signs"
        )
    return currents


def _differences(variables: _Variables) -> np.ndarray:
    differences = variables.real("Mpat")
    fit = (np.sort(differences, 0)[[0, -1]] == [[-1], [1]]).all(0) & (np.count_nonzero(differences, 0) == 2)
    if not fit.all():
        raise InputError(
            f"Mpat of {variables.file} has shape {differences.shape}, and its column {int(fit.argmin()) + 1} is no "
            "difference; expected +1 and −1 in the rows of two electrodes: give a row an electrode"
        )
    return differences


def _read_truth(folder: Path | str, target: int) -> np.ndarray | None:
    file = _files(folder).get(f"true{target}.mat")
    if file is None:
        return None
    return checked_labels(_Variables.of(file).real("truth"), f"truth of {file}")


# -- what the level leaves, and what cannot be ------------------------------------------------------------------------


def _without(left_out: np.ndarray, currents: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Return which measurements, (q, K) bool, have nothing to do with the electrodes that are left out.

    They neither touch such an electrode, nor are made under its current.

    Args:
        left_out: The electrodes that are left out, from 0.
        currents: The currents (L, K).
        differences: The weights (L, q) of the electrodes' voltages.
    """
    rows = left_out[left_out < len(currents)]
    return ~differences[rows].any(0)[:, None] & ~currents[rows].any(0)


def _counts(measured: np.ndarray, valid: np.ndarray, left_out: np.ndarray) -> dict[str, int]:
    return {
        "measurements": valid.size,
        "kept": int(valid.sum()),
        "missing_in_file": int((~measured).sum()),
        "left_out_by_level": int((measured & ~valid).sum()),
        "patterns_left_out": int((~valid.any(0)).sum()),
        "electrodes_left_out": left_out.size,
    }


def _check_same_patterns(water: _Recording, tank: _Recording) -> None:
    """Check that both recordings have the same patterns: else their difference means nothing.

    Raises:
        InputError: The patterns differ.
    """
    pairs = {"Inj": (water.currents, tank.currents), "Mpat": (water.differences, tank.differences)}
    for name, (expected, got) in pairs.items():
        what = f"{name} of {tank.file} has shape {got.shape}, that of {water.file} {expected.shape}"
        if got.shape == expected.shape:
            gap, scale = (np.nan_to_num(abs(x)).max(0) for x in (got - expected, expected))
            differ = np.flatnonzero(gap > CURRENT_TOLERANCE * scale.max())
            what = f"{name} of {tank.file} and that of {water.file} differ in {differ.size} of {gap.size} columns"
            what += f", by up to {gap.max():.3g} where the largest entry is {scale.max():.3g}"
            if not differ.size:
                continue
        raise InputError(
            f"{what}; voltages of different patterns cannot be compared: take the reference of the same series of "
            "measurements, with NaN for those that are missing"
        )


def _check_voltages(water: _Recording, tank: _Recording, measured: np.ndarray) -> None:
    """Check that voltages can be those of water, and of objects in it, under the currents.

    Args:
        water: The recording of water alone.
        tank: The recording with objects.
        measured: Which voltages are in both, (q, K) bool.

    Raises:
        InputError: They cannot be.
    """
    if not measured.any():
        found = " and ".join(f"{x.measured.mean():.0%} of {x.file}" for x in (water, tank))
        raise InputError(
            f"no measurement is in both files: {found} are voltages under known currents, the others are NaN or "
            "without any current; choose another target, or a file with more of them"
        )
    for recording in (water, tank):
        _check_outliers(recording)
        _check_power(recording, np.flatnonzero(measured.any(0)))
    _check_sizes(water, tank, measured)


def _check_outliers(recording: _Recording) -> None:
    """Refuse a wild value, by name: it would be taken for noise of all of them.

    Raises:
        InputError: There is one.
    """
    sizes = np.where(recording.measured, abs(recording.voltages), 0)
    usual = np.percentile(sizes[recording.measured], 99) if recording.measured.any() else 0.0
    if sizes.max() > OUTLIER_FACTOR * usual > 0:
        j, k = np.unravel_index(sizes.argmax(), sizes.shape)
        raise InputError(
            f"{recording.file}: difference {j + 1} of pattern {k + 1} is {recording.voltages[j, k]:.3g} V, where 99 % "
            f"are below {usual:.3g} V; put NaN in its place, it is a fault of the measurement"
        )


def _check_power(recording: _Recording, patterns: np.ndarray) -> None:
    """Refuse currents that often flow from the lower potential to the higher one.

    Args:
        recording: The recording.
        patterns: The numbers of the patterns to look at, from 0.

    Raises:
        InputError: They do so in more than one sixth of the patterns.
    """
    powers = np.array([recording.power(k) for k in patterns])
    known, negative = int(np.isfinite(powers).sum()), int((powers < 0).sum())
    if negative <= known * MAX_NEGATIVE_POWERS:
        return
    if negative < known * (1 - MAX_NEGATIVE_POWERS):
        cause = (
            "the voltages do not belong to the patterns: give all differences of the first pattern, then all of the "
            "second, and so on"
        )
    else:
        cause = (
            "the sign of voltages, currents or Mpat is reversed: a current into the tank is positive, and column j of "
            "Mpat takes U_j − U_(j+1)"
        )
    raise InputError(
        f"{recording.file}: in {negative} of {known} patterns the current flows from the lower potential to the higher "
        f"one, expected in none, the conductivity being positive; {cause}"
    )


def _check_sizes(water: _Recording, tank: _Recording, measured: np.ndarray) -> None:
    """Refuse voltages of other sign or unit: objects change voltages a little.

    Args:
        water: The recording of water alone.
        tank: The recording with objects.
        measured: Which voltages are in both, (q, K) bool.

    Raises:
        InputError: The voltages of one are all 0, or of another sign or unit than those of the other.
    """
    u, v = water.voltages[measured], tank.voltages[measured]
    before, after = np.sqrt(np.mean(u**2)), np.sqrt(np.mean(v**2))
    if not before or not after:
        raise InputError(f"the voltages of {tank.file if before else water.file} are all 0; nothing was measured")
    if not 1 / MAX_RMS_FACTOR < after / before < MAX_RMS_FACTOR:
        raise InputError(
            f"the voltages of {tank.file} have an rms of {after:.3g}, those of {water.file} one of {before:.3g}; "
            f"expected less than a factor of {MAX_RMS_FACTOR} between them: one of the two is in another unit, such as "
            "mV instead of V"
        )
    if u @ v < 0:
        cosine = u @ v / (before * after * u.size)
        raise InputError(
            f"the voltages of {tank.file} and those of {water.file} have a correlation of {cosine:.2f}; expected "
            "nearly 1: the sign is reversed in one of the two"
        )

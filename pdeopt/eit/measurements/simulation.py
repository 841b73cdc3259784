"""Simulated data of a tank, with errors of known size, on a finer mesh than reconstructions have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel, complete_electrode_model
from pdeopt.eit.images.phantom import PhantomObject, ktc_patterns, labels, picture
from pdeopt.eit.images.pixels import CONDUCTIVE, RESISTIVE
from pdeopt.eit.measurements.ktc import TankData, left_out_electrodes
from pdeopt.eit.measurements.noise import shaped_noise
from pdeopt.eit.tanks.tank import Tank, check_positive, electrode_names
from pdeopt.eit.tanks.tank_disk import disk_mesh, with_electrodes
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError
from pdeopt.sparse import solve_errors

if TYPE_CHECKING:
    import skfem

#: The edge length in the middle, as a part of the radius: another one than the default of `disk_mesh`.
MIDDLE_EDGE = 1 / 48
#: The growth of the edge length for each unit of length: another one than the default of `disk_mesh`.
EDGE_GROWTH = 0.22
#: The largest number of times that elements on the rim of objects are divided.
MAX_RIM_REFINEMENTS = 5
#: The edge length, as a part of the object's radius, down to which they are divided.
RIM_EDGE = 1 / 40


def simulated_data(
    tank: Tank,
    inclusions: Sequence[PhantomObject],
    *,
    level: int = 1,
    background: float = 0.8,
    background_change: float = 0.0,
    contrast: tuple[float, float] = (1e-3, 1e3),
    impedances: ArrayLike = 1e-4,
    noise: float = 0.0,
    offset: float = 0.0,
    seed: int = 0,
    size: float | None = None,
) -> TankData:
    """Return simulated voltages of water alone and with objects, in the challenge's patterns.

    They are those of the complete electrode model, with linear elements on a mesh finer than the default of
    `disk_mesh`, and finer still at the rims of the objects; the conductivity is constant in each element and jumps at
    the rims. For three objects in the challenge's tank: 17 000 vertices, 4 s, and an error of 0.4 % of the differences
    (measured against edges half as long).

    Args:
        tank: The tank.
        inclusions: The objects, which may be none; where they overlap, the last one counts.
        level: The level of difficulty, as of `read_ktc`; on tanks of other than 32 electrodes it leaves out the same
            ones.
        background: The conductivity of the water when the reference was taken, mS.
        background_change: The change of its logarithm until the objects were in.
        contrast: The conductivities of labels 1 and 2, relative to that of the water around them.
        impedances: The contact impedances, kΩ·m, a number or (L,).
        noise: The rms of the errors of the difference due to the objects, relative to its rms, over what the level
            leaves: independent Gaussian ones with standard deviations as of `shaped_noise`.
        offset: The rms of errors that the reference and the voltages with objects share, relative to the reference's
            rms, of the same kind.
        seed: The seed of the errors.
        size: The edge length in the middle of the mesh (default: radius / 48), in the unit of the radius.

    Returns:
        The data, with the segmentation as their truth.

    Raises:
        InputError: Conductivities or impedances are not positive, errors are negative, the level leaves nothing, or the
            size makes no mesh.
    """
    _check_values(background, background_change, contrast, {"noise": noise, "offset": offset})
    left_out = left_out_electrodes(level)
    currents, differences = ktc_patterns(tank.electrodes)
    mesh = _mesh(tank, inclusions, size)
    model = _model(mesh, tank, currents, impedances)
    water = np.full(mesh.nelements, background)
    values = np.array([1.0, *contrast]) * np.exp(background_change) * background
    objects = values[labels(inclusions, mesh.p[:, mesh.t].mean(1))]
    reference, voltages = (_voltages(model, differences, sigma) for sigma in (water, objects))
    clean = TankData.of(
        currents,
        differences,
        reference,
        voltages,
        np.ones(reference.shape, bool),
        left_out=left_out,
        truth=picture(inclusions, tank),
        what=f"level {level} leaves nothing of a tank with {tank.electrodes} electrodes",
    )
    return _spoiled(clean, noise, offset, np.random.default_rng(seed))


def _mesh(tank: Tank, inclusions: Sequence[PhantomObject], size: float | None) -> skfem.MeshTri:
    """Return a mesh of the tank's cross-section that is fine at the rims of the objects."""
    mesh = disk_mesh(tank, tank.radius * MIDDLE_EDGE if size is None else size, growth=EDGE_GROWTH)
    for _ in range(MAX_RIM_REFINEMENTS):
        rim = _coarse_rim(mesh, inclusions)
        if not len(rim):
            break
        mesh = with_electrodes(replace(mesh, _boundaries=None).refined(rim), tank)  # refining loses the names
    return mesh


def _coarse_rim(mesh: skfem.MeshTri, inclusions: Sequence[PhantomObject]) -> np.ndarray:
    """Return the indices of the elements that the rim of an object cuts, and that are large for it."""
    corners = mesh.p[:, mesh.t]
    longest = np.hypot(*(corners - np.roll(corners, 1, axis=1))).max(0)
    coarse = np.zeros(mesh.nelements, bool)
    for inclusion in inclusions:
        inside = inclusion.contains(np.concatenate([corners, corners.mean(1, keepdims=True)], 1))
        coarse |= (inside.any(0) != inside.all(0)) & (longest > RIM_EDGE * inclusion.radius)
    return np.flatnonzero(coarse)


def _model(mesh: skfem.MeshTri, tank: Tank, currents: np.ndarray, impedances: ArrayLike) -> CompleteElectrodeModel:
    space = FunctionSpace(mesh, mesh.elem())  # linear triangles
    z = np.asarray(impedances, float)
    return complete_electrode_model(space, electrode_names(tank.electrodes), currents, space.per_element, z)


def _voltages(model: CompleteElectrodeModel, differences: np.ndarray, conductivity: np.ndarray) -> np.ndarray:
    """Return the voltages (q, K) that a model predicts, V.

    Args:
        model: The model.
        differences: The weights (L, q) of the electrodes' voltages.
        conductivity: The conductivity of each element, mS.
    """
    with solve_errors():
        state = np.asarray(model(conductivity))
    return differences.T @ state[-len(differences) :] @ model.combination


def _spoiled(data: TankData, noise: float, offset: float, rng: np.random.Generator) -> TankData:
    """Return the data with errors of both kinds, where they are valid.

    Args:
        data: The data.
        noise: The rms of the errors of the difference, relative to its rms.
        offset: The rms of the errors that both measurements share, relative to the reference's rms.
        rng: The generator of random numbers.
    """
    kept = data.reference[data.valid], (data.voltages - data.reference)[data.valid]
    sizes = [float(np.sqrt(np.mean(values**2))) for values in kept]
    shape = shaped_noise(data.reference, data.valid, 1.0) * data.valid
    shared, own = (shape * rng.standard_normal(shape.shape) for _ in sizes)
    common = offset * sizes[0] * shared
    return replace(data, reference=data.reference + common, voltages=data.voltages + common + noise * sizes[1] * own)


def _check_values(background: float, change: float, contrast: tuple[float, float], errors: dict[str, float]) -> None:
    check_positive("conductivity of the background", background)
    for label in (RESISTIVE, CONDUCTIVE):
        check_positive(f"contrast of label {label}", contrast[label - 1])
    if not np.isfinite(change):
        raise InputError(f"background_change = {change}; expected a logarithm, 0.05 for 5 % more")
    for name, value in errors.items():
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"{name} = {value}; expected a number ≥ 0, such as 0.05 for 5 %")

"""Image the inside of a water tank from the voltages between electrodes on its wall: electrical impedance tomography.

Find the log-conductivity m on the disk Ω that minimizes

    J(m) = ½ Σ_k Σ_j ((U_k(m)_j − U_k(m)_{j+1} − d_jk) / s_jk)²  +  ½ α (m, m)_Q,        σ = σ₀ exp(m),

where U_k are the electrodes' voltages under current pattern k by the complete electrode model,

    ∇·(σ∇u) = 0 in Ω,   u + z_l σ ∂u/∂n = U_l and ∫_{e_l} σ ∂u/∂n = I_l on electrode l,   σ ∂u/∂n = 0 elsewhere.

The data are measured ones in the format of the Kuopio Tomography Challenge 2023 (``--data DIR --target N``), or
those of a simulated tank, made on another mesh, with noise. σ₀ and the contact impedances z_l are estimated from the
reference measurement of water alone. d are the voltages, corrected by what the model misses the reference by
(``--imaging difference``), or as they are (``absolute``). Their standard deviation s is estimated from the data: it is
that of the model error, seen where the voltages violate superposition. Q is the precision of a Matérn field, or the
term is total variation; both keep σ positive.

Beside the image, the voltages are interpreted as those of objects of known contrast in the water: plastic, which
insulates, and metal. Their number, places and outlines are fitted, and give the segmentation into water (0),
resistive (1) and conductive (2).

With ``--unknowns sigma,impedances`` the contact impedances are looked for together with the conductivity, log z_l with
a normal prior around what the reference says, because they change between two measurements (Vilhunen et al. 2002). The
strength of the regularization scales both terms. In the challenge's tank little is seen of them: half as much again at
every second electrode changes no voltage by more than 0.4 % of the largest.

Tanks other than the challenge's: the data say how many electrodes there are, ``--radius`` and ``--coverage`` where they
are, electrode 1 at the top and the others counter-clockwise; or ``--mesh`` gives a mesh with boundaries that are named
"electrode 1", "electrode 2", ….
"""

from typing import Annotated, Literal

import numpy as np

from pdeopt.eit.experiment import Experiment
from pdeopt.eit.images.inclusions import labels_at
from pdeopt.eit.images.phantom import random_objects
from pdeopt.eit.images.pixels import pixel_centers
from pdeopt.eit.images.score import segmentation_score
from pdeopt.eit.measurements.calibration import calibrate
from pdeopt.eit.measurements.ktc import read_ktc
from pdeopt.eit.measurements.noise import absolute_noise, difference_noise
from pdeopt.eit.measurements.simulation import simulated_data
from pdeopt.eit.shape_fit import ShapeFitter
from pdeopt.eit.tanks.tank import Tank, electrode_names
from pdeopt.eit.tanks.tank_disk import disk_mesh
from pdeopt.eit.tanks.tank_file import electrode_names_of, read_tank_mesh
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    InputError,
    LabelImage,
    Log,
    Marks,
    Numbers,
    Parameter,
    Parameters,
    Problem,
    Series,
    Views,
    gaussian,
    matern_from_length,
    total_variation,
)

#: Absolute voltages are to be explained to so many times the misfit of their noise: what the model misses of the
#: reference, it misses again in other ways where there are objects.
ABSOLUTE_FACTOR = 1.5
#: The standard deviation of log z between the reference and the tank with objects in it.
IMPEDANCE_DEVIATION = 0.3


def measured_tank(data, target, level, tank, objects, seed):
    """The challenge's data of a target, or those of a simulated tank with random objects and noise."""
    if data is not None:
        return read_ktc(data, 1 if target is None else target, level)
    if target is not None:
        raise InputError(f"target {target} is one of measured data: say where they are, --data DIR")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected 0, 1, …")
    inclusions = random_objects(np.random.default_rng(seed), objects, tank)
    return simulated_data(tank, inclusions, level=level, background_change=0.02, noise=0.05, offset=0.03, seed=seed)


def tank_mesh(file, tank, cells):
    """The mesh, its electrodes' names and its radius: of a file, or of a round tank."""
    if file is None:
        return disk_mesh(tank, tank.radius / cells), electrode_names(tank.electrodes), tank.radius
    mesh = read_tank_mesh(file)
    if mesh.dim() != 2:
        raise InputError(f"{file} is a mesh of {mesh.dim()} dimensions; expected a cross section of the tank, in 2")
    radius = float(np.hypot(*mesh.p).max())
    middle = (mesh.p.max(1) + mesh.p.min(1)) / 2
    if np.hypot(*middle) > 0.02 * radius:
        raise InputError(f"{file} has its middle at {middle.round(4).tolist()}; expected a mesh around the origin")
    return mesh, electrode_names_of(mesh), radius


def experiment(V, names, data, imaging):
    """The tank with what is estimated from its reference: ready to be compared with a conductivity."""
    calibration = calibrate(V, names, data)
    shift, noise = calibration.predicted - data.reference, difference_noise(data)
    if imaging == "absolute":
        shift, noise = 0.0, np.hypot(noise, absolute_noise(data, calibration.predicted))
    return calibration, Experiment(V, names, data, data.voltages + shift, noise, calibration.impedances)


def with_impedances(V, calibration, names):
    """The conductivity and the contact impedances of all electrodes, which start at those of the reference."""
    sigma = Parameter(V, "sheet conductance σ (mS)", parametrization=Log(calibration.conductivity))
    labels = [f"contact impedance of {name} (kΩ·m)" for name in names]
    start = np.log(calibration.impedances)
    impedances = Numbers(labels, "contact impedances z (kΩ·m)", parametrization=Log(), initial=start)
    return Parameters({"sigma": sigma, "impedances": impedances})


def as_in_the_file(data, table):
    """Voltages (q, K) under the patterns that are used, among all those of the file; NaN where not valid."""
    whole = np.full((len(table), data.counts["measurements"] // len(table)), np.nan)
    whole[:, data.patterns] = np.where(data.valid, table, np.nan)
    return whole


def reference_found(data, calibration):
    """What the reference says: of the water, of the electrodes, and how well a homogeneous tank explains it."""
    return {
        "background_conductivity": calibration.conductivity,
        "contact_impedances": calibration.impedances,
        "reference_misfit": calibration.misfit,
        "reference_misfit_one_impedance": calibration.common_misfit,
        "reference_superposition": np.nan if calibration.superposition is None else calibration.superposition,
        "reference_measured": as_in_the_file(data, data.reference),
        "reference_predicted": as_in_the_file(data, calibration.predicted),
    }


def objects_found(fit, truth):
    """The objects as a segmentation of the challenge's pixels, and their score where the truth is known."""
    segmentation = labels_at(fit.inclusions, pixel_centers(1.0))
    known = {} if truth is None else {"score": segmentation_score(truth, segmentation), "segmentation_truth": truth}
    return {
        "objects": len(fit.inclusions),
        "water_change": fit.background,
        "segmentation": segmentation,
        **known,
    }


def meaning(tested, calibration, radius):
    """What else the voltages say, beside the image: what is known at once, and then the objects, which take a while."""
    yield {
        **reference_found(tested.data, calibration),
        **{f"data_{name}": count for name, count in tested.data.counts.items()},
    }
    fit = ShapeFitter.of(tested, calibration.conductivity, radius).best()
    yield objects_found(fit, tested.data.truth)


def views(V, names, radius):
    """What pictures show besides: the electrodes by their number, the objects, the reference, and the score."""
    return Views(
        marks=Marks.on_boundaries(V, {name: str(number) for number, name in enumerate(names, 1)}),
        segmentation=LabelImage(
            "segmentation",
            ["water", "resistive", "conductive"],
            truth="segmentation_truth",
            extent=(-radius, radius, -radius, radius),
        ),
        reference=Series(
            "reference_measured",
            "reference_predicted",
            title="reference: the homogeneous model misses the voltages",
            unit="V",
            row="difference",
            column="current pattern",
        ),
        headline={"score": "score"},
    )


def build(
    data: Annotated[str | None, "folder with the challenge's ref.mat and dataN.mat; none: a simulated tank"] = None,
    target: Annotated[int | None, "number N of the target, with --data (1)"] = None,
    level: Annotated[int, "of difficulty, 1 to 7: leaves out electrodes 1 to 2 (level − 1)"] = 1,
    imaging: Annotated[
        Literal["difference", "absolute"], "of changes against the reference, or of voltages"
    ] = "difference",
    regularization: Annotated[Literal["matern", "tv"], "smooth, or with edges"] = "matern",
    length: Annotated[float, "correlation length of the Matérn field, relative to the tank's radius"] = 0.5,
    deviation: Annotated[float, "standard deviation of the log-conductivity in that field"] = 1.0,
    weight: Annotated[float, "weight of total variation"] = 30.0,
    radius: Annotated[float, "of the tank, in m"] = 0.115,
    coverage: Annotated[float, "part of the wall that is under electrodes, in (0, 1)"] = 0.5,
    mesh: Annotated[str | None, "file with a mesh of the tank, around the origin"] = None,
    cells: Annotated[float, "cells along the radius, in the middle of the mesh"] = 15.0,
    unknowns: Annotated[
        Literal["sigma", "sigma,impedances"], "the conductivity, or the contact impedances as well"
    ] = "sigma",
    objects: Annotated[int, "in the simulated tank"] = 2,
    seed: Annotated[int, "of the simulated tank"] = 0,
) -> Problem:
    """A tank with electrodes on its wall: measured voltages (KTC 2023), or simulated ones."""
    if not (length > 0 and deviation > 0 and weight > 0):
        raise InputError(f"length is {length}, deviation {deviation}, weight {weight}; expected numbers > 0")
    if not 4 <= cells <= 200:
        raise InputError(f"cells is {cells}; expected 4 to 200 along the radius")
    measured = measured_tank(data, target, level, Tank(radius, coverage=coverage), objects, seed)
    domain, names, extent = tank_mesh(mesh, Tank(radius, len(measured.currents), coverage), cells)
    V = FunctionSpace(domain, domain.elem())
    calibration, tested = experiment(V, names, measured, imaging)
    term = (
        matern_from_length(V, deviation=deviation, length=length * extent)
        if regularization == "matern"
        else total_variation(V, weight / extent, smoothing=0.1 / extent)
    )
    if unknowns == "sigma":
        parameter: Parameter | Parameters = Parameter(V, "sheet conductance σ (mS)", initial=0.0)
        functional = tested.functional(V.interpolate, term, Log(calibration.conductivity))
    else:
        parameter = with_impedances(V, calibration, names)
        prior = gaussian(parameter.parts["impedances"].initial, IMPEDANCE_DEVIATION)
        functional = tested.functional(
            lambda found: V.interpolate(found["sigma"]),
            [term.on("sigma"), prior.on("impedances")],
            parameter,
            lambda found: found["impedances"],
        )

    return Problem(
        functional,
        parameter=parameter,
        length_unit="m",
        data_label="voltages (V)" if imaging == "absolute" else "corrected voltages (V)",
        optimizer="gauss-newton",
        gradient_tolerance=1e-2,
        regularization_strength="discrepancy",
        discrepancy_factor=1.0 if imaging == "difference" else ABSOLUTE_FACTOR,
        interpret=lambda _: meaning(tested, calibration, extent),
        views=views(V, names, extent),
    )

"""What a value, a gradient and a Hessian product cost, by stage, against the linear algebra that cannot be avoided.

The problem: unit square, n × n × 2 triangles, or unit cube, n³ nodes, u = 0 on the boundary, state P1 or P2, m nodal
P1, J = ½∫(u − d)² + ½·1e-8 ∫|∇m|², and one of the forms

    diffusion    exp(m) ∇u·∇v
    reaction     exp(m) ∇u·∇v + u v
    convection   exp(m) ∇u·∇v + b·∇u v + ½ u v, which is not symmetric
    elasticity   exp(m) (2μ ε(u):ε(v) + λ div u div v)

All times are medians of repeated, warm evaluations at different m, in a process for each column. The floor is one
numeric factorization and two solves, primal and adjoint, by the same library, called directly on the same matrices, in
a process of its own in which nothing else is kept; of an iterative solver the two solves. Floor and evaluation are
measured in turns (--rounds), and the ratio is the median of those of the rounds, of wall times and of CPU times: on a
machine that others use only the latter means something. The loop is the same in scikit-fem and SciPy as one would write
it first: assemble, condense, splu, solve twice, assemble the gradient.

    python scripts/benchmark.py [--form diffusion reaction …] [--dim 2] [--degree 1] [--sizes 128 256 512]
                                [--solver auto rslab …] [--repeats 7] [--rounds 3] [--loop]
    python scripts/benchmark.py --peer-form 256        ours as one JSON line, as other codes print the same problem
    python scripts/benchmark.py --transient [--sizes 64 256]
                                                       200 steps of the heat equation against a bare loop of the same
                                                       library, and 1000 of leapfrog at n = 512 against sparse products;
                                                       CPU seconds: taskset -c 0 makes them those of one core
    python scripts/benchmark.py --growth 3000 [--sizes 32] [--solver superlu gmres+ilu …]
                                                       memory after a hundred evaluations, and after that many
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse.linalg
import skfem
from rich.console import Console
from rich.table import Table
from skfem.helpers import dot as skfem_dot

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, ddot, div, dot, grad, linear_form, sym_grad
from pdeopt.inverse import AtPoints, InTime, L2Misfit, Quadratic, ReducedFunctional, h1, mass
from pdeopt.inverse.compiled import Compiled
from pdeopt.pde import Evolution, LinearStateEquation, TransientStateEquation
from pdeopt.sparse import (
    DirectSolver,
    SparsityPattern,
    diagonal_matrix,
    linear_march,
    resolve_solver,
    state_memory,
    work,
)
from pdeopt.sparse.solvers.auto import fastest_direct

ALPHA = 1e-8
#: The number of evaluations before those that are measured: the first ones compile, and find fresh memory.
WARM_UP = 3
ELEMENTS = {
    (2, 1): skfem.ElementTriP1,
    (2, 2): skfem.ElementTriP2,
    (3, 1): skfem.ElementTetP1,
    (3, 2): skfem.ElementTetP2,
}


@bilinear_form
def diffusion(u, v, w):
    return jnp.exp(w["m"]) * dot(grad(u), grad(v))


@bilinear_form
def reaction(u, v, w):
    return jnp.exp(w["m"]) * dot(grad(u), grad(v)) + u * v


@bilinear_form
def convection(u, v, w):
    b_grad_u = sum((k + 1) * grad(u)[k] for k in range(len(w.x)))
    return jnp.exp(w["m"]) * dot(grad(u), grad(v)) + b_grad_u * v + 0.5 * u * v


@bilinear_form
def elasticity(u, v, w):
    return jnp.exp(w["m"]) * (0.8 * ddot(sym_grad(u), sym_grad(v)) + 0.6 * div(u) * div(v))


FORMS = {form.name: form for form in (diffusion, reaction, convection, elasticity)}


@linear_form
def unit_load(v, _):
    return v


@linear_form
def weight(v, _):
    return -v[1]


@bilinear_form
def vector_mass(u, v, _):
    return dot(u, v)


@skfem.BilinearForm
def skfem_conduction(u, v, w):
    return np.exp(w["m"]) * skfem_dot(u.grad, v.grad)


@skfem.LinearForm
def skfem_load(v, _):
    return v


@skfem.LinearForm
def skfem_sensitivity(v, w):
    return -v * np.exp(w["m"]) * skfem_dot(w["u"].grad, w["adjoint"].grad)


def true_parameter(x):
    return 0.5 * np.exp(-40 * ((x[0] - 0.3) ** 2 + (x[1] - 0.6) ** 2)) - 0.4 * np.exp(
        -30 * ((x[0] - 0.7) ** 2 + (x[1] - 0.35) ** 2)
    )


def mesh_of(n, dim):
    if dim == 2:
        ticks = np.linspace(0, 1, n + 1)
        return skfem.MeshTri.init_tensor(ticks, ticks)
    ticks = np.linspace(0, 1, n)
    return skfem.MeshTet.init_tensor(ticks, ticks, ticks)


def spaces(n, dim=2, degree=1, form="diffusion"):
    """Of the state and of the parameter."""
    element = ELEMENTS[dim, degree]()
    element = skfem.ElementVector(element) if form == "elasticity" else element
    V = FunctionSpace(mesh_of(n, dim), element, order=2 * degree)
    return V, V.with_element(ELEMENTS[dim, 1]())


def problem(n, solver, dim=2, degree=1, form="diffusion"):
    """The state's space, the boundary condition and the reduced functional."""
    V, M = spaces(n, dim, degree, form)
    dirichlet, is_vector = Dirichlet.on(V), form == "elasticity"
    load = (weight if is_vector else unit_load).assemble(V)
    state = LinearStateEquation(lambda m: (FORMS[form].assemble(V, m=M.interpolate(m)), load), dirichlet, solver)
    inner = (vector_mass if is_vector else mass).assemble(V)
    misfit = Quadratic(1.0, inner, state(jnp.asarray(true_parameter(M.locations))))
    return V, dirichlet, ReducedFunctional(state, lambda u, _: misfit(u), h1(M, ALPHA))


def median_seconds(stages, repeats):
    """{name: median} of ``stages`` {name: (function, arguments)}, interleaved so that all meet the same load."""
    times = {name: [] for name in stages}
    for k in range(repeats + WARM_UP):
        for name, (function, arguments) in stages.items():
            start = time.perf_counter()
            jax.block_until_ready(function(arguments[k]))
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds[WARM_UP:])) for name, seconds in times.items()}


def backend(solver, is_symmetric):
    """The library that a direct solver tries first."""
    chosen = resolve_solver(solver)
    direct = chosen if isinstance(chosen, DirectSolver) else fastest_direct()
    return (direct.symmetric if is_symmetric else direct.general)[0]


def is_iterative(solver):
    return hasattr(resolve_solver(solver), "preconditioner") and solver != "auto"


def floor(solver, path, repeats):
    """One numeric factorization and two solves by the library alone, and each of them, with the matrices of a file."""
    stored = np.load(path)
    n, values, rhs = len(stored["indptr"]) - 1, stored["values"], stored["rhs"]
    pattern = SparsityPattern(stored["indptr"], stored["indices"], (n, n))
    if is_iterative(solver):
        krylov = resolve_solver(solver)
        return measured(
            lambda data: [krylov.solve(pattern, data, rhs, side) for side in (False, True)], values, repeats
        )
    factorize = backend(solver, stored["is_symmetric"])(pattern, values[0])
    found, factor = measured(factor_and_solve(factorize, rhs), values, repeats), factorize(values[0])
    stages = {
        "solve": (lambda b: factor.solve(b, False), [rhs] * len(values)),
        "adjoint solve": (lambda b: factor.solve(b, True), [rhs] * len(values)),
    }
    solves = median_seconds(stages, repeats)
    return found | solves | {"factorization": found["floor"] - sum(solves.values())}


def factor_and_solve(factorize, rhs):
    """One numeric factorization and two solves."""

    def run(data):
        factor = factorize(data)
        for transposed in (False, True):
            factor.solve(rhs, transposed)

    return run


def measured(function, arguments, repeats):
    """Medians of the wall and CPU seconds of the floor."""
    times = [timed(function, arguments[k]) for k in range(repeats + WARM_UP)][WARM_UP:]
    wall, cpu = np.median(times, axis=0)
    return {"floor": float(wall), "floor, CPU": float(cpu)}


def store_matrices(n, path, options):
    """Write the matrices of the solves, at as many m as are needed, to a file for `floor`."""
    V, M = spaces(n, options.dim, options.degree, options.form[0])
    dirichlet, form = Dirichlet.on(V), FORMS[options.form[0]]
    assemble = Compiled(lambda m: dirichlet.condense(form.assemble(V, m=M.interpolate(m)), jnp.zeros(V.n))[0].data)
    values = np.stack([np.asarray(assemble(m)) for m in parameters(M, 0.012, options.repeats + WARM_UP)])
    pattern = dirichlet.condense(form.assemble(V, m=M.interpolate(np.zeros(M.n))), jnp.zeros(V.n))[0].pattern
    arrays = {"indptr": pattern.indptr, "indices": pattern.indices, "rhs": np.ones((pattern.shape[0], 1))}
    np.savez(path, values=values, is_symmetric=options.form[0] != "convection", **arrays)


def parameters(M, scale, count):
    x = M.locations
    return [scale * k * np.sin(3 * x[0] + k) * np.cos(2 * x[1]) for k in range(1, count + 1)]


def straightforward(n, dim, degree, target):
    """m ↦ (J, dJ/dm) by scikit-fem and SciPy."""
    V, M = (space.basis for space in spaces(n, dim, degree))
    mass_matrix = skfem.BilinearForm(lambda u, v, _: u * v).assemble(V)
    laplacian = skfem.BilinearForm(lambda u, v, _: skfem_dot(u.grad, v.grad)).assemble(M)
    load, boundary = skfem_load.assemble(V), V.get_dofs().flatten()

    def value_and_derivative(m):
        field = M.interpolate(m)
        A, b, u, inner = skfem.condense(skfem_conduction.assemble(V, m=field), load, D=boundary)
        lu = scipy.sparse.linalg.splu(A.tocsc())
        u[inner] = lu.solve(b)
        residual, adjoint = mass_matrix @ (u - target), np.zeros_like(u)
        adjoint[inner] = lu.solve(residual[inner], "T")
        sensitivity = skfem_sensitivity.assemble(M, m=field, u=V.interpolate(u), adjoint=V.interpolate(adjoint))
        value = 0.5 * (u - target) @ residual + 0.5 * ALPHA * m @ (laplacian @ m)
        return value, sensitivity + ALPHA * (laplacian @ m)

    return value_and_derivative


def measure(n, options):
    solver, repeats, form = options.solver[0], options.repeats, FORMS[options.form[0]]
    V, _, functional = problem(n, solver, options.dim, options.degree, options.form[0])
    M = V.with_element(ELEMENTS[options.dim, 1]())
    start = time.perf_counter()
    objective, derivative = functional.value_and_derivative(np.zeros(M.n))
    first = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assembly = Compiled(lambda m: form.assemble(V, m=M.interpolate(m)).data)
    adjoint = Compiled(lambda m, c: jax.vjp(lambda m: form.assemble(V, m=M.interpolate(m)).data, m)[1](c)[0])
    cotangent = np.ones(len(assembly(np.zeros(M.n))))
    points = partial(parameters, M, count=repeats + WARM_UP)
    both = [timed(functional.value_and_derivative, m) for m in points(0.011)][WARM_UP:]
    wall, cpu = np.median(both, axis=0)
    stages = {
        "value": (functional.terms, points(0.010)),
        "Hessian product": (functional.hessian(points(0.013)[0]), points(0.01)),
        "assembly": (assembly, points(0.01)),
        "assembly adjoint": (lambda m: adjoint(m, cotangent), points(0.01)),
    }
    seconds = {"value+gradient": float(wall), "value+gradient, CPU": float(cpu)} | median_seconds(stages, repeats)
    if options.loop:
        loop = straightforward(n, options.dim, options.degree, functional.solution(true_parameter(M.locations)))
        check = np.linalg.norm(loop(points(0.011)[0])[1] - functional.derivative(points(0.011)[0]))
        seconds |= median_seconds({"loop": (loop, points(0.011))}, min(repeats, 5))
        seconds["loop disagrees by"] = float(check / np.linalg.norm(derivative))
    row = {"unknowns": V.n, "J(0)": objective, "|dJ(0)|": float(np.linalg.norm(derivative))}
    return row | {"first": first, "peak MB": peak} | seconds


STAGES = ["factorization", "solve", "adjoint solve", "assembly", "assembly adjoint"]
TOGETHER = ["floor", "value", "value+gradient", "floor, CPU", "value+gradient, CPU", "Hessian product", "loop"]


def ratios(row):
    """What the bounds are stated for."""
    result = {
        "v+g / floor": row["v+g / floor"],
        "v+g / floor, CPU": row["v+g / floor, CPU"],
        "v+g / value": row["value+gradient"] / row["value"],
    }
    if "factorization" in row:
        both = row["assembly"] + row["assembly adjoint"]
        solves = row["solve"] + row["adjoint solve"]
        result["assembly + adjoint / factorization"] = both / row["factorization"]
        result["(Hv - assembly) / 2 solves"] = (row["Hessian product"] - both) / solves
    if "loop" in row:
        result["loop / v+g"] = row["loop"] / row["value+gradient"]
    return result


def report(rows, title):
    table = Table(title=title)
    table.add_column("")
    for row in rows:
        table.add_column(f"{row['form']} {row['n']} {row['solver']}", justify="right")
    table.add_row("unknowns", *(str(row["unknowns"]) for row in rows))
    for name in [*STAGES, *TOGETHER, "first", "peak MB"]:
        if any(name in row for row in rows):
            digits = 0 if name == "peak MB" else 4
            table.add_row(name, *(f"{row[name]:.{digits}f}" if name in row else "" for row in rows))
    for name in dict.fromkeys(key for row in rows for key in ratios(row)):
        table.add_row(name, *(f"{ratios(row)[name]:.2f}" if name in ratios(row) else "" for row in rows))
    Console(width=60 + 26 * len(rows)).print(table)


def peer_form(n, solver):
    """The same problem and the same measurements as other codes' scripts of it, one JSON line."""
    V, _, functional = problem(n, solver)
    x, out = V.locations, {"peer": "pdeopt", "n": n, "dofs": V.n, "solver": solver}
    objective, derivative = functional.value_and_derivative(np.zeros(V.n))
    out |= {"J0": objective, "gnorm0": float(np.linalg.norm(derivative)), "solver": resolve_solver(solver).name}
    probe = [0.01 * k * np.sin(3 * x[0] + k) * np.cos(2 * x[1]) for k in range(1, 6)]
    stages = {"forward": (1.0, functional.solution), "valgrad": (1.001, functional.value_and_derivative)}
    for name, (scale, function) in stages.items():  # at other m, because factorizations are kept
        function(0.5 * scale * probe[0])
        wall, cpu = zip(*(timed(function, scale * m) for m in probe), strict=True)
        out |= {f"t_{name}": float(np.median(wall)), f"cpu_{name}": float(np.median(cpu))}
    settings = {"maxiter": 50, "ftol": 0, "gtol": 0, "maxcor": 10, "maxfun": 200}
    start, start_cpu = time.perf_counter(), time.process_time()
    found = scipy.optimize.minimize(
        functional.value_and_derivative, np.zeros(V.n), jac=True, method="L-BFGS-B", options=settings
    )
    out |= {"t_lbfgs50": time.perf_counter() - start, "cpu_lbfgs50": time.process_time() - start_cpu}
    truth = true_parameter(x)
    error = float(np.linalg.norm(found.x - truth) / np.linalg.norm(truth))
    out |= {"nit": int(found.nit), "nfev": int(found.nfev), "J50": float(found.fun), "m_relerr": error}
    out["peak_rss_MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(out), flush=True)


def timed(function, argument):
    """Wall and CPU seconds of one call."""
    start, start_cpu = time.perf_counter(), time.process_time()
    function(argument)
    return time.perf_counter() - start, time.process_time() - start_cpu


def growth(count, solver, n):
    """Resident memory after a hundred evaluations, after a third of ``count``, and after all."""
    V, _, functional = problem(n, solver)
    rng = np.random.default_rng(0)
    sizes = {}
    for k in range(1, count + 1):
        functional.value_and_derivative(0.1 * rng.standard_normal(V.n))
        if k in (100, count // 3, count):
            sizes[k] = resident()
    text = ", ".join(f"{size:.1f} MB after {k}" for k, size in sizes.items())
    print(f"{solver}, {V.n} unknowns: {text} evaluations", flush=True)


def cpu_seconds(function, arguments):
    """Median CPU time of calls, the first one apart."""
    times = []
    for argument in arguments:
        start = time.process_time()
        function(argument)
        times.append(time.process_time() - start)
    return float(np.median(times[1:]))


def heat(n, steps, repeats):
    """200 equal steps of implicit Euler, a diffusivity from 20 sensors; the loop is product and triangular solves."""
    V, _ = spaces(n)
    x, dirichlet, times = V.locations, Dirichlet.on(V), np.linspace(0, 0.1, steps + 1)
    M, start = mass.assemble(V), np.sin(np.pi * x[0]) * np.sin(np.pi * x[1])
    state = TransientStateEquation(
        lambda m: Evolution(M, diffusion.assemble(V, m=V.interpolate(m)), initial=start), times, dirichlet=dirichlet
    )
    points = np.random.default_rng(0).uniform(0.1, 0.9, (2, 20))
    observation = InTime(AtPoints.of(V, points), times[1:])
    misfit = L2Misfit.of(observation, observation.of(state, np.full(V.n, 0.2)), 0.01)
    functional = ReducedFunctional(state, misfit)
    parameters = [0.01 * k * np.sin(3 * x[0] + k) * np.cos(2 * x[1]) for k in range(1, repeats + 2)]
    A = M + (times[1] - times[0]) * diffusion.assemble(V, m=V.interpolate(np.zeros(V.n)))
    A, B = (dirichlet.condense(X, jnp.zeros(V.n))[0] for X in (A, M))
    data, product, first = np.asarray(A.data), B.to_scipy(), start[dirichlet.free][:, None]
    factorize = backend("auto", True)(A.pattern, data)

    def loop(_):
        factor, u = factorize(data), first
        for _ in range(steps):
            u = factor.solve(product @ u, False)

    row = {"n": n, "unknowns": len(first), "bare loop": cpu_seconds(loop, parameters)}
    row |= {"value": cpu_seconds(functional, parameters)}
    row |= {"value+gradient": cpu_seconds(functional.value_and_derivative, parameters)}
    state_memory.peak = 0
    functional.value_and_derivative(1.1 * parameters[0])
    kept = state_memory.peak
    few = functional.with_memory(23 * 8 * len(first))
    few.value_and_derivative(parameters[0])
    before, state_memory.peak = work.copy(), 0
    row |= {"with snapshots": cpu_seconds(few.value_and_derivative, parameters[:2])}
    row |= {"value / loop": row["value"] / row["bare loop"], "v+g / value": row["value+gradient"] / row["value"]}
    row |= {
        "kept bytes a step / 8 n": kept / steps / 8 / len(first),
        "with snapshots: memory": state_memory.peak / kept,
    }
    return row | {"with snapshots: steps": work.since(before).time_steps / 2}


def leapfrog(n, steps):
    """Steps of the wave equation with a lumped mass, and the products with its stiffness in SciPy."""
    V, _ = spaces(n)
    K = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    M = diagonal_matrix(mass.assemble(V) @ jnp.ones(V.n))
    source = np.zeros((1, V.n))
    source[0, V.n // 2] = 1.0
    kind, start = ((1.0, 0.0), (-2.0, 0.25 / n**2), (1.0, 0.0)), np.zeros((2, V.n))
    weights = np.sin(np.arange(steps) / 20)[:, None]

    def run(_):
        found = linear_march(
            [M, K], [kind], [0] * steps, start, weights=weights, vectors=source, dofs=[0], steps=[steps]
        )
        return jax.block_until_ready(found)

    product, u = K.to_scipy(), np.random.default_rng(0).standard_normal(V.n)
    seconds = cpu_seconds(run, range(3)) / steps
    of_product = cpu_seconds(lambda _: [product @ u for _ in range(50)], range(3)) / 50
    matrix = 12 * product.nnz + 4 * V.n
    moved, of_one = matrix + 5 * 8 * V.n, matrix + 2 * 8 * V.n  # u, u before it, the mass and the new u, written twice
    rates = {"step": moved / seconds / 1e9, "product": of_one / of_product / 1e9}
    return (
        {"n": n, "ms a step": 1e3 * seconds, "ms a product": 1e3 * of_product}
        | {f"GB/s of a {name}": rate for name, rate in rates.items()}
        | {"step / product": rates["step"] / rates["product"]}
    )


def transient(sizes, repeats):
    """Print what steps in time cost."""
    for row in (*(heat(n, 200, repeats) for n in sizes), leapfrog(512, 1000)):
        print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", nargs="+", choices=FORMS, default=["diffusion"])
    parser.add_argument("--dim", type=int, choices=(2, 3), default=2)
    parser.add_argument("--degree", type=int, choices=(1, 2), default=1, help="of the state's element")
    parser.add_argument("--sizes", type=int, nargs="+", help="squares along a side, nodes along a side in 3-D")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--solver", nargs="+", default=["auto"])
    parser.add_argument("--loop", action="store_true", help="also the loop in scikit-fem and SciPy (slow)")
    parser.add_argument("--peer-form", type=int, nargs="+", metavar="N")
    parser.add_argument("--transient", action="store_true", help="steps in time")
    parser.add_argument("--growth", type=int, metavar="COUNT")
    parser.add_argument("--part", choices=("matrices", "floor", "evaluation"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.transient:
        transient(options.sizes or [64, 256], options.repeats)
        return
    if options.loop and options.form != ["diffusion"]:
        parser.error("--loop is there for the form diffusion only")
    sizes = options.sizes or ([64, 128, 256, 512] if options.dim == 2 else [20, 30])
    if options.part == "matrices":
        store_matrices(sizes[0], options.file, options)
    elif options.part == "floor":
        print(json.dumps(floor(options.solver[0], options.file, options.repeats)), flush=True)
    elif options.part == "evaluation":
        print(json.dumps(measure(sizes[0], options)), flush=True)
    elif options.peer_form:
        for n in options.peer_form:
            peer_form(n, options.solver[0])
    elif options.growth and len(options.solver) == 1:
        growth(options.growth, options.solver[0], sizes[0])
    elif options.growth:
        for solver in options.solver:
            command = [sys.executable, __file__, "--growth", str(options.growth), "--sizes", str(sizes[0])]
            subprocess.run([*command, "--solver", solver], check=False)
    else:
        rows = []
        for case in itertools.product(options.form, sizes, options.solver):
            rows.append(in_own_processes(*case, options))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # the table comes late
        report(rows, title(options))


def title(options):
    return f"{options.dim}-D P{options.degree}: seconds (medians of {options.rounds} times {options.repeats})"


def in_own_processes(form, n, solver, options):
    """Floor and evaluation in turns, each in a process of its own, so that memory and peak are its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--form", form, "--sizes", str(n), "--solver", solver]
        command += ["--dim", str(options.dim), "--degree", str(options.degree), "--repeats", str(options.repeats)]
        command += ["--file", str(Path(folder) / "matrices.npz"), *["--loop"] * options.loop]

        def part(name):
            return subprocess.run([*command, "--part", name], check=True, stdout=subprocess.PIPE, text=True).stdout

        part("matrices")
        rounds = [json.loads(part("floor")) | json.loads(part("evaluation")) for _ in range(options.rounds)]
    row = {key: float(np.median([found[key] for found in rounds])) for key in rounds[0]}
    for kind in ("", ", CPU"):
        quotients = [found[f"value+gradient{kind}"] / found[f"floor{kind}"] for found in rounds]
        row[f"v+g / floor{kind}"] = float(np.median(quotients))
    return row | {"form": form, "n": n, "solver": solver, "unknowns": rounds[0]["unknowns"]}


if __name__ == "__main__":
    main()

"""What a value, a gradient and a Hessian product cost, against the linear algebra that cannot be avoided.

The problem: unit square, n × n × 2 triangles, P1, u = 0 on the boundary, −∇·(exp(m)∇u) = 1, nodal m,
J = ½∫(u − d)² + ½·1e-8 ∫|∇m|². All times are medians of repeated, warm evaluations at different m, in one process; the
floor is one numeric factorization and two triangular solves by the same library, called directly on the same matrix.

    python scripts/benchmark.py [--sizes 64 128 256 512] [--repeats 7] [--solver auto]
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import skfem
from rich.console import Console
from rich.table import Table
from skfem.helpers import dot as skfem_dot

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import Quadratic, ReducedFunctional, h1, mass
from pdeopt.inverse.compiled import Compiled
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import resolve_solver


@bilinear_form
def conduction(u, v, w):
    return jnp.exp(w["m"]) * dot(grad(u), grad(v))


@linear_form
def unit_load(v, _):
    return v


@skfem.BilinearForm
def skfem_conduction(u, v, w):
    return np.exp(w["m"]) * skfem_dot(u.grad, v.grad)


def true_parameter(x):
    return 0.5 * np.exp(-40 * ((x[0] - 0.3) ** 2 + (x[1] - 0.6) ** 2)) - 0.4 * np.exp(
        -30 * ((x[0] - 0.7) ** 2 + (x[1] - 0.35) ** 2)
    )


def problem(n, solver):
    """The space, the boundary condition and the reduced functional."""
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1(), order=2)
    dirichlet, load = Dirichlet.on(V), unit_load.assemble(V)
    state = LinearStateEquation(lambda m: (conduction.assemble(V, m=V.interpolate(m)), load), dirichlet, solver)
    misfit = Quadratic(1.0, mass.assemble(V), state(jnp.asarray(true_parameter(V.locations))))
    return V, dirichlet, ReducedFunctional(state, lambda u, _: misfit(u), h1(V, 1e-8))


def median_seconds(stages, repeats):
    """{name: median} of ``stages`` {name: (function, arguments)}, interleaved so that all meet the same load."""
    times = {name: [] for name in stages}
    for k in range(repeats + 1):
        for name, (function, arguments) in stages.items():
            start = time.perf_counter()
            jax.block_until_ready(function(arguments[k]))
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds[1:])) for name, seconds in times.items()}  # the first call compiles


def floor(solver, pattern, sample, rhs):
    """One numeric factorization and two solves by the backend that the solver prefers for symmetric matrices."""
    factorize = solver.symmetric[0](pattern, sample)

    def factor_and_solve(data):
        factor = factorize(data)
        factor.solve(rhs, False)
        factor.solve(rhs, True)

    return factor_and_solve


def solve_pair(solver, pattern, data, rhs):
    """The two triangular solves that a product with the Hessian cannot avoid, with a factor at hand."""
    factor = solver.symmetric[0](pattern, data)(data)

    def solve(rhs):
        factor.solve(rhs, False)
        factor.solve(rhs, True)

    return solve, [rhs] * 100


def measure(n, repeats, solver):
    V, dirichlet, functional = problem(n, solver)
    x = V.locations
    objective, derivative = functional.value_and_derivative(np.zeros(V.n))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def parameters(scale):
        return [scale * k * np.sin(3 * x[0] + k) * np.cos(2 * x[1]) for k in range(1, repeats + 2)]

    def matrix(m):
        return conduction.assemble(V, m=V.interpolate(m))

    assembly = Compiled(lambda m: matrix(m).data)
    adjoint = Compiled(lambda m, cotangent: jax.vjp(lambda m: matrix(m).data, m)[1](cotangent)[0])
    cotangent = jnp.ones(matrix(np.zeros(V.n)).pattern.nnz)
    free = [dirichlet.condense(matrix(m), jnp.zeros(V.n))[0] for m in parameters(0.012)]
    values = [np.asarray(A.data) for A in free]
    rhs = np.ones((free[0].shape[0], 1))
    direct = floor(resolve_solver(solver), free[0].pattern, values[0], rhs)
    hessian = functional.hessian(parameters(0.013)[0])
    seconds = median_seconds(
        {
            "floor": (direct, values),
            "value": (functional.terms, parameters(0.010)),
            "value+gradient": (functional.value_and_derivative, parameters(0.011)),
            "Hessian product": (hessian, parameters(0.01)),
            "2 solves": solve_pair(resolve_solver(solver), free[0].pattern, values[0], rhs),
            "assembly": (assembly, parameters(0.01)),
            "assembly adjoint": (lambda m: adjoint(m, cotangent), parameters(0.01)),
            "scikit-fem assembly": (lambda m: skfem_conduction.assemble(V.basis, m=m), parameters(0.01)),
        },
        repeats,
    )
    return {"n": n, "J(0)": objective, "|dJ(0)|": float(np.linalg.norm(derivative)), "peak MB": peak, **seconds}


def report(rows):
    table = Table(title="seconds (medians); floor = numeric factorization + 2 solves of the same library")
    keys = ["floor", "value", "value+gradient", "assembly", "assembly adjoint", "scikit-fem assembly"]
    keys += ["2 solves", "Hessian product"]
    for name in ("n", *keys, "v+g / floor", "v+g / value", "(Hv - assembly) / 2 solves", "peak MB"):
        table.add_column(name, justify="right")
    for row in rows:
        beyond = row["Hessian product"] - row["assembly"] - row["assembly adjoint"]
        ratios = (row["value+gradient"] / row["floor"], row["value+gradient"] / row["value"], beyond / row["2 solves"])
        cells = [f"{row[key]:.4f}" for key in keys] + [f"{ratio:.2f}" for ratio in ratios]
        table.add_row(str(row["n"]), *cells, f"{row['peak MB']:.0f}")
    Console(width=190).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512], help="squares along a side")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON line a size instead of the table")
    options = parser.parse_args()
    if options.json:
        for n in options.sizes:
            print(json.dumps(measure(n, options.repeats, options.solver)), flush=True)
        return
    rows = []
    for n in options.sizes:  # a process each, so that the peak memory is that size's own
        command = [sys.executable, __file__, "--json", "--sizes", str(n)]
        command += ["--repeats", str(options.repeats), "--solver", options.solver]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    report(rows)


if __name__ == "__main__":
    main()

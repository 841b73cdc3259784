"""How optimizers and inner products do under refinement of the mesh, and against each other. Prints two tables.

The first: the problem of ``scripts/benchmark.py``, J after 50 iterations of L-BFGS-B in each inner product. Published
codes, all in the Euclidean one, get 5.85e-9, 6.43e-9 and 1.13e-8 for n = 128, 256 and 512. The second: the problem
``conductivity``, seconds to the objective with which L-BFGS-B ends, with compilation (the first run) and without.

    python scripts/optimizers.py [--sizes 128 256 512] [--conductivity 128] [--repeats 3]
"""

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
from benchmark import problem
from rich.console import Console
from rich.table import Table

from pdeopt.inverse import NewtonModel, Parameter, inner_product_named
from pdeopt.optimize import minimize
from pdeopt.sparse import clear_memo

PRODUCTS = ("euclidean", "l2", "regularization")
#: J of one run counts as reached by another up to this part of it.
SAME = 1e-6


def after_fifty(n, product):
    """J after 50 iterations of L-BFGS-B from m = 0."""
    V, _, functional = problem(n, "auto")
    start = np.zeros(V.n)
    chosen = inner_product_named(product, functional, Parameter(V, "m"), None, start)
    goals = {"max_iterations": 50, "gradient_tolerance": 0.0, "objective_tolerance": 0.0}
    return minimize(functional, start, inner_product=chosen, **goals).objective


def mesh_independence(sizes):
    table = Table(title="J after 50 iterations of L-BFGS-B")
    for name in ("inner product", *(f"n = {n}" for n in sizes), "growth"):
        table.add_column(name, justify="right")
    for product in PRODUCTS:
        values = [after_fifty(n, product) for n in sizes]
        growth = f"{100 * (values[-1] / values[0] - 1):.1f} %"
        table.add_row(product, *(f"{value:.4e}" for value in values), growth)
    return table


def conductivity(n):
    path = Path(__file__).parent.parent / "problems" / "conductivity.py"
    spec = importlib.util.spec_from_file_location("conductivity", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(n=n)


def race(problem, optimizer, goal=None):
    """(result, seconds), to the objective ``goal`` where one is given."""
    clear_memo()
    model = NewtonModel(problem.functional, problem.parameter)
    product = inner_product_named("l2", problem.functional, problem.parameter)

    def stop_at_goal(iterate):
        if goal is not None and iterate.objective <= goal * (1 + SAME):
            raise StopIteration

    start = time.perf_counter()
    result = minimize(
        model,
        problem.initial,
        optimizer=optimizer,
        inner_product=product,
        preconditioner=model.preconditioner,
        callback=stop_at_goal,
    )
    return result, time.perf_counter() - start


def newton_against_lbfgsb(n, repeats):
    problem, goal = conductivity(n), None
    table = Table(title=f"conductivity, {n} x {n} x 2 triangles: to the same objective")
    for name in ("optimizer", "J", "iterations", "evaluations", "CG", "first run, s", f"then, s ({repeats})", "ratio"):
        table.add_column(name, justify="right")
    slowest = None
    for optimizer in ("l-bfgs-b", "newton-cg", "gauss-newton"):
        _, first = race(problem, optimizer, goal)
        runs = [race(problem, optimizer, goal) for _ in range(repeats)]
        result, median = runs[0][0], float(np.median([seconds for _, seconds in runs]))
        goal, slowest = goal or result.objective, slowest or median
        counts = (str(count) for count in (result.iterations, result.evaluations, result.cg_iterations))
        ratio = f"{slowest / median:.2f}"
        table.add_row(optimizer, f"{result.objective:.6g}", *counts, f"{first:.2f}", f"{median:.2f}", ratio)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 256, 512], help="squares along a side")
    parser.add_argument("--conductivity", type=int, default=128, metavar="N", help="cells along a side; 0: not at all")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.sizes:
        Console(width=120).print(mesh_independence(options.sizes))
    if options.conductivity:
        Console(width=120).print(newton_against_lbfgsb(options.conductivity, options.repeats))


if __name__ == "__main__":
    main()

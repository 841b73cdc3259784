"""What a value, a gradient and the Jacobian of a tank cost, against the linear algebra of one factor and 76 patterns.

The problem: the challenge's tank, P1, the complete electrode model with 32 electrodes, 76 current patterns of 15
dimensions, 31 voltages each, σ = exp(m) at the vertices. All times are medians of repeated, warm evaluations at
different m, in one process; the floor is one numeric factorization and two solves with 76 right-hand sides by the same
library, called directly on the same matrix.

    python scripts/benchmark_eit.py [--cells 45] [--repeats 9] [--solver auto]
"""

import argparse

import jax.numpy as jnp
import numpy as np
import skfem
from benchmark import WARM_UP, backend, factor_and_solve, median_seconds

from pdeopt.eit import ElectrodeVoltages, Tank, VoltageJacobian, complete_electrode_model, disk_mesh, electrode_names
from pdeopt.eit.images.phantom import ktc_patterns
from pdeopt.fem import Dirichlet, FunctionSpace
from pdeopt.inverse import L2Misfit, Log, ReducedFunctional


def tank_problem(cells, solver):
    """The model, what is observed of it and the reduced functional."""
    tank = Tank()
    V = FunctionSpace(disk_mesh(tank, tank.radius / cells), skfem.ElementTriP1())
    currents, differences = ktc_patterns(tank.electrodes)
    names = electrode_names(tank.electrodes)
    model = complete_electrode_model(V, names, currents, V.interpolate, 1e-4, solver)
    observation = ElectrodeVoltages.of(model, differences)
    data = np.asarray(observation(model(jnp.ones(V.n))))
    return model, observation, ReducedFunctional(model, L2Misfit.of(observation, data, 0.01), (), Log())


def floor_stage(model, parameters, solver):
    """One factorization and two solves with a right-hand side for each pattern."""
    size = model.space.n + len(model.electrodes)
    ground = Dirichlet(size, np.array([size - 1]))
    matrices = [ground.condense(model.matrix(jnp.exp(m)), jnp.zeros(size))[0] for m in parameters]
    load = np.vstack([np.zeros((model.space.n, model.currents.shape[1])), model.currents])[:-1]
    values = [np.asarray(A.data) for A in matrices]
    factorize = backend(solver, is_symmetric=True)(matrices[0].pattern, values[0])
    return factor_and_solve(factorize, np.ascontiguousarray(load)), values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=float, default=45, help="along the radius")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--solver", default="auto")
    options = parser.parse_args()
    model, observation, functional = tank_problem(options.cells, options.solver)
    x = model.space.locations / Tank().radius

    def parameters(scale):
        return [scale * k * np.sin(3 * x[0] + k) * np.cos(2 * x[1]) for k in range(1, options.repeats + WARM_UP + 1)]

    stages = {
        "floor": floor_stage(model, parameters(0.012), options.solver),
        "value": (functional.terms, parameters(0.010)),
        "value+gradient": (functional.value_and_derivative, parameters(0.011)),
        "Jacobian": (VoltageJacobian(model, observation, Log()), parameters(0.010)),
    }
    seconds = median_seconds(stages, options.repeats)
    print(f"{model.space.n} vertices, {model.currents.shape[1]} patterns; seconds (medians)")
    for name, value in seconds.items():
        print(f"{name:15} {value:8.4f}")
    print(f"value+gradient / floor  {seconds['value+gradient'] / seconds['floor']:.2f}")


if __name__ == "__main__":
    main()

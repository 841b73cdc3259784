"""What the tangent of a residual form or an energy costs, against the same bilinear form written by hand.

(a) (1 + u²) ∇u·∇v on triangles; (b) a neo-Hookean solid on P1 tetrahedra and on P2 triangles (plane strain), with
Young's modulus as a field. Both tangents have the same coefficients and go through the same assembly; times are medians
of warm evaluations at different states, interleaved, in a process for each case. The adjoint takes a cotangent of the
matrix to those of the state and of the modulus (in (a): of the state).

    python scripts/benchmark_tangent.py [--cells 100000] [--repeats 9] [--case scalar-p1 …]
"""

import argparse
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import (
    FunctionSpace,
    bilinear_form,
    ddot,
    det,
    dot,
    energy,
    grad,
    identity,
    inv,
    mul,
    residual_form,
    trace,
    transpose,
)
from pdeopt.fem.models import lame_parameters, neo_hookean, neo_hookean_plane_strain

NU = 0.3
CASES = ("scalar-p1", "scalar-p2", "neo-hookean-tet-p1", "neo-hookean-tri-p2")
LARGEST_RATIO = 1.3


@residual_form
def diffusion(u, v, _):
    return (1 + u**2) * dot(grad(u), grad(v))


@bilinear_form
def diffusion_tangent(du, v, w):
    u = w["u"]
    return (1 + u**2) * dot(grad(du), grad(v)) + 2 * u * du * dot(grad(u), grad(v))


@bilinear_form
def neo_hookean_tangent(du, v, w):
    """Bonet, Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, 2008, section 6.4.3."""
    lam, mu = lame_parameters(w["E"], NU)
    F = identity(w["u"]) + grad(w["u"])
    inverse, log_J = inv(F), jnp.log(det(F))
    moved, tested = mul(inverse, grad(du)), mul(inverse, grad(v))
    return (
        mu * ddot(grad(du), grad(v))
        + (mu - lam * log_J) * ddot(transpose(moved), tested)
        + lam * trace(moved) * trace(tested)
    )


def scalar_case(element, n):
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), element)
    x = V.locations
    states = lambda k: np.sin(3 * x[0] + k) * np.cos(2 * x[1])  # noqa: E731
    return (
        V,
        states,
        (
            lambda u: diffusion.tangent(V, u).data,
            lambda u: diffusion_tangent.assemble(V, u=V.interpolate(u)).data,
        ),
    )


def solid_case(mesh, element, density):
    V = FunctionSpace(mesh, skfem.ElementVector(element))
    M = V.with_element(type(element)() if V.order == 2 else skfem.ElementTriP1())
    solid, x = energy(density), V.locations
    states = lambda k: (  # noqa: E731
        0.02 * np.sin(3 * x[0] + k) * np.cos(2 * x[1] + np.arange(V.n) % V.mesh.dim()),
        10 + np.sin(M.locations[0] + k),
    )
    return (
        V,
        states,
        (
            lambda s: solid.tangent(V, s[0], E=M.interpolate(s[1]), nu=NU).data,
            lambda s: neo_hookean_tangent.assemble(V, u=V.interpolate(s[0]), E=M.interpolate(s[1])).data,
        ),
    )


def case(name, cells):
    """Return the space, a map from a number to a state, and the two tangents' values as functions of the state."""
    side = round((cells / 2) ** 0.5)
    if name == "scalar-p1":
        return scalar_case(skfem.ElementTriP1(), side)
    if name == "scalar-p2":
        return scalar_case(skfem.ElementTriP2(), side)
    if name == "neo-hookean-tri-p2":
        ticks = np.linspace(0, 1, side + 1)
        return solid_case(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP2(), neo_hookean_plane_strain)
    ticks = np.linspace(0, 1, round((cells / 6) ** (1 / 3)) + 1)  # six tetrahedra a box
    return solid_case(skfem.MeshTet.init_tensor(ticks, ticks, ticks), skfem.ElementTetP1(), neo_hookean)


def measure(name, cells, repeats):
    V, states, tangents = case(name, cells)
    forward = [jax.jit(tangent) for tangent in tangents]
    adjoint = [jax.jit(lambda s, c, f=f: jax.vjp(f, s)[1](c)[0]) for f in tangents]
    samples = [jax.tree.map(jnp.asarray, states(k)) for k in range(repeats + 1)]
    first = []
    for f in forward:
        start = time.perf_counter()
        first.append((f(samples[0]).block_until_ready(), time.perf_counter() - start))
    size = abs(first[1][0]).max()
    difference = float(abs(first[0][0] - first[1][0]).max() / size)
    assert difference < 1e-12, f"{name}: the tangents differ by {difference:.1e}"
    cotangent = jnp.cos(jnp.arange(len(first[0][0])))
    print(f"{name}: {V.mesh.nelements} cells, {V.n} dofs; first calls {first[0][1]:.1f} s and {first[1][1]:.1f} s")
    for what, functions, extra in (("forward", forward, ()), ("adjoint", adjoint, (cotangent,))):
        times = np.zeros((2, repeats + 1))
        for k, sample in enumerate(samples):
            for which in (k % 2, 1 - k % 2):
                start = time.perf_counter()
                jax.block_until_ready(functions[which](sample, *extra))
                times[which, k] = time.perf_counter() - start
        ours, hand = np.median(times[:, 1:], axis=1)
        verdict = "" if ours <= LARGEST_RATIO * hand else f"   above {LARGEST_RATIO}"
        print(f"  {what}: {1e3 * ours:7.1f} ms by JAX, {1e3 * hand:7.1f} ms by hand, ratio {ours / hand:.2f}{verdict}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--case", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    if len(options.case) == 1:
        measure(options.case[0], options.cells, options.repeats)
        return
    for name in options.case:
        words = ["--case", name, "--cells", str(options.cells), "--repeats", str(options.repeats)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()

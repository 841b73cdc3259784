"""Choosing the regularization strength, on linear problems whose every answer is known from the SVD.

The problems are those of P. C. Hansen's Regularization Tools (Numer. Algorithms 6, 1994), by the midpoint rule.
"""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.optimize import brentq

from pdeopt.inversion.strength_option import StrengthError, parse_strength
from pdeopt.optimize.strength import RegularizedSolution, cooling, curvature_ratio, discrepancy, lcurve
from pdeopt.run.pictures.canvas.style import save, styled
from pdeopt.run.pictures.strength_figure import draw_strength

N = 64


def shaw():
    """Image restoration in one dimension."""
    t = (np.arange(N) + 0.5) * np.pi / N - np.pi / 2
    u = np.sin(t)[:, None] + np.sin(t)
    kernel = ((np.cos(t)[:, None] + np.cos(t)) * np.sinc(u)) ** 2
    return kernel * np.pi / N, 2 * np.exp(-6 * (t - 0.8) ** 2) + np.exp(-2 * (t + 0.5) ** 2)


def deriv2():
    """The second derivative, from the double integral."""
    t = (np.arange(N) + 0.5) / N
    s = t[:, None]
    return np.where(s < t, s * (t - 1), t * (s - 1)) / N, t


def phillips():
    t = -6 + (np.arange(N) + 0.5) * 12 / N

    def bump(x):
        return np.where(abs(x) < 3, 1 + np.cos(np.pi * x / 3), 0)

    return bump(t[:, None] - t) * 12 / N, bump(t)


def heat():
    """Surface temperature from one inside: Volterra, severely ill-posed."""
    t = (np.arange(N) + 0.5) / N
    kernel = t**-1.5 * np.exp(-1 / (4 * t)) / (2 * np.sqrt(np.pi)) / N
    return toeplitz(kernel, np.zeros(N)), np.exp(-(((t - 0.3) / 0.1) ** 2))


@dataclass
class Linear:
    """F = ½ |(A m − d)/σ|², R = ½ mᵀ L m, diagonalized: m = V y, F = ½ |S y − b|², R = ½ |y|²."""

    A: np.ndarray
    truth: np.ndarray
    noise: float = 0.01
    smooth: bool = False
    seed: int = 0
    calls: list = field(default_factory=list)

    def __post_init__(self):
        size = len(self.truth)
        clean = self.A @ self.truth
        self.sigma = self.noise * np.linalg.norm(clean) / np.sqrt(size)
        self.data = clean + self.sigma * np.random.default_rng(self.seed).standard_normal(len(clean))
        difference = np.diff(np.eye(size), axis=0) * np.sqrt(size)
        self.L = difference.T @ difference + 1e-8 * np.eye(size) if self.smooth else np.eye(size) / size
        root = np.linalg.inv(np.linalg.cholesky(self.L)).T
        U, self.S, Vt = np.linalg.svd(self.A @ root / self.sigma)
        self.b, self.V = U.T @ self.data / self.sigma, root @ Vt.T
        self.target = 0.5 * size

    def solve(self, strength, start):
        self.calls.append((strength, start))
        return self.of(strength, self.V @ (self.S / (self.S**2 + strength) * self.b))

    def of(self, strength, m, converged=True):
        residual = (self.A @ m - self.data) / self.sigma
        return RegularizedSolution(strength, m, 0.5 * residual @ residual, 0.5 * m @ self.L @ m, converged)

    def hessian(self, v):
        return self.A.T @ (self.A @ v) / self.sigma**2

    def loosely(self, strength, start, products=3):
        """A few steps of conjugate gradients from the start."""
        self.calls.append((strength, start))
        m, g = start.copy(), self.hessian(start) - self.A.T @ self.data / self.sigma**2 + strength * self.L @ start
        p = -g
        for _ in range(products):
            q = self.hessian(p) + strength * self.L @ p
            step = (g @ g) / (p @ q)
            m, before, g = m + step * p, g, g + step * q
            p = -g + (g @ g) / (before @ before) * p
        return self.of(strength, m, converged=False)

    def misfit(self, strength):
        """F from the SVD, no m needed."""
        return 0.5 * np.sum((strength / (self.S**2 + strength) * self.b) ** 2)

    def regularization(self, strength):
        return 0.5 * np.sum((self.S / (self.S**2 + strength) * self.b) ** 2)

    def root(self, target):
        return np.exp(brentq(lambda t: np.log(self.misfit(np.exp(t)) / target), -40, 60, xtol=1e-12))

    def curvatures(self, low, high):
        """Strengths between two powers of ten and the L-curve's curvature there, by differences of second order."""
        t = np.linspace(low, high, 8001) * np.log(10)
        x = 0.5 * np.log([self.misfit(s) for s in np.exp(t)])
        y = 0.5 * np.log([self.regularization(s) for s in np.exp(t)])
        dx, dy = np.gradient(x, t), np.gradient(y, t)
        curvature = (dx * np.gradient(dy, t) - dy * np.gradient(dx, t)) / np.hypot(dx, dy) ** 3
        return np.exp(t[5:-5]), curvature[5:-5]

    def sharpest(self, low, high):
        strength, curvature = self.curvatures(low, high)
        return strength[curvature.argmax()], curvature.max()

    def error(self, m):
        return np.linalg.norm(m - self.truth) / np.linalg.norm(self.truth)

    def least_error(self):
        return min(self.error(self.solve(10.0**k, None).m) for k in np.linspace(-4, 7, 111))


FAMILIES = {"shaw": shaw, "deriv2": deriv2, "phillips": phillips, "heat": heat}
ZERO = np.zeros(N)


def linear(name, **given):
    return Linear(*FAMILIES[name](), **given)


@pytest.mark.parametrize("noise", [0.05, 1e-3])
@pytest.mark.parametrize("smooth", [False, True], ids=["identity", "H1"])
@pytest.mark.parametrize("name", FAMILIES)
def test_discrepancy_finds_the_root_in_few_solves(name, smooth, noise):
    problem = linear(name, smooth=smooth, noise=noise)
    choice = discrepancy(problem.solve, ZERO, problem.target)
    assert choice.status == "converged", choice.reason
    assert choice.solution.misfit == pytest.approx(problem.target, rel=0.02)
    lower, upper = problem.root(0.98 * problem.target), problem.root(1.02 * problem.target)
    assert lower * 0.999 <= choice.strength <= upper * 1.001
    assert len(choice.solutions) == len(problem.calls) <= 8
    # Morozov's principle regularizes too much rather than too little, the more so the smoother the truth is
    assert problem.error(choice.m) <= 4 * problem.least_error()


def test_discrepancy_as_accurately_as_asked():
    problem = linear("shaw")
    choice = discrepancy(problem.solve, ZERO, problem.target, tolerance=1e-9)
    assert choice.strength == pytest.approx(problem.root(problem.target), rel=1e-6)
    assert len(choice.solutions) <= 14


@pytest.mark.parametrize("start", [1e-3, 1e3, 1e6])
def test_discrepancy_comes_from_either_side_however_far(start):
    problem = linear("phillips")
    choice = discrepancy(problem.solve, ZERO, problem.target, start_strength=start)
    assert problem.misfit(choice.strength) == pytest.approx(problem.target, rel=0.02)
    assert len(choice.solutions) <= 10


def test_minimizations_start_at_the_solution_of_the_next_larger_strength():
    problem = linear("deriv2", noise=0.02)
    choice = discrepancy(problem.solve, ZERO, problem.target, start_strength=1e5)
    assert choice.strength < 1e5
    assert np.array_equal(problem.calls[0][1], ZERO)
    for k, (strength, start) in enumerate(problem.calls[1:], 1):
        larger = [one for one in choice.solutions[:k] if one.strength > strength]
        assert np.array_equal(start, min(larger, key=lambda one: one.strength).m)


def test_discrepancy_says_when_the_data_cannot_be_explained():
    tall = np.vstack([shaw()[0], shaw()[0]])  # measured twice: half of the noise is out of reach
    problem = Linear(tall, shaw()[1])
    choice = discrepancy(_dense_solver(problem), ZERO, 0.1 * problem.target)
    assert choice.status == "failed"
    assert "above the target" in choice.reason
    assert "noise level too small" in choice.reason
    assert min(one.strength for one in choice.solutions) > 1e-7
    close = [one for one in choice.solutions if one.misfit <= 1.1 * min(one.misfit for one in choice.solutions)]
    assert len(close) > 1
    assert choice.strength == max(one.strength for one in close)


def _dense_solver(problem):
    def solve(strength, start):
        H = problem.A.T @ problem.A / problem.sigma**2 + strength * problem.L
        return problem.of(strength, np.linalg.solve(H, problem.A.T @ problem.data / problem.sigma**2))

    return solve


@pytest.mark.parametrize("smooth", [False, True], ids=["identity", "H1"])
def test_discrepancy_says_when_the_data_need_no_parameter(smooth):
    problem = linear("shaw", smooth=smooth)
    choice = discrepancy(problem.solve, ZERO, 1e9)
    assert choice.status == "failed"
    assert "below the target" in choice.reason
    assert "noise level too large" in choice.reason
    assert len(choice.solutions) <= 8


def test_discrepancy_does_not_climb_where_more_strength_changes_nothing():
    choice = discrepancy(linear("shaw").solve, ZERO, 1e9, start_strength=1e6)
    assert len(choice.solutions) == 3


def test_a_target_just_below_the_largest_misfit_is_reached():
    problem = linear("shaw")
    target = 0.9 * problem.misfit(1e12)
    choice = discrepancy(problem.solve, ZERO, target)
    assert choice.status == "converged"


def test_discrepancy_says_when_the_regularization_is_zero():
    problem = linear("shaw")

    def solve(strength, start):
        return replace(problem.solve(1.0, start), strength=strength, regularization=0.0)

    choice = discrepancy(solve, ZERO, 1e-3 * problem.target)
    assert choice.status == "failed"
    assert "vanishes" in choice.reason


def test_a_jump_over_the_target_is_named():
    def solve(strength, start):  # two branches of local minima
        return RegularizedSolution(strength, start, 40.0 if strength > 0.0123 else 20.0, 1 / strength)

    choice = discrepancy(solve, ZERO, 30.0)
    assert choice.status == "failed"
    assert "jumps over the target" in choice.reason
    assert len(choice.solutions) <= 16


def test_a_misfit_that_is_not_monotone_names_the_minimization_at_fault():
    problem = linear("shaw")

    def solve(strength, start):
        found = problem.solve(strength, start)
        return problem.of(strength, 1.5 * found.m) if strength == 0.1 else found

    choice = discrepancy(solve, ZERO, problem.misfit(1e-4))
    assert "not monotone" in choice.reason
    assert "the minimization at 0.1 ended early" in choice.reason


def test_limits_and_callbacks_end_every_rule():
    problem = linear("shaw")

    def enough(solution):
        raise StopIteration

    rules = {
        "discrepancy": lambda **given: discrepancy(problem.solve, ZERO, problem.target, **given),
        "cooling": lambda **given: cooling(problem.solve, ZERO, problem.target, start_strength=1e6, **given),
        "lcurve": lambda **given: lcurve(problem.solve, ZERO, **given),
    }
    for name, rule in rules.items():
        stopped = rule(on_solution=enough)
        assert (stopped.rule, stopped.status, len(stopped.solutions)) == (name, "stopped", 1)
        assert "callback" in stopped.reason
        spent = rule(max_solves=2)
        assert (spent.status, len(spent.solutions)) == ("stopped", 2)
        assert "the most allowed" in spent.reason


def test_callback_can_stop_between_the_ends():
    problem = linear("shaw")
    sides = []

    def stop(solution):
        if len(set(sides)) == 2:
            raise StopIteration
        sides.append(solution.misfit > problem.target)

    choice = discrepancy(problem.solve, ZERO, problem.target, tolerance=1e-9, on_solution=stop)
    assert (choice.status, len(choice.solutions)) == ("stopped", len(sides) + 1)
    assert choice.solution is choice.solutions[-1]  # the closest to the target


@pytest.mark.parametrize("rule", [discrepancy, lcurve])
def test_a_solve_without_a_finite_misfit_ends_the_rule(rule):
    def solve(strength, start):
        return RegularizedSolution(
            strength, start, np.nan, 1.0, False, "the objective is not finite at the initial guess"
        )

    choice = rule(solve, ZERO, 1.0) if rule is discrepancy else rule(solve, ZERO)
    assert choice.status == "failed"
    assert "the objective is not finite at the initial guess" in choice.reason


def test_an_unfinished_minimization_is_not_reported_as_converged():
    problem = linear("shaw")

    def solve(strength, start):
        return replace(problem.solve(strength, start), converged=False, message="200 iterations")

    choice = discrepancy(solve, ZERO, problem.target)
    assert choice.status == "stopped"
    assert "unfinished (200 iterations)" in choice.reason


@pytest.mark.parametrize("name", FAMILIES)
def test_cooling_lands_on_the_target(name):
    problem = linear(name)
    start = 10 * curvature_ratio(problem.hessian, lambda v: problem.L @ v, N)
    choice = cooling(problem.solve, ZERO, problem.target, start_strength=start)
    assert choice.status == "converged", choice.reason
    assert choice.solution.misfit == pytest.approx(problem.target, rel=0.05)
    levels = int(np.ceil(np.log(start / problem.root(1.05 * problem.target)) / np.log(3))) + 1
    assert [one.strength for one in choice.solutions[:levels]] == pytest.approx(start / 3.0 ** np.arange(levels))
    assert len(choice.solutions) <= levels + (3 if name == "heat" else 1)
    assert problem.error(choice.m) <= 3 * problem.least_error()


def test_cooling_with_loose_levels_and_one_exact_landing():
    problem = linear("phillips", noise=0.02)
    choice = cooling(
        problem.loosely, ZERO, problem.target, start_strength=lambda m: 1e6, landing=problem.solve, tolerance=0.05
    )
    assert choice.status == "converged", choice.reason
    assert choice.solution.converged
    assert choice.solution.misfit == pytest.approx(problem.target, rel=0.05)
    assert sum(one.converged for one in choice.solutions) <= 4


def test_cooling_from_too_weak_a_start_goes_up():
    problem = linear("phillips")
    choice = cooling(problem.solve, ZERO, problem.target, start_strength=1.0)
    assert choice.status == "converged"
    assert choice.solution.misfit == pytest.approx(problem.target, rel=0.05)


def test_cooling_that_never_reaches_the_target_says_so():
    tall = np.vstack([shaw()[0], shaw()[0]])
    problem = Linear(tall, shaw()[1])
    choice = cooling(_dense_solver(problem), ZERO, 0.1 * problem.target, start_strength=1e4)
    assert choice.status == "failed"
    assert "cannot explain the data" in choice.reason


def laplace(n):
    """Stiffness and mass of P1 elements on (0, 1), zero at the ends."""
    return (
        n * toeplitz([2.0, -1.0, *np.zeros(n - 3)]),
        toeplitz([2 / 3, 1 / 6, *np.zeros(n - 3)]) / n,
    )


def test_curvature_ratio_stays_when_the_mesh_is_refined():
    """The quotient of the largest eigenvalues falls like h²."""
    ratios, largest = [], []
    for n in (32, 64, 128):
        K, M = laplace(n)
        smoothing = np.linalg.solve(K, M)  # state of −u″ = m
        hessian = smoothing.T @ M @ smoothing
        ratios.append(curvature_ratio(lambda v, H=hessian: H @ v, lambda v, K=K: K @ v, n - 1))
        largest.append(np.linalg.eigvalsh(hessian)[-1] / np.linalg.eigvalsh(K)[-1])
    assert ratios == pytest.approx([np.pi**-6] * 3, rel=0.01)
    assert largest[0] > 10 * largest[2]


def test_curvature_ratio_of_what_the_regularization_does_not_see():
    with pytest.raises(ValueError, match="Give the first strength as a number"):
        curvature_ratio(lambda v: np.full_like(v, v.mean()), lambda v: v - v.mean(), 8)
    with pytest.raises(ValueError, match="see no parameter"):
        curvature_ratio(np.zeros_like, lambda v: v, 8)


#: name, smooth, noise where the L-curve has one sharp corner between 1e-2 and 1e6, and how far the error at that
#: corner, found or exact, is from the least error: the L-curve is a heuristic.
CORNERS = [
    ("shaw", False, 0.05, 1.5),
    ("shaw", False, 0.01, 1.5),
    ("shaw", True, 1e-3, 1.5),
    ("deriv2", False, 0.05, 1.2),
    ("deriv2", True, 0.01, 2.0),
    ("deriv2", True, 1e-3, 1.5),
    ("heat", True, 0.05, 1.5),
    ("phillips", True, 0.01, 1.5),
]


@pytest.mark.parametrize(("name", "smooth", "noise", "factor"), CORNERS)
def test_l_curve_finds_the_point_of_largest_curvature(name, smooth, noise, factor):
    problem = linear(name, smooth=smooth, noise=noise)
    choice = lcurve(problem.solve, ZERO, np.logspace(6, -2, 9))
    assert choice.status == "converged", choice.reason
    strengths, curvature = problem.curvatures(-2, 6)
    assert abs(np.log10(choice.strength / strengths[curvature.argmax()])) <= 0.25
    assert np.interp(choice.strength, strengths, curvature) >= 0.9 * curvature.max()
    assert choice.corner == (choice.strength, pytest.approx(curvature.max(), rel=0.2))
    assert len(choice.solutions) <= 14
    assert problem.error(choice.m) <= factor * problem.least_error()


def test_l_curve_takes_the_corner_closest_to_the_origin():
    problem = linear("heat", noise=0.05)  # a second one lies where nothing but noise is left to fit
    sharpest, _ = problem.sharpest(-6, 6)
    assert problem.error(problem.solve(sharpest, None).m) > 100 * problem.least_error()
    choice = lcurve(problem.solve, ZERO, np.logspace(6, -6, 13))
    assert problem.error(choice.m) <= 2 * problem.least_error()


def test_l_curve_follows_the_corner_beyond_its_grid():
    problem = linear("shaw")
    strength, _ = problem.sharpest(-2, 6)
    for grid in (np.logspace(6, 2, 5), np.logspace(0, -6, 7)):
        choice = lcurve(problem.solve, ZERO, grid)
        assert choice.status == "converged", choice.reason
        assert abs(np.log10(choice.strength / strength)) <= 0.2


def test_l_curve_bears_minimizations_that_end_early():
    problem = linear("shaw", noise=0.02)
    random = np.random.default_rng(0)

    def solve(strength, start):
        found = problem.solve(strength, start)
        return replace(found, regularization=found.regularization * (1 + 0.003 * random.standard_normal()))

    choice = lcurve(solve, ZERO, np.logspace(6, -2, 9))
    assert choice.status == "converged"
    assert abs(np.log10(choice.strength / problem.sharpest(-2, 6)[0])) <= 0.5


def test_l_curve_without_a_corner_is_refused():
    """Denoising by a multiple of the identity: the curve is concave everywhere."""
    problem = Linear(np.eye(N), shaw()[1], noise=0.1)
    choice = lcurve(problem.solve, ZERO, np.logspace(4, -4, 9))
    assert choice.status == "failed"
    assert choice.corner is None
    assert "no corner" in choice.reason


def test_l_curve_that_turns_too_gradually_is_refused():
    problem = linear("deriv2", noise=1e-3)
    assert problem.sharpest(-2, 6)[1] < 0.5
    choice = lcurve(problem.solve, ZERO, np.logspace(6, -2, 9))
    assert choice.status == "failed"
    assert "its curvature is at most 0." in choice.reason


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: discrepancy(s, ZERO, 0.0), "target is 0.0; expected a number > 0"),
        (lambda s: discrepancy(s, ZERO, 1.0, start_strength=np.nan), "start_strength is nan"),
        (lambda s: discrepancy(s, ZERO, 1.0, max_solves=0), "max_solves is 0"),
        (lambda s: cooling(s, ZERO, 1.0, start_strength=1.0, factor=1.0), "factor is 1.0"),
        (lambda s: cooling(s, ZERO, 1.0, start_strength=lambda m: -1.0), "start_strength is -1.0"),
        (lambda s: lcurve(s, ZERO, [1, 2, 3]), "3 different strengths; expected at least 5"),
        (lambda s: lcurve(s, ZERO, [1, 2, 3, 4, 0]), "strengths is 0.0"),
    ],
)
def test_senseless_numbers_are_refused(call, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        call(linear("shaw").solve)


def test_report_is_plain_data():
    problem = linear("shaw")
    report = lcurve(problem.solve, ZERO, np.logspace(6, -2, 9)).report()
    assert json.loads(json.dumps(report)) == report
    assert set(report["tried"][0]) == {"strength", "misfit", "regularization", "iterations", "converged"}
    assert report["corner"]["strength"] == report["strength"]


def drawn(record, tmp_path):
    target = tmp_path / "strength.png"
    with styled():
        figure = draw_strength(json.loads(json.dumps(record)), "shaw")
        save(figure, target)
    assert target.stat().st_size > 10_000
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts] + [text.get_text() for text in axes.get_legend().get_texts()]


def test_figure_of_the_l_curve_marks_its_corner(tmp_path):
    problem = linear("deriv2", smooth=True)
    choice = lcurve(problem.solve, ZERO, np.logspace(6, -2, 9))
    left, right = drawn(choice.report(), tmp_path).axes
    assert (left.get_title(), right.get_title()) == ("L-curve", "misfit and strength")
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert f"corner: strength {choice.strength:.3g}" in texts(left)
    assert f"{choice.strength:.0f}" in texts(left)
    assert "1e+04" in texts(left)
    ring = left.get_lines()[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (choice.solution.misfit, choice.solution.regularization)


def test_figure_of_the_discrepancy_shows_the_target(tmp_path):
    problem = linear("shaw")
    choice = discrepancy(problem.solve, ZERO, problem.target)
    left, _ = drawn(choice.report(), tmp_path).axes
    assert left.get_title() == "misfit and strength"
    line = next(line for line in left.get_lines() if line.get_label() == "target misfit")
    assert list(line.get_ydata()) == [problem.target] * 2
    assert f"chosen: strength {choice.strength:.3g}" in texts(left)
    assert str(len(choice.solutions)) in texts(left)


@pytest.mark.slow
def test_figure_of_a_failed_rule_calls_nothing_chosen(tmp_path):
    choice = discrepancy(linear("shaw").solve, ZERO, 1e9)
    figure = drawn(choice.report(), tmp_path)
    assert not any("chosen" in text for axes in figure.axes for text in texts(axes))
    assert "below the target" in figure.get_suptitle()


def test_figure_of_a_single_solution_and_of_zeros(tmp_path):
    tried = [{"strength": 1.0, "misfit": 2.0, "regularization": 0.0}]
    drawn({"rule": "cooling", "strength": 1.0, "target": 2.0, "reason": "", "tried": tried}, tmp_path)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("discrepancy", "discrepancy"), ("L-curve", "lcurve"), ("Cooling", "cooling"), ("1e-3", 1e-3), ("2", 2.0)],
)
def test_the_option_is_a_rule_or_a_number(text, meaning):
    assert parse_strength(text) == meaning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("discrepency", "did you mean 'discrepancy'?"),
        ("l-curv", "did you mean 'lcurve'?"),
        ("strong", "expected discrepancy, cooling, lcurve or a number"),
        ("", "expected discrepancy, cooling, lcurve or a number"),
        ("-1", "expected a number > 0"),
        ("0", "hardly any regularization, try 1e-12"),
        ("nan", "expected a number > 0"),
        ("inf", "expected a number > 0"),
    ],
)
def test_the_option_refuses_what_is_neither(text, words):
    with pytest.raises(StrengthError) as raised:
        parse_strength(text)
    assert words in str(raised.value)
    assert str(raised.value).startswith("regularization_strength ")


def test_example_of_the_documentation():
    page = Path(__file__).parents[2] / "docs" / "which_optimizer_and_regularization.md"
    section = page.read_text(encoding="utf-8").split("### From Python")[1]
    namespace: dict = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], namespace)
    assert namespace["choice"].status == "converged"

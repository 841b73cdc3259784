"""A problem file that is quickly run, ways to break its derivative, and what a run leaves, read back."""

import csv
import json

from pdeopt.run.problem_files.template import TEMPLATE

SMALL = TEMPLATE.replace("] = 24", "] = 6").replace("] = 12", "] = 4")


def read_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows_of(path):
    with (path / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def small_problem(folder, *changes):
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.py").write_text(text, encoding="utf-8")
    return "./small.py"


WRONG_ADJOINT = """
import jax


@jax.custom_vjp
def broken(x):
    return x


broken.defvjp(lambda x: (x, None), lambda _, g: (1.01 * g,))
"""


WRONG_TANGENT = """
import jax


@jax.custom_jvp
def broken(x):
    return x


broken.defjvp(lambda primals, tangents: (primals[0], 1.01 * tangents[0]))
"""


WRONG_TRANSPOSE = """
from jax.custom_derivatives import linear_call


def broken(x):
    return linear_call(lambda _, x: x, lambda _, g: 1.01 * g, (), x)
"""


NO_DERIVATIVE = "\nfrom jax.lax import stop_gradient as broken\n"

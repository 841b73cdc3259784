"""Programs are compiled quickly, two workers share two cores, and random cases come in two budgets."""

import gc
import inspect
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Most of the time of the tests is compilation of small programs: a third less without optimization (97 → 68 s in
# test_second_order.py), and once more a third less without XLA's newer emitters of code (47 → 32 s of CPU in
# test_coupling.py), which later versions have alone.
FLAGS = ["--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
# The libraries below take one thread each, or the workers wait for each other.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# What a user has run is noted among the user's files; that of the tests is forgotten with them.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="pdeopt-tests-")

# JAX makes many objects that live long: with Python's own thresholds a tenth of the time went into looking for garbage.
gc.set_threshold(100_000, 10, 100)

#: Bytes that a worker may have before it forgets what it compiled.
LARGE = 4e9
#: The states of the modules' own generators of random numbers before their first test.
STATES = {}
#: The problems of `compiled_once` in a file of tests.
BUILT = {}

SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
settings.register_profile("few", max_examples=20, derandomize=True, database=None, deadline=None)
settings.register_profile("many", max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=SLOW_DRAWS)


def pytest_addoption(parser):
    parser.addoption("--first-cases", action="store_true", help="of a test with several cases, run the first only")


def pytest_unconfigure():
    shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_configure(config):
    """``pytest -m fuzz`` draws many new cases; every other run draws the same few."""
    settings.load_profile("many" if config.option.markexpr == "fuzz" else "few")


def pytest_collection_modifyitems(config, items):
    """Whole pages of the documentation come first: at the end, one worker would wait for the other."""
    items.sort(key=lambda item: "test_page_does_what_it_says" not in item.name)
    if config.option.first_cases:
        tests = {}
        for item in items:
            tests.setdefault(item.nodeid.partition("[")[0], item)
        items[:] = tests.values()


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """What was compiled is forgotten after a file where the process has become large, or a worker grows to 8 GB."""
    yield
    BUILT.clear()
    if resident_bytes() > LARGE:
        from pdeopt.sparse import clear_compiled  # after the settings above

        clear_compiled()


@pytest.fixture(autouse=True)
def same_draws(request):
    """A test draws from the ``rng`` of its file what it would draw alone: workers share the tests of a file."""
    rng = getattr(request.module, "rng", None)
    if isinstance(rng, np.random.Generator):
        rng.bit_generator.state = STATES.setdefault(request.module.__name__, rng.bit_generator.state)


@pytest.fixture
def new_garbage_only():
    """Collections look at what a test makes, and not at a million objects of the tests before it."""
    gc.freeze()
    yield
    gc.unfreeze()


def resident_bytes():
    """Return the memory that this process has; infinite where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")


@pytest.fixture
def compiled_once(monkeypatch):
    """All that builds the same problem file with the same options shares one problem: it is compiled once in a file.

    Where it matters that ``build`` is called again, a test clears the problems, which are returned.
    """
    from pdeopt import api  # after the settings above
    from pdeopt.run.execution import request
    from pdeopt.run.problem_files import loading

    build = loading.build_problem

    def remembered(function, options, path):
        chosen = inspect.signature(function).bind(**options)
        chosen.apply_defaults()
        key = (path.name, path.read_bytes(), repr(chosen.arguments))
        if key not in BUILT:
            BUILT[key] = build(function, options, path)
        return BUILT[key]

    for module in (api, request, loading):
        monkeypatch.setattr(module, "build_problem", remembered)
    return BUILT

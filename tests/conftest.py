"""Programs are compiled quickly, two workers share two cores, and random cases come in two budgets."""

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

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

#: Bytes that a worker may have before it forgets what it compiled.
LARGE = 2.5e9

SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
settings.register_profile("few", max_examples=20, derandomize=True, database=None, deadline=None)
settings.register_profile("many", max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=SLOW_DRAWS)


def pytest_unconfigure():
    shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_configure(config):
    """``pytest -m fuzz`` draws many new cases; every other run draws the same few."""
    settings.load_profile("many" if config.option.markexpr == "fuzz" else "few")


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """What was compiled is forgotten after a file where the process has become large, or a worker grows to 8 GB."""
    yield
    if resident_bytes() > LARGE:
        from pdeopt.sparse import clear_compiled  # after the settings above

        clear_compiled()


def resident_bytes():
    """Return the memory that this process has; infinite where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")

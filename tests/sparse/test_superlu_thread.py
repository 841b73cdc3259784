"""SuperLU's objects live on a thread of their own: memory comes back, errors and Ctrl-C pass, exit and fork work."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import GMRES, ILU, SparsityPattern, clear_memo, resolve_solver
from pdeopt.sparse.solvers.direct import superlu_thread
from pdeopt.sparse.solvers.direct.cholesky import Cholesky
from pdeopt.sparse.solvers.direct.superlu_thread import incomplete_factors, superlu_factors
from pdeopt.sparse.solvers.krylov.multigrid import MAX_PSEUDO_INVERSE_UNKNOWNS, _coarse_solves


def laplacian(n):
    line = sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    return sp.csr_matrix(sp.kron(line, sp.eye(n)) + sp.kron(sp.eye(n), line))


S = laplacian(40)
assert S.shape[0] > MAX_PSEUDO_INVERSE_UNKNOWNS
SINGULAR = sp.csr_matrix(np.diag(np.ones(1600)) - np.diag(np.eye(1600)[7]))

pytestmark = pytest.mark.usefixtures("new_garbage_only")


def in_another_thread(function):
    box = []
    thread = threading.Thread(target=lambda: box.append(function()))
    thread.start()
    thread.join()
    return box.pop()


def resident():
    gc.collect()
    superlu_factors(sp.csc_matrix([[1.0]]))  # after what was handed in before it
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def refused():
    with pytest.raises(RuntimeError, match="singular"):
        superlu_factors(SINGULAR.tocsc())
    return 0


def solved():
    return resolve_solver("superlu").solve(SparsityPattern.from_scipy(S), S.data, np.ones((1600, 1)), False)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: superlu_factors(S.tocsc()), id="factors"),
        pytest.param(lambda: incomplete_factors(S.tocsc()), id="incomplete factors"),
        pytest.param(refused, id="a singular matrix"),
        pytest.param(lambda: Cholesky(S), id="Cholesky"),
        pytest.param(lambda: _coarse_solves(sp.csr_array(S)), id="coarse level"),
        pytest.param(lambda: GMRES(preconditioner=ILU()).preconditioner.set_up(S), id="ILU"),
        pytest.param(solved, id="superlu"),
    ],
)
def test_factors_made_in_one_thread_and_dropped_in_another_return_their_memory(make):
    """60 factors of 0.7 MB each; without a thread of their own 40 MB stay."""
    sizes = []
    for _ in range(2):
        for _ in range(60):
            in_another_thread(make)
            clear_memo()
        sizes.append(resident())
    assert sizes[1] - sizes[0] < 8e6


def test_every_thread_may_solve_with_the_factors_and_with_their_transpose():
    matrix = sp.csc_matrix(S + sp.diags(np.ones(1599), 1))
    factors, b = in_another_thread(lambda: superlu_factors(matrix)), np.arange(1600.0)
    for transposed, operator in ((False, matrix), (True, matrix.T)):
        for x in (factors.solve(b, transposed), in_another_thread(lambda t=transposed: factors.solve(b, t))):
            np.testing.assert_allclose(operator @ x, b, atol=1e-9)
    rows, columns = factors.permutations
    permuted = matrix.tocoo()
    permuted = sp.csc_matrix((permuted.data, (rows[permuted.row], columns[permuted.col])), matrix.shape)
    np.testing.assert_allclose((permuted - factors.lower @ factors.upper).data, 0, atol=1e-12)
    assert factors.nnz >= matrix.nnz


def test_errors_cross_as_they_are_and_the_thread_goes_on():
    for _ in range(2):
        with pytest.raises(RuntimeError, match="singular"):
            superlu_factors(SINGULAR.tocsc())
        with pytest.raises(TypeError):
            superlu_factors(S.tocsc(), no_such_option=1)
        with pytest.raises(ValueError, match="square"):
            superlu_factors(sp.csc_matrix((2, 3)))
        assert superlu_factors(S.tocsc()).solve(np.ones(1600)).shape == (1600,)


@pytest.mark.slow
def test_factors_that_garbage_collection_finds_anywhere_are_freed_on_the_thread(monkeypatch):
    """Also on the thread itself, in the middle of the next factorization."""
    freed_by = []

    class Factors:
        def __del__(self):
            freed_by.append(threading.current_thread().name)

    def collect_and_make():
        gc.collect()
        return Factors()

    for _ in range(3):
        cycle = [superlu_thread._made(Factors)]
        cycle.append(cycle)
        del cycle
        superlu_thread._made(collect_and_make)
    superlu_factors(S.tocsc())  # after what was handed in before
    assert set(freed_by) == {"SuperLU"}
    assert len(freed_by) == 6


SCRIPT = """
import os, signal, threading, time
import numpy as np, scipy.sparse as sp
from pdeopt.sparse.solvers.direct.superlu_thread import superlu_factors

def matrix(n):
    line = sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    return (sp.kron(line, sp.eye(n)) + sp.kron(sp.eye(n), line)).tocsc()

kept, b = superlu_factors(matrix(20)), np.ones(400)
child = os.fork()
x = superlu_factors(matrix(20)).solve(b)
assert np.allclose(matrix(20) @ x, b) and np.allclose(kept.solve(b), x)
if not child:
    del kept
    os._exit(0)
print("child", os.waitpid(child, 0)[1])

threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    superlu_factors(matrix(250))
except KeyboardInterrupt:
    print("interrupted", superlu_factors(matrix(5)).nnz > 0)

threading.Thread(target=superlu_factors, args=(matrix(200),), daemon=True).start()
time.sleep(0.05)
print("exit")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_interrupt_and_exit_leave_nobody_waiting_and_say_nothing():
    """With a factor that is alive at the fork, and a factorization that runs at the exit."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "child 0\ninterrupted True\nexit\n"), done.stderr
    assert not [line for line in done.stderr.splitlines() if "fork" not in line]  # JAX warns of fork


LATE = """
import atexit
import numpy as np
import scipy.sparse as sp
late = lambda: print("late", superlu_factors(sp.identity(3, format="csc")).solve(np.ones(3)))
atexit.register(late)
from pdeopt.sparse.solvers.direct.superlu_thread import superlu_factors
superlu_factors(sp.identity(3, format="csc"))
"""


@pytest.mark.slow
def test_a_handler_at_exit_that_runs_after_the_thread_has_ended_may_factor():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "late [1. 1. 1.]\n"

"""No solver gives way to another one in silence: a fallback is counted by name, and warned of once a pattern."""

import json
import logging
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from direct_solvers import needing

from pdeopt.cli import main
from pdeopt.run.problem_files.template import TEMPLATE
from pdeopt.sparse import CSRMatrix, SolveError, Work, clear_memo, linear_solve, solvers, work
from pdeopt.sparse.solvers import auto
from pdeopt.sparse.solvers.auto import fastest_direct
from pdeopt.sparse.solvers.direct import mkl
from pdeopt.sparse.solvers.direct import solver as direct
from pdeopt.sparse.solvers.direct.rslab_backend import analyze_rslab_ldlt
from pdeopt.sparse.solvers.direct.solver import RSLAB


def laplacian(n):
    return sp.csr_matrix(sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1]))


def saddle_point(n, m):
    B = sp.random(m, n, 0.1, random_state=1) + sp.eye(m, n)
    return sp.csr_matrix(sp.block_array([[laplacian(n), B.T], [B, None]]))


DEFINITE = laplacian(40)
GENERAL = sp.csr_matrix(DEFINITE + sp.diags(np.ones(38), 2))


@pytest.fixture(autouse=True)
def forgotten_memo():
    clear_memo()
    yield
    clear_memo()


@pytest.fixture
def warnings(caplog):
    """The texts of the warnings so far, by a function."""
    caplog.set_level(logging.WARNING, logger="pdeopt")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("pdeopt.sparse")]


def fallbacks_of(*matrices, solver):
    """What is counted while systems are solved, each solution checked."""
    before = work.copy()
    for S in matrices:
        x = linear_solve(CSRMatrix.from_scipy(S), np.ones(S.shape[0]), solver)
        np.testing.assert_allclose(S @ x, 1, atol=1e-8)
    return work.since(before).fallbacks


def test_a_failed_method_of_a_library_is_counted_a_matrix_and_warned_of_a_pattern(warnings):
    S = saddle_point(30, 12)
    assert fallbacks_of(S, 2 * S, 2 * S, solver="rslab") == {"rslab_ldlt → rslab_lu": 2}
    (text,) = warnings()
    assert text.startswith("rslab_lu took over from rslab_ldlt for a 42 x 42 matrix: rslab_ldlt: ")
    assert fallbacks_of(saddle_point(30, 11), solver="rslab") == {"rslab_ldlt → rslab_lu": 1}
    assert len(warnings()) == 2


def test_a_library_that_gives_a_wrong_solution_gives_way_to_the_next(warnings):
    """It is found out by the residual."""

    def analyze_rslab_ldlt_wrongly(pattern, sample):
        factorize = analyze_rslab_ldlt(pattern, sample)
        return lambda data: factorize(data * (1 + 0.1 * np.arange(len(data)) % 3))

    solver = direct.DirectSolver("rslab", (analyze_rslab_ldlt_wrongly, direct.analyze_superlu), RSLAB.general)
    assert fallbacks_of(DEFINITE, solver=solver) == {"rslab_ldlt_wrongly → superlu": 1}
    assert "backward error" in warnings()[0]


@pytest.mark.parametrize(
    ("matrix", "taken", "reason"),
    [
        needing("cvxopt", sp.csr_matrix(DEFINITE + 1j * sp.eye(40)), "rslab_ldlt", "the values are complex"),
        needing("cvxopt", GENERAL, "rslab_lu", "the values are not symmetric"),
        needing("cvxopt", -DEFINITE, "rslab_ldlt", "a diagonal entry is not positive"),
        needing("cvxopt", DEFINITE - 2.0 * sp.eye(40), "rslab_ldlt", "the matrix is not positive definite"),
    ],
)
def test_cholmod_tells_for_which_matrices_rslab_solves(warnings, matrix, taken, reason):
    assert fallbacks_of(matrix, solver="cholmod") == {f"cholmod → {taken}": 1}
    (text,) = warnings()
    assert reason in text


@pytest.mark.parametrize(
    ("solver", "matrix"),
    [
        *(("superlu", S) for S in (DEFINITE, GENERAL, -DEFINITE)),
        *(("rslab", S) for S in (DEFINITE, GENERAL, -DEFINITE)),
        needing("cvxopt", "cholmod", DEFINITE),
        *(needing("pypardiso", "pardiso", S) for S in (DEFINITE, GENERAL, -DEFINITE, saddle_point(30, 12))),
        needing("pypardiso", "pardiso", sp.csr_matrix(DEFINITE - 2.0 * sp.eye(40))),
    ],
)
def test_a_choice_by_the_kind_of_the_values_is_no_fallback(warnings, solver, matrix):
    assert fallbacks_of(matrix, solver=solver) == {}
    assert warnings() == []


def test_multigrid_that_gives_way_to_a_direct_solver_tells(warnings, monkeypatch):
    monkeypatch.setattr(auto, "MAX_DIRECT_WIDTH", 20)
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(8, 8))
    total = sp.csr_matrix(sum(sp.kron(sp.kron(*p[:2]), p[2]) for p in _axes(line)) - 2.9 * sp.eye(512))
    name = f"cg+ruge-stuben → {fastest_direct().name}"
    assert fallbacks_of(total, total, solver="auto") == {name: 1}
    assert "cg+ruge-stuben did not solve the 512 x 512 system" in warnings()[0]
    assert fallbacks_of(1.01 * total, solver="auto") == {name: 1}
    assert len(warnings()) == 1


def _axes(line):
    one = sp.eye_array(8)
    return [(line, one, one), (one, line, one), (one, one, line)]


def test_a_system_that_nobody_solves_is_an_error_and_no_fallback(warnings):
    before = work.copy()
    with pytest.raises(SolveError, match="singular"):
        linear_solve(CSRMatrix.from_scipy(0 * DEFINITE), np.ones(40), "rslab")
    assert work.since(before).fallbacks == {}
    assert warnings() == []


def test_a_missing_library_is_a_choice_that_is_logged_once(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="pdeopt")
    monkeypatch.setitem(sys.modules, "pypardiso", None)
    monkeypatch.setitem(sys.modules, "rslab", None)
    mkl._routine.cache_clear()
    auto._log_choice.cache_clear()
    assert fallbacks_of(DEFINITE, 2 * DEFINITE, solver="auto") == {}
    texts = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in texts] == ["INFO"]
    assert "'auto' takes superlu, the first of pardiso, rslab and superlu that is installed" in texts[0][1]
    mkl._routine.cache_clear()


@pytest.mark.parametrize("library", ["rslab", "pypardiso"])
def test_a_library_that_cannot_be_loaded_is_warned_of_once(warnings, monkeypatch, tmp_path, library):
    (tmp_path / f"{library}.py").write_text("raise ImportError('libbroken.so: cannot open')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, library, raising=False)
    mkl._routine.cache_clear()
    for _ in range(2):
        assert fastest_direct().name != {"pypardiso": "pardiso"}.get(library, library)
        if library == "rslab" and mkl.pardiso_is_installed():
            assert not auto.rslab_is_installed()
    assert warnings() == [
        f"{library} is installed but cannot be loaded, and another library is taken: libbroken.so: cannot open"
    ]
    sys.modules.pop(library, None)
    mkl._routine.cache_clear()


def test_work_adds_up_and_subtracts_fallbacks_by_name():
    total = Work(solves=2, fallbacks={"a → b": 1})
    total.add(Work(solves=1, fallbacks={"a → b": 2, "b → c": 1}))
    assert (total.solves, total.fallbacks) == (3, {"a → b": 3, "b → c": 1})
    kept = total.copy()
    total.fallbacks["a → b"] += 1
    assert total.since(kept).fallbacks == {"a → b": 1}
    assert total.since(kept).solves == 0


@pytest.mark.slow
def test_a_run_names_its_fallbacks_in_the_summary_and_in_its_log(tmp_path, monkeypatch, capsys):
    """Of a solver whose symmetric method always fails."""

    def analyze_rslab_ldlt(pattern, sample):
        def factorize(data):
            raise RuntimeError("out of order")

        return factorize

    monkeypatch.chdir(tmp_path)
    broken = direct.DirectSolver("rslab", (analyze_rslab_ldlt, *RSLAB.symmetric[1:]), RSLAB.general)
    monkeypatch.setitem(solvers._BY_NAME, "rslab", broken)
    small = TEMPLATE.replace("] = 24", "] = 6").replace("] = 12", "] = 4")
    (tmp_path / "small.py").write_text(small, encoding="utf-8")
    words = ["--solver", "rslab", "--max-iterations", "2", "--no-check", "--no-pictures", "--out", "out"]
    assert main(["run", "./small.py", *words]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["fallbacks"]) == ["rslab_ldlt → rslab_lu"]
    assert summary["fallbacks"]["rslab_ldlt → rslab_lu"] >= 1
    assert summary["solver"] == "rslab"
    log = (tmp_path / "out" / "run.log").read_text(encoding="utf-8")
    assert "rslab_ldlt → rslab_lu: what was to solve failed for " in log
    warning = "warning: rslab_lu took over from rslab_ldlt for a 25 x 25 matrix: rslab_ldlt: out of order"
    assert warning in log
    said = capsys.readouterr()
    assert f"pdeopt: {warning}" in said.err
    assert "what was to solve failed" not in said.out, "told once"

"""Damaged and made-up files of run directories: they are read, or refused with one message, and nothing hangs."""

import io
import json
import shutil
import signal
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_directories import fields_on, write_run

import pdeopt
from pdeopt.cli import main
from pdeopt.inverse import InputError
from pdeopt.inversion import strength_rule
from pdeopt.inversion.evaluation_log import LoggedEvaluation, SpentWork
from pdeopt.inversion.minimization import Settings
from pdeopt.run.errors import UsageError
from pdeopt.run.execution import resume
from pdeopt.run.pictures import run_pictures as pictures
from pdeopt.run.report import page as html_report
from pdeopt.run.report import report_tables
from pdeopt.run.store.checkpoint import (
    CHECKPOINT_FILE,
    CHECKPOINT_FORMAT,
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from pdeopt.run.store.directory import write_json
from pdeopt.run.store.evaluation_log import EVALUATIONS_FILE, RECORD_ENCODER, RECORD_HEAD, RECORD_MARK, EvaluationFile
from pdeopt.run.store.stored_run import drawing_errors, read_run, reading_errors
from pdeopt.run.sweep.directory import stored_sweep
from pdeopt.run.sweep.grid import Grid, Key
from pdeopt.run.sweep.results import stored_run
from pdeopt.sparse import Work

CONFIG = {
    **{"path": "/nowhere/p.py", "folder": "/nowhere", "options": {"n": 4, "noise": 0.01}, "optimizer": "l-bfgs-b"},
    **{"inner_product": "l2", "gradient_tolerance": 1e-4, "absolute_gradient_tolerance": 0.0, "max_iterations": 9},
    **{"regularization_strength": 1.0, "discrepancy_factor": 1.0, "initial_guess": None, "truth": None},
    **{"check": True, "seed": 0, "resumed": [["resume", "run"]]},
}
SUMMARY = {
    **{"objective": 1.0, "misfit": 0.9, "regularization": 0.1, "seconds": 0.2, "relative_error": 0.5, "score": 0.875},
    **{"stage_seconds": {"building": 0.1}, "verification": {"passed": True, "taylor_orders": [1.0, 2.0]}},
    "strength": {
        **{"rule": "discrepancy", "strength": 2.0, "target": 1.0, "corner": None, "status": "converged", "reason": "r"},
        "tried": [{"strength": float(k), "misfit": 2.0 / k, "regularization": 3.0 - k} for k in (1, 2)],
    },
}
SPENT = SpentWork(Work(solves=3), Work(solves=1), products=1, evaluations=2)
KEYS = (Key("--n", ("4", "6")),)
#: Seconds for one file.
PATIENCE = 60


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A sweep of two runs, one of which is whole."""
    sweep = tmp_path_factory.mktemp("fuzz") / "s"
    sweep.mkdir()
    record = {"problem": "robin", "folder": "/nowhere", "grid": {"n": ["4", "6"]}}
    write_json(sweep / "sweep.json", {**record, "argv": ["sweep", "robin", "--n", "4,6"]})
    run = write_run(sweep / "n=4", fields_on("P1"), SUMMARY, CONFIG)
    m = np.linspace(0.0, 1.0, 25)
    write_checkpoint(
        run / CHECKPOINT_FILE,
        Checkpoint(CHECKPOINT_FORMAT, pdeopt.__version__, "p", "0" * 64, 1.0, m, 2, 1.0, 0.1, 0.5, 1.0, 0.2),
    )
    answers = EvaluationFile()
    answers.open(run / EVALUATIONS_FILE)
    answers.keep(LoggedEvaluation("value", "a", (1.0, 0.9, 0.1), m, "", SPENT, 0.1))
    answers.keep(LoggedEvaluation("product", "b", (), m, "", SPENT, 0.2))
    answers.close()
    files = {str(path.relative_to(sweep)): path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    return Stored(sweep, files)


@dataclass(frozen=True)
class Stored:
    """A folder, and the content of its files by their names in it."""

    sweep: Path
    files: dict[str, bytes] = field(repr=False)


def read_all(sweep):
    """As `plot`, `report`, `resume` and `sweep` read."""
    run = sweep / "n=4"
    found = stored_sweep(sweep)
    assert found is not None
    for point in Grid(KEYS).points:
        stored_run(sweep, point)
    shown = read_run(run)
    with drawing_errors([shown]):
        report_tables.facts(shown), report_tables.results(shown), report_tables.nested(shown)
        report_tables.settings(shown), report_tables.versions(shown), report_tables.history(shown)
        html_report._command(shown), shown.title
    resume.has_converged(run)
    config = resume.read_config(run)
    resume._settings(config, run)
    with suppress(UsageError):  # there is none
        resume._problem_file(config, run)
    checkpoint = read_checkpoint(run / CHECKPOINT_FILE)
    if checkpoint is not None:
        with suppress(UsageError):
            checkpoint.refuse_other_values(1.0, 25)
            checkpoint.refuse_other_regularization(0.1)
    read_answers(run)


def read_answers(run):
    answers = EvaluationFile()
    try:
        answers.open(run / EVALUATIONS_FILE)
        while answers.replaying:
            answers.recall(answers._next.kind, answers._next.question, 25)
    finally:
        answers.close()


def works_or_is_refused(sweep, files, name, content):
    """Put one file into a whole sweep, read, and put the old one back."""

    def too_long(*_):
        raise AssertionError(f"not read after {PATIENCE} s")

    path = sweep / name
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(PATIENCE)
    try:
        path.write_bytes(content)
        with suppress(UsageError):
            read_all(sweep)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        path.write_bytes(files[name])
        (sweep / "n=4" / EVALUATIONS_FILE).write_bytes(files[f"n=4/{EVALUATIONS_FILE}"])  # a torn end is cut off


# --- mutations ---------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [
        *(None, True, "", "nope", "\0", "\ud800", "../..", "x" * 10_000, [], {}, [[]], [None], {"a": []}, [1, "a"]),
        *(0, -1, 10**400, 2**63, 1e308, -1e308, 5e-324, float("nan"), float("inf"), [1e308] * 300, {"": {"": None}}),
    ]
)
NESTED = st.integers(1, 3000).map(lambda depth: f"{'[' * depth}{']' * depth}")
ARRAYS = st.sampled_from(
    [
        *(np.zeros(0), np.zeros((0, 3)), np.array(1.0), np.array("text"), np.array([b"\xff"]), np.array([True, False])),
        *(np.full(25, np.nan), np.full(25, 1e308), np.full((2, 25), -1), np.full((3, 32), 10**6), np.zeros(24)),
        *(np.array(["a"] * 25), np.zeros((25, 25, 25)), np.array([object()], object), np.zeros((1, 2, 25))),
        *(np.zeros(25, complex), np.array(10**18), np.array(float("inf")), np.zeros(2, dtype=[("a", int)])),
    ]
)
JSON_FILES = ["sweep.json", "n=4/summary.json", "n=4/config.json"]
NPZ_FILES = ["n=4/result.npz", f"n=4/{CHECKPOINT_FILE}"]


def places_of(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_of(inner, (*place, key))


def replaced(value, place, new):
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@st.composite
def other_json(draw, files):
    """One entry of another kind, left out, or nested deeply."""
    name = draw(st.sampled_from(JSON_FILES))
    values = json.loads(files[name])
    place = draw(st.sampled_from(list(places_of(values))))
    kind = draw(st.sampled_from(["odd", "nested", "left out"]))
    if kind == "left out" and place and isinstance(place[-1], str):
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        del inner[place[-1]]
        return name, json.dumps(values).encode()
    if kind == "nested":
        return name, json.dumps(replaced(values, place, "HERE")).replace('"HERE"', draw(NESTED)).encode()
    return name, json.dumps(replaced(values, place, draw(ODD))).encode("utf-8", "surrogatepass")


@st.composite
def other_bytes(draw, files):
    """Any file, with bytes changed, cut off, doubled or put in."""
    name = draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["change", "cut", "double", "put in", "take out"]))
        if kind == "change" and content:
            content[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[place:]
        elif kind == "double":
            content += content[place:]
        elif kind == "put in":
            content[place:place] = draw(st.binary(max_size=20))
        else:
            del content[place : place + draw(st.integers(1, 20))]
    return name, bytes(content)


@st.composite
def other_table(draw, files):
    """history.csv with cells and lines changed."""
    rows = [line.split(",") for line in files["n=4/history.csv"].decode().splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(rows) - 1))
        kind = draw(st.sampled_from(["cell", "cell", "line", "twice", "short"]))
        if kind == "cell" and rows[row]:
            cells = ["", "nan", "inf", "-1e308", "1e999", "x", '"', "\0", "9" * 200_000, "iteration", "1,2"]
            rows[row][draw(st.integers(0, len(rows[row]) - 1))] = draw(st.sampled_from(cells))
        elif kind == "line" and len(rows) > 1:
            del rows[row]
        elif kind == "twice":
            rows.insert(row, rows[row])
        else:
            rows[row] = rows[row][:-1]
    return "n=4/history.csv", "\n".join(map(",".join, rows)).encode()


@st.composite
def other_arrays(draw, files):
    """A member of another shape and kind, left out, or added; or one that claims to be larger than all memory."""
    name = draw(st.sampled_from(NPZ_FILES))
    with np.load(io.BytesIO(files[name])) as file:
        arrays = dict(file)
    member = draw(st.sampled_from(sorted(arrays)))
    kind = draw(st.sampled_from(["other", "other", "missing", "claim", "no array"]))
    if kind == "other":
        arrays[member] = draw(ARRAYS)
    target = io.BytesIO()
    np.savez_compressed(target, **{key: array for key, array in arrays.items() if kind == "other" or key != member})
    if kind in ("claim", "no array"):
        with zipfile.ZipFile(target, "a") as archive:
            inside = f"{member}.npy" if kind == "claim" else draw(st.sampled_from([member, "x.npy"]))
            archive.writestr(inside, head_of(draw(SHAPES)))
    return name, target.getvalue()


SHAPES = st.sampled_from(["(10**15,)", "(1000000000000000,)", "(2000000000000, 3)", "(-1,)", "(9" * 50, "()"])


def head_of(shape):
    """The head of an array, without its content."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


def record(content):
    """A whole record of evaluations.bin."""
    return RECORD_HEAD.pack(RECORD_MARK, len(content), zlib.crc32(content)) + content


#: Arrays of MessagePack in arrays, and values of other types than those of an answer.
NESTED_ARRAYS = st.integers(1, 3000).map(lambda depth: b"\x91" * depth + b"\xc0")
ODD_ANSWERS = ODD.filter(lambda value: value not in ("\ud800", 10**400)).map(RECORD_ENCODER.encode)


@st.composite
def other_answers(draw, files):
    """Whole records of evaluations.bin, with right checksums, of what no run writes."""
    records = []
    for _ in range(draw(st.integers(1, 3))):
        array = draw(st.sampled_from([b"", b"\0" * 200, b"\xff" * 200, b"\0" * 7]))
        words = {"kind": "value", "question": "a", "numbers": [1.0, 0.9, 0.1], "array": array, "error": ""}
        words |= {"seconds": 0.1, "spent": asdict(SPENT)}
        place = draw(st.sampled_from(list(places_of(words))))
        content = RECORD_ENCODER.encode(replaced(words, place, "HERE"))
        records.append(record(content.replace(b"\xa4HERE", draw(st.one_of(NESTED_ARRAYS, ODD_ANSWERS)))))
    return f"n=4/{EVALUATIONS_FILE}", b"".join(records)


@pytest.mark.fuzz
@given(data=st.data())
def test_damaged_files_are_read_or_refused(stored, data):
    sweep, files = stored.sweep, stored.files
    kinds = (other_json, other_bytes, other_table, other_arrays, other_answers)
    name, content = data.draw(st.one_of(*(kind(files) for kind in kinds)))
    works_or_is_refused(sweep, files, name, content)


@pytest.mark.slow
@settings(max_examples=4)
@given(data=st.data())
def test_what_is_read_is_drawn_or_refused(stored, tmp_path_factory, data):
    """Pictures take long: a few cases of files that say other things than the rest of the run."""
    sweep, files = stored.sweep, stored.files
    name, content = data.draw(st.one_of(other_json(files), other_table(files), other_arrays(files)))
    folder = tmp_path_factory.mktemp("drawn")
    shutil.copytree(sweep / "n=4", folder / "run")
    if name.startswith("n=4/"):
        (folder / "run" / name[4:]).write_bytes(content)
    with suppress(UsageError):
        pictures.redraw([folder / "run"], folder / "x.png")


# --- cases that were found ---------------------------------------------------------------------------------------


def refused(capsys, *words):
    assert main(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: ")
    assert error.count("\n") == 1
    return error


DEEP = {100: "nested too deeply", 5000: "nested too deeply"}


@pytest.mark.parametrize("depth", DEEP)
@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize("command", ["plot", "report", "resume"])
def test_json_that_is_nested_deeply_is_refused(tmp_path, capsys, depth, name, command):
    run = write_run(tmp_path / "run", config=CONFIG)
    (run / name).write_text(f'{{"a": {"[" * depth}{"]" * depth}}}')
    assert DEEP[depth] in refused(capsys, command, run)


#: File, entry, wrong value, and what the message says.
WRONG = [
    ("config.json", "regularization_strength", "nope", "regularization_strength 'nope': expected discrepancy, cooling"),
    ("config.json", "regularization_strength", -1.0, "expected a number > 0"),
    ("config.json", "max_iterations", True, "its max_iterations is True; expected a whole number"),
    ("config.json", "max_iterations", -3, "its max_iterations is -3; expected a whole number >= 0"),
    ("config.json", "gradient_tolerance", 2, "its gradient_tolerance is 2; expected a number <= 1"),
    ("config.json", "gradient_tolerance", "1e-4", "its gradient_tolerance is '1e-4'; expected a number"),
    ("config.json", "path", ["p.py"], "its path is ['p.py']; expected a text"),
    ("config.json", "path", "\0", "which is not there; put it back"),
    ("config.json", "options", [4], "its options is [4]; expected an object"),
    ("config.json", "folder", 3, "its folder is 3; expected a text or null"),
    ("config.json", "initial_guess", {}, "its initial_guess is {}; expected a text or null"),
    ("config.json", "resumed", "x", "its resumed is 'x'; expected a list"),
    ("summary.json", "status", ["converged"], "its status is ['converged']; expected a text"),
    ("summary.json", "message", None, "its message is None; expected a text"),
]


@pytest.mark.parametrize(("name", "entry", "value", "message"), WRONG)
def test_an_entry_of_the_wrong_kind_is_named(tmp_path, capsys, name, entry, value, message):
    run = write_run(tmp_path / "run", config=CONFIG)
    first = json.loads((run / name).read_text()) if (run / name).exists() else SUMMARY_OF_A_RUN
    write_json(run / name, {**first, entry: value})
    assert message in refused(capsys, "resume", run)


SUMMARY_OF_A_RUN = {"problem": "p", "status": "stopped", "message": "", "iterations": 2}


def test_a_rule_for_the_strength_that_there_is_not_is_named_in_python_too():
    with pytest.raises(InputError, match="'nope': expected discrepancy, cooling, lcurve or a number"):
        strength_rule.optimize(None, Settings("l-bfgs-b", "l2", 1e-4, 0.0, 9, "nope"), None, print)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"folder": "/", "grid": {}, "argv": []}', "it has no 'problem'"),
        ('{"problem": "robin", "folder": "/", "grid": [1], "argv": []}', "its grid is [1]; expected an object"),
        ('{"problem": "", "folder": "/", "grid": {"n": 3}, "argv": ["sweep", "robin"]}', "expected a list at [...]"),
        ('{"problem": "robin", "folder": "/", "grid": {}, "argv": ["sweep", 3]}', "expected a text at [1]"),
        ('{"problem": "robin", "folder": "/", "grid": {}, "argv": ["run"]}', "the words of a 'pdeopt sweep'"),
        ("[" * 5000, "nested too deeply"),
        ("3", "it holds 3; expected an object"),
        ("[" * 900 + "]" * 900, "nested too deeply"),
    ],
)
def test_a_sweep_that_cannot_be_read_is_refused(tmp_path, capsys, text, message):
    (tmp_path / "sweep.json").write_text(text)
    assert message in refused(capsys, "resume", tmp_path)


def test_a_table_that_the_reader_of_tables_refuses(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    history = run / "history.csv"
    history.write_text(history.read_text() + "9" * 200_000)
    assert "it is no table: field larger than field limit" in refused(capsys, "plot", run)


def test_an_array_that_claims_to_be_larger_than_all_memory(tmp_path, capsys):
    run = write_run(tmp_path / "run", fields_on("P1"))
    with zipfile.ZipFile(run / "result.npz", "w") as archive:
        archive.writestr("parameter.npy", head_of("(1000000000000000,)"))
    assert "result.npz" in refused(capsys, "plot", run)


def test_answers_of_another_length_are_not_given_back(tmp_path):
    answers = EvaluationFile()
    answers.open(tmp_path / "file")
    answers.keep(LoggedEvaluation("value", "a", (1.0, 0.9, 0.1), np.zeros(24), "", SPENT, 0.1))
    answers.close()
    again = EvaluationFile()
    again.open(tmp_path / "file")
    assert again.recall("value", "a", 25) is None
    assert not again.replaying
    again.close()


def replays(path, content):
    """Whether a file with this content gives answers back."""
    path.write_bytes(content)
    answers = EvaluationFile()
    answers.open(path)
    found = answers.replaying
    answers.close()
    return found


ANSWER = asdict(LoggedEvaluation("value", "a", (1.0, 0.9, 0.1), np.zeros(25), "", SPENT, 0.1))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"kind": "other"}, {"question": 3}, {"numbers": [1.0, 0.9]}, {"numbers": [1.0, 0.9, "a"]}, {"error": None}),
        *({"seconds": "0.1"}, {"array": b"\0" * 7}, {"array": [1.0]}, {"spent": None}),
        *({"spent": {"first": {"solves": "3"}}}, {"spent": {"products": [[]]}}, {"spent": {"first": {"fallbacks": 3}}}),
        {"spent": {"first": {"fallbacks": {"a → b": "3"}}}},
    ],
)
def test_answers_of_other_types_than_a_run_writes_are_not_given_back(tmp_path, wrong):
    assert replays(tmp_path / "file", record(RECORD_ENCODER.encode(ANSWER)))
    assert not replays(tmp_path / "file", record(RECORD_ENCODER.encode({**ANSWER, **wrong})))


@pytest.mark.parametrize(("depth", "is_read"), [(30, True), (5000, False), (10**6, False)])
def test_answers_that_are_nested_deeply_are_not_given_back(tmp_path, depth, is_read):
    """What else stands beside the entries of an answer is passed over, as far as that is possible."""
    content = RECORD_ENCODER.encode({**ANSWER, "more": "HERE"}).replace(b"\xa4HERE", b"\x91" * depth + b"\xc0")
    assert replays(tmp_path / "file", record(content)) == is_read


def test_what_stands_in_files_does_not_control_the_terminal(tmp_path, capsys):
    run = write_run(tmp_path / "run", config={**CONFIG, "optimizer": 7})
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", {**config, "optimizer": ["\x1b[2J"], "path": "x\x1b[2J"})
    assert "\x1b" not in refused(capsys, "resume", run)
    write_json(run / "config.json", {**config, "optimizer": "cg", "path": "x\x1b[2J"})
    assert "\x1b" not in refused(capsys, "resume", run)


def test_readable_is_one_message_for_everything(tmp_path):
    for error in (MemoryError(), OverflowError("x"), RecursionError(), AssertionError(), zipfile.BadZipFile("x")):
        with pytest.raises(UsageError, match="cannot read"), reading_errors(Path("x")):
            raise error
    with pytest.raises(KeyboardInterrupt), reading_errors(Path("x")):
        raise KeyboardInterrupt

"""The HTML report: what stands in it, and how a browser takes it."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from matplotlib.image import imread
from run_directories import fields_on, rows, write_run

from pdeopt.cli import main
from pdeopt.run.report.report_tables import settings
from pdeopt.run.store.stored_run import read_run

pytestmark = pytest.mark.usefixtures("compiled_once")

VERIFICATION = {"passed": True, "orders": [1.0, 2.0], "gap": 3e-16}
STAGES = {"building": 0.25, "optimization": {"factorization": 1.5, "solves": 0.75}}
STRENGTH = {
    **{"rule": "discrepancy", "strength": 2.0, "target": 1.0, "corner": None, "status": "converged"},
    "tried": [{"strength": float(k), "misfit": 2.0 / k, "regularization": 3.0 - k} for k in (1, 2)],
}
#: Elements without an end tag.
VOID = {"meta", "link", "img", "br", "hr", "input"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Outline(HTMLParser):
    """Checks that elements nest, and collects them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), "no attribute twice"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(" ".join(data.split()))

    @property
    def text(self):
        return " ".join(filter(None, self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A converged run, a failed one with other settings, and one that is not finished."""
    folder = tmp_path_factory.mktemp("runs")
    told = {"verification": VERIFICATION, "stage_seconds": STAGES, "strength": STRENGTH, "score": 0.875}
    failed = {"status": "failed", "message": '<b>singular</b> & "bad"', "verification": None}
    other = {"optimizer": "newton-cg", "options": {"n": 5, "noise": 0.01}}
    return [
        write_run(folder / "first", fields_on("P1"), {"status": "converged", **told}),
        write_run(folder / "second", fields_on("Q0"), failed, other),
        write_run(folder / "third", history=[replace(row, evaluations=7) for row in rows((3, 2))]),
    ]


@pytest.fixture(scope="module")
def report(runs):
    """Of all three."""
    path = runs[0].parent / "report.html"
    assert main(["report", *map(str, runs), "--out", str(path)]) == 0
    return path


@pytest.mark.slow
def test_a_report_of_one_run_lies_in_its_folder(runs, capsys):
    assert main(["report", str(runs[0])]) == 0
    path = runs[0] / "report.html"
    assert capsys.readouterr().out == f"{path}\n"
    page = Outline(path.read_text(encoding="utf-8"))
    for said in ("converged", "score", "0.875", "relative error 50 %", "passed yes", "orders 1, 2", "gap 3e-16"):
        assert said in page.text
    for said in ("building 0.25", "strength: tried", "factorization 1.5", "noise 0.01", "pdeopt 0.1.0"):
        assert said in page.text
    assert "pdeopt run first --n 4 Numbers" in page.text, "without --out and --quiet"
    assert "Comparison" not in page.text
    assert [image["alt"].split(" of first")[0] for image in page.all("img")] == [
        "Coefficient, data fit and state",
        "Objective, its terms and the norm of the gradient",
        "How the strength of the regularization was chosen",
    ]


@pytest.mark.parametrize(("solver", "rows"), [(None, {}), ("superlu", {"requested solver": "superlu"})])
def test_settings_have_no_row_for_pictures_and_for_a_solver_that_nobody_asked_for(tmp_path, solver, rows):
    run = write_run(tmp_path / "run", config={"options": {"n": 4}, "requested_solver": solver, "pictures": True})
    found = settings(read_run(run))
    assert {name: text for name, text in found.items() if name in ("requested solver", "pictures")} == rows
    assert found["n"] == "4"


@pytest.mark.slow
def test_the_command_has_the_limit_that_a_run_was_resumed_with(tmp_path):
    words = ["run", "first", "--max-iterations", "5", "--n=4", "--out=first"]
    raised = {"argv": words, "max_iterations": 50, "resumed": [["resume", "first", "--max-iterations", "50"]]}
    run = write_run(tmp_path / "first", fields_on("P1"), {"status": "converged"}, raised)
    assert main(["report", str(run)]) == 0
    page = Outline((run / "report.html").read_text(encoding="utf-8"))
    assert "pdeopt run first --n=4 --max-iterations 50 Numbers" in page.text


@pytest.mark.slow
def test_a_comparison_comes_first_and_marks_what_differs(report):
    text = report.read_text(encoding="utf-8")
    page = Outline(text)
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Comparison", "first", "second", "third"]
    marked = re.findall(r'<tr class="differs"><th scope="row">(.*?) <', text)
    assert set(marked) == {"problem", "n", "optimizer"}
    assert re.search(r'<th scope="row">status</th><td>converged</td><td>failed</td><td>unfinished</td>', text)
    assert re.search(r'<th scope="row">evaluations</th><td>–</td><td>–</td><td>7</td>', text)
    assert "The derivatives were not verified before this run." in page.text
    assert "there is no summary.json" in page.text
    assert len(page.all("details")) == 1 + 2 * 3, "settings that are the same; history and versions of each"


def test_everything_is_escaped(report):
    text = report.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;singular&lt;/b&gt; &amp; &#34;bad&#34;" in text


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(report):
    text = report.read_text(encoding="utf-8")
    page = Outline(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.all("title")
    assert not page.all("script")
    sources = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in text
    assert "@import" not in text
    assert all(image["alt"] and int(image["width"]) > 100 for image in page.all("img"))
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {f"#{anchor}" for anchor in anchors}
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no level is left out"


def test_a_long_history_is_thinned(tmp_path):
    path = write_run(tmp_path / "long", history=rows(range(5000, 0, -1)))
    assert main(["report", str(path)]) == 0
    text = (path / "report.html").read_text(encoding="utf-8")
    assert "history, 200 of 5000 rows" in text
    assert '<th scope="row">4999</th>' in text


@pytest.mark.slow
def test_pictures_of_the_run_are_taken_as_they_are(tmp_path, capsys):
    path = write_run(tmp_path / "run", fields_on("P1"))
    assert main(["plot", str(path)]) == 0
    content = (path / "history.png").read_bytes()
    (path / "result.png").unlink()
    (path / "scene.png").write_bytes(content)
    assert main(["report", str(path)]) == 0
    page = Outline((path / "report.html").read_text(encoding="utf-8"))
    result, scene, history = page.all("img")
    assert scene["src"] == history["src"] != result["src"]
    capsys.readouterr()
    (path / "scene.png").write_bytes(content[:-100])
    assert main(["report", str(path)]) == 2
    assert f"cannot read {path / 'scene.png'}: it is no whole PNG or GIF picture" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(runs, tmp_path, capsys):
    for place in (tmp_path, tmp_path / "no" / "page.html"):
        assert main(["report", str(runs[2]), "--out", str(place)]) == 2
        assert f"cannot write the report {place}: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def browse(report, folder, *options):
    """What the browser says on its standard output and error."""
    words = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    return subprocess.run(
        [*words, f"--user-data-dir={folder / 'profile'}", *options, report.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_shows_the_page_without_complaints(report, tmp_path):
    shot = tmp_path / "shot.png"
    done = browse(report, tmp_path, "--window-size=1280,3000", f"--screenshot={shot}")
    assert "CONSOLE" not in done.stderr
    picture = imread(shot)
    assert picture.shape[:2] == (3000, 1280)
    assert picture[..., :3].std() > 0.1, "not blank"
    assert (picture[600:900, 100:1180, :3].std((0, 1)) > 0.05).all(), "the pictures are drawn"
    dom = browse(report, tmp_path, "--dump-dom").stdout
    assert "<h1>3 runs compared</h1>" in dom
    assert dom.count("<img") == report.read_text(encoding="utf-8").count("<img") > 4

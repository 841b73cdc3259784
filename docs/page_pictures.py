"""Pictures in a page that its own commands make: ``<!-- picture: FILE: WHAT IT SHOWS -->``.

For the site, the page is run and the pictures are put there; read elsewhere, the page goes without.
"""

from __future__ import annotations

import re
from pathlib import Path

from code_blocks import run_page
from kept_runs import Job
from sphinx.application import Sphinx

PICTURE = re.compile(r"<!-- picture: (\S+): (.*?) -->", re.DOTALL)
RUNNER = Path(__file__).parent / "code_blocks.py"


def jobs(docs: Path) -> list[Job]:
    """One for each page with such pictures."""
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(docs.glob("*.md"))}
    return [
        Job(page.name, docs / "_build" / "pages" / page.stem, run_page, page, (text, RUNNER.read_text()))
        for page, text in texts.items()
        if PICTURE.search(text)
    ]


def place(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the pictures into the source of a page."""
    source[0] = PICTURE.sub(rf"![\2](/_build/pages/{page}/\1)", source[0])

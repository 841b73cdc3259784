"""What the site is made of by running something: run side by side, and again only when its inputs change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util import logging

import pdeopt

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Job:
    """Python with some words, in an empty folder.

    Attributes:
        name: for messages. folder: it is emptied first. words: of the command line, after `python`.
        inputs: texts that the result depends on, besides pdeopt's version.
    """

    name: str
    folder: Path
    words: tuple[str, ...]
    inputs: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256("\0".join([*self.words, *self.inputs, pdeopt.__version__]).encode()).hexdigest()


def run_all(jobs: Iterable[Job]) -> None:
    """As many at a time as there are cores. Raises ExtensionError where one fails."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run_once, jobs))


def _run_once(job: Job) -> None:
    made_of = job.folder / "made_of"
    if made_of.is_file() and made_of.read_text() == job.key:
        return
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    start = time.perf_counter()
    _run(job)
    logging.getLogger(__name__).info("ran %s: %.0f s", job.name, time.perf_counter() - start)
    made_of.write_text(job.key)


def _run(job: Job) -> None:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *job.words],
        cwd=job.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise ExtensionError(f"{job.name} ended with status {done.returncode}\n{done.stderr}")

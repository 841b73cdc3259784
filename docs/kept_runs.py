"""What the site is made of by running something: run side by side, and again only when its inputs change."""

from __future__ import annotations

import gc
import hashlib
import io
import multiprocessing
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError
from sphinx.util import logging

import pdeopt

#: Of the garbage collector: with Python's own ones it takes a tenth of the time.
COLLECTION_THRESHOLDS = (100_000, 10, 100)


@dataclass(frozen=True)
class Job:
    """A call in an empty folder, which raises where it fails.

    Attributes:
        name: for messages. folder: it is emptied first. function: with its argument; it can be pickled.
        inputs: texts that the result depends on, besides name and pdeopt's version.
    """

    name: str
    folder: Path
    function: Callable[[Any], object]
    argument: Any
    inputs: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256("\0".join([self.name, *self.inputs, pdeopt.__version__]).encode()).hexdigest()


def run_all(jobs: Iterable[Job]) -> None:
    """As many at a time as there are cores, in processes that import and compile once. Raises ExtensionError."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    new = [job for job in jobs if not _is_made(job)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, gc.set_threshold, COLLECTION_THRESHOLDS) as pool:
        for job, (seconds, failure) in zip(new, pool.map(_run, new), strict=True):
            if failure:
                raise ExtensionError(f"{job.name} failed\n{failure}")
            logging.getLogger(__name__).info("ran %s: %.0f s", job.name, seconds)
            _note(job).write_text(job.key)


def _note(job: Job) -> Path:
    """Where it is kept what a folder was made of."""
    return job.folder / "made_of"


def _is_made(job: Job) -> bool:
    return _note(job).is_file() and _note(job).read_text() == job.key


def _run(job: Job) -> tuple[float, str]:
    """In another process: the seconds, and what was said where the job failed."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    os.chdir(job.folder)
    start, said = time.perf_counter(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            job.function(job.argument)
        except BaseException:
            return 0.0, f"{said.getvalue()}\n{traceback.format_exc()}"
    return time.perf_counter() - start, ""

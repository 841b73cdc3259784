"""The titles that pictures share: the outcome of a run, roles, experiments and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pdeopt.run.store.fields import RECONSTRUCTION_ROLE, Fields
from pdeopt.run.store.views.headline import headline_facts


def headline(summary: dict[str, Any]) -> str:
    """Return the outcome of a run in one line, from the entries of summary.json."""
    if not summary:
        return "unfinished run"
    count = summary["iterations"]
    parts = [f"{summary['problem']}: {summary['status']} after {count} iteration{'s'[: count != 1]}"]
    parts += [f"{word} {text}" for word, text in headline_facts(summary)]
    if summary.get("relative_error") is not None:
        kind = "" if summary.get("numbers") or summary.get("relative_errors") else "L² "
        parts.append(f"relative {kind}error {100 * summary['relative_error']:.3g} %")
    if summary.get("discrepancy") is not None:
        parts.append(f"misfit {summary['discrepancy']:.2f} × that of the noise")
    return ",  ".join(parts)


@dataclass(frozen=True)
class RoleWords:
    """The words for the coefficient, by its role: only a reconstruction has a truth.

    Attributes:
        known: The word for the known coefficient, "truth" or "exact".
        found: The word for the coefficient that was found.
    """

    known: str
    found: str

    @classmethod
    def of(cls, fields: Fields) -> RoleWords:
        """Return the words for a run's coefficient."""
        return cls("truth" if fields.role == RECONSTRUCTION_ROLE else "exact", fields.role)


def state_title(fields: Fields, magnitude: bool = True) -> str:
    """Return the title of the state: which part and experiment, and of vectors whether their magnitude."""
    is_vector = fields.state_at is not None and fields.state_at.components > 1
    what = "real part of the state" if np.iscomplexobj(fields.state) else "state"
    what = f"magnitude of the {what}" if is_vector and magnitude else what
    return f"{what}{experiment_of(fields)}"


def experiment_of(fields: Fields) -> str:
    """Return which experiment and time are drawn, for the end of a title: nothing where there is one."""
    experiment = "" if fields.experiments == 1 else f", experiment 1 of {fields.experiments}"
    if fields.state_times is not None:
        return f"{experiment}, {moment(fields.state_times[fields.drawn_time], fields.time_unit)}"
    return experiment + ("" if fields.times == 1 else f", time {fields.drawn_time + 1} of {fields.times}")


def moment(time: float, unit: str) -> str:
    """Return a time as it stands in titles: "t = 0.6 s"."""
    return f"t = {time:.4g} {unit}".rstrip()


def step_of(fields: Fields) -> str:
    """Return at which time a coefficient in time is drawn, for the end of a title; "" of others."""
    times = fields.coefficient_times
    return "" if times is None or len(times) > 1 else f", {moment(times[0], fields.time_unit)}"

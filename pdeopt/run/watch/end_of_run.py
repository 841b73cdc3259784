"""The messages at the end of a run and of a check."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pdeopt.inverse.problem import SUMMARY_NAMES
from pdeopt.run.store.views.headline import headline_facts, headline_numbers
from pdeopt.run.watch.stopwatch import in_words, total_seconds

if TYPE_CHECKING:
    from pdeopt.inversion.checking import Check

#: The part of the whole time below which the time of a stage is not mentioned.
MIN_SHOWN_PART = 0.01
#: The largest number of unknown numbers that are shown one by one.
MAX_NUMBERS = 10
#: The color of each status.
STATUS_COLORS = {"converged": "green", "stopped": "yellow", "failed": "red"}


def print_summary(console: Console, summary: dict[str, Any], directory: Path) -> None:
    """Print the outcome of a run in words.

    Args:
        console: The console that it is printed on.
        summary: The entries of summary.json.
        directory: The run directory.
    """
    status = summary["status"]
    console.print(Text.assemble((status, f"bold {STATUS_COLORS[status]}"), f": {summary['message']}"), soft_wrap=True)
    lines = _lines(summary, directory)
    width = max(16, *(len(name) + 2 for name, _ in lines))
    for name, text in lines:
        console.print(f"  {name:<{width}}{text}", highlight=False, markup=False, soft_wrap=True)


def print_checks(console: Console, checks: list[Check]) -> None:
    """Print the results of checks as a table, a row for each check."""
    table = Table(box=None, pad_edge=False)
    for title in ("check", "value", "required", ""):
        table.add_column(title, overflow="fold")
    for check in checks:
        verdict = Text("pass", "green") if check.passed else Text("FAIL", "bold red")
        table.add_row(Text(check.name), Text(check.value), Text(check.required), verdict)
    console.print(table)


def _lines(summary: dict[str, Any], directory: Path) -> list[tuple[str, str]]:
    lines = [
        ("objective", f"{summary['objective']:.6g}"),
        ("misfit", f"{summary['misfit']:.6g}{_against_noise(summary)}"),
        *(
            (f"  {name}", f"{part['misfit']:.6g}{_against_noise(part)}")
            for name, part in summary.get("misfits", {}).items()
        ),
        ("regularization", f"{summary['regularization']:.6g}"),
        *(
            (f"constraint {name}", f"{part['kind']} 0, violated by {part['largest_violation']:.2g}{_multipliers(part)}")
            for name, part in summary.get("constraints", {}).items()
        ),
    ]
    if summary["relative_error"] is not None:
        at_start = f" (initial guess {100 * summary['initial_relative_error']:.3g} %)"
        lines.append(("relative error", f"{100 * summary['relative_error']:.3g} %{at_start}"))
    told = {*SUMMARY_NAMES, *headline_numbers(summary)}
    lines += headline_facts(summary)
    numbers = summary.get("numbers", {})
    if len(numbers) <= MAX_NUMBERS:
        lines += [(name, _shown(value)) for name, value in numbers.items()]
    else:
        lines.append(("numbers", f"{len(numbers)} in summary.json"))
    lines += [(name, _shown(value)) for name, value in summary.items() if name not in told]
    if summary["strength"] or summary["regularization_strength"] not in (1, None):
        lines.append(("strength", f"{summary['regularization_strength']:.4g}{_rule(summary)}"))
    if summary["inner_product"] != "l2":
        lines.append(("inner product", summary["inner_product"]))
    return [*lines, ("work", _work(summary)), *_times(summary), ("files", f"{directory}/")]


def _times(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return lines with the time of the whole run, and of its stages and their parts.

    Those that take a small part of it are left out.
    """
    seconds = summary.get("stage_seconds", {"optimization": summary["seconds"]})
    total = total_seconds(summary["seconds"], seconds)
    long = {name: in_words(time) for name, time in seconds.items() if time > MIN_SHOWN_PART * total}
    stages = [f"{name} {time}{_parts(name, long)}" for name, time in long.items() if "/" not in name]
    first, *more = textwrap.wrap(f"{in_words(total)}: {', '.join(stages)}", 60)
    return [("time", first), *(("", line) for line in more)]


def _parts(stage: str, times: dict[str, str]) -> str:
    parts = [f"{name.split('/')[1]} {time}" for name, time in times.items() if name.startswith(f"{stage}/")]
    return f" ({', '.join(parts)})" if parts else ""


def _multipliers(constraint: dict[str, Any]) -> str:
    """Return the multipliers of a constraint in words, "" where they are too many to be kept."""
    found = constraint["multipliers"]
    return "" if found is None else f", multiplier{'s'[: len(found) != 1]} {', '.join(f'{one:.4g}' for one in found)}"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rule(summary: dict[str, Any]) -> str:
    """Return the words that say of which number the strength is a factor, and which rule chose it."""
    if summary["strength"] is None:
        return " × the problem's"
    count = len(summary["strength"]["tried"])
    return f" × the problem's, by the rule {summary['strength_rule']} ({count} minimization{'s'[: count != 1]})"


def _work(summary: dict[str, Any]) -> str:
    inner = f" with {summary['cg_iterations']} CG iterations" if summary["cg_iterations"] else ""
    newton = f"{summary['newton_iterations']} Newton steps, " if summary["newton_iterations"] else ""
    return (
        f"{summary['iterations']} iterations{inner}, {summary['evaluations']} evaluations, {newton}"
        f"{summary['factorizations']} factorizations, {summary['solves']} solves"
    )


def _against_noise(summary: dict[str, Any]) -> str:
    if summary["discrepancy"] is None:
        return ""
    return f" = {summary['discrepancy']:.3f} × that of the noise alone ({summary['expected_misfit']:.6g})"

"""Format the figures as text, Markdown and JSON."""

import json
from collections.abc import Iterable

from speed.measurements import TARGETS
from speed.result import Metric, Result, ratio

TARGETS_TITLE = "What the kit wants to reach"


def rows(result: Result, metric: Metric) -> list[tuple[str, str, str, str]]:
    """Return name, median, spread and ratio of each contender, formatted."""
    spreads, table = result.spreads(metric), {}
    for name, (_, median, least, most) in spreads.items():
        spread = f"{metric.format(least)} .. {metric.format(most)}"
        times = ratio(spreads, name, result.measurement.baseline)
        table[name] = metric.format(median), spread, times and f"{times} x"
    for name in (*result.values, *result.failed):  # those without values come last
        table.setdefault(name, ("-", "failed" if name in result.failed else "", ""))
    return [(name, *figures) for name, figures in table.items()]


def verdicts(results: list[Result]) -> list[tuple[str, str]]:
    """Return "pass", "behind" or "unknown" and a sentence for each target of the run."""
    by_name = {result.measurement.name: result for result in results}
    found = [by_name[one.measurement].judge(one) for one in TARGETS if one.measurement in by_name]
    return [verdict for verdict in found if verdict]


def as_text(result: Result) -> str:
    measurement = result.measurement
    lines = [f"\n{measurement.name}: {measurement.title}"]
    for metric in measurement.metrics:
        lines.append(f"  {metric.heading()}; ratio to: {measurement.baseline}")
        table = rows(result, metric)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for name, median, spread, times in table:
            figures = f"{median:>{widths[1]}}  {times:>{widths[3]}}  {spread}"
            lines.append(f"    {name:<{widths[0]}}  {figures}".rstrip())
    return "\n".join([*lines, f"  {measurement.note}"]).rstrip()


def targets_as_text(results: list[Result]) -> str:
    lines = [f"  {word:<7}  {sentence}\n" for word, sentence in verdicts(results)]
    return "".join([f"\n{TARGETS_TITLE}, in this run\n", *lines]) if lines else ""


def as_markdown(machine: dict[str, str], command: str, results: list[Result]) -> str:
    lines = ["# How fast: one run on one machine", ""]
    lines += [f"Taken by `{command}`. Only ratios of figures"]
    lines += ["of the same run mean something elsewhere; the figures belong to this machine.", ""]
    lines += ["| | |", "| --- | --- |", *map(as_row, machine.items())]
    if found := verdicts(results):
        lines += ["", f"## {TARGETS_TITLE}", "", "| | |", "| --- | --- |", *map(as_row, found)]
    for measurement, result in ((result.measurement, result) for result in results):
        lines += ["", f"## {measurement.name}", "", f"{measurement.title}."]
        if measurement.note:
            lines += ["", measurement.note.replace("*", r"\*")]
        for metric in measurement.metrics:
            titles = metric.heading(), "median", "min .. max", f"ratio to {measurement.baseline}"
            lines += ["", as_row(titles), "| --- | ---: | ---: | ---: |"]
            lines += map(as_row, rows(result, metric))
    return "\n".join(lines) + "\n"


def as_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("*", r"\*")


def as_json(machine: dict[str, str], command: str, results: list[Result]) -> str:
    """Return everything, with the values of each round, for programs."""
    measurements = {
        result.measurement.name: {
            "units": {metric.name: metric.unit for metric in result.measurement.metrics},
            "values": result.values,
            "failed": result.failed,
        }
        for result in results
    }
    found = {"machine": machine, "command": command, "measurements": measurements}
    return json.dumps(found | {"targets": verdicts(results)}, indent=1) + "\n"

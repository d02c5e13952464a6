"""The figures as text, Markdown and JSON."""

import json
from collections.abc import Iterable

from speed.model import Contender, Measurement, Metric, Result

WORDS = {True: "pass", False: "behind", None: "not measured"}


def rows(result: Result, metric: Metric) -> Iterable[tuple[str, str, str, str]]:
    """Yield name, median, spread and ratio of each contender, as they are printed."""
    for contender in order(result, metric):
        spread = result.spread(contender.name, metric.name)
        if spread is None:
            yield contender.name, "-", "failed" if contender.name in result.failed else "", ""
            continue
        ratio = result.ratio(contender.name, metric.name)
        between = f"{metric.show(spread.least)} .. {metric.show(spread.most)}"
        times = f"{significant(ratio)} x" if ratio is not None else ""
        yield contender.name, metric.show(spread.median), between, times


def order(result: Result, metric: Metric) -> list[Contender]:
    """Return the contenders that were measured; sizes as they are, others best first."""
    measurement = result.measurement
    known = [c for c in measurement.contenders if c.name in {**result.values, **result.failed}]
    if measurement.name.startswith("growing"):
        return known

    def place(contender: Contender) -> float:
        spread = result.spread(contender.name, metric.name)
        if spread is None:
            return float("inf")
        return -spread.median if metric.more_is_better else spread.median

    return sorted(known, key=place)


def significant(ratio: float) -> str:
    """Return a ratio with two or three figures that mean something."""
    return f"{ratio:.0f}" if ratio >= 99.5 else f"{ratio:.1f}" if ratio >= 9.95 else f"{ratio:.2f}"


def heading(measurement: Measurement, metric: Metric) -> str:
    """Return what the figures of a table are, and what the ratios are ratios to."""
    better = "more" if metric.more_is_better else "less"
    return f"{metric.unit} ({better} is better); ratio to: {measurement.baseline}"


def as_text(result: Result) -> str:
    """Return the tables of one measurement for a terminal."""
    measurement = result.measurement
    lines = [f"\n{measurement.name}: {measurement.title}"]
    for metric in result.measurement.metrics:
        table = list(rows(result, metric))
        if not table:
            continue
        lines.append(f"  {heading(measurement, metric)}")
        wide = [max(len(row[column]) for row in table) for column in range(4)]
        for name, median, spread, ratio in table:
            line = f"    {name:<{wide[0]}}  {median:>{wide[1]}}  {ratio:>{wide[3]}}  {spread}"
            lines.append(line.rstrip())
    if measurement.note:
        lines.append(f"  {measurement.note}")
    return "\n".join(lines)


def judged(results: list[Result]) -> list[tuple[str, str]]:
    """Return for each target its word, and what was reached, in a sentence."""
    found = []
    for result in results:
        for verdict in result.verdicts():
            target = verdict.target
            unit = next(m.unit for m in result.measurement.metrics if m.name == target.metric)
            reached = "?" if verdict.ratio is None else significant(verdict.ratio)
            if verdict.met is False and reached == f"{target.limit:.2f}":
                reached = f"{verdict.ratio:.4f}"
            sentence = (
                f"{result.measurement.name}: {target.contender} has {reached} x the {unit} of "
                f"{verdict.than} (wanted: {verdict.wanted})"
            )
            found.append((WORDS[verdict.met], sentence))
    return found


def targets_as_text(results: list[Result]) -> str:
    """Return the targets for a terminal, "" if there are none."""
    lines = [f"  {word:<12}  {sentence}" for word, sentence in judged(results)]
    return "\n".join(["\nWhat the kit wants to reach, in this run", *lines]) if lines else ""


def as_markdown(machine: dict[str, str], how: str, results: list[Result]) -> str:
    """Return everything as a page."""
    lines = ["# How fast: one run on one machine", "", f"Taken by `{how}`. Only ratios of figures"]
    lines += ["of the same run mean something elsewhere; the figures belong to this machine.", ""]
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| {key} | {value} |" for key, value in machine.items()]
    if verdicts := judged(results):
        lines += ["", "## What the kit wants to reach", "", "| | |", "| --- | --- |"]
        lines += [f"| {word} | {sentence} |" for word, sentence in verdicts]
    for result in results:
        measurement = result.measurement
        lines += ["", f"## {measurement.name}", "", f"{measurement.title}."]
        if measurement.note:
            lines += ["", measurement.note.replace("*", r"\*")]
        for metric in result.measurement.metrics:
            better = "more" if metric.more_is_better else "less"
            titles = [f"{metric.unit} ({better} is better)", "median", "min .. max"]
            lines += ["", f"| {' | '.join(titles)} | ratio to {measurement.baseline} |"]
            lines += ["| --- | ---: | ---: | ---: |"]
            for row in rows(result, metric):
                lines.append(f"| {' | '.join(row)} |".replace("*", r"\*"))
    return "\n".join(lines) + "\n"


def as_json(machine: dict[str, str], how: str, results: list[Result]) -> str:
    """Return everything, with the values of each round, for programs."""
    found = []
    for result in results:
        measurement = result.measurement
        found.append(
            {
                "name": measurement.name,
                "title": measurement.title,
                "baseline": measurement.baseline,
                "metrics": [table(result, metric) for metric in result.measurement.metrics],
                "failed": result.failed,
                "targets": [
                    {
                        "metric": verdict.target.metric,
                        "contender": verdict.target.contender,
                        "than": verdict.than,
                        "wanted": verdict.wanted,
                        "ratio": verdict.ratio,
                        "met": verdict.met,
                    }
                    for verdict in result.verdicts()
                ],
            }
        )
    return json.dumps({"machine": machine, "command": how, "measurements": found}, indent=1) + "\n"


def table(result: Result, metric: Metric) -> dict:
    """Return the values of one metric, by contender."""
    contenders = {}
    for contender in order(result, metric):
        if spread := result.spread(contender.name, metric.name):
            contenders[contender.name] = {
                "kind": contender.kind,
                "values": [values.get(metric.name) for values in result.values[contender.name]],
                "median": spread.median,
                "min": spread.least,
                "max": spread.most,
                "ratio": result.ratio(contender.name, metric.name),
            }
    return {
        "name": metric.name,
        "unit": metric.unit,
        "more_is_better": metric.more_is_better,
        "contenders": contenders,
    }

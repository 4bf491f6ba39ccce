"""Reports as Markdown, made for the step summary of a continuous-integration job."""

from collections.abc import Sequence

from attncheck.model.report import Report
from attncheck.report.causes import Cause, causes, script_of
from attncheck.report.wording import (
    QUESTIONS,
    conclusion,
    coverage_lines,
    family_rows,
    finding_text,
    in_a_line,
    outcome,
    printable,
)


def markdown(reports: Sequence[Report]) -> str:
    """One section a report."""
    return "\n".join(line for report in reports for line in _section(report))


def _section(report: Report) -> list[str]:
    header = report.header
    lines = [f"## {_code(header.target)} {outcome(report)}", ""]
    lines += [f"judged as {_code(header.mechanism)}, budget {header.budget}, seed {header.seed}", ""]
    for cause in causes(report):
        lines += _cause(cause)
    lines += ["| | | |", "|---|---|---|"]
    for family, right, counts in family_rows(report):
        lines.append(f"| {QUESTIONS[family]} | {'yes' if right else '**no**'} | {counts} |")
    lines += ["", "<details><summary>Conventions, assumptions and coverage</summary>", ""]
    lines += [f"- {_words(name)}: {_words(option)}" for name, option in report.conventions.items()]
    lines += [f"- assumed: {_words(line)}" for line in header.adapter]
    lines += [f"- {_words(line)}" for line in coverage_lines(report)]
    return [*lines, "", "</details>", "", _code(conclusion(report)), ""]


def _cause(cause: Cause) -> list[str]:
    lines = [f"### {cause.first.check}", "", *_block(finding_text(cause.first)), ""]
    script = script_of(cause)
    if script:
        lines += ["<details><summary>Reproduce</summary>", ""]
        lines += [*_block(script, "python"), "", "</details>", ""]
    if cause.same_likely:
        lines += ["Same cause likely:", "", *(f"- {_words(in_a_line(v))}" for v in cause.same_likely), ""]
    return lines


def _block(text: str, language: str = "text") -> list[str]:
    fence = "`" * max(3, _longest_run(text) + 1)
    return [f"{fence}{language}", text.rstrip("\n"), fence]


def _code(text: str) -> str:
    tick = "`" * (_longest_run(text) + 1)
    return f"{tick}{printable(text)}{tick}"


def _words(text: str) -> str:
    escaped = "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def _longest_run(text: str) -> int:
    runs = "".join(c if c == "`" else " " for c in text).split()
    return max(map(len, runs), default=0)

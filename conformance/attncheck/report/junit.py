"""Reports as JUnit XML: a suite a target, a case a check."""

from collections.abc import Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from attncheck.model.report import Report
from attncheck.model.verdict import Verdict
from attncheck.report.wording import finding_text, in_a_line, printable


def write(reports: Sequence[Report], path: str) -> None:
    """Write the reports as one file."""
    document = JUnitXml("attncheck")
    for report in reports:
        document.add_testsuite(_suite(report))
    document.update_statistics()  # type: ignore[no-untyped-call]  # junitparser annotates only half
    document.write(str(Path(path)), pretty=True)


def _suite(report: Report) -> TestSuite:
    suite = TestSuite(report.header.target)
    suite.add_property("mechanism", report.header.mechanism)
    suite.add_property("seed", str(report.header.seed))
    suite.add_property("budget", report.header.budget)
    for name, option in report.conventions.items():
        suite.add_property(f"convention {name}", printable(option))
    for verdict in report.verdicts:
        suite.add_testcase(_case(verdict, report.header.target))
    if not report.complete:
        cut_off = TestCase("whole_run", report.header.target)
        cut_off.result = [Error("the run was cut off: the report has no footer", "errored")]
        suite.add_testcase(cut_off)
    return suite


def _case(verdict: Verdict, target: str) -> TestCase:
    case = TestCase(verdict.check, target, verdict.seconds)
    reason = printable(verdict.reason)
    match verdict.outcome:
        case "failed":
            failure = Failure(in_a_line(verdict), verdict.findings[0].kind if verdict.findings else "failed")
            failure.text = finding_text(verdict)
            case.result = [failure]
        case "errored":
            case.result = [Error(reason, "errored")]
        case "skipped":
            case.result = [Skipped(reason, "skipped")]
        case "known":
            case.result = [Skipped(f"known to fail: {reason}", "known")]
        case "deviates":
            case.system_out = f"deviates: {reason}"
    return case

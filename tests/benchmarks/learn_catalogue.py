"""Prints whether the sizes that are learned of a known mistake are those that the catalogue states.

Run it as `python tests/benchmarks/learn_catalogue.py`, or name mechanisms. Of mistakes that the catalogue
says the same sizes of, the first is judged as in a run: the first law or value that fails is explained.
Equal means equal on the grid of the sizes that the learner may ask for.
"""

import sys
import time
from collections.abc import Iterator, Sequence

import torch

from attncheck.checks import CHECKS
from attncheck.defects import DEFECTS
from attncheck.defects.defect import Defect
from attncheck.diagnosis.predicates import columns, equivalent, evaluate
from attncheck.diagnosis.space import Space
from attncheck.engine.correct import made
from attncheck.engine.explaining import Scripts, sized, space_of
from attncheck.engine.judging import Known, judge
from attncheck.engine.opening import Opened
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import Request
from attncheck.engine.shrink import smallest
from attncheck.model.finding import Finding
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref import MECHANISMS


def dependent(mechanisms: Sequence[str]) -> Iterator[Defect]:
    """One mistake for each condition of each mechanism that plain calls at usual sizes can show."""
    seen = set()
    for defect in DEFECTS:
        key = (defect.mechanism, defect.shows)
        plain = defect.family in ("law", "value") and not defect.needs and defect.shows != "always"
        if plain and defect.mechanism in mechanisms and key not in seen and of_sizes(defect):
            seen.add(key)
            yield defect


def opened_with(defect: Defect) -> Opened:
    """The mutant as a run opens a target."""
    subject = Subject(BY_ID[defect.mechanism], Reference(BY_ID[defect.mechanism]).interface)
    return Opened(subject, InProcess(made(defect.mechanism, defect)), None, False)


def of_sizes(defect: Defect) -> bool:
    """Whether its condition speaks of sizes and options alone, not of an input that is there or not."""
    space = space_of(opened_with(defect))
    try:
        evaluate(defect.shows, columns(space.grid(1)))
    except LookupError:
        return False
    return True


def learned(defect: Defect) -> tuple[str, bool]:
    """The sizes that a run tells, empty for none, and whether they are the catalogue's."""
    opened = opened_with(defect)
    subject, executor = opened.subject, opened.executor
    told = sorted((c for c in CHECKS if c.applies(subject) is None), key=lambda c: not c.basic)
    for check in told:
        if check.plans or check.most or check.family not in ("law", "value"):
            continue
        verdict = judge(check, subject, cases(check, subject, "default", 0), executor, Known())
        if verdict.outcome == "failed":
            finding = smallest(check, subject, verdict.findings[0], executor, Known())
            request = Request(defect.id, defect.mechanism, seed=0)
            finding = sized(check, opened, finding, request, lambda _: None, Scripts())
            return _where(finding), bool(finding.sizes) and _same(defect, finding, space_of(opened))
    return "", False


def _where(finding: Finding) -> str:
    return f"{finding.sizes}, with {finding.within}" if finding.within else finding.sizes or ""


def _same(defect: Defect, finding: Finding, space: Space) -> bool:
    """Whether both predicates agree; options that the catalogue says nothing of are those of the case."""
    told = (finding.within or "").split(", ")
    held = {o: v for o, values in space.options.items() for v in values if f"{o}={v}" in told}
    unsaid = {o: finding.case.names[o] for o in space.options if o not in defect.shows}
    return equivalent(defect.shows, str(finding.sizes), space.holding({**unsaid, **held}))


def main() -> None:
    """Print a line for each mistake, and how many are told as the catalogue tells them."""
    torch.set_num_threads(1)
    right = silent = total = 0
    for defect in dependent(sys.argv[1:] or [mechanism.id for mechanism in MECHANISMS]):
        began = time.process_time()
        sizes, same = learned(defect)
        total, right, silent = total + 1, right + same, silent + (not sizes)
        word = "equal" if same else "other" if sizes else "none"
        seconds = time.process_time() - began
        print(f"{word:5}  {defect.id}: {defect.shows}  |  {sizes or '-'}  ({seconds:.1f} s)", flush=True)
    print(
        f"{right} of {total} equal the catalogue's, {silent} of them are not told, {total - right - silent} differ"
    )


if __name__ == "__main__":
    main()

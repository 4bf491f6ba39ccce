"""The self-test's score as lines: per mechanism and family, survivors and accusations by name."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from attncheck.defects import BY_ID, DEFECTS
from attncheck.engine.selftest import Score, Trial
from attncheck.model.verdict import FAMILIES


def lines(score: Score) -> list[str]:
    """What a person reads."""
    return [*_columns(table(score)), "", *_said(score)]


def markdown(score: Score) -> str:
    """The same as a table of Markdown."""
    head, *rows = table(score)
    ruled = [head, ["---"] * len(head), *rows]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in ruled), "", *_said(score), ""])


def table(score: Score) -> list[list[str]]:
    """Killed of all, in how many cases, in how many seconds, and by which families, for each mechanism."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in score.trials:
        groups[BY_ID[trial.defect].mechanism].append(trial)
    order = list(dict.fromkeys(d.mechanism for d in DEFECTS))
    rows = [_row(name, groups[name]) for name in order if name in groups]
    total = [_row("all", list(score.trials))] if len(rows) > 1 else []
    return [["mechanism", "killed", "cases each", "seconds", *FAMILIES], *rows, *total]


def _row(name: str, trials: Sequence[Trial]) -> list[str]:
    killed = [t for t in trials if t.killed_by]
    by_family = Counter(family for t in killed for family in {family for _, family in t.killed_by})
    cases = sum(t.cases for t in trials) / max(len(trials), 1)
    seconds = sum(t.seconds for t in trials)
    counts = [str(by_family[family]) for family in FAMILIES]
    return [name, f"{len(killed)}/{len(trials)}", f"{cases:.0f}", f"{seconds:.1f}", *counts]


def _said(score: Score) -> Iterator[str]:
    yield (
        f"{len(score.trials) - len(score.survivors)} of {len(score.trials)} mistakes found, "
        f"{score.acquitted} right ones left alone, {len(score.accusations)} findings about right ones; "
        f"budget {score.budget}, seeds {', '.join(map(str, score.seeds))}, {score.seconds:.0f} s"
    )
    for trial in score.survivors:
        yield f"survives  {trial.defect}  seed {trial.seed}: {BY_ID[trial.defect].sentence}"
    for item in score.accusations:
        yield f"accused   {item.name}  seed {item.seed}: {item.check}: {item.evidence}"
    for check in sorted({check for trial in score.trials for check in trial.broke}):
        yield f"broke     {check} cannot cope with some mistakes: that is a mistake of the check"
    alone = necessary_checks(score)
    idle = sorted({check for t in score.trials for check, _ in t.killed_by} - alone)
    if idle:
        yield f"never alone with its family: {', '.join(idle)}"


def necessary_checks(score: Score) -> set[str]:
    """Checks that found a mistake, in the round in which it was found, that no other family found."""
    kept: set[str] = set()
    for trial in score.trials:
        if len({family for _, family in trial.killed_by}) == 1:
            kept |= {check for check, _ in trial.killed_by}
    return kept


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]

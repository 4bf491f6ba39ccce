"""The self-test's score as lines and tables: by mechanism and family, survivors and accusations by name."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from attncheck.checks import BY_ID as CHECK_BY_ID
from attncheck.checks import CHECKS
from attncheck.checks.check import Check
from attncheck.defects import BY_ID, DEFECTS
from attncheck.engine.score import Acquittal, Score, Trial
from attncheck.model.verdict import FAMILIES

Rows = list[list[str]]

# Between these two lines of a file the tables are replaced, and the rest is left alone.
BEGIN = "<!-- attncheck selftest writes from here -->"
END = "<!-- to here -->"


def lines(score: Score) -> list[str]:
    """What a person reads."""
    return [*_columns(table(score)), "", *_said(score)]


def markdown(score: Score) -> str:
    """The same as tables of Markdown; the checks have one of their own if each met every mistake."""
    parts = [_ruled(table(score)), "\n".join(_said(score))]
    return "\n\n".join([*parts, *([_ruled(by_check(score))] if score.exhaustive else [])]) + "\n"


def written_into(text: str, tables: str) -> str:
    """The text with the tables between its two marks, or the tables alone if it has none."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        return tables
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def table(score: Score) -> Rows:
    """Killed of all, in how many cases and seconds, by which families, and what was right, by mechanism."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in score.trials:
        groups[BY_ID[trial.defect].mechanism].append(trial)
    order = list(dict.fromkeys(d.mechanism for d in DEFECTS))
    rows = [
        _row(name, groups[name], [item for item in score.right if item.mechanism == name])
        for name in order
        if name in groups
    ]
    total = [_row("all", score.trials, score.right)] if len(rows) > 1 else []
    head = ["mechanism", "killed", "cases each", "seconds", *FAMILIES, "left alone", "cases each", "seconds"]
    return [head, *rows, *total]


def _row(name: str, trials: Sequence[Trial], right: Sequence[Acquittal]) -> list[str]:
    killed = [t for t in trials if t.killed_by]
    by_family = Counter(family for t in killed for family in {family for _, family in t.killed_by})
    alone = sum(not item.accusations for item in right)
    return [
        name,
        f"{len(killed)}/{len(trials)}",
        f"{sum(t.cases for t in trials) / max(len(trials), 1):.0f}",
        f"{sum(t.seconds for t in trials):.1f}",
        *(str(by_family[family]) for family in FAMILIES),
        f"{alone}/{len(right)}",
        f"{sum(item.cases for item in right) / max(len(right), 1):.0f}",
        f"{sum(item.seconds for item in right):.1f}",
    ]


def by_check(score: Score) -> Rows:
    """For each check: how many mistakes it finds, how many no other family finds, one of these, or why it stays."""
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in score.trials:
        for name, _ in trial.killed_by:
            found[name].append(trial)
    rows = []
    for check in CHECKS:
        alone = [t.defect for t in found[check.id] if len({family for _, family in t.killed_by}) == 1]
        example = f"`{alone[0]}`" if alone else _why_it_stays(check, score)
        rows.append([f"`{check.id}`", check.family, str(len(found[check.id])), str(len(alone)), example])
    return [["check", "family", "finds", "alone", "for example, or why it stays"], *rows]


def _why_it_stays(check: Check, score: Score) -> str:
    """Why a check is worth having that finds nothing alone with its family."""
    if check.id not in score.referred:
        return "judged none of these mistakes"
    if not score.referred[check.id]:
        return "needs no reference"
    if check.deviation:
        return f"tells a convention: {check.deviation}"
    return "names what other families only see"


def idle_checks(score: Score) -> list[str]:
    """Checks that found nothing that no other family found."""
    rows = by_check(score)[1:]
    return [check.id for check, row in zip(CHECKS, rows, strict=True) if row[3] == "0"]


def _said(score: Score) -> Iterator[str]:
    alone = sum(not item.accusations for item in score.right)
    computing = sum(t.seconds for t in score.trials) + sum(r.seconds for r in score.right)
    yield (
        f"{len(score.trials) - len(score.survivors)} of {len(score.trials)} mistakes found, "
        f"{alone} of {len(score.right)} right ones left alone; "
        f"budget {score.budget}, {_named(score.seeds)}; "
        f"{computing:.0f} s of computing" + (f", {score.seconds:.0f} s by the clock" if score.seconds else "")
    )
    for trial in score.survivors:
        yield f"survives  {trial.defect}  seed {trial.seed}: {BY_ID[trial.defect].sentence}"
    for item in score.accusations:
        yield f"accused   {item.name}  seed {item.seed}: {item.check}: {item.evidence}"
    for check in score.broke:
        yield f"broke     {check} cannot cope with some mistakes: that is a mistake of the check"
    if score.exhaustive:
        for check in idle_checks(score):
            reason = _why_it_stays(CHECK_BY_ID[check], score)
            yield f"never alone with its family: {check} ({CHECK_BY_ID[check].family}): {reason}"


def _named(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _ruled(rows: Rows) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]

"""The pages that list: every axis, every check, every convention."""

from attncheck.checks import CHECKS
from attncheck.model.convention import CONVENTIONS
from attncheck.model.verdict import FAMILIES
from attncheck.report.docs.markdown import GENERATED, code, table_of
from attncheck.report.wording import QUESTIONS
from attnref import MECHANISMS
from attnref.axes import AXES


def glossary() -> str:
    """Every axis with its meaning and the names that others give it."""
    rows = ((code(a.name), a.meaning, ", ".join(map(code, a.also_called))) for a in AXES)
    return _page(
        "Glossary of axes",
        "For a reader who met an axis name in an annotation, a message or a table.",
        "One dimension has one name, in every annotation, message and page.",
        *table_of(("axis", "means", "elsewhere called"), rows),
    )


def checks() -> str:
    """Every check with its claim, by family."""
    lines = []
    for family in FAMILIES:
        mine = [check for check in CHECKS if check.family == family]
        if mine:
            lines += [f"## {family}: {QUESTIONS[family]}", ""]
        for check in mine:
            lines += [f"### {check.id}", "", f"Claim: {code(check.claim)}.", "", check.doc, ""]
            lines += _law_of(check.id)
    return _page(
        "Checks",
        "For a person whose report names a check.",
        f"There are {len(CHECKS)} checks; each makes one claim.",
        *lines,
    )


def _law_of(check: str) -> list[str]:
    holds = [m.id for m in MECHANISMS if any(law.id == check for law in m.contract.laws)]
    return [f"A law of {', '.join(f'[{code(m)}](shapes/{m}.md)' for m in holds)}.", ""] if holds else []


def conventions() -> str:
    """Every convention with its options."""
    rows = ((code(c.id), c.question, ", ".join(map(code, c.options))) for c in CONVENTIONS)
    return _page(
        "Conventions",
        "For a person who wants to know on which points implementations may differ and still conform.",
        "A target that follows one of the options consistently conforms, and its report names the option.",
        "An option counts only if it alone explains every case of a run, at all sizes and under all flags.",
        "It must not contradict the target's own parameter names or docstring either.",
        "What is neither the law nor a listed option fails.",
        "`--expect CONVENTION=OPTION` turns every other option into a finding.",
        "",
        *table_of(("convention", "question", "options"), rows),
        "The lists stay short, because each entry is a mistake that can no longer be caught.",
    )


def index_of_shapes() -> str:
    """The table of contents of the mechanisms' pages."""
    return _page(
        "Shapes",
        "For a reader who looks for a mechanism.",
        *table_of(("mechanism", "title"), ((f"[{code(m.id)}]({m.id}.md)", m.title) for m in MECHANISMS)),
        "```{toctree}",
        ":hidden:",
        "",
        *(m.id for m in MECHANISMS),
        "```",
    )


def _page(title: str, reader: str, *lines: str) -> str:
    return "\n".join([GENERATED, f"# {title}", "", reader, "", *lines]).rstrip() + "\n"

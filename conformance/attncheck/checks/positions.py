"""Laws of tables of relative positions: what they tell apart, and what they cannot."""

from dataclasses import replace

from attncheck.checks.check import Mismatch, NotJudged, Trial, both, check, needs_law, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, on_layers, renewed
from attncheck.checks.oracle import expect
from attncheck.checks.order import equivariant_to
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

# Logits of unit inputs stay within ±20, so exp(20 - 400) leaves nothing of any other key.
_PEAK = 400.0


def _table(subject: Subject, ask: Ask, layers: tuple[str, ...]) -> NotJudged | None:
    return lacks(subject, ask, layers) or (
        None if subject.places(ask, "tokens") else NotJudged("no input has tokens")
    )


@check(
    "law",
    "a table of zeros forgets the order",
    applies=needs_law("zero_table_forgets_order"),
    options="all",
    rank=31,
)
def zero_table_forgets_order(subject: Subject, case: Case) -> Trial:
    """Without a bias, shuffled tokens give shuffled outputs."""
    law = subject.law("zero_table_forgets_order", case)
    ask = subject.ask(case)
    missing = _table(subject, ask, law.parameters)
    if missing:
        return missing
    return (
        yield from equivariant_to(
            subject, on_layers(subject, ask, law.parameters, "zero"), case, law.axes[0], "tokens"
        )
    )


@check(
    "law",
    "a constant in the table changes nothing",
    applies=needs_law("ignores_shifted_table"),
    options="all",
    rank=31,
)
def ignores_shifted_table(subject: Subject, case: Case) -> Trial:
    """The same number added to all offsets of a head shifts all its logits, which softmax ignores."""
    law = subject.law("ignores_shifted_table", case)
    ask = subject.ask(case)
    missing = _table(subject, ask, law.parameters)
    if missing:
        return missing
    before, after = yield [ask, on_layers(subject, ask, law.parameters, "shift", case.seed + 3, 0)]
    return agree(after.out, before.out, "the output for a shifted table")


@check(
    "law",
    "reversed tokens and table reverse the output",
    applies=needs_law("follows_reversal"),
    options="all",
    rank=31,
)
def follows_reversal(subject: Subject, case: Case) -> Trial:
    """Reading backwards turns the sign of every offset, which turns the table around."""
    law = subject.law("follows_reversal", case)
    ask = subject.ask(case)
    missing = _table(subject, ask, law.parameters)
    if missing:
        return missing
    turned = on_layers(subject, subject.along(ask, law.axes[0], "flip"), law.parameters, "flip", None, 0)
    before, after = yield [ask, turned]
    place = subject.output_axis("tokens")
    assert place is not None, "every token has a row of its own"
    return agree(after.out, before.out.flip(place), "the output for reversed tokens")


@check(
    "law",
    "a peak in the table selects its offset",
    applies=needs_law("table_peak_selects_offset"),
    options="all",
    rank=31,
)
def table_peak_selects_offset(subject: Subject, case: Case) -> Trial:
    """Where one offset outweighs all others, a token reads the token at that offset and no other."""
    law = subject.law("table_peak_selects_offset", case)
    ask = subject.ask(case)
    missing = _table(subject, ask, law.parameters)
    if missing:
        return missing
    tokens, height = case.sizes["tokens"], int(str(case.options.get("height", 1)))
    reader, read = (case.seed * 3 + 1) % tokens, (case.seed * 5) % tokens
    entry = _offset(reader, read, height, tokens // height)
    peaked = on_layers(subject, ask, law.parameters, "put", (entry, _PEAK), 0)
    others = subject.along(peaked, law.axes[0], "renew_but", (read, case.seed + 47))
    before, after = yield [peaked, others]
    place = subject.output_axis("tokens")
    assert place is not None, "every token has a row of its own"
    return agree(
        after.out.select(place, reader),
        before.out.select(place, reader),
        f"what token {reader} reads from token {read}, with other tokens around",
    )


def _offset(query: int, key: int, height: int, width: int) -> int:
    """The row of the table for a query and a key in a window that is read row by row."""
    rows = query // width - key // width + height - 1
    columns = query % width - key % width + width - 1
    return rows * (2 * width - 1) + columns


@check("law", "the table is read", applies=needs_law("depends_on_table"), options="all", rank=31)
def depends_on_table(subject: Subject, case: Case) -> Trial:
    """Another table gives another output."""
    law = subject.law("depends_on_table", case)
    ask = subject.ask(case)
    missing = _table(subject, ask, law.parameters)
    if missing:
        return missing
    before, after = yield [ask, renewed(subject, ask, law.parameters, case.seed + 53)]
    same = before.out.shape == after.out.shape and bool(((after.out - before.out).abs() < 1e-9).all())
    return Mismatch("another output for another table", "the same output", kind="blind") if same else None


def _has_a_table(subject: Subject) -> str | None:
    if subject.mechanism.id != "relative_position":
        return f"{subject.mechanism.id} has no table of offsets"
    return None if subject.interface.is_module else "a function is handed a table of its length"


@check(
    "law", "a shorter sequence reads the middle of the table", applies=both(_has_a_table, needs_weights),
    judges_trouble=True, share=0.3, rank=31,
)  # fmt: skip
def shorter_sequences_read_the_middle(subject: Subject, case: Case) -> Trial:
    """What takes fewer tokens than its table was made for knows their offsets from the table's middle."""
    size, height = case.sizes["tokens"], {**case.names, **subject.interface.fixed}.get("height")
    if height != 1 or size < 2:
        return NotJudged("a window of several rows has no shorter one")
    keep = size - 1 - case.seed % (size - 1)
    ask = subject.along(subject.ask(case), "tokens", "narrow", keep)
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"it takes as many tokens as it was made for: {answer.trouble}")
    middle = ask.edit("table", "narrow", 0, size + keep - 1).edit("table", "flip", 0)
    middle = middle.edit("table", "narrow", 0, 2 * keep - 1).edit("table", "flip", 0)
    shorter = replace(middle, names={**middle.names, "tokens": keep})
    expected = expect(subject, shorter).out
    if answer.out.shape != expected.shape:
        return NotJudged("it takes a lone token for as many as it was made for")
    return agree(answer.out, expected, f"the output for {keep} of {size} tokens")


CHECKS = (
    zero_table_forgets_order,
    ignores_shifted_table,
    follows_reversal,
    table_peak_selects_offset,
    depends_on_table,
    shorter_sequences_read_the_middle,
)

"""The score names what survives and what was accused, and counts by mechanism, family and check."""

from attncheck.engine.score import Accusation, Acquittal, Score, Trial
from attncheck.report.score import BEGIN, END, by_check, idle_checks, lines, markdown, written_into


def a_score() -> Score:
    put = (("masked_equals_removed", False), ("linear_in_values", False), ("matches_the_reference", True))
    found = Trial("cross.mask_ignored", 3, (("masked_equals_removed", "law"),), 12, 0.5, put=put)
    both = Trial(
        "cross.scale_missing", 3, (("matches_the_reference", "value"), ("linear_in_values", "law")), 2, 0.5
    )
    blamed = Accusation("an honest one", "cross", 3, "ignores_key_order", "off by 2")
    right = (
        Acquittal("cross", "cross", 3, 700, 1.0),
        Acquittal("an honest one", "cross", 3, 500, 1.5, (blamed,)),
    )
    survivor = Trial("cross.mask_inverted", 3, (), 901, 2.0)
    return Score("default", (3,), (found, both, survivor), right, seconds=3.0, exhaustive=True)


def test_a_survivor_makes_the_score_fail_and_is_named_with_its_sentence() -> None:
    said = "\n".join(lines(a_score()))

    assert not a_score().passed
    assert "survives  cross.mask_inverted  seed 3: The mask hides what it should show" in said
    assert "2 of 3 mistakes found, 1 of 2 right ones left alone; budget default, seed 3; " in said
    assert "; 6 s of computing, 3 s by the clock" in said


def test_a_resumed_self_test_says_nothing_of_the_clock() -> None:
    assert "clock" not in "\n".join(lines(Score("quick", (0,))))


def test_an_accusation_is_told_with_its_evidence() -> None:
    assert "accused   an honest one  seed 3: ignores_key_order: off by 2" in lines(a_score())


def test_several_seeds_in_a_row_are_told_as_a_range() -> None:
    score = Score("quick", tuple(range(20)), seconds=60)

    assert "budget quick, seeds 0 to 19; 0 s of computing, 60 s by the clock" in lines(score)[-1]


def test_the_table_counts_by_mechanism_and_family() -> None:
    assert "| cross | 2/3 | 305 | 3.0 | 0 | 2 | 1 | 0 | 0 | 0 | 1/2 | 600 | 2.5 |" in markdown(a_score())


def test_a_check_is_alone_where_no_other_family_finds_the_mistake() -> None:
    rows = {row[0]: row[1:] for row in by_check(a_score())}

    assert rows["`masked_equals_removed`"] == ["law", "1", "1", "`cross.mask_ignored`"]
    assert rows["`matches_the_reference`"][:3] == ["value", "1", "0"]
    assert "matches_the_reference" in idle_checks(a_score())


def test_a_check_that_no_mistake_needs_says_why_it_stays() -> None:
    reasons = {row[0]: row[4] for row in by_check(a_score())[1:]}

    assert reasons["`linear_in_values`"] == "needs no reference"
    assert reasons["`matches_the_reference`"] == "names what other families only see"
    assert reasons["`never_mutates_inputs`"] == "judged none of these mistakes"
    assert "never alone with its family: linear_in_values (law): needs no reference" in lines(a_score())


def test_checks_have_a_table_only_if_each_met_every_mistake() -> None:
    hurried = Score("default", (3,), a_score().trials)

    assert "| check |" in markdown(a_score())
    assert "| check |" not in markdown(hurried)


def test_a_file_with_marks_keeps_what_stands_around_them() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    written = written_into(page, "| new |\n")

    assert written == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    assert written_into(written, "| new |\n") == written


def test_a_file_without_marks_is_replaced_as_a_whole() -> None:
    assert written_into("old\n", "| new |\n") == "| new |\n"

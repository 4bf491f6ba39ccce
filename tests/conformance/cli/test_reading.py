"""`list`, `show`, `shapes`, `replay` and `diff`."""

import pytest
from click.testing import CliRunner, Result

from attncheck.checks import CHECKS
from attncheck.cli import main
from attncheck.model.convention import CONVENTIONS
from attnref import MECHANISMS


def attncheck(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def save(tmp_path):
    def saved(name, *reports):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for report in reports for line in report.lines()))
        return str(path)

    return saved


@pytest.mark.parametrize(
    ("what", "ids"),
    [
        ("mechanisms", [m.id for m in MECHANISMS]),
        ("checks", [c.id for c in CHECKS]),
        ("conventions", [c.id for c in CONVENTIONS]),
    ],
)
def test_a_list_names_everything_once_a_line(what, ids):
    result = attncheck("list", what)

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == ids


def test_every_convention_of_a_contract_is_listed():
    listed = {convention.id for convention in CONVENTIONS}

    assert {name for m in MECHANISMS for name in m.contract.conventions} <= listed


def test_shapes_with_numbers_follow_the_contract():
    result = attncheck("shapes", "multi_head", "batch=2", "q_len=5", "kv_len=7", "model_dim=12", "heads=3")

    rows = [line.split() for line in result.output.splitlines()]
    assert ["k", "float", "(2,", "7,", "12)"] in rows
    assert ["weights", "float", "(2,", "3,", "5,", "7)"] in rows
    assert ["head_dim", "=", "4"] in rows


def test_shapes_of_a_mechanism_that_does_not_exist_suggest_the_nearest():
    result = attncheck("shapes", "multihead")

    assert result.exit_code == 2
    expected = (
        f"attncheck: unknown mechanism 'multihead'; did you mean 'multi_head'? "
        f"(attncheck list mechanisms shows all {len(MECHANISMS)})\n"
    )
    assert result.stderr == expected


def test_a_size_without_a_number_says_what_was_expected():
    result = attncheck("shapes", "cross", "batch")

    assert (result.exit_code, result.stderr) == (
        2,
        "attncheck: expected AXIS=SIZE such as batch=2, got 'batch'\n",
    )


def test_diff_names_exactly_the_changed_verdicts(save, make_report, make_passed, make_failed):
    old = save("old.jsonl", make_report(make_passed("a"), make_failed("b"), make_passed("c")))
    new = save("new.jsonl", make_report(make_failed("a"), make_failed("b"), make_passed("d")))

    result = attncheck("diff", old, new)

    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "my_file.py:Broken · cross · a: passed → failed",
        "my_file.py:Broken · cross · d: absent → passed",
        "my_file.py:Broken · cross · c: passed → absent",
        "3 changed",
    ]


def test_diff_of_equal_reports_says_so(save, make_report, make_passed):
    path = save("r.jsonl", make_report(make_passed()))

    result = attncheck("diff", path, path)

    assert (result.exit_code, result.output) == (0, "no verdict changed\n")


def test_diff_says_which_run_was_cut_off(save, make_report, make_passed):
    path = save("r.jsonl", make_report(make_passed(), complete=False))

    stderr = attncheck("diff", path, path).stderr

    assert stderr.splitlines()[0] == f"{path}: the run on my_file.py:Broken was cut off"


def test_replay_says_of_each_finding_whether_it_is_still_there(
    engine, save, make_report, make_passed, make_failed
):
    path = save("r.jsonl", make_report(make_failed("a"), make_failed("b"), make_failed("c")))
    engine.results = [make_report(make_passed("a"), make_failed("b"))]

    result = attncheck("replay", path)

    assert result.exit_code == 1
    assert result.output.splitlines()[-3:] == [
        "a: no longer fails",
        "b: still fails",
        "c: was not judged",
    ]


def test_replay_of_a_report_without_findings_runs_nothing(engine, save, make_report, make_passed):
    result = attncheck("replay", save("r.jsonl", make_report(make_passed())))

    assert (result.exit_code, result.output) == (
        0,
        "my_file.py:Broken: nothing to replay, no check failed\n",
    )
    assert engine.requests == []


def test_replay_says_that_a_run_was_cut_off(engine, save, make_report, make_passed):
    result = attncheck("replay", save("r.jsonl", make_report(make_passed(), complete=False)))

    first = "my_file.py:Broken: the run was cut off; what it had found until then:"
    assert result.output.splitlines()[0] == first


@pytest.mark.parametrize("command", [["replay", "{}"], ["diff", "{}", "{}"]])
def test_a_report_that_does_not_exist_is_wrong_usage(command, tmp_path):
    path = str(tmp_path / "absent.jsonl")

    result = attncheck(*(word.format(path) for word in command))

    assert result.exit_code == 2
    assert result.stderr == f"attncheck: cannot read the report {path}: No such file or directory\n"

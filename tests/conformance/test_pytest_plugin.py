"""The pytest plugin: one item a check, from the command line and from the decorator."""

import pytest

# Imported here, so that pytester's inner runs find it: torch can be imported only once.
from attncheck.checks import CHECKS
from attncheck.checks.check import speaks_of
from attncheck.engine.request import Request
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.model.verdict import Verdict
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

TARGET = "torch.nn:MultiheadAttention"
IDS = [check.id for check in CHECKS]
MULTI_HEAD = Subject(BY_ID["multi_head"], Reference(BY_ID["multi_head"]).interface)
FIRST, SECOND, *_ = IDS


@pytest.fixture
def all_passed(make_passed):
    """A verdict for every check, some of them replaced."""

    def made(**other: Verdict):
        return [other.get(name) or make_passed(name) for name in IDS]

    return made


@pytest.fixture
def judge(pytester, engine, make_report):
    """Run pytest on a target whose report is laid down; only some checks are asked for if named."""

    def run(verdicts, *words):
        engine.results = [make_report(*verdicts)]
        return pytester.runpytest_inprocess("-v", "-p", "no:randomly", "--attncheck", TARGET, *words)

    return run


def test_every_check_is_an_item_with_a_stable_id(judge, all_passed):
    result = judge(all_passed())

    result.assert_outcomes(passed=len(CHECKS))
    result.stdout.fnmatch_lines([f"attncheck[[]{TARGET}]::{name} PASSED*" for name in IDS])


def test_the_target_is_judged_once_with_seed_0(judge, all_passed, engine):
    judge(all_passed())

    assert engine.requests == [Request(TARGET, seed=0)]


def test_options_reach_the_request(judge, all_passed, engine):
    judge(
        all_passed(),
        "--attncheck-mechanism=multi_head", "--attncheck-budget=quick", "--attncheck-seed=5",
        "--attncheck-init=a=b", "--attncheck-expect=layout=batch_first", "--attncheck-adapter=a.py:x",
        "--attncheck-known=k.txt", "--attncheck-strict",
    )  # fmt: skip

    assert engine.requests == [
        Request(
            TARGET, "multi_head", init={"a": "b"}, expect={"layout": "batch_first"}, adapter="a.py:x",
            known="k.txt", strict=True, budget="quick", seed=5,
        )
    ]  # fmt: skip


def test_a_failed_check_fails_with_the_finding_and_no_traceback(judge, all_passed, make_failed):
    result = judge(all_passed(**{SECOND: make_failed(SECOND)}))

    result.assert_outcomes(failed=1, passed=len(CHECKS) - 1)
    result.stdout.fnmatch_lines([f"{SECOND}: wrong values", "  claim     *", "  actual    4.02"])
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_skipped_errored_known_and_deviating_checks_say_why(judge, all_passed):
    a, b, c, d = IDS[:4]
    result = judge(
        all_passed(
            **{
                a: Verdict(a, "law", "skipped", reason="takes no mask"),
                b: Verdict(b, "law", "errored", reason="crashed before"),
                c: Verdict(c, "law", "known", reason="torch#12"),
                d: Verdict(d, "law", "deviates", cases=1, reason="scaled"),
            }
        ),
        "-rsxP",
    )

    result.assert_outcomes(skipped=1, failed=1, xfailed=1, passed=len(CHECKS) - 3)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED*takes no mask*",
            f"{b} could not be judged: crashed before",
            "XFAIL*known to fail: torch#12*",
            f"{d} deviates: scaled",
        ]
    )


@pytest.mark.parametrize("error", [UsageError("no module named 'nowhere'"), NoAdapterError("tried A and B")])
def test_what_keeps_a_target_from_being_judged_is_told_once(pytester, engine, error):
    engine.results = [error]

    result = pytester.runpytest_inprocess("--attncheck", TARGET)

    result.assert_outcomes(failed=1, skipped=len(CHECKS) - 1)
    result.stdout.fnmatch_lines([str(error)])


def test_a_target_that_cannot_be_judged_fails_even_if_one_check_is_selected(pytester, engine):
    engine.results = [NoAdapterError("tried A and B")]

    pytester.runpytest_inprocess("--attncheck", TARGET, "-k", SECOND).assert_outcomes(
        failed=1, deselected=len(CHECKS) - 1
    )


def test_a_run_that_judged_nothing_is_not_green(judge):
    result = judge([Verdict(name, "law", "skipped", reason="no case is legal") for name in IDS])

    result.assert_outcomes(failed=1, skipped=len(CHECKS) - 1)
    result.stdout.fnmatch_lines([f"not judged: {len(IDS)} skipped*"])


def test_a_finding_of_a_check_without_item_is_not_lost(judge, all_passed, make_failed):
    result = judge([*all_passed(), make_failed("a_verdict_of_the_run_itself")])

    result.assert_outcomes(failed=1, passed=len(CHECKS) - 1)
    result.stdout.fnmatch_lines(["a_verdict_of_the_run_itself: wrong values"])


def test_alone_on_the_command_line_the_option_runs_nothing_else(pytester, judge, all_passed):
    pytester.makepyfile("raise RuntimeError('collected')")

    judge(all_passed()).assert_outcomes(passed=len(CHECKS))


def test_beside_a_path_the_option_adds_items(pytester, judge, all_passed):
    path = pytester.makepyfile("def test_own(): pass")

    judge(all_passed(), str(path)).assert_outcomes(passed=len(CHECKS) + 1)


def test_in_addopts_the_option_adds_items(pytester, engine, make_report, all_passed):
    pytester.makeini(f"[pytest]\naddopts = --attncheck {TARGET}")
    pytester.makepyfile("def test_own(): pass")
    engine.results = [make_report(*all_passed())]

    pytester.runpytest_inprocess().assert_outcomes(passed=len(CHECKS) + 1)


def test_an_init_without_a_value_is_wrong_usage(pytester):
    result = pytester.runpytest_inprocess("--attncheck", TARGET, "--attncheck-init", "d_model")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attncheck-init d_model: expected NAME=VALUE"])


def test_pytest_of_a_project_without_attention_is_left_alone(pytester):
    pytester.makepyfile("def test_no_torch():\n    import sys\n    assert 'torch' not in sys.modules")

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


class TestDecorator:
    """`@attncheck.conforms` in a user's own test file."""

    @pytest.fixture
    def judge_file(self, pytester, engine, make_report, all_passed):
        def run(source, *words):
            path = pytester.makepyfile(test_mine="import attncheck\n" + source)
            engine.results = [make_report(*all_passed()) for _ in range(2)]
            return pytester.runpytest_inprocess("-p", "no:randomly", str(path), *words)

        return run

    def test_a_class_gets_one_item_a_check(self, judge_file, engine):
        result = judge_file(
            "@attncheck.conforms('multi_head', budget='quick')\nclass Mine:\n    def forward(self, x): ...\n",
            "-v",
        )

        planned = [check.id for check in CHECKS if speaks_of(check, MULTI_HEAD)]
        assert "follows_query_order" in planned
        assert "follows_channel_order" not in planned
        result.assert_outcomes(passed=len(planned))
        result.stdout.fnmatch_lines([f"test_mine.py::Mine::{name} PASSED*" for name in planned])
        (request,) = engine.requests
        assert (request.mechanism, request.budget, request.seed) == ("multi_head", "quick", 0)
        assert request.target.__name__ == "Mine"

    def test_of_a_factory_the_result_is_judged(self, judge_file, engine):
        judge_file("@attncheck.conforms('cross')\ndef mine():\n    return dict\n")

        assert [request.target for request in engine.requests] == [dict]

    def test_a_function_with_arguments_is_the_target_itself(self, judge_file, engine):
        judge_file("@attncheck.conforms('scaled_dot_product')\ndef attend(q, k, v): ...\n")

        assert engine.requests[0].target.__name__ == "attend"

    def test_a_seed_may_be_given(self, judge_file, engine):
        judge_file("@attncheck.conforms('cross', seed=9)\nclass Mine: ...\n")

        assert engine.requests[0].seed == 9

    def test_a_subclass_of_a_decorated_class_is_not_judged(self, judge_file, engine):
        judge_file("@attncheck.conforms('cross')\nclass Mine: ...\nclass Other(Mine): ...\n")

        assert len(engine.requests) == 1

    def test_only_the_checks_that_are_asked_for_are_items(self, judge_file):
        fields = f"checks=('{FIRST}', '{SECOND}'), skip=('{FIRST}',)"

        result = judge_file(
            f"@attncheck.conforms('cross', {fields})\nclass Mine: ...\n", "--collect-only", "-q"
        )

        assert [line for line in result.outlines if "::" in line] == [f"test_mine.py::Mine::{SECOND}"]

    def test_a_factory_that_raises_shows_its_own_traceback(self, judge_file):
        result = judge_file(
            "@attncheck.conforms('cross')\ndef mine():\n    raise ValueError('no weights here')\n"
        )

        result.stdout.fnmatch_lines(["*raise ValueError('no weights here')*"])

"""`attncheck run`: what it asks of the engine, what it writes, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from attncheck.cli import main
from attncheck.engine.request import Request
from attncheck.model.errors import NoAdapterError, UsageError


def attncheck(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_target_that_conforms_ends_with_0(engine, make_report, make_passed):
    engine.results = [make_report(make_passed())]

    result = attncheck("run", "my_file.py:Right", "--mechanism", "cross")

    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith("conforms: 1 passed")


def test_a_finding_ends_with_1(engine, make_report, make_failed):
    engine.results = [make_report(make_failed())]

    assert attncheck("run", "my_file.py:Broken").exit_code == 1


def test_without_options_a_request_has_its_own_defaults(engine, make_report, make_passed):
    engine.results = [make_report(make_passed())]

    attncheck("run", "torch.nn:MultiheadAttention")

    assert engine.requests == [Request("torch.nn:MultiheadAttention")]


def test_every_option_reaches_the_request(engine, make_report, make_passed):
    engine.results = [make_report(make_passed())]

    result = attncheck(
        "run", "m:A", "--mechanism", "cross", "--init", "d_model=model_dim", "--init", "flag=True",
        "--adapter", "a.py:adapter", "--device", "cuda", "--dtype", "float32", "--check", "one",
        "--skip", "two", "--family", "law", "--budget", "deep", "--seed", "3", "--strict",
        "--expect", "mask_polarity=true_attends", "--known", "known.txt", "--no-isolate", "--no-explain",
        "--world", "2", "--time-limit", "2.5", "--memory-limit", "0.5",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert engine.requests == [
        Request(
            "m:A", "cross", {"d_model": "model_dim", "flag": "True"}, "a.py:adapter", "cuda", ("float32",),
            ("one",), ("two",), ("law",), "deep", 3, {"mask_polarity": "true_attends"}, True, "known.txt",
            False, False, 2, 2.5, 1 << 29,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "expected"), [("0", 0), ("03", 3), ("031", 1), ("0312", 2), ("13", 1), ("23", 2)]
)
def test_the_gravest_outcome_of_several_targets_counts(
    engine, make_report, make_passed, make_failed, outcomes, expected
):
    results = {
        "0": make_report(make_passed()),
        "1": make_report(make_failed()),
        "2": UsageError("no module named 'nowhere'"),
        "3": NoAdapterError("nobody knows how to call it"),
    }
    engine.results = [results[outcome] for outcome in outcomes]

    result = attncheck("run", *(f"m:T{index}" for index in range(len(outcomes))))

    assert result.exit_code == expected
    assert len(engine.requests) == len(outcomes)


def test_wrong_usage_is_one_line_without_traceback(engine):
    engine.results = [UsageError("no module named 'nowhere'")]

    result = attncheck("run", "nowhere:Thing")

    assert result.exit_code == 2
    assert result.stderr == "attncheck: no module named 'nowhere'\n"


def test_a_missing_adapter_is_told_whole(engine):
    engine.results = [NoAdapterError("tried A\ntried B\nwrite ten lines")]

    result = attncheck("run", "m:Odd")

    assert result.exit_code == 3
    assert result.stderr == "attncheck: tried A\ntried B\nwrite ten lines\n"


@pytest.mark.parametrize("option", ["--report", "--junit", "--markdown"])
def test_a_file_in_a_folder_that_does_not_exist_is_refused_before_the_run(engine, tmp_path, option):
    path = tmp_path / "missing" / "file"

    result = attncheck("run", "m:A", option, str(path))

    assert result.exit_code == 2
    assert (
        result.stderr
        == f"attncheck: {option} {path}: the folder {path.parent} does not exist; make it first\n"
    )
    assert engine.requests == []


def test_a_folder_in_place_of_a_report_is_refused(engine, tmp_path):
    result = attncheck("run", "m:A", "--report", str(tmp_path))

    assert (result.exit_code, result.stderr) == (
        2,
        f"attncheck: --report {tmp_path}: expected a file, got a folder\n",
    )


def test_an_init_without_a_value_says_what_was_expected(engine):
    result = attncheck("run", "m:A", "--init", "d_model")

    assert result.exit_code == 2
    assert (
        result.stderr == "attncheck: --init d_model: expected NAME=VALUE, such as --init d_model=model_dim\n"
    )


def test_quiet_and_verbose_contradict_each_other(engine):
    result = attncheck("run", "m:A", "-q", "-v")

    assert result.exit_code == 2
    assert result.stderr == "attncheck: --quiet and --verbose contradict each other; leave one out\n"


def test_quiet_prints_one_line_a_target(engine, make_report, make_passed, make_failed):
    engine.results = [
        make_report(make_passed(), target="m:A"),
        make_report(make_failed(), target="m:B"),
    ]

    lines = attncheck("run", "m:A", "m:B", "--quiet").output.splitlines()

    assert [line.split(" · ")[0] for line in lines] == [
        "m:A conforms: 1 passed",
        "m:B does not conform: 1 failed",
    ]


def test_verbose_names_every_check_with_claim_and_cases(engine, make_report, make_passed):
    engine.results = [make_report(make_passed("output_has_the_right_shape", "shape"))]

    output = attncheck("run", "m:A", "-v").output

    claim = "the output has the shape of the contract"
    assert f"passed    output_has_the_right_shape: {claim}, 5 of 5 cases" in output


def test_all_reports_are_written(engine, make_report, make_passed, make_failed, tmp_path):
    engine.results = [make_report(make_passed(), target="m:A"), make_report(make_failed(), target="m:B")]
    report, junit, markdown = (tmp_path / name for name in ("r.jsonl", "r.xml", "r.md"))

    attncheck(
        "run", "m:A", "m:B", "--report", str(report), "--junit", str(junit), "--markdown", str(markdown)
    )

    kinds = [json.loads(line)["kind"] for line in report.read_text().splitlines()]
    assert kinds == ["header", "conventions", "verdict", "footer"] * 2
    assert junit.read_text().count("<testsuite ") == 2
    assert "`m:B` does not conform" in markdown.read_text()


def test_a_run_that_is_interrupted_leaves_a_report_without_footer(engine, make_report, make_passed, tmp_path):
    report = tmp_path / "r.jsonl"
    engine.results = [make_report(make_passed()), KeyboardInterrupt()]

    result = attncheck("run", "m:A", "m:B", "--report", str(report))

    assert (result.exit_code, result.stderr) == (130, "attncheck: interrupted\n")
    assert len(report.read_text().splitlines()) == 4


def test_a_reader_who_goes_away_ends_the_run_without_traceback(engine, monkeypatch):
    engine.results = [BrokenPipeError()]
    monkeypatch.setattr("attncheck.cli._forget_output", lambda: None)

    result = attncheck("run", "m:A")

    assert (result.exit_code, result.output) == (130, "")


def test_nothing_of_colour_or_progress_is_written_to_a_pipe(engine, make_report, make_failed, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    engine.results = [make_report(make_failed())]

    output = attncheck("run", "m:A").output

    assert "\x1b" not in output
    assert "\r" not in output


def test_a_file_without_a_name_lists_what_could_be_judged(engine, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Attention:\n    def forward(self, x): ...\n")

    result = attncheck("run", str(path))

    assert result.exit_code == 3
    assert result.output.splitlines()[-1] == f"  attncheck run {path}:Attention"
    assert engine.requests == []


def test_help_explains_every_option_with_its_default():
    options = next(c for c in [main.get_command(None, "run")]).params

    for option in options[1:]:
        shown = option.help and ("default" in option.help or option.show_default)
        assert shown, f"{option.opts[0]} has no help or no default"


def test_help_has_examples():
    output = attncheck("run", "--help").output

    assert "attncheck run my_file.py:CrossAttention --mechanism cross" in output


def test_the_report_is_written_while_the_run_goes_on(engine, make_report, make_passed, tmp_path):
    path = tmp_path / "r.jsonl"
    seen: list[int] = []
    whole = engine.run

    def run(request, listeners):
        return whole(
            request, [*listeners, lambda event: seen.append(len(Path(path).read_text().splitlines()))]
        )

    engine_module = __import__("sys").modules["attncheck.engine.run"]
    engine_module.run = run
    engine.results = [make_report(make_passed())]

    attncheck("run", "m:A", "--report", str(path))

    # After: header, conventions, check started, check finished, footer.
    assert seen == [1, 2, 2, 3, 4]


def test_the_known_file_is_written_on_request(engine, make_report, make_failed, tmp_path):
    path = tmp_path / "known.toml"
    engine.results = [make_report(make_failed())]

    result = attncheck("run", "my_file.py:Broken", "--known", str(path), "--update-known")

    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == f"{path}: 1 known, 1 of them without a reason"
    assert 'reason = "say why, in a sentence"' in path.read_text()
    (request,) = engine.requests
    assert (request.known, request.seed) == (None, 0)


def test_a_known_file_whose_reasons_are_all_said_ends_with_0(engine, make_report, make_failed, tmp_path):
    path = tmp_path / "known.toml"
    engine.results = [make_report(make_failed()), make_report(make_failed())]
    attncheck("run", "my_file.py:Broken", "--known", str(path), "--update-known")
    path.write_text(path.read_text().replace("say why, in a sentence", "upstream"))

    result = attncheck("run", "my_file.py:Broken", "--known", str(path), "--update-known", "--seed", "5")

    assert result.exit_code == 0, result.output
    assert engine.requests[-1].seed == 5


def test_updating_without_a_file_is_a_usage_error():
    result = attncheck("run", "my_file.py:Broken", "--update-known")

    assert result.exit_code == 2
    assert "--known FILE" in result.output

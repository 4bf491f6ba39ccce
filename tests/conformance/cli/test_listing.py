"""What could be judged in a file is found without running it."""

import pytest

from attncheck.cli.listing import judgeable
from attncheck.model.errors import UsageError


def names(tmp_path, source: str) -> list[str]:
    path = tmp_path / "mine.py"
    path.write_text(source)
    return [line.rpartition(":")[2] for line in judgeable(str(path))[1:]]


def test_classes_with_a_forward_are_listed_and_others_are_not(tmp_path):
    source = "class A:\n    def forward(self, x): ...\nclass Config:\n    size: int = 3\n"

    assert names(tmp_path, source) == ["A"]


def test_a_class_that_inherits_its_forward_is_listed(tmp_path):
    source = "class A:\n    def forward(self, x): ...\nclass B(A):\n    pass\n"

    assert names(tmp_path, source) == ["A", "B"]


def test_a_class_inside_a_class_has_a_dotted_name(tmp_path):
    source = "class Model:\n    class Attention:\n        def __call__(self, x): ...\n"

    assert names(tmp_path, source) == ["Model.Attention"]


def test_functions_with_arguments_are_listed_and_private_ones_are_not(tmp_path):
    source = "def attend(q, k, v): ...\ndef _scale(x): ...\ndef main(): ...\n"

    assert names(tmp_path, source) == ["attend"]


def test_nothing_of_the_file_runs(tmp_path):
    source = "raise SystemExit('imported')\nclass A:\n    def forward(self, x): ...\n"

    assert names(tmp_path, source) == ["A"]


def test_the_first_line_says_that_nothing_was_judged(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def attend(q, k, v): ...\n")

    expected = f"{path} holds 1 that could be judged; nothing was judged. Name one:"
    assert judgeable(str(path))[0] == expected


def test_a_file_that_does_not_parse_is_wrong_usage_with_its_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("x = 1\ndef attend(:\n")

    with pytest.raises(UsageError, match=r"mine\.py is not Python: .* \(line 2\)$"):
        judgeable(str(path))


def test_a_file_that_does_not_exist_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"^cannot read .*absent\.py: No such file or directory$"):
        judgeable(str(tmp_path / "absent.py"))


def test_a_file_with_nothing_to_judge_says_what_was_expected(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("SIZE = 3\n")

    message = "expected a class with a forward, or a function with arguments; found none$"
    with pytest.raises(UsageError, match=message):
        judgeable(str(path))

"""What `import attncheck` gives, and what it does not cost."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import attncheck
from attncheck._api import RunOptions
from attncheck.engine.request import Request

PUBLIC = [
    "Case",
    "Finding",
    "NoAdapterError",
    "Report",
    "Request",
    "UsageError",
    "Verdict",
    "bridged",
    "conforms",
    "load",
    "owning",
    "projecting",
    "run",
]


def test_the_public_names_are_these():
    assert attncheck.__all__ == PUBLIC
    assert [name for name in dir(attncheck) if name in PUBLIC] == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_leads_to_what_it_is_called(name):
    assert getattr(attncheck, name).__name__ == name


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(attncheck.__file__).read_text())

    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(PUBLIC)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'attncheck' has no attribute 'runn'$"):
        attncheck.runn  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import attncheck",
        "import attncheck; attncheck.run, attncheck.Request, attncheck.Report",
        "import attncheck.pytest_plugin",
        "import attncheck.pytest_plugin; attncheck.conforms('multi_head')(lambda: None)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    heavy = "{'torch', 'attnref', 'numpy', 'jaxtyping'} & set(sys.modules)"
    check = f"; import sys; heavy = {heavy}; assert not heavy, heavy"

    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_run_takes_every_field_of_a_request():
    fields = {field.name for field in dataclasses.fields(Request)} - {"target", "mechanism"}

    assert set(RunOptions.__annotations__) == fields


def test_run_hands_the_request_and_the_listeners_to_the_engine(engine, make_report, make_passed):
    engine.results = [make_report(make_passed())]
    events = []

    report = attncheck.run("m:A", mechanism="cross", budget="quick", listeners=[events.append])

    assert report.conforms
    assert engine.requests == [Request("m:A", "cross", budget="quick")]
    assert events[-1].report is report

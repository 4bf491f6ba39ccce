"""`--device` limits where tests compute, and never lets a missing device pass for a green run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def conftest(request):
    """The conftest module beside this file, as pytest loaded it."""
    path = str(Path(__file__).with_name("conftest.py"))
    return next(p for p in request.config.pluginmanager.get_plugins() if getattr(p, "__file__", "") == path)


@pytest.mark.parametrize("chosen", [None, "cpu", "cuda"])
def test_only_asking_for_a_missing_cuda_device_is_a_usage_error(conftest, monkeypatch, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = SimpleNamespace(getoption=lambda name: chosen)

    if chosen == "cuda":
        message = r"^--device cuda: there is no CUDA device here; leave --device out or say cpu$"
        with pytest.raises(pytest.UsageError, match=message):
            conftest.pytest_configure(config)
    else:
        conftest.pytest_configure(config)


@pytest.mark.parametrize(
    ("chosen", "exists", "expected"),
    [
        (None, False, ["cpu"]),
        (None, True, ["cpu", "cuda"]),
        ("cpu", True, ["cpu"]),
        ("cuda", True, ["cuda"]),
    ],
)
def test_a_test_runs_on_every_device_that_exists_or_on_the_chosen_one(
    conftest, monkeypatch, chosen, exists, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: exists)
    asked = []
    metafunc = SimpleNamespace(
        fixturenames=["device"],
        config=SimpleNamespace(getoption=lambda name: chosen),
        parametrize=lambda name, values, **_: asked.extend(value.values[0] for value in values),
    )

    conftest.pytest_generate_tests(metafunc)

    assert asked == expected

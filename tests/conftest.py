"""Where tests compute: on every device that exists, unless `--device` names one."""

import pytest
import torch
from hypothesis import settings

pytest_plugins = ["pytester"]

# The first call of a checked function compiles its annotations, so single examples are uneven.
settings.register_profile("attncheck", deadline=None, max_examples=30)
settings.load_profile("attncheck")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        help="compute only there; on every device that exists unless given",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: there is no CUDA device here; leave --device out or say cpu")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--device")
    existing = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    devices = [
        pytest.param(name, marks=[pytest.mark.cuda] if name == "cuda" else [])
        for name in existing
        if chosen in (None, name)
    ]
    metafunc.parametrize("device", devices, indirect=True, scope="session")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device that this run of the test computes on."""
    return torch.device(request.param)

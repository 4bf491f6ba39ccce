"""The committed pages say what annotations, contracts, checks and commands say now."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from torch.overrides import TorchFunctionMode

from attncheck.checks import CHECKS
from attncheck.cli import main
from attncheck.report.docs.example import example, learned
from attncheck.shapes.flow import intermediates, numbers
from attncheck.shapes.flows import FLOWS
from attncheck.shapes.table import UNKNOWN
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref import MECHANISMS, Mechanism

DOCS = Path(__file__).parents[2] / "docs"
_IDS = [mechanism.id for mechanism in MECHANISMS]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_pages_are_what_would_be_generated() -> None:
    made = _generator().generated()

    stale = [
        path
        for path, text in made.items()
        if not (DOCS / path).exists() or (DOCS / path).read_text(encoding="utf-8") != text
    ]

    assert stale == [], "run `make pages`"


def test_the_page_of_commands_does_not_depend_on_what_was_invoked_before() -> None:
    before = _generator().command_line()

    CliRunner().invoke(main, ["run", "-h"])

    assert _generator().command_line() == before


def test_no_page_is_left_of_a_mechanism_that_is_gone() -> None:
    made = _generator().generated()

    kept = {str(p.relative_to(DOCS)) for p in (DOCS / "shapes").rglob("*") if p.is_file()}

    assert kept == {path for path in made if path.startswith("shapes/")}


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=_IDS)
def test_every_law_of_a_page_names_its_check_and_claim(mechanism: Mechanism) -> None:
    page = (DOCS / f"shapes/{mechanism.id}.md").read_text(encoding="utf-8")
    claims = {check.id: check.claim for check in CHECKS}

    rows = [f"(../checks.md#{law.id}) | {claims[law.id]} |" for law in mechanism.contract.laws]

    assert rows
    assert [row for row in rows if row not in page] == []


def test_every_page_says_first_who_it_is_for() -> None:
    pages = [page for page in DOCS.rglob("*.md") if not {"_build", "changes"} & set(page.parts)]
    first = {page.name: re.sub(r"\A(%.*\n)?# .*\n\n", "", page.read_text(encoding="utf-8")) for page in pages}

    assert [name for name, text in first.items() if not text.startswith("For a ")] == []


def test_every_check_that_the_errata_name_exists() -> None:
    last = [
        row.rsplit("|", 2)[-2] for row in (DOCS / "errata.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| [A-Z0-9]+-", row)
    ]  # fmt: skip
    variants = {variant.id for mechanism in MECHANISMS for variant in mechanism.contract.variants}
    conventions = {name for mechanism in MECHANISMS for name in mechanism.contract.conventions}
    known = {check.id for check in CHECKS} | variants | conventions

    named = {name for cell in last for name in re.findall(r"`(\w+)`", cell)}

    assert len(last) == 120
    assert named <= known, named - known


class _Made(TorchFunctionMode):
    """Records the shape of every tensor that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.shapes.add(tuple(tensor.shape))
        return result


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=_IDS)
def test_the_reference_makes_every_tensor_of_its_flow(mechanism: Mechanism) -> None:
    """The picture is data beside the code: a run of the code at distinct sizes confirms each shape."""
    flow, names = FLOWS[mechanism.id], dict(example(mechanism))
    said = numbers(mechanism, flow, names)
    reference = Reference(mechanism)
    built = reference.build(names)
    inputs = {row: torch.rand(said[row]) for row in _required(mechanism)}

    with _Made() as made:
        given = reference.call(built, inputs, {"need_weights": True} if len(mechanism.outputs) > 1 else {})

    assert {step.gives: said[step.gives] for step in intermediates(flow)} == {
        step.gives: said[step.gives] for step in intermediates(flow) if said[step.gives] in made.shapes
    }
    assert {name: tuple(t.shape) for name, t in given.items()} == {name: said[name] for name in given}


def _required(mechanism: Mechanism) -> tuple[str, ...]:
    return tuple(Subject(mechanism, Reference(mechanism).interface).interface.inputs)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=_IDS)
def test_every_parameter_has_a_symbolic_shape(mechanism: Mechanism) -> None:
    assert [name for name, shape in learned(mechanism).items() if UNKNOWN in shape] == []

"""A target is loaded by path or by file, and what is wrong with its name is said exactly."""

import sys
from pathlib import Path

import pytest
import torch

from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.targets.loading import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loaded_target.py"
    path.write_text("class Outer:\n    class Inner:\n        pass\nnumber = 3\n")
    return path


def test_a_dotted_path_names_a_class() -> None:
    assert load("torch.nn:MultiheadAttention") is torch.nn.MultiheadAttention


def test_a_file_names_a_class_within_a_class(file: Path) -> None:
    assert load(f"{file}:Outer.Inner").__qualname__ == "Outer.Inner"


def test_a_file_can_import_what_lies_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_target.py").write_text("def attend(): ...\n")
    (tmp_path / "importing_target.py").write_text("from neighbour_of_target import attend\n")

    assert load(f"{tmp_path}/importing_target.py:attend").__module__ == "neighbour_of_target"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("torch.nn", "expected package.module:Name or path/to/file.py:Name, got 'torch.nn'"),
        (":Name", "expected package.module:Name or path/to/file.py:Name, got ':Name'"),
        ("absent.py:Name", "there is no file absent.py"),
        ("no_such_package:Name", "there is no module 'no_such_package'"),
        ("torch.nn:MultiHeadAttention", "torch.nn has no 'MultiHeadAttention'; did you mean 'MultiheadAttention'?"),
        ("math:pi", "math:pi is a float; expected a class or a function"),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_is_a_usage_error(spec: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        load(spec)

    assert str(error.value) == text


def test_a_file_that_does_not_parse_is_a_usage_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken_target.py"
    path.write_text("x = 1\ndef (:\n")

    with pytest.raises(UsageError, match=r"broken_target.py does not parse: .* \(line 2\)$"):
        load(f"{path}:anything")


def test_what_a_module_raises_while_it_is_imported_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "raising_target.py"
    path.write_text("raise LookupError('at import')\n")

    with pytest.raises(LookupError, match="at import"):
        load(f"{path}:anything")


def test_a_file_does_not_shadow_the_package_that_it_is_named_after(tmp_path: Path) -> None:
    path = tmp_path / "einops.py"
    path.write_text("from einops.layers.torch import Rearrange\n\nclass Adapter(Rearrange): ...\n")

    assert load(f"{path}:Adapter").__mro__[1].__module__ == "einops.layers.torch"
    assert Path(str(sys.modules["einops"].__file__)).name == "__init__.py"


def test_a_package_that_is_not_installed_is_no_fault_of_the_target_that_imports_it(tmp_path: Path) -> None:
    path = tmp_path / "importing_the_absent.py"
    path.write_text("import no_such_package.part\n")

    with pytest.raises(NoAdapterError) as error:
        load(f"{path}:anything")

    assert str(error.value) == (
        f"{path} cannot be imported here: it imports no_such_package, which is not there; install it"
    )


def test_a_package_without_its_own_part_is_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package_in_parts").mkdir()
    (tmp_path / "package_in_parts" / "__init__.py").write_text("import package_in_parts.absent_part\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ImportError, match="absent_part"):
        load("package_in_parts:anything")

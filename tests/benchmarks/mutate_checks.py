"""Prints which small changes of a check's code no test of that file notices.

Run it as `python tests/benchmarks/mutate_checks.py masking gradient`, with `masking:12` for one change,
or with `gates/4` for every fourth.
Each change is judged in a fork, until something fails: by the tests that bear the file's name, and by those
that hold the references against its checks.
"""

import ast
import copy
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType

import pytest
import torch

# Neither imports a check: what is loaded before the fork is not loaded by each fork.
import attncheck.targets.subject  # noqa: F401
import attnref.catalogue  # noqa: F401

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "conformance" / "attncheck" / "checks"
TESTS = ROOT / "tests" / "conformance" / "checks"
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Each change in words, and the changed module: other operators, other numbers, branches never taken."""
    tree = ast.parse(source)
    # How often a check is asked, and where it stands in a report: no claim depends on them.
    told = {k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg in ("share", "rank")}
    for index, node in enumerate(ast.walk(tree)):
        for what in () if node in told else changes(node):
            changed = copy.deepcopy(tree)
            twin = next(n for i, n in enumerate(ast.walk(changed)) if i == index)
            line = getattr(node, "lineno", 0)
            before = ast.unparse(node) if isinstance(node, ast.expr) else f"if {ast.unparse(node.test)}"  # type: ignore[attr-defined]  # an If
            apply(twin, what)
            yield f"line {line}: {before}  →  {what}", ast.fix_missing_locations(changed)


def changes(node: ast.AST) -> list[str]:
    """The names of the changes that a node can have."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        return [SWAPS[type(node.ops[0])].__name__]
    if isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in SWAPS:
        # A union of types is no sum, and decides nothing.
        return [SWAPS[type(node.op)].__name__]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return ["one more"]
    return ["never"] if isinstance(node, ast.If) else []


def apply(node: ast.AST, what: str) -> None:
    """Make the change in place."""
    match node:
        case ast.Compare():
            node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[assignment]  # an operator of the same kind
        case ast.BoolOp() | ast.BinOp():
            node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]  # an operator of the same kind
        case ast.Constant(value=int() | float() as number):
            node.value = number + 1
        case ast.If():
            node.test = ast.Constant(False)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Gives one module its changed code, and leaves all others alone."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.tree = f"attncheck.checks.{name}", tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.tree, fullname, "exec")

    def get_filename(self, fullname: str) -> str:
        return fullname

    def get_data(self, path: str | bytes) -> bytes:
        raise OSError(path)


def survives(name: str, tree: ast.Module) -> bool:
    """Whether all tests of the file pass although it is changed."""
    child = os.fork()
    if child == 0:
        sys.meta_path.insert(0, Changed(name, tree))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        tests = [str(TESTS / f"test_{name}.py"), str(TESTS / "test_laws.py")]
        # Plain assertions: pytest loads what it rewrites itself, ahead of the changed code.
        os._exit(
            int(pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-k", name, *tests]))
        )
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> None:
    """Print the survivors of each file that is named."""
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        head, _, only = argument.partition(":")
        name, _, step = head.partition("/")
        every = list(enumerate(mutants((CHECKS / f"{name}.py").read_text(encoding="utf-8"))))
        chosen = [every[int(only)]] if only else every[:: int(step or 1)]
        left = 0
        for number, (what, tree) in chosen:
            if survives(name, tree):
                left += 1
                print(f"{name}:{number}  {what}", flush=True)
        print(f"{name}: {len(chosen) - left} of {len(chosen)} changes noticed", flush=True)


if __name__ == "__main__":
    main()

"""What could be judged in a file: found in its text, so that nothing of it runs."""

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

from attncheck.model.errors import UsageError

_CALLS = ("forward", "__call__", "call")


def judgeable(path: str) -> list[str]:
    """The classes and functions of a file as commands to type. Raises UsageError if it cannot be read."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"), filename=path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UsageError(f"{path} is not Python: {error.args[0]}{where}") from None
    names = [*_classes(tree.body, "", set()), *_functions(tree.body)]
    if not names:
        raise UsageError(f"{path}: expected a class with a forward, or a function with arguments; found none")
    commands = [f"  attncheck run {shlex.quote(f'{path}:{name}')}" for name in names]
    return [f"{path} holds {len(names)} that could be judged; nothing was judged. Name one:", *commands]


def _classes(body: list[ast.stmt], prefix: str, known: set[str]) -> Iterator[str]:
    """Classes that can be called, by a method of their own or of a class above them in the file."""
    for node in body:
        if not isinstance(node, ast.ClassDef):
            continue
        methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if methods.intersection(_CALLS) or bases & known:
            known.add(node.name)
            yield prefix + node.name
        yield from _classes(node.body, f"{prefix}{node.name}.", known)


def _functions(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            takes = node.args
            if takes.posonlyargs or takes.args or takes.vararg or takes.kwonlyargs:
                yield node.name

"""One run on fake tensors with a symbol for each axis; the only place that knows torch's private ShapeEnv."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn

from attncheck.shapes.expressions import plain, value
from attncheck.shapes.printing import UntranslatableError, text_of
from attncheck.shapes.question import Question

# A run on values that torch does not know: nothing about other sizes follows from it.
_BLIND = (
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "GuardOnDataDependentSymNode",
    "PendingUnbackedSymbolNotFound",
    "UnsupportedFakeTensorException",
    "UnsupportedOperatorException",
)


@dataclass(frozen=True)
class Run:
    """What one run at the sizes `at` says about all sizes that take the same path.

    `conditions` hold on that path. `shape` is absent if the run crashed, with `crash` the error.
    `only_here` says why nothing is claimed beyond `at`; `blind` why the run says nothing at all.
    """

    at: Mapping[str, int]
    conditions: tuple[str, ...] = ()
    shape: tuple[str, ...] | None = None
    crash: str = ""
    only_here: str = ""
    blind: str = ""


@dataclass(frozen=True)
class _Symbols:
    """A ShapeEnv with one symbol for each axis, and the axis that each symbol stands for."""

    env: Any
    fake: Any
    sizes: Mapping[str, Any]
    axes: Mapping[str, str]

    def dimension(self, size: object) -> str:
        return text_of(size.node.expr, self.axes) if isinstance(size, torch.SymInt) else str(size)

    def path(self) -> tuple[tuple[str, ...], str]:
        """The conditions met so far, and why they may be incomplete."""
        texts: dict[str, None] = {}
        only_here = "it met a size that depends on values" if self.env.deferred_runtime_asserts else ""
        equalities = [plain(f"({name}) == ({other})") for name, other in self._replacements()]
        for guard in self.env.guards:
            try:
                texts[text_of(guard.expr, self.axes)] = None
            except UntranslatableError as error:
                only_here = f"a condition could not be read: {error}"
        texts.update(dict.fromkeys(equalities))
        texts.pop("True", None)
        return tuple(texts), only_here

    def _replacements(self) -> Iterator[tuple[str, str]]:
        for symbol, other in self.env.replacements.items():
            # Replacements of symbols that are no axis come with a guard or an assert of their own.
            with contextlib.suppress(UntranslatableError):
                yield text_of(symbol, self.axes), text_of(other, self.axes)


def run(question: Question, at: Mapping[str, int]) -> Run:
    """Run the question's callable with symbols that have the sizes `at`. Never raises."""
    try:
        symbols = _symbols(question, at)
    except (ImportError, AttributeError, TypeError, AssertionError) as error:
        return Run(at, blind=f"torch {torch.__version__} has another private ShapeEnv: {error}")
    try:
        with quiet():
            out = _forward(question, symbols)
        conditions, only_here = symbols.path()
        if not isinstance(out, torch.Tensor):
            crash = f"the result is {type(out).__name__}, not a tensor"
            return Run(at, conditions, crash=crash, only_here=only_here)
        shape = tuple(symbols.dimension(size) for size in out.shape)
    except UntranslatableError as error:
        return Run(at, blind=f"the size of the output cannot be read: {error}")
    except Exception as error:  # Whatever the target raises is data.
        return _crashed(error, symbols, at)
    return Run(at, conditions, shape, only_here=only_here)


def _symbols(question: Question, at: Mapping[str, int]) -> _Symbols:
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

    # Duck shaping would take two axes for one because their sizes agree in this run.
    env = ShapeEnv(specialize_zero_one=False, duck_shape=False)
    sizes: dict[str, Any] = dict(question.fixed)
    axes: dict[str, str] = {}
    for axis in question.axes:
        source = ConstantSource(axis)
        symbol = env.create_symbol(at[axis], source, DimDynamic.DYNAMIC, do_not_specialize_zero_one=True)
        axes[str(symbol)] = axis
        sizes[axis] = env.create_symintnode(symbol, hint=at[axis], source=source)
    fake = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    # One run reuses nothing, and filling the cache doubles the time and asks for memory formats.
    fake.cache_enabled = False
    return _Symbols(env, fake, sizes, axes)


def _forward(question: Question, symbols: _Symbols) -> object:
    from torch._dispatch.python import enable_python_dispatcher

    # With constructor axes the module itself is fake; else it is real, and its weights are.
    scope = symbols.fake if question.constructor else contextlib.nullcontext()
    with torch.random.fork_rng(devices=[]), scope, without_initialisation(bool(question.constructor)):
        call = question.build(symbols.sizes)
    # The dispatcher in C++ has kernels, such as that of a constant pad, which fix the sizes.
    roots = mock.patch.object(math, "sqrt", _root)
    with symbols.fake, enable_python_dispatcher(), torch.no_grad(), roots:
        tensors = {
            name: torch.empty([value(dim, symbols.sizes) for dim in dims], dtype=question.dtype_of(name))
            for name, dims in question.inputs.items()
        }
        return call(**tensors)


_real_root = math.sqrt


def _root(number: Any) -> Any:
    """math.sqrt, but symbolic for a symbol: asked for a float, a symbol fixes its size."""
    return torch.sym_sqrt(number) if isinstance(number, torch.SymInt | torch.SymFloat) else _real_root(number)


def _crashed(error: Exception, symbols: _Symbols, at: Mapping[str, int]) -> Run:
    message = describe_error(error)
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    if any(type(link).__name__ in _BLIND for link in chain):
        return Run(at, blind=f"the way it takes depends on values, not on sizes: {message}")
    conditions, only_here = symbols.path()
    return Run(at, conditions, crash=message, only_here=only_here)


def describe_error(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a target's warnings, and what torch logs about its own failures, off the console."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def without_initialisation(active: bool = True) -> Iterator[None]:
    """Turn the functions of torch.nn.init into no-ops: they take roots of sizes, which fixes them."""
    with contextlib.ExitStack() as stack:
        for name in dir(nn.init) if active else ():
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(mock.patch.object(nn.init, name, _leave_alone))
        if active:
            fans = mock.patch.object(nn.init, "_calculate_fan_in_and_fan_out", return_value=(1, 1))
            stack.enter_context(fans)
        yield


def _leave_alone(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return tensor

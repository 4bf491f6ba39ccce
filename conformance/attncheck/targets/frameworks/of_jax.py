"""JAX: functions, and modules of flax.nnx and Equinox; gradients come through jax.vjp."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from attncheck.targets.frameworks.crossing import constructor_of, flattened

# Without it float64 is float32 here.
jax.config.update("jax_enable_x64", True)
# Every size is compiled once and called a few times: compiling is what takes the time.
_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# What code does that looks at values while it is traced.
_UNTRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)

Tree = Any


@dataclass(frozen=True)
class Instance:
    """A module and how it was made: what is made alike shares its programs."""

    module: Any
    made: tuple[Any, ...]


@dataclass(frozen=True)
class Functions:
    """Functions of arrays."""

    settled: frozenset[str] = frozenset()
    usual: frozenset[str] = frozenset()
    seen: tuple[str, ...] = ()
    programs: dict[Any, tuple[Any, "Program"]] = field(default_factory=dict)

    def build(self, target: Any, arguments: Mapping[str, Any]) -> Instance:
        """A new instance, with what its framework hands to constructors."""
        known = constructor_of(target).parameters
        given = {n: v for n, v in self.handed().items() if n in known}
        made = (target, *((n, repr(v)) for n, v in sorted(arguments.items())))
        return Instance(target(**arguments, **given), made)

    def handed(self) -> dict[str, Any]:
        """What constructors get beside the sizes."""
        return {}

    def parameters(self, built: Instance) -> dict[str, Tensor]:
        """The arrays of floats of a module by path: those that are plain attributes."""
        return {n: tensor_of(a) for n, a in vars(built.module).items() if _is_float(a)}

    def materialise(
        self, built: Instance, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """What it learns is there from the start."""
        return self.parameters(built)

    def call(
        self, built: Any, parameters: Mapping[str, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any],
        *, train: bool, mapped: int,
    ) -> Any:  # fmt: skip
        """Call with arrays in the place of tensors, and carry gradients back if they are wanted."""
        arranged = _arranged((tuple(args), dict(kwargs)))
        target, made = (built.module, built.made) if isinstance(built, Instance) else (built, id(built))
        key = (made, arranged, tuple(parameters), train, mapped)
        if key not in self.programs:
            body = self.pure(target, tuple(parameters), train)
            # The target is kept with its program: an id is its own only while it lives.
            self.programs[key] = target, Program(body, arranged, len(parameters), mapped)
        tensors = [*parameters.values(), *flattened((tuple(args), dict(kwargs)))]
        return _carried(self.programs[key][1], tensors)

    def pure(self, built: Any, names: tuple[str, ...], train: bool) -> Callable[..., Any]:
        """The target as a function of its parameters, its arguments by place and by name."""

        def body(parameters: Sequence[Any], args: Any, kwargs: Any) -> Any:
            for name, array in zip(names, parameters, strict=True):
                setattr(built, name, array)
            return built(*args, **kwargs) if callable(built) else built.forward(*args, **kwargs)

        return body


@dataclass(frozen=True)
class Flax(Functions):
    """Modules of flax.nnx, whose inputs and outputs are equally wide unless told otherwise."""

    usual: frozenset[str] = frozenset({"out_features", "in_kv_features", "num_kv_heads", "broadcast_dropout"})

    def handed(self) -> dict[str, Any]:
        """Random keys."""
        from flax import nnx

        return {"rngs": nnx.Rngs(0)}

    def parameters(self, built: Instance) -> dict[str, Tensor]:
        """Its Params by path; a kernel is called a weight, as elsewhere."""
        return {_named(path): tensor_of(leaf[...]) for path, leaf in _params(built.module).items()}

    def pure(self, built: Any, names: tuple[str, ...], train: bool) -> Callable[..., Any]:
        from flax import nnx

        definition, params, rest = nnx.split(built, nnx.Param, ...)
        own = dict(nnx.to_flat_state(params))
        known = inspect.signature(type(built).__call__).parameters
        settled = {n: v for n, v in (("decode", False), ("deterministic", not train)) if n in known}
        places = {_named(path): path for path in own}

        def body(parameters: Sequence[Any], args: Any, kwargs: Any) -> Any:
            arrays = {places[n]: own[places[n]].replace(a) for n, a in zip(names, parameters, strict=True)}
            module = nnx.merge(definition, nnx.from_flat_state(arrays), rest)
            module.train() if train else module.eval()
            return module(*args, **settled, **kwargs)

        return body


@dataclass(frozen=True)
class Equinox(Functions):
    """Modules of Equinox, which take one sample by convention."""

    settled: frozenset[str] = frozenset({"key", "state", "enable_dropout"})
    usual: frozenset[str] = frozenset({"process_heads"})

    def handed(self) -> dict[str, Any]:
        """A random key."""
        return {"key": jax.random.PRNGKey(0)}

    def parameters(self, built: Instance) -> dict[str, Tensor]:
        """Its arrays of floats by path."""
        return {_path(place): tensor_of(leaf) for place, leaf in _leaves(built.module) if _is_float(leaf)}

    def pure(self, built: Any, names: tuple[str, ...], train: bool) -> Callable[..., Any]:
        import equinox

        structure = jax.tree_util.tree_structure(built)
        leaves = _leaves(built)

        def body(parameters: Sequence[Any], args: Any, kwargs: Any) -> Any:
            given = dict(zip(names, parameters, strict=True))
            module = jax.tree_util.tree_unflatten(
                structure, [given.get(_path(p), leaf) for p, leaf in leaves]
            )
            return equinox.nn.inference_mode(module, not train)(*args, **kwargs)

        return body


def _params(built: Any) -> dict[tuple[Any, ...], Any]:
    from flax import nnx

    return dict(nnx.to_flat_state(nnx.state(built, nnx.Param)))


def _named(path: tuple[Any, ...]) -> str:
    *places, leaf = (str(part) for part in path)
    return ".".join([*places, "weight" if leaf == "kernel" else leaf])


def _leaves(built: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = jax.tree_util.tree_leaves_with_path(built)
    return found


def _path(place: Any) -> str:
    return str(jax.tree_util.keystr(place, simple=True, separator="."))


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.inexact)


_TENSOR = "a tensor's place"


def _arranged(tree: Any) -> Any:
    """Nested arguments without their tensors, as what can be a key."""
    if isinstance(tree, Tensor):
        return _TENSOR
    if isinstance(tree, Mapping):
        return ("dict", tuple((name, _arranged(part)) for name, part in tree.items()))
    if isinstance(tree, (list, tuple)):
        return (type(tree).__name__, tuple(_arranged(part) for part in tree))
    return ("value", tree)


def _rearranged(arranged: Any, arrays: list[Any]) -> Any:
    """The arguments again, with arrays in the places of tensors."""
    if arranged == _TENSOR:
        return arrays.pop(0)
    kind, parts = arranged
    if kind == "dict":
        return {name: _rearranged(part, arrays) for name, part in parts}
    if kind in ("list", "tuple"):
        made = [_rearranged(part, arrays) for part in parts]
        return tuple(made) if kind == "tuple" else made
    return parts


class Program:
    """The target as a function of arrays alone: parameters first, then the tensors among the arguments."""

    def __init__(self, body: Callable[..., Any], arranged: Any, parameters: int, mapped: int) -> None:
        self._body, self._arranged = body, arranged
        self._parameters, self._mapped = parameters, mapped
        self._forth = jax.jit(self._plain, compiler_options=_COMPILE)
        self._back = jax.jit(self._plainly_back, static_argnums=0, compiler_options=_COMPILE)
        self._is_traceable = True

    def __call__(self, arrays: Sequence[Any]) -> Tree:
        """The result, compiled unless the code looks at values."""
        if self._is_traceable:
            try:
                return self._forth(*arrays)
            except _UNTRACEABLE:
                self._is_traceable = False
        return self._plain(*arrays)

    def back(self, moved: tuple[int, ...], arrays: Sequence[Any], gradients: Tree) -> Sequence[Any]:
        """The gradients of the arrays at those places."""
        back = self._back if self._is_traceable else self._plainly_back
        return back(moved, tuple(arrays), gradients)

    def _plain(self, *arrays: Any) -> Tree:
        def one(*own: Any) -> Any:
            return self._body(arrays[: self._parameters], *_rearranged(self._arranged, list(own)))

        for _ in range(self._mapped):
            one = jax.vmap(one)
        return one(*arrays[self._parameters :])

    def _plainly_back(
        self, moved: tuple[int, ...], arrays: tuple[Any, ...], gradients: Tree
    ) -> Sequence[Any]:
        def of_moved(*own: Any) -> Tree:
            given = list(arrays)
            for index, array in zip(moved, own, strict=True):
                given[index] = array
            return self._plain(*given)

        _, carry = jax.vjp(of_moved, *(arrays[i] for i in moved))
        carried: Sequence[Any] = carry(gradients)
        return carried


def _carried(program: Program, tensors: list[Tensor]) -> Any:
    """The program's result as tensors; each carries gradients if one of the given does."""
    box: list[Any] = []
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        leaves = _Carried.apply(program, box, *tensors)  # type: ignore[no-untyped-call]  # torch's own
    else:
        leaves = _results(program, box, tensors)
    return jax.tree_util.tree_unflatten(box[0], leaves)


def _results(program: Program, box: list[Any], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors of a result; how they are arranged goes into the box."""
    parts, structure = jax.tree_util.tree_flatten(program([array_of(t) for t in tensors]))
    box.append(structure)
    device = tensors[0].device if tensors else torch.device("cpu")
    return tuple(tensor_of(part).to(device) for part in parts)


class _Carried(torch.autograd.Function):
    """A program of JAX as one step of torch's graph."""

    @staticmethod
    def forward(ctx: Any, program: Program, box: list[Any], *tensors: Tensor) -> Any:
        results = _results(program, box, tensors)
        ctx.program, ctx.structure = program, box[0]
        ctx.moved = tuple(i for i, t in enumerate(tensors) if t.requires_grad)
        ctx.save_for_backward(*tensors)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        tensors = ctx.saved_tensors
        given = jax.tree_util.tree_unflatten(ctx.structure, [array_of(g) for g in gradients])
        moved = ctx.program.back(ctx.moved, [array_of(t) for t in tensors], given)
        own: list[Tensor | None] = [None] * len(tensors)
        for index, gradient in zip(ctx.moved, moved, strict=True):
            own[index] = tensor_of(gradient).to(tensors[index].device)
        return (None, None, *own)


def array_of(tensor: Tensor) -> Any:
    """A copy of a tensor as an array; NumPy, on the way, has no bfloat16 of its own."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        return jnp.asarray(plain.view(torch.int16).numpy().view(jnp.bfloat16))
    return jnp.array(plain.numpy())


def tensor_of(array: Any) -> Tensor:
    """A copy of an array as a tensor."""
    plain = np.array(array)
    if plain.dtype == jnp.bfloat16:
        return torch.from_numpy(plain.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(plain)


FRAMEWORKS = {"jax": Functions(), "flax": Flax(), "equinox": Equinox()}

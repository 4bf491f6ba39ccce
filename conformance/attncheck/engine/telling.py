"""The questions of a recorded trial as lines: tensors by their edits, weights, and the calls."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from attncheck.checks.check import Check
from attncheck.engine.recording import REFERENCE_FAMILIES, Recording, variable
from attncheck.engine.torchcode import LAYOUTS, NoWordsError, edited, made
from attncheck.engine.tracing import source_of
from attncheck.model.recipe import Recipe
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.found import Found, value_of
from attncheck.targets.phrasing import mask_text
from attncheck.targets.placing import Placement

Lines = list[str]


@dataclass
class Questions:
    """Questions in order. `again` is the expression that builds another instance."""

    check: Check
    found: Found
    recording: Recording
    again: str = ""
    placements: tuple[Placement, ...] = ()
    orders: dict[str, Tensor] = field(default_factory=dict)
    variables: dict[tuple[str, Recipe], str] = field(default_factory=dict)
    training: bool = False
    loaded: str = "start"

    @property
    def judged_by_the_reference(self) -> bool:
        return self.check.family in REFERENCE_FAMILIES

    @property
    def reference(self) -> tuple[str, str]:
        """What is imported from the reference, and its name in the script: the target may have the same."""
        mechanism = BY_ID[self.found.mechanism]
        if mechanism.module is None:
            return mechanism.call.__name__, "reference"
        return mechanism.module.__name__, "Reference"

    @property
    def asks(self) -> list[tuple[int, Ask]]:
        """The questions that matter, each with its index."""
        asks = list(enumerate(self.recording.asks))
        if self.recording.trouble is not None:
            return [asks[self.recording.troubled]]
        compared = self.recording.mismatch.compared if self.recording.mismatch else None
        return asks if compared is not None and len(asks) <= 3 else asks[-1:]

    @property
    def is_module(self) -> bool:
        return BY_ID[self.found.mechanism].module is not None

    @property
    def several(self) -> bool:
        return self.is_module and any(
            (ask.fresh and len(self.asks) > 1) or ask.scenario in ("deepcopied", "reloaded")
            for _, ask in self.asks
        )

    def named(self) -> set[str]:
        """Arguments that some call hands over by name: masks and options."""
        return {name for _, ask in self.asks for name in self._options(ask, {})}

    def _options(self, ask: Ask, names: Mapping[str, str]) -> dict[str, str]:
        """The mask and the options of one call, over the variables of its tensors."""
        found, given = self.found, {}
        for option, text in found.switches.items():
            argument, expression = text.split("=", 1)
            if option in ask.options and ask.options[option] is not None:
                value = value_of(expression, ask.options)
                given[argument] = f"torch.nn.{value!r}" if isinstance(value, nn.Module) else repr(value)
        if found.mask and found.mask.role in ask.inputs:
            mask = make(ask.inputs[found.mask.role])
            for form, part in found.handed(mask, mask.shape[0]):
                if part.shape != mask.shape or not torch.equal(part, mask):
                    raise NoWordsError("a mask that two arguments say together")
                given[form.argument] = _renamed(mask_text(found, form), names)
        if found.biased and "bias" in ask.inputs:
            given[found.biased] = names.get("bias", "bias")
        return given

    def asked(self, index: int, ask: Ask) -> Lines:
        """The tensors of one question, the instance in its mode, and the call last."""
        lines: Lines = []
        names = {}
        for name, recipe in ask.inputs.items():
            lines += self._tensor(name, recipe, index)
            names[name] = self.variables[name, recipe]
        lines += self._weights(ask)
        if ask.train != self.training and self.is_module:
            self.training = ask.train
            lines.append("module.train()" if ask.train else "module.eval()")
        wanted = [f"{names[n]}.requires_grad_()" for n in ask.gradients if n in names]
        lines += ["; ".join(wanted)] if wanted else []
        options = self._options(ask, names)
        arguments = [names[n] for n in self.found.inputs] + [f"{n}={e}" for n, e in options.items()]
        return [*lines, *self._calls(index, ask, arguments, names)]

    def _tensor(self, name: str, recipe: Recipe, index: int) -> Lines:
        """A tensor by its edits, one a line."""
        if (name, recipe) in self.variables:
            return []
        lines: Lines = []
        base = replace(recipe, edits=(), layout="contiguous")
        if (name, base) not in self.variables:
            if any(n == name and not r.edits and r.layout == "contiguous" for n, r in self.variables):
                raise NoWordsError(f"two tensors called {name}")
            lines.append(f"{name} = {made(base)}")
            self.variables[name, base] = name
        text, own = name, variable(name, recipe, index)
        for place, edit in enumerate(recipe.edits):
            before = make(replace(base, edits=recipe.edits[:place]))
            lines.append(f"{own} = {edited(text, edit, before, self.orders)}")
            text = own
        if recipe.layout != "contiguous":
            lines.append(f"{own} = {LAYOUTS[recipe.layout].format(text)}")
        self.variables[name, recipe] = own
        return lines

    def _weights(self, ask: Ask) -> Lines:
        """What a question changes of the target's weights, from where they started."""
        changed = self.edits_of(ask)
        if changed and self.placements:
            entries = [f"{n!r}: {self._chain(f'weights[{n!r}]', r)}" for n, r in changed.items()]
            wanted = "load({**weights, " + ", ".join(entries) + "})"
        elif changed:
            own = {self._own(n): r for n, r in changed.items()}
            entries = [f"{n!r}: {self._chain(f'start[{n!r}]', r)}" for n, r in own.items()]
            wanted = "module.load_state_dict({**start, " + ", ".join(entries) + "})"
        elif self.edits_weights:
            wanted = "load(weights)" if self.placements else "module.load_state_dict(start)"
        else:
            return []
        if wanted == self.loaded:
            return []
        self.loaded = wanted
        return [wanted]

    def edits_of(self, ask: Ask) -> dict[str, Recipe]:
        """The weights that a question edits, apart from those that the target lacks."""
        lacking = {*self.found.absent, *self.found.identity}
        return {n: r for n, r in ask.parameters.items() if r.edits and n not in lacking}

    @property
    def edits_weights(self) -> bool:
        """Whether some question edits weights."""
        return any(self.edits_of(ask) for _, ask in self.asks)

    def _chain(self, text: str, recipe: Recipe) -> str:
        """Edits one inside the other."""
        for place, edit in enumerate(recipe.edits):
            before = make(replace(recipe, edits=recipe.edits[:place]))
            text = edited(text if place == 0 else f"({text})", edit, before, self.orders)
        return text

    def _own(self, name: str) -> str:
        """The target's name of a weight that it has as it is."""
        for placement in self.found.placements:
            if placement.roles == (name,) and not placement.pattern and "{}" not in placement.target:
                return placement.target
        raise NoWordsError(f"{name} in the target's own layout")

    def _calls(self, index: int, ask: Ask, arguments: Lines, names: Mapping[str, str]) -> Lines:
        given = ", ".join(arguments)
        name = f"weights{index}" if f"weights{index}" in self.compared_sources() else f"out{index}"
        call = f"{name} = call({given})"
        lines: Lines = []
        if ask.fresh and self.several:
            lines += [f"fresh = {self.again}", "fresh.load_state_dict(module.state_dict())"]
            call = f"{name} = call({given}, module=fresh)"
        again = {
            "call": [],
            "twice": [f"again{index} = call({given})"],
            "reseeded": ["torch.manual_seed(1)", f"again{index} = call({given})"],
            "deepcopied": [f"again{index} = call({given}, module=copy.deepcopy(module))"],
            "reloaded": [
                f"other = {self.again}",
                "other.load_state_dict(module.state_dict())",
                f"again{index} = call({given}, module=other)",
            ],
        }
        if ask.scenario == "with_grad":
            wanted = ", ".join(
                f"{a}.clone().requires_grad_()" if a in names.values() else a for a in arguments
            )
            return [*lines, f"with torch.enable_grad():\n    {name} = call({wanted}).detach()"]
        if ask.scenario == "inference":
            return [*lines, f"with torch.inference_mode():\n    {name} = call({given}).clone()"]
        if ask.scenario not in again:
            raise NoWordsError(f"the scenario {ask.scenario}")
        return [*lines, call, *again[ask.scenario], *self._expected(index, ask, names)]

    def _expected(self, index: int, ask: Ask, names: Mapping[str, str]) -> Lines:
        """The reference's answer to the same question, and gradients of both."""
        sources = self.compared_sources()
        if not self.judged_by_the_reference or "expected_" not in sources:
            return []
        mechanism = BY_ID[self.found.mechanism]
        known = inspect.signature(mechanism.module.forward if mechanism.module else mechanism.call).parameters
        given = {role: names[n] for n, roles in self.found.inputs.items() for role in roles}
        given |= {n: names[n] for n in ask.inputs if n not in self.found.inputs and n in known}
        lone = () if ask.options.get("causal") else ("alignment",)
        given |= {
            n: repr(v)
            for n, v in ask.options.items()
            if n in known and v not in (None, False) and n not in lone
        }
        arguments = ", ".join(f"{n}={text}" for n, text in given.items())
        part = ("[1]" if "weights" in sources else "[0]") if ask.options.get("need_weights") else ""
        name = "weights" if "weights" in sources else "out"
        lines = [f"expected_{name}{index} = reference({arguments}){part}"]
        for wanted in (n for n in ask.gradients if f"expected_grad_{n.replace('.', '_')}{index}" in sources):
            own, theirs = self._differentiated(wanted, names)
            label = f"grad_{wanted.replace('.', '_')}{index}"
            lines += [f"cotangent = torch.randn_like(out{index})"]
            lines += [f"{label} = torch.autograd.grad(out{index}, {own}, cotangent)[0]"]
            lines += [f"expected_{label} = torch.autograd.grad(expected_out{index}, {theirs}, cotangent)[0]"]
        return lines

    def _differentiated(self, name: str, names: Mapping[str, str]) -> tuple[str, str]:
        if name in names:
            return names[name], names[name]
        for placement in self.placements:
            if placement.roles == (name,) and not placement.pattern and "{}" not in placement.target:
                return f"module.get_parameter({placement.target!r})", f"reference.get_parameter({name!r})"
        raise NoWordsError(f"the gradient of {name} in the target's own layout")

    def compared_sources(self) -> str:
        compared = self.recording.mismatch.compared if self.recording.mismatch else None
        if compared is None:
            return ""
        texts = [source_of(t, self.recording.known) or "" for t in (compared.actual, compared.expected)]
        return " against ".join(texts)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"(?<![\w.])[a-z_]+(?![\w(])", lambda m: names.get(m[0], m[0]), text)

"""A recorded trial as a script: the target built with numbers, called and compared as in the check."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from attncheck.checks.check import Check
from attncheck.engine.recording import REFERENCE_FAMILIES, Recording, variable
from attncheck.engine.torchcode import LAYOUTS, NoWordsError, edited, made
from attncheck.engine.tracing import literal, source_of
from attncheck.model.finding import Finding
from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.found import Found, value_of
from attncheck.targets.phrasing import (
    argument_text,
    construction,
    entry,
    import_of,
    mask_text,
    result_texts,
)
from attncheck.targets.placing import Placement
from attnref.catalogue import BY_ID

_WIDTH = 118
_CHILD = """if len(sys.argv) == 1:
    try:
        ended = subprocess.run([sys.executable, __file__, "child"], timeout=8).returncode
    except subprocess.TimeoutExpired:
        ended = "no answer in 8 s"
    print(f"defect: the process that called it ended so: {ended}" if ended else "no defect")
    sys.exit(bool(ended))"""
_STATE = "torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()"
Lines = list[str]


@dataclass
class Script:
    """What a script needs to know. With `placements` the target gets the reference's weights by name."""

    check: Check
    found: Found
    finding: Finding
    recording: Recording
    target: str
    placements: tuple[Placement, ...] = ()
    orders: dict[str, Tensor] = field(default_factory=dict)
    variables: dict[tuple[str, Recipe], str] = field(default_factory=dict)
    training: bool = False

    def text(self) -> str:
        """The source. Raises NoWordsError if something in the trial has no words in torch."""
        standard, imports, name = import_of(self.target)
        lost = self.recording.trouble is not None and self.recording.trouble.lost
        showing = self._showing()
        # What the calls need is known only once they are written.
        body = [*self._built(name), *self._loaded(), *self._callable(), *self._orders(), *showing]
        text = "\n".join(body)
        modules = {
            "sys",
            *standard,
            *(["subprocess"] if lost else []),
            *(["copy"] if "copy." in text else []),
        }
        head = [f"import {module}" for module in sorted(modules)]
        head += ["from types import SimpleNamespace"] if "SimpleNamespace(" in text else []
        head += _CHILD.splitlines() if lost else []
        head += ["import torch"]
        if f"{self._reference}(" in text and self._judged_by_the_reference:
            head.append(f"from attnref.mechanisms.{self.found.mechanism} import {self._reference}")
        return "\n".join([f'"""{self.check.id}: {self.check.claim}."""', *head, *imports, text]) + "\n"

    @property
    def _judged_by_the_reference(self) -> bool:
        return self.check.family in REFERENCE_FAMILIES

    @property
    def _reference(self) -> str:
        mechanism = BY_ID[self.found.mechanism]
        return mechanism.module.__name__ if mechanism.module else mechanism.call.__name__

    @property
    def _asks(self) -> list[tuple[int, Ask]]:
        """The questions that matter, each with its index."""
        asks = list(enumerate(self.recording.asks))
        if self.recording.trouble is not None:
            return [asks[self.recording.troubled]]
        compared = self.recording.mismatch.compared if self.recording.mismatch else None
        return asks if compared is not None and len(asks) <= 3 else asks[-1:]

    @property
    def _is_module(self) -> bool:
        return BY_ID[self.found.mechanism].module is not None

    def _build(self, name: str) -> str:
        _, ask = self._asks[0]
        text = construction(self.found, name, {**ask.names, **self.found.fixed})
        dtype = "double()" if ask.dtype == "float64" else f"to(torch.{ask.dtype})"
        return f"{text}.{dtype}.eval()" if self._is_module else text

    def _built(self, name: str) -> Lines:
        lines = ["torch.manual_seed(0)"]
        if not any(ask.gradients for _, ask in self._asks):
            lines.append("torch.set_grad_enabled(False)")
        lines.append(f"module = {self._build(name)}")
        if self._is_module and not self.placements:
            lines += [
                "for parameter in module.parameters():",
                "    torch.nn.init.normal_(parameter, std=0.5)",
            ]
        return lines

    def _loaded(self) -> Lines:
        """The reference's weights by name, and how the target gets them."""
        if not self.placements:
            return []
        _, ask = self._asks[0]
        lines: Lines = []
        if self._judged_by_the_reference:
            known = inspect.signature(BY_ID[self.found.mechanism].module or len).parameters
            given = ", ".join(f"{n}={v!r}" for n, v in ask.names.items() if n in known)
            lines += [f"reference = {self._reference}({given}).double().eval()"]
            lines += [
                "for parameter in reference.parameters():",
                "    torch.nn.init.normal_(parameter, std=0.5)",
            ]
            lines += ["weights = reference.state_dict()"]
            lines += (
                [f"for name in {self.found.absent!r}:", "    weights[name].zero_()"]
                if self.found.absent
                else []
            )
        else:
            placed = {role for p in self.placements for role in p.roles}
            shapes = {n: r.shape for n, r in ask.parameters.items() if n in placed and "running" not in n}
            lines += _packed("shapes = {", [f"{n!r}: {s}" for n, s in shapes.items()], "}")
            lines += ["weights = {n: torch.randn(s, dtype=torch.float64) for n, s in shapes.items()}"]
        heads = str(ask.names.get("heads", 1))
        entries = [entry(p, "weights", heads) for p in self._placed()]
        lines += [
            "def load(weights):",
            *_packed("    parts = {", entries, "}"),
            "    own = module.state_dict()",
        ]
        lines += [
            "    for name, part in parts.items():",
            "        own[name].copy_(part.reshape(own[name].shape))",
        ]
        return [*lines, "load(weights)"]

    def _placed(self) -> list[Placement]:
        parameters = self._asks[0][1].parameters
        learned = [p for p in self.placements if not any("running" in role for role in p.roles)]
        return [p for p in learned if all(role in parameters for role in p.roles)]

    def _callable(self) -> Lines:
        """The call of the target with the reference's tensors."""
        found = self.found
        named = self._named()
        arguments = [argument_text(found, a) for a in found.call if a.name not in named]
        arguments += ["**options"] if named else []
        own = ["module=module"] if self._several else []
        parameters = ", ".join([*found.inputs, *own, *(["**options"] if named else [])])
        function = f"module.{found.method}" if found.method else "module"
        out, weights = result_texts(found, "module")
        wanted = any(f"weights{i}" in self._compared_sources() for i, _ in self._asks)
        result = weights if wanted and weights else out
        call = f"{function}({', '.join(arguments)})"
        if result == "result":
            return [f"def call({parameters}):", f"    return {call}"]
        return [f"def call({parameters}):", f"    result = {call}", f"    return {result}"]

    @property
    def _several(self) -> bool:
        return self._is_module and any(
            (ask.fresh and len(self._asks) > 1) or ask.scenario in ("deepcopied", "reloaded")
            for _, ask in self._asks
        )

    def _named(self) -> set[str]:
        """Arguments that some call hands over by name: masks and options."""
        return {name for _, ask in self._asks for name in self._options(ask, {})}

    def _options(self, ask: Ask, names: Mapping[str, str]) -> dict[str, str]:
        """The mask and the options of one call, over the variables of its tensors."""
        found, given = self.found, {}
        for option, text in found.switches.items():
            argument, expression = text.split("=", 1)
            if option in ask.options and ask.options[option] is not None:
                given[argument] = repr(value_of(expression, ask.options))
        if found.mask and found.mask.role in ask.inputs:
            given[found.mask.argument] = _renamed(mask_text(found), names)
        if found.biased and "bias" in ask.inputs:
            given[found.biased] = names.get("bias", "bias")
        return given

    def _orders(self) -> Lines:
        return [f"{name} = {literal(order)}" for name, order in self.orders.items()]

    def _showing(self) -> Lines:
        trouble, mismatch = self.recording.trouble, self.recording.mismatch
        if trouble is not None:
            return self._raising()
        if mismatch is None:
            raise NoWordsError("the case fails no more")
        if mismatch.compared is None:
            return self._by_facts(mismatch.kind)
        lines = [line for index, ask in self._asks for line in self._asked(index, ask)]
        return [*lines, *self._comparison()]

    def _raising(self) -> Lines:
        ((index, ask),) = self._asks
        *before, last = self._asked(index, ask)
        if self.recording.trouble is not None and self.recording.trouble.lost:
            return [*before, last]
        return [
            *before,
            "try:",
            f"    {last}",
            "except Exception as error:",
            '    print(f"defect: {type(error).__name__}: {error}")',
            "    sys.exit(1)",
            'print("no defect")',
        ]

    def _by_facts(self, kind: str) -> Lines:
        """Findings that are no difference of two tensors."""
        ((index, ask),) = self._asks
        *before, last = self._asked(index, replace(ask, scenario="call"))
        inputs = ", ".join(self.variables[name, recipe] for name, recipe in ask.inputs.items())
        out, first = f"out{index}", inputs.split(", ")[0]
        shape = self.finding.expected.rpartition(" = ")[2]
        pointer = "untyped_storage().data_ptr()"
        facts: dict[str, tuple[Lines, str]] = {
            "mutates": (
                [f"copies = [t.clone() for t in ({inputs},)]"],
                f"not all(map(torch.equal, ({inputs},), copies))",
            ),
            "aliases": ([], f"any({out}.{pointer} == t.{pointer} for t in ({inputs},))"),
            "draws random numbers": (
                ["state = torch.get_rng_state()"],
                "not torch.equal(state, torch.get_rng_state())",
            ),
            "changes its parameters": (
                ["copies = {n: t.clone() for n, t in module.state_dict().items()}"],
                "not all(torch.equal(copies[n], t) for n, t in module.state_dict().items())",
            ),
            "changes global state": (
                ["def state():", f"    return {_STATE}", "was = state()"],
                "was != state()",
            ),
            "registers nothing": ([], "not list(module.parameters())"),
            "wrong shape": ([], f"tuple({out}.shape) != {shape}"),
            "wrong dtype": ([], f"{out}.dtype != {first}.dtype"),
        }
        if kind not in facts:
            raise NoWordsError(f"a finding of the kind {kind!r}")
        setup, condition = facts[kind]
        said = f"{self.finding.expected}: expected; {self.finding.actual}".replace('"', "'")
        return [*before, *setup, last, f"defect = {condition}", *_ending(f'"defect: {said}"')]

    def _asked(self, index: int, ask: Ask) -> Lines:
        """The tensors of one question, the instance in its mode, and the call last."""
        lines: Lines = []
        names = {}
        for name, recipe in ask.inputs.items():
            lines += self._tensor(name, recipe, index)
            names[name] = self.variables[name, recipe]
        lines += self._weights(index, ask)
        if ask.train != self.training and self._is_module:
            self.training = ask.train
            lines.append("module.train()" if ask.train else "module.eval()")
        lines += [f"{names[n]}.requires_grad_()" for n in ask.gradients if n in names]
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

    def _weights(self, index: int, ask: Ask) -> Lines:
        """The edits of the reference's weights for one question."""
        lacking = {*self.found.absent, *self.found.identity}
        changed = {n: r for n, r in ask.parameters.items() if r.edits and n not in lacking}
        if not changed:
            return ["load(weights)"] if self.placements and self._edits_weights() else []
        if not self.placements:
            raise NoWordsError("weights that change by name")
        lines = [f"weights{index} = dict(weights)"]
        for name, recipe in changed.items():
            text = f"weights{index}[{name!r}]"
            for place, edit in enumerate(recipe.edits):
                before = make(replace(recipe, edits=recipe.edits[:place]))
                lines.append(f"{text} = {edited(text, edit, before, self.orders)}")
        return [*lines, f"load(weights{index})"]

    def _edits_weights(self) -> bool:
        lacking = {*self.found.absent, *self.found.identity}
        return any(r.edits for _, ask in self._asks for n, r in ask.parameters.items() if n not in lacking)

    def _calls(self, index: int, ask: Ask, arguments: Lines, names: Mapping[str, str]) -> Lines:
        given = ", ".join(arguments)
        name = f"weights{index}" if f"weights{index}" in self._compared_sources() else f"out{index}"
        call = f"{name} = call({given})"
        lines: Lines = []
        if ask.fresh and self._several:
            lines += [f"fresh = {self._again}", "fresh.load_state_dict(module.state_dict())"]
            call = f"{name} = call({given}, module=fresh)"
        again = {
            "call": [],
            "twice": [f"again{index} = call({given})"],
            "reseeded": ["torch.manual_seed(1)", f"again{index} = call({given})"],
            "deepcopied": [f"again{index} = call({given}, module=copy.deepcopy(module))"],
            "reloaded": [
                f"other = {self._again}",
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

    @property
    def _again(self) -> str:
        return self._build(import_of(self.target)[2])

    def _expected(self, index: int, ask: Ask, names: Mapping[str, str]) -> Lines:
        """The reference's answer to the same question, and gradients of both."""
        sources = self._compared_sources()
        if not self._judged_by_the_reference or "expected_" not in sources:
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
        function = "reference" if mechanism.module else self._reference
        part = ("[1]" if "weights" in sources else "[0]") if ask.options.get("need_weights") else ""
        name = "weights" if "weights" in sources else "out"
        lines = [f"expected_{name}{index} = {function}({arguments}){part}"]
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

    def _compared_sources(self) -> str:
        compared = self.recording.mismatch.compared if self.recording.mismatch else None
        if compared is None:
            return ""
        texts = [source_of(t, self.recording.known) or "" for t in (compared.actual, compared.expected)]
        return " against ".join(texts)

    def _comparison(self) -> Lines:
        assert self.recording.mismatch is not None, "what compares has a mismatch"
        compared = self.recording.mismatch.compared
        assert compared is not None, "what compares has two tensors"
        known = {**self.recording.known, **self.orders}
        actual, expected = (source_of(t, known) for t in (compared.actual, compared.expected))
        if not actual or not expected or "unknown" in actual + expected:
            raise NoWordsError("a comparison with values that the script cannot make")
        actual, expected = _bare(actual), _bare(expected)
        what = self.recording.mismatch.expected.partition(" within ")[0]
        if compared.actual.shape != compared.expected.shape:
            said = f'f"defect: {what}: expected, got {{tuple(actual.shape)}}"'
            lines = [f"actual, expected = {actual}, {expected}", "defect = actual.shape != expected.shape"]
            return [*lines, *_ending(said)]
        said = (
            f'f"defect: {what} is off by {{gap:.2g}} of the largest value, allowed is {compared.tolerance:g}"'
        )
        return [
            f"actual, expected = {actual}, {expected}",
            "gap = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))",
            f"defect = not gap <= {compared.tolerance:g}",
            *_ending(said),
        ]


def _ending(said: str) -> Lines:
    return [f'print({said} if defect else "no defect")', "sys.exit(defect)"]


def _bare(text: str) -> str:
    """Without the brackets around the whole."""
    return text[1:-1] if re.fullmatch(r"\([^()]*\)", text) else text


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"(?<![\w.])[a-z_]+(?![\w(])", lambda m: names.get(m[0], m[0]), text)


def _packed(opening: str, items: Lines, closing: str) -> Lines:
    """A dictionary on as few lines as fit."""
    lines = [opening]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > _WIDTH and lines[-1].strip():
            lines.append(" " * (len(opening) - len(opening.lstrip()) + 4))
        lines[-1] += item + ", "
    lines[-1] = lines[-1].rstrip(", ") + closing
    return [line.rstrip() for line in lines]

"""A recorded trial as a script: the target built with numbers, called and compared as in the check."""

import inspect
import re
from dataclasses import dataclass, replace

from attncheck.checks.check import Check
from attncheck.engine.recording import Recording
from attncheck.engine.telling import Lines, Questions
from attncheck.engine.torchcode import NoWordsError
from attncheck.engine.tracing import literal, source_of
from attncheck.model.finding import Finding
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import is_factor
from attncheck.targets.ask import Ask
from attncheck.targets.found import Found
from attncheck.targets.phrasing import (
    argument_text,
    construction,
    entry,
    import_of,
    rate_text,
    result_texts,
)
from attncheck.targets.placing import Placement

_WIDTH = 118
_CHILD = """if len(sys.argv) == 1:
    try:
        ended = subprocess.run([sys.executable, __file__, "child"], timeout=8).returncode
    except subprocess.TimeoutExpired:
        ended = "no answer in 8 s"
    print(f"defect: the process that called it ended so: {ended}" if ended else "no defect")
    sys.exit(bool(ended))"""
_STATE = "torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()"
_RANDOM = "for p in {}.parameters(): torch.nn.init.normal_(p, std=0.5)"


@dataclass
class Script:
    """What a script needs to know. With `placements` the target gets the reference's weights by name."""

    check: Check
    found: Found
    finding: Finding
    recording: Recording
    target: str
    placements: tuple[Placement, ...] = ()

    def __post_init__(self) -> None:
        self.told = Questions(self.check, self.found, self.recording, "", self.placements)
        if not self.told.asks:
            raise NoWordsError("a trial that asked nothing")
        if self.found.norms and self.told.judged_by_the_reference:
            raise NoWordsError("a reference with norms around it")
        self.told.again = self._build(import_of(self.target, self.found)[2])

    def text(self) -> str:
        """The source. Raises NoWordsError if something in the trial has no words in torch."""
        standard, imports, _ = import_of(self.target, self.found)
        lost = self.recording.trouble is not None and self.recording.trouble.lost
        showing = self._showing()
        # What the calls need is known only once they are written.
        body = [*self._built(), *self._loaded(), *self._callable(), *self._orders(), *showing]
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
        imported, called = self.told.reference
        if f"{called}(" in text and self.told.judged_by_the_reference:
            head.append(f"from {BY_ID[self.found.mechanism].call.__module__} import {imported} as {called}")
        return "\n".join([f'"""{self.check.id}: {self.check.claim}."""', *head, *imports, text]) + "\n"

    def _build(self, name: str) -> str:
        _, ask = self.told.asks[0]
        text = construction(self.found, name, {**ask.names, **self.found.fixed})
        dtype = "double()" if ask.dtype == "float64" else f"to(torch.{ask.dtype})"
        return f"{text}.{dtype}.eval()" if self.told.is_module else text

    def _built(self) -> Lines:
        lines = ["torch.manual_seed(0)"]
        if not any(ask.gradients for _, ask in self.told.asks):
            lines.append("torch.set_grad_enabled(False)")
        lines.append(f"module = {self.told.again}")
        lines += [f"{rate_text(path)} = 0.0" for path in self.found.stilled]
        if self.told.is_module and not self.placements:
            lines.append(_RANDOM.format("module"))
            if self.told.edits_weights:
                lines.append("start = {n: t.clone() for n, t in module.state_dict().items()}")
        return lines

    def _loaded(self) -> Lines:
        """The reference's weights by name, and how the target gets them."""
        if not self.placements:
            return []
        _, ask = self.told.asks[0]
        lines = self._of_the_reference(ask) if self.told.judged_by_the_reference else self._by_name(ask)
        entries = [entry(p, "weights", str(ask.names.get("heads", 1))) for p in self._placed()]
        indent = "    " if self.told.edits_weights else ""
        copying = [
            *_packed(f"{indent}parts = {{", entries, "}"),
            f"{indent}own = module.state_dict()",
            f"{indent}for n, part in parts.items(): own[n].copy_(part.reshape(own[n].shape))",
        ]
        return [*lines, *(["def load(weights):"] if indent else []), *copying]

    def _of_the_reference(self, ask: Ask) -> Lines:
        """A reference with random weights, which the target then shares."""
        known = inspect.signature(BY_ID[self.found.mechanism].module or len).parameters
        given = ", ".join(f"{n}={v!r}" for n, v in ask.names.items() if n in known)
        lines = [f"reference = Reference({given}).double().eval()", _RANDOM.format("reference")]
        lines.append("weights = reference.state_dict()")
        zero = tuple(n for n in self.found.absent if not is_factor(n))
        if zero:
            lines.append(f"for n in {zero!r}: weights[n].zero_()")
        lines += [f"weights[{n!r}].fill_(1.0)" for n in self.found.absent if is_factor(n)]
        return lines

    def _by_name(self, ask: Ask) -> Lines:
        """Random weights by the reference's names, without the reference."""
        placed = {role for p in self._placed() for role in p.roles}
        sizes = [f"{n!r}: {r.shape}" for n, r in ask.parameters.items() if n in placed]
        made = "weights = {n: torch.randn(s, dtype=torch.float64) for n, s in shapes.items()}"
        return [*_packed("shapes = {", sizes, "}"), made]

    def _placed(self) -> list[Placement]:
        parameters = self.told.asks[0][1].parameters
        learned = [p for p in self.placements if not any("running" in role for role in p.roles)]
        return [p for p in learned if all(role in parameters for role in p.roles)]

    def _callable(self) -> Lines:
        """The call of the target with the reference's tensors."""
        found = self.found
        named = self.told.named()
        arguments = [argument_text(found, a) for a in found.call if a.name not in named]
        arguments += ["**options"] if named else []
        own = ["module=module"] if self.told.several else []
        parameters = ", ".join([*found.inputs, *own, *(["**options"] if named else [])])
        out, weights = result_texts(found, "module")
        wanted = any(f"weights{i}" in self.told.compared_sources() for i, _ in self.told.asks)
        result = weights if wanted and weights else out
        call = f"module({', '.join(arguments)})"
        if result == "result":
            return [f"def call({parameters}):", f"    return {call}"]
        return [f"def call({parameters}):", f"    result = {call}", f"    return {result}"]

    def _orders(self) -> Lines:
        return [f"{name} = {literal(order)}" for name, order in self.told.orders.items()]

    def _showing(self) -> Lines:
        trouble, mismatch = self.recording.trouble, self.recording.mismatch
        if trouble is not None:
            return self._raising()
        if mismatch is None:
            raise NoWordsError("the case fails no more")
        if mismatch.compared is None:
            return self._by_facts(mismatch.kind)
        lines = [line for index, ask in self.told.asks for line in self.told.asked(index, ask)]
        return [*lines, *self._comparison()]

    def _raising(self) -> Lines:
        ((index, ask),) = self.told.asks
        *before, last = self.told.asked(index, ask)
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
        ((index, ask),) = self.told.asks
        *before, last = self.told.asked(index, replace(ask, scenario="call"))
        inputs = ", ".join(self.told.variables[name, recipe] for name, recipe in ask.inputs.items())
        out, first = f"out{index}", inputs.split(", ")[0]
        shape = self.finding.expected.rpartition(" = ")[2]
        unused = self.finding.actual.rpartition(" ")[0].rpartition(" ")[0].split(", ")
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
            "leaves parameters unused": (
                [last.replace(out, "before", 1), f"for n in {unused}: module.get_parameter(n).normal_()"],
                f"torch.equal({out}, before)",
            ),
            "wrong shape": ([], f"tuple({out}.shape) != {shape}"),
            "wrong dtype": ([], f"{out}.dtype != {first}.dtype"),
        }
        if kind not in facts:
            raise NoWordsError(f"a finding of the kind {kind!r}")
        setup, condition = facts[kind]
        said = f"{self.finding.expected}: expected; {self.finding.actual}".replace('"', "'")
        return [*before, *setup, last, f"defect = {condition}", *_ending(f'"defect: {said}"')]

    def _comparison(self) -> Lines:
        assert self.recording.mismatch is not None, "what compares has a mismatch"
        compared = self.recording.mismatch.compared
        assert compared is not None, "what compares has two tensors"
        known = {**self.recording.known, **self.told.orders}
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
        named = [f"actual, expected = {actual}, {expected}"]
        if actual.isidentifier() and expected.isidentifier():
            named = []
        else:
            actual, expected = "actual", "expected"
        return [
            *named,
            f"gap = float(({actual} - {expected}).abs().max() / {expected}.abs().max().clamp(min=1e-6))",
            f"defect = not gap <= {compared.tolerance:g}",
            *_ending(said),
        ]


def _ending(said: str) -> Lines:
    return [f'print({said} if defect else "no defect")', "sys.exit(defect)"]


def _bare(text: str) -> str:
    """Without the brackets around the whole."""
    return text[1:-1] if re.fullmatch(r"\([^()]*\)", text) else text


def _packed(opening: str, items: Lines, closing: str) -> Lines:
    """A dictionary on as few lines as fit."""
    lines = [opening]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > _WIDTH and lines[-1].strip():
            lines.append(" " * (len(opening) - len(opening.lstrip()) + 4))
        lines[-1] += item + ", "
    lines[-1] = lines[-1].rstrip(", ") + closing
    return [line.rstrip() for line in lines]

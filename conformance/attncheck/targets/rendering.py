"""A found adapter as Python source: the hand-written adapter that says the same, to read and correct."""

from collections.abc import Sequence

from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import MEMORY
from attncheck.targets.found import Found
from attncheck.targets.phrasing import (
    WIDTH,
    argument_text,
    construction,
    entry,
    import_of,
    mask_text,
    names_in,
    needs_heads,
    rate_text,
    result_texts,
    rows_of,
)
from attncheck.targets.placing import Placement


def rendered(found: Found, target: str) -> str:
    """The source of a file whose class `Adapter` builds, loads and calls `target` as was found."""
    standard, imports, name = import_of(target, found)
    body = [
        "class Adapter:",
        f'    mechanism = "{found.mechanism}"',
        *_attributes(found),
        "",
        *_build(found, name),
    ]
    if found.loads and found.placements:
        body += ["", *_load(found)]
    elif found.loads and found.is_class:
        body += ["", "    def load(self, module, weights):", "        pass  # It has none of them."]
    body += ["", *_call(found)]
    text = "\n".join(body)
    head = [f"import {module}" for module in standard]
    head += ["from types import SimpleNamespace"] if "SimpleNamespace(" in text else []
    third = ["import torch"] if "torch." in text else []
    third += ["from einops import rearrange"] if "rearrange(" in text else []
    if not standard:
        third, imports = [*third, *imports], []
    if found.framework:
        arguments = f'"{found.framework}"' + (f", mapped={found.mapped}" if found.mapped else "")
        third += ["import attncheck"]
        imports = [*imports, f"{name} = attncheck.bridged({name}, {arguments})"]
    if found.owned:
        owned = ", ".join(f'{argument}="{parameter}"' for argument, parameter in found.owned.items())
        third += ["import attncheck"]
        imports = [*imports, f'{name} = attncheck.owning({name}, "{found.mechanism}", {owned})']
    if found.core:
        third += [] if "import attncheck" in third else ["import attncheck"]
        imports = [*imports, f'{name} = attncheck.projecting({name}, "{found.mechanism}")']
    blocks = [f'"""How {found.qualname} is built and called as {found.mechanism}, as attncheck found it."""']
    blocks += ["\n".join(block) for block in (head, third, imports) if block]
    return "\n\n".join(blocks) + f"\n\n\n{text}\n"


def _attributes(found: Found) -> list[str]:
    """What the methods alone do not say."""
    stated: dict[str, object] = {}
    if any(roles != (name,) for name, roles in found.inputs.items()):
        stated["inputs"] = dict(found.inputs)
    stated |= {
        n: getattr(found, n)
        for n in ("absent", "identity", "exclusive", "lacking", "shared")
        if getattr(found, n)
    }
    stated |= {
        n: dict(getattr(found, n)) for n in ("fixed", "derived", "conventions", "ranks") if getattr(found, n)
    }
    if set(found.free) != set(_built_axes(found)):
        stated["free"] = found.free
    if found.mask:
        if not found.mask.lower:
            stated["varies"] = {found.mask.role: found.mask.varies}
        if found.mask.maskings:
            stated["maskings"] = found.mask.maskings
        if found.mask.polarity == "lengths":
            stated["prefixes_only"] = True
    if found.weights is not None:
        stated["gives_weights"] = True
    if not found.is_class or found.owned:
        stated["is_module"] = False
    return [f"    {name} = {_quoted(value)}" for name, value in stated.items()]


def _quoted(value: object) -> str:
    """Literals with the quotes that formatters prefer."""
    text = repr(value)
    return text if '"' in text else text.replace("'", '"')


def _built_axes(found: Found) -> list[str]:
    """Axes that have a default and that the constructor is told nevertheless."""
    named = names_in(list(found.arguments.values())) if found.is_class else []
    return [axis for axis in BY_ID[found.mechanism].contract.defaults if axis in named]


def _build(found: Found, name: str) -> list[str]:
    named = names_in(list(found.arguments.values())) if found.is_class else []
    head, made = f"    def build(self, {', '.join([*named, '**_'])}):", construction(found, name)
    changes = []
    if found.neutral:
        fills = (("zeros_" if n.endswith("bias") else "eye_", n) for n in found.neutral)
        changes.append("        # The reference has one output layer: this one passes on what it gets.")
        changes += [f'        torch.nn.init.{fill}(module.get_parameter("{n}"))' for fill, n in fills]
    if found.stilled:
        changes.append("        # Dropout at a rate that nothing sets.")
        changes += [f"        {rate_text(path)} = 0.0" for path in found.stilled]
    if not changes:
        return [head, *_wrapped(f"        return {made}")]
    return [head, *_wrapped(f"        module = {made}"), *changes, "        return module"]


def _load(found: Found) -> list[str]:
    """Each of the target's tensors, filled with the reference's; the form is the one it has."""
    forms = [found.placements, *found.others]
    heads = ", heads" if found.shared or any(needs_heads(p) for form in forms for p in form) else ""
    lines = [f"    def load(self, module, weights{heads}):", "        own = module.state_dict()"]
    if found.shared:
        lines += [
            "        weights = dict(weights)",
            f'        for name in [n for n in weights if n.startswith(("{MEMORY[0]}", "{MEMORY[1]}"))]:',
            "            # Of each group of heads that are alike, the first.",
            f"            groups = {found.shared}",
            "            apart = weights[name].unflatten(0, (groups, heads // groups, -1))",
            "            weights[name] = apart[:, 0].flatten(0, 1)",
        ]
    if len(forms) == 1:
        lines += _parts(found, forms[0], " " * 8)
    for index, form in enumerate(forms if len(forms) > 1 else ()):
        others = {p.target for other in forms if other is not form for p in other}
        own = next((p for p in form if p.target not in others), form[0]).names[0].format(0)
        lines.append(f'        {"elif" if index else "if"} "{own}" in own:')
        lines += _parts(found, form, " " * 12)
    return [
        *lines,
        "        for name, part in parts.items():",
        "            own[name].copy_(part.reshape(own[name].shape))",
    ]


def _parts(found: Found, placements: tuple[Placement, ...], indent: str) -> list[str]:
    """The target's tensors by name; biases apart where an option leaves them out."""
    biases = [
        p for p in placements if "bias" in found.takes and not found.biased and p.roles[0].endswith(".bias")
    ]
    lines = [
        f"{indent}parts = {{",
        *_entries([p for p in placements if p not in biases], indent),
        f"{indent}}}",
    ]
    if biases:
        lines += [f'{indent}if "{biases[0].roles[0]}" in weights:', f"{indent}    parts |= {{"]
        lines += [*_entries(biases, indent + "    "), f"{indent}    }}"]
    return lines


def _entries(placements: Sequence[Placement], indent: str) -> list[str]:
    lines: list[str] = []
    for placement in placements:
        *first, last = _wrapped((f"{indent}    " + entry(placement, "weights", None)).replace("'", '"'))
        lines += [*first, last + ","]
    return lines


def _call(found: Found) -> list[str]:
    """The call in the reference's words. What is None is not handed over, as if it had no such argument."""
    role = [found.mask.role] if found.mask else []
    optional = [*role, *(["bias"] if found.biased else [])]
    options = [n for n in found.switches if n not in role]
    rows = ["height"] if rows_of(found) == "height" else []
    parameters = ["self", "module", *found.inputs, *rows, *(f"{n}=None" for n in [*optional, *options])]
    constants = {a.name for a in found.call if a.constant}
    arguments = [argument_text(found, a) for a in found.call if a.name not in _switched(found)]
    given = _given(found)
    arguments += [f"{n}={e}" for n, e in given.items() if n in constants]
    given = {n: e for n, e in given.items() if n not in constants}
    lines = [f"    def call({', '.join(parameters)}):"]
    if given:
        pairs = ", ".join(f'"{n}": {e}' for n, e in given.items())
        lines += _wrapped(f"        options = {{{pairs}}}")
        arguments.append("**{n: o for n, o in options.items() if o is not None}")
    out, weights = result_texts(found, "module")
    if (out, weights) == ("result", None):
        return [*lines, *_wrapped(f"        return module({', '.join(arguments)})")]
    lines += _wrapped(f"        result = module({', '.join(arguments)})")
    return [*lines, f"        return {out}" if weights is None else f"        return {out}, {weights}"]


def _given(found: Found) -> dict[str, str]:
    """What is handed over by name where it is not None."""
    given: dict[str, str] = {}
    if found.mask:
        said, role = mask_text(found, found.mask), found.mask.role
        without = next((a.constant for a in found.call if a.name == found.mask.argument), "None")
        plain = said == role and without == "None"
        given[found.mask.argument] = said if plain else f"{without} if {role} is None else {said}"
    if found.biased in given:
        given[found.biased] = f"({given[found.biased]}) if bias is None else bias"
    elif found.biased:
        given[found.biased] = "bias"
    for option, text in found.switches.items():
        name, said = text.split("=", 1)
        given[name] = f"None if {option} is None else {said}" if "(" in said else said
    return given


def _switched(found: Found) -> set[str]:
    """Arguments that hold a constant unless an option or a mask is given."""
    named = {text.split("=", 1)[0] for text in found.switches.values()}
    return named | ({found.mask.argument} if found.mask else set())


def _wrapped(line: str) -> list[str]:
    """A long call or dictionary with its items on lines of their own."""
    if len(line) <= WIDTH:
        return [line]
    opening = min(place for place in (line.find("("), line.find("{")) if place >= 0)
    indent = " " * (len(line) - len(line.lstrip()))
    if " for i, part in " in line:
        return [line]
    return [
        line[: opening + 1],
        *(f"{indent}    {item}," for item in _items(line[opening + 1 : -1])),
        indent + line[-1],
    ]


def _items(text: str) -> list[str]:
    """The text at commas that stand in no bracket."""
    items, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[start:place].strip())
            start = place + 1
    return [*items, text[start:].strip()]

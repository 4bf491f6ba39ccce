"""What a target says of its own conventions: in names, in docstrings and comments, in how it unpacks shapes."""

import ast
import contextlib
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from attncheck.targets.making import makes
from attncheck.targets.names import INPUTS

# Names of arguments that leave no doubt about what their entries mean.
_POLARITY_OF_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("key_padding_mask", "ignore_mask", "mask_out", "masked_positions", "hidden"), "true_ignores"),
    **dict.fromkeys(("keep_mask", "attend_mask", "allowed", "visible", "valid_mask", "may_attend"), "true_attends"),
}  # fmt: skip
_BATCH = frozenset({"b", "bs", "bsz", "nb", "batch", "batch_size", "batchsize", "n_batch", "n_batches", "nbatches",
                    "num_batches"})  # fmt: skip
_A_LENGTH = (
    r"[lts][qkvx]?|n[qkv]|(?:seq|tgt|src|q|k|kv|query|key)_?len(?:gth)?|seq|len(?:gth)?|(?:n_)?tokens|[lts]\d"
)
_CHANNELS = frozenset({"c", "ch", "channel", "channels", "in_channels", "n_channels"})
_HEADS = frozenset({"h", "nh", "heads", "n_heads", "num_heads", "n_head", "nhead", "nheads"})
_TRUE = r"(?<![\w.])(?:true|1s?|ones?|non-?zero)(?![\w.])"
_FALSE = r"(?<![\w.])(?:false|0s?|zeros?)(?![\w.])"
_IGNORES = (r"\b(?:ignor\w*|masked(?: out)?|hid\w*|exclud\w*|block\w*|disallow\w*|drop|dropped|padd?\w*|"
            r"(?:not|never|cannot)(?: be)?(?: allowed| attend\w*| visible| seen)|may not)\b")  # fmt: skip
_ATTENDS = r"\b(?:attend\w*|keep\w*|kept|visible|valid|allow\w*|take part|takes part|participat\w*|real)\b"
_ONE_QUERY = r"\b(?:q|tgt|target|query|queries)_?len(?:gth)?\s*(?:is|=+)\s*(?:1|one)\b"
# Words between the value and what it means; a sentence ends the thought.
_LINK = r"[^.;\n]{0,80}?"


def documented(target: Any, mask: str | None, headed: bool) -> dict[str, tuple[str, str]]:
    """Conventions that the target states: convention -> (option, the words that say so).

    `mask` is the argument that takes masks. Statements that contradict each other say nothing.
    """
    stated: dict[str, tuple[str, str]] = {}
    if mask is not None:
        polarity = _one(_polarities(target, mask)) or _of_the_name(mask)
        if polarity is not None:
            stated["mask_polarity"] = polarity
    layout = _one([*_layouts(target, headed), *_layouts_of_shapes(target, headed)])
    return stated if layout is None else {**stated, "layout": layout}


def _one(statements: list[tuple[str, str]]) -> tuple[str, str] | None:
    return statements[0] if len({option for option, _ in statements}) == 1 else None


def _of_the_name(mask: str) -> tuple[str, str] | None:
    option = _POLARITY_OF_NAMES.get(mask.lower())
    return None if option is None else (option, f"the name {mask}")


def _functions(target: Any) -> tuple[Any, ...]:
    if isinstance(target, nn.Module):
        target = type(target)
    made = makes(target) or target
    return (target, made.forward) if isinstance(made, type) and hasattr(made, "forward") else (target,)


def _polarities(target: Any, mask: str) -> list[tuple[str, str]]:
    """Sentences on what an entry of this argument means; those below its own name count first."""
    others = _arguments(target) - {mask}
    own = list(_own_lines(target, mask, others))
    general = [
        line for line in _prose(target)
        if line not in own and _first_word(line) not in others and re.search(r"\b\w*masks?\b", line)
    ]  # fmt: skip
    return _said(own) or _said(general)


def _said(lines: list[str]) -> list[tuple[str, str]]:
    sentences = [sentence for line in lines for sentence in _sentences(line)]
    return [(option, sentence) for sentence in sentences if (option := _meaning(sentence))]


def documented_ranks(target: Any, mask: str) -> set[int]:
    """How many axes an argument has, as shapes below its name say; empty if none does."""
    return {len(axes) for axes in documented_shapes(target, mask)}


def masks_all_heads_alike(target: Any, mask: str) -> bool:
    """Whether it says that masks of rank 3, which it tells apart, are those of samples: the same for all heads."""
    source = _source(_functions(target)[-1])
    asked = rf"\b{re.escape(mask)}\s*\.\s*(?:dim\(\)|ndim)\s*==\s*3"
    return re.search(asked, source) is not None and any(
        re.search(r"\bsame mask\b.*\bheads?\b", line.lower()) for line in _prose(target)
    )


def documented_shapes(target: Any, mask: str) -> list[list[str]]:
    """The shapes that stand below an argument's name, as names of axes."""
    others = _arguments(target) - {mask}
    shapes = [axes for line in _own_lines(target, mask, others) for axes in _shapes(line)]
    # Any number of axes in front, as torch documents its own operator: no rank is said.
    return [] if any("..." in axes for axes in shapes) else shapes


def _shapes(line: str) -> Iterator[list[str]]:
    """What stands in brackets, as names of axes: `(batch, length, dim)`, `[B, H*W, C]`."""
    for shape in re.findall(r"[(\[]([^()\[\]]*,[^()\[\]]*)[)\]]", _without_latex(line)):
        axes = [axis.strip(" `'\"") for axis in shape.split(",") if axis.strip()]
        if all(re.fullmatch(r"\.\.\.|[\w.]+(?:\s*[*x·]\s*[\w.]+)*", axis) for axis in axes):
            yield axes


def _without_latex(line: str) -> str:
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", line).replace("\\cdot", " * ").replace("\\_", "_")


def documents_one_query(target: Any) -> bool:
    """Whether it says that there is one query a sample, as a decoder has that goes step by step."""
    arguments = _arguments(target)
    queries = {argument for argument in arguments if argument.lower() in INPUTS["q"]}
    lines = [line for query in queries for line in _own_lines(target, query, arguments - {query})]
    return any(
        re.search(_ONE_QUERY, line.lower())
        or any(len(axes) == 3 and axes[1] == "1" for axes in _shapes(line))
        for line in lines
    )


def takes_booleans(target: Any, mask: str) -> str | None:
    """The polarity of the boolean masks that the argument is said to take, as an option of the convention."""
    others = _arguments(target) - {mask}
    # What speaks of another argument too may say it of that one.
    lines = [line for line in _own_lines(target, mask, others) if not set(re.findall(r"\w+", line)) & others]
    own = [sentence for line in lines for sentence in _sentences(line)]
    polarity = _one(_said(own))
    told = any(re.search(r"\b(?:[Bb]ool(?:ean)?|True|False)\b", sentence) for sentence in own)
    return polarity[0] if told and polarity is not None else None


def tells_ranks_apart(target: Any, mask: str) -> bool:
    """Whether the source asks how many axes this argument has."""
    asked = rf"\b{re.escape(mask)}\s*\.\s*(?:dim\(|ndim\b|ndimension\()|len\({re.escape(mask)}\.shape"
    return re.search(asked, _source(_functions(target)[-1])) is not None


def waives_causality(target: Any) -> bool:
    """Whether it says that it is causal by itself only in calls without a mask."""
    said = rf"\bcausal\b{_LINK}\b(?:when|if|where|while) no (?:\w+ )?mask\b"
    return any(re.search(said, line.lower()) for line in _prose(target))


def _own_lines(target: Any, mask: str, others: set[str]) -> Iterator[str]:
    """Prose from a line that begins with the argument's name to one that begins with another's."""
    speaks = False
    for line in _prose(target):
        first = _first_word(line)
        speaks = first == mask or (speaks and first not in others)
        if speaks:
            yield line


def _first_word(line: str) -> str:
    named = re.match(r"[\s#*:`-]*(?:param\s+)?`*(\w+)`*", line)
    return named[1] if named else ""


def _sentences(line: str) -> list[str]:
    parts = re.split(r"[.;]\s|, (?=(?:and )?(?:true|false|0|1)\b)", line, flags=re.IGNORECASE)
    return [part.strip(" #") for part in parts]


def _meaning(sentence: str) -> str | None:
    for value, ignores, attends in (
        (_TRUE, "true_ignores", "true_attends"),
        (_FALSE, "true_attends", "true_ignores"),
    ):
        hidden = re.search(value + _LINK + _IGNORES, sentence, re.IGNORECASE)
        seen = re.search(value + _LINK + _ATTENDS, sentence, re.IGNORECASE)
        if hidden and (seen is None or hidden.end() <= seen.end() or "not" in hidden[0].lower()):
            return ignores
        if seen:
            return attends
    return None


def _arguments(target: Any) -> set[str]:
    names: set[str] = set()
    for function in _functions(target):
        with contextlib.suppress(TypeError, ValueError):
            names |= set(inspect.signature(function).parameters)
    return names


def _prose(target: Any) -> Iterator[str]:
    """Paragraphs of docstrings, and comments, a line each."""
    for function in _functions(target):
        for paragraph in re.split(
            r"\n\s*\n|\n(?=\s*(?:`*\w+`*\s*(?:\([^)]*\))?:|:param|- ))", inspect.getdoc(function) or ""
        ):
            yield " ".join(paragraph.split())
    source = _source(_functions(target)[0])
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, IndentationError):
        return
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)


def _source(function: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""


def _layouts(target: Any, headed: bool) -> Iterator[tuple[str, str]]:
    """Layouts that names of unpacked sizes give away, such as `batch, length, dim = x.shape`."""
    for argument, place, size in _unpacked(_source(_functions(target)[-1])):
        said = f"{size} = {argument}.shape[{place}]"
        if headed and size in _HEADS and place in (1, 2):
            yield ("heads_first" if place == 1 else "length_first"), said
        if not headed and size in _BATCH and place in (0, 1):
            yield ("batch_first" if place == 0 else "sequence_first"), said


def _layouts_of_shapes(target: Any, headed: bool) -> Iterator[tuple[str, str]]:
    """Layouts that shapes in docstrings and comments tell: of sequences, and of images or clips."""
    for line in _prose(target):
        for axes in _shapes(line):
            names, said = [axis.lower() for axis in axes], f"({', '.join(axes)})"
            if len(names) == 3 and not headed:
                first, second = (re.fullmatch(_A_LENGTH, name) is not None for name in names[:2])
                if second and re.fullmatch(_A_LENGTH, names[2]):
                    # Of queries and keys: weights, or a mask.
                    continue
                if names[0] in _BATCH or (names[0] == "n" and second):
                    yield "batch_first", said
                elif first and (names[1] in _BATCH or names[1] == "n"):
                    yield "sequence_first", said
            channels = [place for place, name in enumerate(names) if name in _CHANNELS]
            if len(names) in (4, 5) and len(channels) == 1 and names[0] in (*_BATCH, "n"):
                option = {1: "channels_first", len(names) - 1: "channels_last"}
                yield option.get(channels[0], f"channels_at_{channels[0]}"), said


def _unpacked(source: str) -> Iterator[tuple[str, int, str]]:
    """Arguments, places and names of their sizes, as long as the argument is what was handed over."""
    try:
        function = ast.parse(source).body[0]
    except (SyntaxError, IndexError):
        return
    if not isinstance(function, ast.FunctionDef):
        return
    fresh = {a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    assignments = [n for n in ast.walk(function) if isinstance(n, ast.Assign)]
    for statement in sorted(assignments, key=lambda n: n.lineno):
        (target, *_), value = statement.targets, statement.value
        names = list(target.elts) if isinstance(target, ast.Tuple) else [target]
        values = list(value.elts) if isinstance(value, ast.Tuple) else [value]
        for argument, place, name in (*_whole(names, value), *_single(names, values)):
            if argument in fresh:
                yield argument, place, name.lower().lstrip("_")
        fresh -= {name.id for name in names if isinstance(name, ast.Name)}


def _whole(names: list[ast.expr], value: ast.expr) -> Iterator[tuple[str, int, str]]:
    """`a, b, c = x.shape` and `a, b, c = x.size()`."""
    if isinstance(value, ast.Call) and not value.args:
        value = value.func
    if len(names) > 2 and isinstance(value, ast.Attribute) and value.attr in ("shape", "size"):
        for place, name in enumerate(names):
            if isinstance(name, ast.Starred):
                return
            if isinstance(value.value, ast.Name) and isinstance(name, ast.Name):
                yield value.value.id, place, name.id


def _single(names: list[ast.expr], values: list[ast.expr]) -> Iterator[tuple[str, int, str]]:
    """`a = x.shape[0]` and `a, b = x.size(0), x.size(1)`."""
    if len(names) != len(values):
        return
    for name, value in zip(names, values, strict=True):
        match (name, value):
            case (
                ast.Name(size),
                ast.Subscript(ast.Attribute(ast.Name(argument), "shape"), ast.Constant(place)),
            ):
                pass
            case (
                ast.Name(size),
                ast.Call(ast.Attribute(ast.Name(argument), "size"), [ast.Constant(place)]),
            ):
                pass
            case _:
                continue
        if isinstance(place, int):
            yield argument, place, size

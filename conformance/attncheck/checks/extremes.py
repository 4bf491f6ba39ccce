"""Values at the edge of what numbers hold: large logits, fills that are too weak, overflow in float16."""

from dataclasses import replace

from attncheck.checks.budget import within_budget
from attncheck.checks.check import (
    Judgement,
    Mismatch,
    NotJudged,
    Trial,
    both,
    check,
    needs_mask,
    needs_weights,
)
from attncheck.checks.comparing import agree
from attncheck.checks.layers import owned
from attncheck.checks.masking import all_but_last, masked
from attncheck.checks.oracle import expect, in_float64
from attncheck.checks.value import with_masks
from attncheck.model.case import Case
from attncheck.strategies.tensors import DTYPES
from attncheck.targets.ask import Ask
from attncheck.targets.legal import resized
from attncheck.targets.subject import Subject
from attnref import Law

# Beyond any of the numbers that hidden logits are set to, but for the lowest of a dtype.
_FAR_BELOW = 1e10
_LARGER = 3600.0
# The first whole number that bfloat16 does not have.
_PAST_BFLOAT16 = 257
# The largest number of float16 is 65504; a product of this size overflows, half of it does not.
_PRODUCT = 80_000.0


@check("value", "large logits are no trouble", applies=needs_weights, share=0.4, rank=44)
def survives_large_logits(subject: Subject, case: Case) -> Trial:
    """Logits of some thousands, of either sign, give the reference's weights and nothing infinite."""
    ask = subject.ask(with_masks(subject, case))
    laws = subject.stated("survives_large_logits", case)
    ways = [(names, law) for law in laws if (names := _behind_logits(subject, ask, law))]
    if not ways:
        return NotJudged("nothing that makes the logits can be scaled")
    names, law = ways[case.seed % len(ways)]
    for name in names:
        # A product of two, or of an input with itself, grows with both.
        ask = ask.edit(name, "scale", None, _LARGER ** (1 / len(law.parameters or law.inputs)))
    (answer,) = yield [ask]
    # The bound grows with the logits: float32 inside is off by their roundoff, 4000 · 6e-8 · some.
    return agree(
        answer.out, expect(subject, ask).out, "the output for logits of some thousands", tolerance=5e-3
    )


def _behind_logits(subject: Subject, ask: Ask, law: Law) -> list[str]:
    """The tensors of a law that makes logits larger, empty unless the target has them all for itself."""
    if law.parameters:
        layers = [owned(subject, ask, layer) for layer in law.parameters]
        return [name for layer in layers for name in layer] if all(layers) else []
    names = subject.playing(law.inputs)
    return names if {role for n in names for role in subject.interface.inputs[n]} == set(law.inputs) else []


def _sides(subject: Subject, ask: Ask) -> list[tuple[str, str | None]]:
    """What makes all queries alike, and all keys: an input, or the bias of a layer without its weight."""
    if "query.weight" in ask.parameters:
        names = [("query.bias", "query.weight"), ("key.bias", "key.weight")]
        lacking = [n for pair in names for n in pair if not owned(subject, ask, n)]
        return [] if lacking else list(names)
    sides = [subject.playing(roles) for roles in (("q", "queries"), ("k", "keys"))]
    return [(side[0], None) for side in sides] if all(sides) else []


def _with_biases(subject: Subject, case: Case) -> Case:
    """The case with biases where the target lets one choose: they set what a layer gives."""
    chosen = [o.name for o in subject.mechanism.contract.options if o.name == "bias"]
    free = chosen and "bias" in subject.interface.takes and "bias" not in subject.interface.fixed
    return case.with_options(bias=True) if free else case


def _alike(ask: Ask, sides: list[tuple[str, str | None]], levels: tuple[float, ...]) -> Ask:
    for (name, weight), level in zip(sides, levels, strict=True):
        ask = ask.edit(name, "zero").edit(name, "add", None, level)
        ask = ask.edit(weight, "zero") if weight else ask
    return ask


def _width(ask: Ask, sides: list[tuple[str, str | None]], case: Case) -> int:
    """How many products a logit is the sum of."""
    name, weight = sides[0]
    recipe = ask.inputs.get(name) or ask.parameters[name]
    return recipe.shape[-1] // (case.sizes.get("heads", 1) if weight else 1)


def _far_below(subject: Subject, ask: Ask, case: Case, depth: float) -> Ask | None:
    """The question with all logits alike and about so far below zero, however wide it is; None if they cannot be set."""
    scores = subject.playing(("scores",))
    if scores:
        return ask.edit(scores[0], "zero").edit(scores[0], "add", None, -depth)
    if "score.weight" in ask.parameters:
        # tanh of what is positive, summed with equal negative weights.
        alone = subject.playing(("queries",)) + subject.playing(("keys",))
        # Keys that are values too must differ, or no hidden one would be seen.
        shared = [
            n for n, roles in subject.interface.inputs.items() if n not in alone and roles != ("values",)
        ]
        for name in ("query.weight", "key.weight", *shared):
            ask = ask.edit(name, "absolute")
        ask = _alike(ask, [(n, None) for n in alone], (5.0,) * len(alone))
        each = -depth / ask.parameters["score.weight"].shape[-1]
        return ask.edit("score.weight", "zero").edit("score.weight", "add", None, each)
    sides = _sides(subject, ask)
    if not sides:
        return None
    width, scale = _width(ask, sides, case), ask.options.get("scale")
    level = (depth / (width * float(scale) if scale else width**0.5)) ** 0.5
    return _alike(ask, sides, (level, -level))


def _still_hidden(subject: Subject, case: Case, depth: float) -> Trial:
    case = _with_biases(subject, case)
    ask = _far_below(subject, subject.ask(masked(subject, case, "padding_mask")), case, depth)
    if ask is None:
        return NotJudged("queries and keys cannot be set")
    (answer,) = yield [ask]
    return agree(answer.out, expect(subject, ask).out, "the output for logits far below zero", tolerance=5e-3)


@check(
    "value", "a mask holds against large negative logits", applies=both(needs_weights, needs_mask),
    share=0.3, rank=43,
)  # fmt: skip
def masks_hold_against_large_logits(subject: Subject, case: Case) -> Trial:
    """Where every visible logit is some ten thousand below zero, a hidden key has no weight still."""
    return (yield from _still_hidden(subject, case, 4e4))


@check(
    "value", "a mask holds against any logit", applies=both(needs_weights, needs_mask), share=0.3, rank=48,
    deviation="hidden logits get a finite number that lower ones can pass",
)  # fmt: skip
def masks_hold_against_any_logit(subject: Subject, case: Case) -> Trial:
    """Where every visible logit is ten thousand million below zero, a hidden key has no weight still."""
    return (yield from _still_hidden(subject, case, _FAR_BELOW))


def _float16(subject: Subject) -> str | None:
    return None if "float16" in subject.dtypes else "float16 was not asked for"


@check(
    "value", "large activations do not overflow in float16", applies=both(needs_weights, _float16),
    share=0.2, rank=49, judges_trouble=True,
    deviation="intermediate results overflow in float16 though the scores would fit",
)  # fmt: skip
def large_activations_fit_float16(subject: Subject, case: Case) -> Trial:
    """Keys all alike weigh the same, though products before scaling, or squares, pass 65504."""
    plain = subject.ask(replace(_with_biases(subject, case), dtype="float16"))
    ask = _overflowing(subject, plain, case)
    if ask is None:
        return NotJudged("nothing in it passes 65504 before it is scaled")
    (answer,) = yield [ask]
    if answer.trouble is not None or answer.out.dtype != expect(subject, ask).out.dtype:
        return NotJudged("no result in float16, which another check reports")
    truth, like = expect(subject, in_float64(ask)).out, expect(subject, ask).out
    if not bool(like.isfinite().all()):
        return NotJudged("the reference overflows as well")
    judgement: Judgement = within_budget(answer.out, like, truth, "the output for large activations")
    return judgement if isinstance(judgement, Mismatch) else None


def _lengths_in_half(subject: Subject) -> str | None:
    kind = subject.optional[subject.masking].kind if subject.masking else ""
    if kind != "int":
        return "the target takes no lengths"
    return None if "bfloat16" in subject.dtypes else "bfloat16 was not asked for"


@check(
    "value", "long lengths are exact in half precision", applies=both(needs_weights, _lengths_in_half),
    share=0.1, rank=49, judges_trouble=True,
)  # fmt: skip
def long_lengths_hold_in_half_precision(subject: Subject, case: Case) -> Trial:
    """Of 258 keys 257 are visible. What counts keys in bfloat16 has no 257, and loses the last of them."""
    length = _PAST_BFLOAT16 + 1
    long = resized(subject, replace(case, dtype="bfloat16"), {"kv_len": length})
    if long is None:
        return NotJudged("so many keys are not legal")
    ask = all_but_last(subject, subject.ask(masked(subject, long, "padding_mask")), length)
    for name, place in subject.places(ask, subject.keys_axis):
        if name in subject.inputs:
            # Logits all alike, and one visible value that no sum of the others hides.
            told = set(subject.interface.inputs[name]) & {"v", "values", "kv"}
            ask = ask.edit(name, "put", place, (_PAST_BFLOAT16 - 1, 40.0)) if told else ask.edit(name, "zero")
    (answer,) = yield [ask]
    if answer.trouble is not None or answer.out.dtype != DTYPES["bfloat16"]:
        return NotJudged("no result in bfloat16, which another check reports")
    return within_budget(answer.out, expect(subject, ask).out, expect(subject, in_float64(ask)).out)


def _overflowing(subject: Subject, ask: Ask, case: Case) -> Ask | None:
    if "inverse_width" in subject.optional or "inverse_width" in ask.parameters:
        # The square of a distance of 300 is 90000.
        return _alike(ask, [(n, None) for n in ("queries", "keys")], (300.0, 0.0))
    sides = _sides(subject, ask)
    if not sides or "score.weight" in ask.parameters:
        return None
    width = _width(ask, sides, case)
    if width < 2 or ask.options.get("scale") is not None:
        return None
    level = (_PRODUCT / width) ** 0.5
    return _alike(ask, sides, (level, level))


CHECKS = (
    survives_large_logits,
    masks_hold_against_large_logits,
    masks_hold_against_any_logit,
    large_activations_fit_float16,
    long_lengths_hold_in_half_precision,
)

"""Laws of images: what happens to the output when pixels are moved, copied or changed."""

from collections.abc import Callable
from math import prod

from torch import Tensor, arange

from attncheck.checks.check import NotJudged, Trial, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, on_layers, owned
from attncheck.model.case import Case
from attncheck.strategies.tensors import permutation
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def positions(subject: Subject, ask: Ask, axes: tuple[str, ...]) -> tuple[str, list[tuple[str, int]]] | None:
    """The image that has some of these axes, and where it has them; None if no input does."""
    for name in subject.inputs:
        found = [(axis, subject.position(ask, name, axis)) for axis in axes]
        places = [(axis, place) for axis, place in found if place is not None]
        if places:
            return name, places
    return None


def _shuffled(out: Tensor, first: int, seed: int) -> Tensor:
    flat = out.flatten(first)
    return flat.index_select(first, permutation(flat.shape[first], seed)).reshape(out.shape)


@check(
    "law",
    "out(pixels[p]) == out(pixels)[p]",
    applies=needs_law("follows_pixel_order"),
    options="all",
    rank=31,
)
def follows_pixel_order(subject: Subject, case: Case) -> Trial:
    """Shuffled positions give shuffled outputs: nobody knows which pixels are neighbours."""
    law = subject.law("follows_pixel_order", case)
    ask = subject.ask(case)
    found = positions(subject, ask, law.axes)
    if found is None or prod(case.sizes[axis] for axis, _ in found[1]) < 2:
        return NotJudged("there are no two positions to exchange")
    name, places = found
    first = places[0][1]
    before, after = yield [ask, ask.edit(name, "shuffle", first, case.seed)]
    if before.out.dim() != len(ask.inputs[name].shape):
        return NotJudged("the output has another shape")
    return agree(after.out, _shuffled(before.out, first, case.seed), "the output for shuffled pixels")


@check(
    "law",
    "out(image.T) == out(image).T",
    applies=needs_law("follows_transposed_image"),
    options="all",
    rank=31,
)
def follows_transposed_image(subject: Subject, case: Case) -> Trial:
    """Rows and columns play the same part."""
    return (yield from _transposed(subject, case, ()))


@check(
    "law",
    "a transposed kernel sees in a transposed image what the kernel sees in the image",
    applies=needs_law("follows_transposed_image_and_weight"),
    options="all",
    rank=31,
)
def follows_transposed_image_and_weight(subject: Subject, case: Case) -> Trial:
    """Rows and columns play the same part once the kernel is transposed as well."""
    law = subject.law("follows_transposed_image_and_weight", case)
    return (yield from _transposed(subject, case, law.parameters))


def _transposed(subject: Subject, case: Case, layers: tuple[str, ...]) -> Trial:
    ask = subject.ask(case)
    missing = lacks(subject, ask, layers)
    found = positions(subject, ask, ("height", "width"))
    if missing or found is None or len(found[1]) < 2:
        return missing or NotJudged("no input has height and width")
    name, ((_, row), (_, column)) = found
    turned = ask.edit(name, "swap", row, column)
    for kernel in (n for layer in layers for n in owned(subject, ask, layer)):
        if len(ask.parameters[kernel].shape) == 4:
            turned = turned.edit(kernel, "swap", 2, 3)
    before, after = yield [ask, turned]
    return agree(after.out, before.out.transpose(row, column), "the output for the transposed image")


@check(
    "law",
    "an image of four copies gives four copies",
    applies=needs_law("follows_tiling"),
    options="all",
    rank=32,
)
def follows_tiling(subject: Subject, case: Case) -> Trial:
    """Copies of the image beside and below it are pooled and attended to like the image itself."""
    return (yield from _copied(subject, case, subject.law("follows_tiling", case).axes))


@check(
    "law",
    "channels twice give the output twice",
    applies=needs_law("ignores_repeated_channels"),
    options="all",
    rank=32,
)
def ignores_repeated_channels(subject: Subject, case: Case) -> Trial:
    """Every channel a second time leaves mean and maximum over the channels as they were."""
    return (yield from _copied(subject, case, subject.law("ignores_repeated_channels", case).axes))


def _copied(subject: Subject, case: Case, axes: tuple[str, ...]) -> Trial:
    ask = subject.ask(case)
    found = positions(subject, ask, axes)
    if found is None:
        return NotJudged(f"no input has {', '.join(axes)}")
    name, places = found
    larger = ask
    if prod(case.sizes[axis] for axis, _ in places) > 256:
        # Some mechanisms compare all pixels with all: one axis at a time keeps that affordable.
        places = [places[case.seed % len(places)]]
    for _, place in places:
        larger = larger.edit(name, "repeat", place, 2)
    once, copies = yield [ask, larger]
    copied = {place for _, place in places}
    return agree(
        copies.out,
        once.out.repeat(*[2 if place in copied else 1 for place in range(once.out.dim())]),
        "the output for the image and its copies",
    )


@check(
    "law",
    "a border of zeros changes nothing inside",
    applies=needs_law("ignores_zero_border"),
    options="all",
    rank=32,
)
def ignores_zero_border(subject: Subject, case: Case) -> Trial:
    """The map goes on with zeros beyond its border, so zeros may as well be part of it."""
    ask = subject.ask(case)
    found = positions(subject, ask, subject.law("ignores_zero_border", case).axes)
    if found is None:
        return NotJudged("no input has height and width")
    name, places = found
    border = 1 + case.seed % 3
    framed = ask
    for _, place in places:
        framed = framed.edit(name, "pad", place, border)
    plain, padded = yield [ask, framed]
    inner = padded.out
    for axis, place in places:
        if inner.shape[place] != case.sizes[axis] + 2 * border:
            return NotJudged("the output has another shape")
        inner = inner.narrow(place, border, case.sizes[axis])
    return agree(inner, plain.out, f"the output inside a border of {border} zeros")


@check(
    "law",
    "a pixel beyond the kernel has no influence",
    applies=needs_law("far_pixel_has_no_influence"),
    options="all",
    rank=33,
)
def far_pixel_has_no_influence(subject: Subject, case: Case) -> Trial:
    """A pixel reaches half a kernel far to every side."""
    reach = case.sizes["kernel"] // 2
    return (
        yield from _unseen(
            subject, case, lambda rows, columns: (rows.abs() > reach) | (columns.abs() > reach)
        )
    )


@check(
    "law",
    "a pixel off the cross has no influence",
    applies=needs_law("off_cross_pixel_has_no_influence"),
    options="all",
    rank=33,
)
def off_cross_pixel_has_no_influence(subject: Subject, case: Case) -> Trial:
    """A pixel is seen from its row and its column, and from nowhere else."""
    return (yield from _unseen(subject, case, lambda rows, columns: (rows != 0) & (columns != 0)))


def _unseen(subject: Subject, case: Case, where: Callable[[Tensor, Tensor], Tensor]) -> Trial:
    """One pixel is changed; pixels at such distances from it stay as they are."""
    ask = subject.ask(case)
    found = positions(subject, ask, ("height", "width"))
    if found is None or len(found[1]) < 2:
        return NotJudged("no input has height and width")
    name, ((_, first), _) = found
    height, width = case.sizes["height"], case.sizes["width"]
    row, column = (case.seed * 3) % height, (case.seed * 5 + 1) % width
    far = where((arange(height) - row)[:, None], (arange(width) - column)[None, :])
    if not bool(far.any()):
        return NotJudged("every pixel is near")
    other = ask.edit(name, "renew_place", first, (row, column, case.seed + 11))
    before, after = yield [ask, other]
    if before.out.shape[first:] != far.shape:
        return NotJudged("the output has another shape")
    return agree(
        after.out.flatten(first)[..., far.flatten()],
        before.out.flatten(first)[..., far.flatten()],
        f"the output away from the changed pixel ({row}, {column})",
    )


@check(
    "law", "an odd last row is no key", applies=needs_law("last_odd_row_is_no_key"), options="all", rank=33
)
def last_odd_row_is_no_key(subject: Subject, case: Case) -> Trial:
    """A last row or column that fills no pooled square asks, but nobody sees it."""
    law = subject.law("last_odd_row_is_no_key", case)
    ask = subject.ask(case)
    found = positions(subject, ask, law.axes)
    odd = [(axis, place) for axis, place in found[1] if case.sizes[axis] % 2] if found else []
    if found is None or not odd:
        return NotJudged("no axis of positions is odd")
    axis, place = odd[case.seed % len(odd)]
    last = case.sizes[axis] - 1
    before, after = yield [ask, ask.edit(found[0], "renew_from", place, (last, case.seed + 13))]
    if before.out.shape[place] != last + 1:
        return NotJudged("the output has another shape")
    return agree(
        after.out.narrow(place, 0, last),
        before.out.narrow(place, 0, last),
        f"the output before the last entry of {axis}",
    )


@check(
    "law",
    "without positions, shuffled pixels change nothing",
    applies=needs_law("zero_position_ignores_pixel_order"),
    rank=31,
)
def zero_position_ignores_pixel_order(subject: Subject, case: Case) -> Trial:
    """A pooled map whose pixels carry no positions is a set of pixels."""
    law = subject.law("zero_position_ignores_pixel_order", case)
    ask = on_layers(subject, subject.ask(case), law.parameters, "zero")
    return (yield from _pooled(subject, case, ask, law.axes, ()))


@check(
    "law",
    "pixels shuffled with their positions change nothing",
    applies=needs_law("ignores_pixel_order_with_positions"),
    rank=31,
)
def ignores_pixel_order_with_positions(subject: Subject, case: Case) -> Trial:
    """A pixel that takes its position along is the same key at another place."""
    law = subject.law("ignores_pixel_order_with_positions", case)
    return (yield from _pooled(subject, case, subject.ask(case), law.axes, law.parameters))


def _pooled(subject: Subject, case: Case, ask: Ask, axes: tuple[str, ...], along: tuple[str, ...]) -> Trial:
    """The output stays when the pixels are shuffled, and the rows of a table behind its first with them."""
    found = positions(subject, ask, axes)
    missing = lacks(subject, ask, along)
    if missing or found is None:
        return missing or NotJudged("no input has height and width")
    if prod(case.sizes[axis] for axis, _ in found[1]) < 2:
        return NotJudged("there is one pixel")
    moved = ask.edit(found[0], "shuffle", found[1][0][1], case.seed)
    before, after = yield [ask, on_layers(subject, moved, along, "shuffle_from", (1, case.seed), 0)]
    return agree(after.out, before.out, "the output for shuffled pixels")


CHECKS = (
    follows_pixel_order,
    follows_transposed_image,
    follows_transposed_image_and_weight,
    follows_tiling,
    ignores_repeated_channels,
    ignores_zero_border,
    far_pixel_has_no_influence,
    off_cross_pixel_has_no_influence,
    last_odd_row_is_no_key,
    zero_position_ignores_pixel_order,
    ignores_pixel_order_with_positions,
)

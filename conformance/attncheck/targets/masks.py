"""How a target wants to be told which keys are hidden: argument, axes and polarity."""

from dataclasses import dataclass

import torch
from torch import Tensor

PADDING_KINDS = ("padding_mask", "last_key_mask", "full_mask")


@dataclass(frozen=True)
class MaskForm:
    """One way of handing a mask over.

    role       the reference's input it stands for: "mask" or "valid_lens"
    axes       axes of what the target takes, such as ("batch", "kv_len"); the batch may be the last one
    polarity   "true attends", "true ignores", "additive", "one attends", "lengths"
    folded     whether batch and heads are one axis
    lower      whether a mask may lack the heads axis, and belongs to all heads of its sample then
    """

    argument: str
    role: str
    axes: tuple[str, ...]
    polarity: str
    folded: bool = False
    lower: bool = False

    @property
    def rank(self) -> int:
        """How many axes the target is given."""
        return 1 if self.polarity == "lengths" else len(self.axes) - self.folded

    @property
    def varies(self) -> tuple[str, ...]:
        """Axes over which the reference's mask may vary so that this form can say it."""
        return tuple(axis for axis in self.axes if axis != "1")

    @property
    def maskings(self) -> tuple[str, ...]:
        """Kinds of masks that this form can say; empty for all."""
        if self.role == "valid_lens":
            return ()
        if self.polarity == "lengths" or "q_len" not in self.axes:
            return PADDING_KINDS
        return ()

    def to_target(self, mask: Tensor, like: Tensor, kv_len: int) -> Tensor:
        """The reference's mask or lengths as the target takes them, floats in the dtype of `like`."""
        if self.role == "valid_lens":
            if self.polarity == "lengths":
                return mask
            mask = self._from_lengths(mask, like, kv_len)
        else:
            mask = self._reduced(mask)
        return self._spoken(mask, like)

    def _from_lengths(self, lengths: Tensor, like: Tensor, kv_len: int) -> Tensor:
        visible = torch.arange(kv_len, device=lengths.device) < lengths.unsqueeze(-1)
        while visible.dim() < len(self.axes):
            visible = visible.unsqueeze(1)
        return visible.expand(-1, like.shape[1], -1) if "q_len" in self.axes else visible

    def _reduced(self, mask: Tensor) -> Tensor:
        """The mask with the axes that the target knows; those it lacks have size 1 by construction."""
        own = (
            ("batch", "heads", "q_len", "kv_len")[-mask.dim() :]
            if mask.dim() == 4
            else ("batch", "q_len", "kv_len")
        )
        for axis in reversed(own):
            if axis not in self.axes:
                mask = mask.select(own.index(axis), 0)
                own = tuple(a for a in own if a != axis)
        for index, axis in enumerate(self.axes):
            if axis == "1":
                mask = mask.unsqueeze(index)
        if self.axes[-1] == "batch":
            return mask.movedim(0, -1)
        return mask.flatten(0, 1) if self.folded else mask

    def _spoken(self, mask: Tensor, like: Tensor) -> Tensor:
        if self.polarity == "true attends":
            return mask
        if self.polarity == "true ignores":
            return ~mask
        if self.polarity == "one attends":
            return mask.to(like.dtype)
        if self.polarity == "lengths":
            return mask.reshape(mask.shape[0], -1, mask.shape[-1])[:, 0].sum(-1)
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -torch.inf)


def hides_keys_alone(mask: Tensor) -> bool:
    """Whether every query and head of a sample may attend to the same keys."""
    if mask.dtype != torch.bool or mask.dim() < 3 or not mask.numel():
        return False
    if all(size == 1 for size in mask.shape[1:-1]):
        return True
    # What is being traced has no values to look at.
    if torch.compiler.is_compiling():
        return False
    rows = mask.flatten(1, -2)
    return bool((rows == rows[:, :1]).all())


def parted(mask: Tensor) -> tuple[Tensor, Tensor] | None:
    """A mask as one that all samples share and one that hides keys from every query, if it is both."""
    if mask.dtype != torch.bool or mask.dim() < 3 or not mask.numel() or torch.compiler.is_compiling():
        return None
    shared = mask.any(0, keepdim=True)
    keys = mask.flatten(1, -2).any(1).reshape(mask.shape[0], *[1] * (mask.dim() - 2), mask.shape[-1])
    return (shared, keys) if bool(((shared & keys) == mask).all()) else None


def forms(argument: str, role: str, axes: tuple[str, ...]) -> list[MaskForm]:
    """The forms to try for an argument of that name, the likeliest first.

    `axes` are those of the reference's mask.
    """
    name = argument.lower()
    headed = "heads" in axes
    full = [
        axes,
        *([("batch", "1", "q_len", "kv_len"), ("batch", "q_len", "kv_len")] if headed else []),
        ("q_len", "kv_len"),
        ("q_len", "kv_len", "batch"),
    ]
    padding: list[tuple[str, ...]] = [("batch", "kv_len"), ("batch", "1", "kv_len")]
    if headed:
        padding.append(("batch", "1", "1", "kv_len"))
    shapes = (
        [*padding, *full]
        if ("padding" in name or "key" in name or "context" in name or "pad" in name)
        else [*full, *padding]
    )
    ignoring = "padding" in name or "ignore" in name or "pad" in name or "block" in name
    polarities = ["true ignores", "true attends"] if ignoring else ["true attends", "true ignores"]
    polarities += ["additive", "one attends"]
    if "len" in name:
        return [MaskForm(argument, role, ("batch", "kv_len"), "lengths")]
    if "bias" in name or "additive" in name:
        polarities = ["additive", "true attends", "true ignores", "one attends"]
    tried = [MaskForm(argument, role, shape, polarity) for shape in shapes for polarity in polarities]
    if headed:
        tried[4:4] = [MaskForm(argument, role, axes, polarity, folded=True) for polarity in polarities]
    return [*tried, MaskForm(argument, role, ("batch", "kv_len"), "lengths")]

"""A mistake is named if it explains every answer, in whatever words it is written; else nothing is."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from attncheck.defects import BY_ID
from attncheck.defects.plain import mutant_of
from attncheck.diagnosis import naming
from attncheck.diagnosis.naming import name
from attncheck.engine.put import InProcess
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref.catalogue import BY_ID as MECHANISMS

Function = Callable[..., Any]


class Written(Reference):
    """The reference's adapter around another function of the same arguments."""

    def __init__(self, mechanism: Mechanism, function: Function) -> None:
        super().__init__(mechanism)
        object.__setattr__(self, "function", function)

    def build(self, names: object) -> Function:
        return self.__dict__["function"]  # type: ignore[no-any-return]  # set above


def named(mechanism: str, function: Function) -> list[str]:
    adapter = Written(MECHANISMS[mechanism], function)
    found = name(Subject(MECHANISMS[mechanism], adapter.interface), InProcess(adapter))
    return [defect.id for defect in found or ()]


def additive_mask(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, alignment: str) -> Tensor:
    """Mask and causal order as numbers to add, in the style of one who knows only torch's operator."""
    rows, columns = torch.meshgrid(torch.arange(q.shape[2]), torch.arange(k.shape[2]), indexing="ij")
    late = columns - rows > (k.shape[2] - q.shape[2] if alignment == "lower_right" else 0)
    total = torch.zeros(q.shape[0], q.shape[1], q.shape[2], k.shape[2], dtype=q.dtype)
    if causal:
        total = total.masked_fill(late, -math.inf)
    return total if mask is None else total.masked_fill(mask.logical_not(), -math.inf)


def operator(change: Callable[[dict[str, Any]], None]) -> Function:
    """torch's operator, after a change of what it is given; without soft cap, as the article has none."""

    def function(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None, *,
        causal: bool = False, alignment: str = "upper_left", scale: float | None = None,
        soft_cap: float | None = None,
    ) -> Tensor:  # fmt: skip
        given: dict[str, Any] = {
            "q": q, "k": k, "v": v, "mask": mask, "causal": causal, "alignment": alignment,
            "scale": 1 / math.sqrt(q.shape[3]) if scale is None else scale, "default": scale is None,
        }  # fmt: skip
        change(given)
        added = additive_mask(q, k, given["mask"], given["causal"], given["alignment"])
        if bias is not None:
            added = added + bias
        if soft_cap is None:
            return torch_attention(given["q"], given["k"], given["v"], added, scale=given["scale"])
        logits = torch.einsum("bhqd,bhkd->bhqk", given["q"], given["k"]) * given["scale"]
        weights = torch.nn.functional.softmax(torch.tanh(logits / soft_cap) * soft_cap + added, dim=3)
        return torch.einsum("bhqk,bhkd->bhqd", weights, given["v"])

    return function


def _set(key: str, make: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.__setitem__(key, make(given))


REWRITTEN: dict[str, Callable[[dict[str, Any]], None]] = {
    "scale_missing": _set("scale", lambda g: 1.0 if g["default"] else g["scale"]),
    "scale_inverted": _set("scale", lambda g: math.sqrt(g["q"].size(-1)) if g["default"] else g["scale"]),
    "scale_applied_twice": _set("scale", lambda g: 1 / g["q"].size(-1) if g["default"] else g["scale"]),
    "scale_by_value_width": _set("scale", lambda g: g["v"].size(-1) ** -0.5 if g["default"] else g["scale"]),
    "scale_by_key_length": _set("scale", lambda g: g["k"].size(2) ** -0.5 if g["default"] else g["scale"]),
    "scale_by_all_heads": _set(
        "scale", lambda g: (g["q"].size(1) * g["q"].size(3)) ** -0.5 if g["default"] else g["scale"]
    ),
    "scale_argument_ignored": _set("scale", lambda g: 1 / math.sqrt(g["q"].size(-1))),
    "mask_ignored": _set("mask", lambda g: None),
    "mask_of_the_first_sample": _set("mask", lambda g: None if g["mask"] is None else g["mask"][0:1]),
    "causal_ignored": _set("causal", lambda g: False),
    "causal_ignores_alignment": _set("alignment", lambda g: "upper_left"),
    "mask_gives_way_to_causal": _set("mask", lambda g: None if g["causal"] else g["mask"]),
    "causal_gives_way_to_a_mask": _set("causal", lambda g: g["causal"] and g["mask"] is None),
}


@pytest.mark.parametrize("mistake", REWRITTEN)
def test_a_mistake_in_other_words_has_its_name(mistake: str) -> None:
    assert named("scaled_dot_product", operator(REWRITTEN[mistake])) == [f"scaled_dot_product.{mistake}"]


def test_a_right_one_has_no_mistake() -> None:
    assert named("scaled_dot_product", operator(lambda given: None)) == []


@pytest.mark.parametrize("factor", [0.9, 1.1, 3.0])
def test_a_mistake_near_a_known_one_has_no_name(factor: float) -> None:
    assert named("scaled_dot_product", operator(_set("scale", lambda g: g["scale"] * factor))) == []


def test_two_mistakes_at_once_are_both_named() -> None:
    def change(given: dict[str, Any]) -> None:
        REWRITTEN["scale_missing"](given)
        REWRITTEN["mask_ignored"](given)

    expected = {"scaled_dot_product.scale_missing", "scaled_dot_product.mask_ignored"}
    assert set(named("scaled_dot_product", operator(change))) == expected


def test_mistakes_that_explain_all_that_was_asked_are_told_apart_by_more_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the longest of a sample's lengths are all keys, to merge them is to ignore them."""
    mechanism = MECHANISMS["masked_softmax"]
    subject = Subject(mechanism, Reference(mechanism).interface)
    merged = mutant_of("masked_softmax", BY_ID["masked_softmax.lengths_of_queries_merged"])
    assert merged is not None
    executor = InProcess(merged)
    asks = [
        subject.ask(Case({"batch": 2, "q_len": 7, "kv_len": 3}, masking="random_mask", seed=seed))
        for seed in range(30)
    ]
    alike = next(ask for ask in asks if make(ask.inputs["valid_lens"]).amax(1).eq(3).all())
    evidence = [(alike, *executor.put([alike]))]
    monkeypatch.setattr(naming, "gathered", lambda subject, executor, failing: evidence)

    found = name(subject, executor)

    assert found is not None
    assert [defect.id for defect in found] == ["masked_softmax.lengths_of_queries_merged"]


def test_mistakes_in_gradients_alone_are_named_by_what_a_check_asked() -> None:
    mechanism = MECHANISMS["scaled_dot_product"]
    subject = Subject(mechanism, Reference(mechanism).interface)
    defect = BY_ID["scaled_dot_product.keys_detached"]
    detached = mutant_of("scaled_dot_product", defect)
    assert detached is not None
    executor = InProcess(detached)
    sizes = {"batch": 2, "heads": 3, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 11}
    ask = subject.ask(Case(sizes), gradients=("k",))

    assert name(subject, executor) is None
    assert name(subject, executor, [(ask, *executor.put([ask]))]) == (defect,)


def test_values_of_projected_keys_are_told_from_those_of_one_width() -> None:
    for mistake in (
        "values_projected_from_projected_keys",
        "values_projected_from_projected_keys_of_one_width",
    ):
        defect = BY_ID[f"cross.{mistake}"]
        made = mutant_of("cross", defect)
        assert made is not None

        assert name(Subject(MECHANISMS["cross"], made.interface), InProcess(made)) == (defect,)

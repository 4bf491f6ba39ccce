"""Which mechanism a target may be, by its name and by what it takes."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from attncheck.shapes.catalogue import BY_ID, mechanisms
from attncheck.targets.making import is_constructor, makes
from attncheck.targets.parameters import parameters_of
from attnref import Mechanism

# Words in a target's name that speak for a mechanism, all of one pattern in lower case.
_WORDS: Mapping[str, str] = {
    "scaled_dot_product": r"scaled_?dot|sdpa|flash|attend$|ring_?attention|dot_product_attention",
    "masked_softmax": r"masked_?softmax",
    "dot_product": r"^dot_?product",
    "additive": r"additive|bahdanau|concat_?attention",
    "kernel_regression": r"kernel_?regression|nadaraya|watson",
    "multi_head": r"multi_?head|^mha|self_?attention|^attention$|attn$|attention$",
    "cross": r"cross",
    "relative_position": r"relative|window_?attention|swin",
    "squeeze_excitation": r"squeeze|^se$|^se_|selayer|seblock|semodule|senet|se_?attention|excit",
    "cbam_channel": r"channel_?(attention|gate|attn)|cbam_?channel",
    "cbam_spatial": r"spatial_?(attention|gate|attn)|cbam_?spatial",
    "cbam_block": r"cbam|cbatten",
    "selective_kernel": r"selective|^sk|skconv|ske",
    "spatial_self": r"sagan|self_?attn|self_?attention(2d)?$|self_?attn_?spatial|spatial_?self|pam",
    "channel_self": r"self_?attn_?channel|cam_?module|^cam$|channel_?self",
    "non_local": r"non_?local",
    "attention_pool": r"attention_?pool|attn_?pool",
    "modified_resnet": r"resnet",
    "criss_cross": r"criss|ccnet|ccattention",
}  # fmt: skip


def likely_mechanisms(target: Any, name: str) -> list[Mechanism]:
    """Mechanisms that the name suggests, the longest match first, then those its arguments fit."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(":")[2].rpartition(".")[2]).lower()
    scored = []
    for mechanism in mechanisms():
        match = re.search(_WORDS.get(mechanism.id) or mechanism.id.replace("_", "_?"), word)
        if match:
            scored.append((-len(match.group()), mechanism))
    suggested = [m for _, m in sorted(scored, key=lambda pair: pair[0])]
    if "heads" in word or _counts(target) >= 3:
        suggested += [m for m in (BY_ID["multi_head"], BY_ID["scaled_dot_product"]) if m not in suggested]
    found = suggested or [BY_ID["multi_head"], BY_ID["cross"]]
    # A plain function has nothing to hold weights in.
    return found if _may_learn(target) else sorted(found, key=lambda m: m.module is not None)


def _may_learn(target: Any) -> bool:
    return is_constructor(target) or isinstance(target, nn.Module)


def _counts(target: Any) -> int:
    function = getattr(makes(target) or target, "forward", target)
    try:
        return len([p for p in parameters_of(function) if p.name != "self" and p.default is p.empty])
    except TypeError:
        return 0

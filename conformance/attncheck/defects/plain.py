"""The plain implementation of each mechanism: what defects are mutants of."""

from collections.abc import Mapping
from typing import Any

from attncheck.defects.additive import PlainAdditive
from attncheck.defects.attention import PlainCross, PlainMultiHead, PlainScaledDotProduct
from attncheck.defects.attention_pool import PlainAttentionPool
from attncheck.defects.cbam_block import PlainCbamBlock
from attncheck.defects.cbam_channel import PlainCbamChannel
from attncheck.defects.cbam_spatial import PlainCbamSpatial
from attncheck.defects.channel_self import PlainChannelSelf
from attncheck.defects.criss_cross import PlainCrissCross
from attncheck.defects.defect import Defect, Mutant, merged
from attncheck.defects.dot_product import PlainDotProduct
from attncheck.defects.kernel_regression import PlainKernelRegression
from attncheck.defects.masked_softmax import PlainMaskedSoftmax
from attncheck.defects.modified_resnet import PlainModifiedResnet
from attncheck.defects.non_local import PlainNonLocal
from attncheck.defects.relative_position import PlainRelativePosition
from attncheck.defects.selective_kernel import PlainSelectiveKernel
from attncheck.defects.spatial_self import PlainSpatialSelf
from attncheck.defects.squeeze_excitation import PlainSqueezeExcitation
from attnref.catalogue import BY_ID

PLAIN: Mapping[str, type[Any]] = {
    "scaled_dot_product": PlainScaledDotProduct,
    "multi_head": PlainMultiHead,
    "cross": PlainCross,
    "additive": PlainAdditive,
    "attention_pool": PlainAttentionPool,
    "cbam_block": PlainCbamBlock,
    "cbam_channel": PlainCbamChannel,
    "cbam_spatial": PlainCbamSpatial,
    "channel_self": PlainChannelSelf,
    "criss_cross": PlainCrissCross,
    "dot_product": PlainDotProduct,
    "kernel_regression": PlainKernelRegression,
    "masked_softmax": PlainMaskedSoftmax,
    "modified_resnet": PlainModifiedResnet,
    "non_local": PlainNonLocal,
    "relative_position": PlainRelativePosition,
    "selective_kernel": PlainSelectiveKernel,
    "spatial_self": PlainSpatialSelf,
    "squeeze_excitation": PlainSqueezeExcitation,
}


def mutant_of(mechanism: str, *defects: Defect) -> Mutant | None:
    """The plain implementation with these defects, None if two of them replace the same step."""
    steps = merged(defects)
    return None if steps is None else Mutant(BY_ID[mechanism], plain=PLAIN[mechanism], steps=steps)

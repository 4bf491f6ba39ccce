"""All mechanisms, in the order of the docs."""

from attnref._mechanism import Mechanism
from attnref.mechanisms import (
    additive,
    attention_pool,
    cbam_block,
    cbam_channel,
    cbam_spatial,
    channel_self,
    criss_cross,
    cross,
    dot_product,
    kernel_regression,
    masked_softmax,
    modified_resnet,
    multi_head,
    non_local,
    relative_position,
    scaled_dot_product,
    selective_kernel,
    spatial_self,
    squeeze_excitation,
)

MECHANISMS: tuple[Mechanism, ...] = (
    scaled_dot_product.MECHANISM,
    masked_softmax.MECHANISM,
    dot_product.MECHANISM,
    additive.MECHANISM,
    kernel_regression.MECHANISM,
    multi_head.MECHANISM,
    cross.MECHANISM,
    relative_position.MECHANISM,
    squeeze_excitation.MECHANISM,
    cbam_channel.MECHANISM,
    cbam_spatial.MECHANISM,
    cbam_block.MECHANISM,
    selective_kernel.MECHANISM,
    spatial_self.MECHANISM,
    channel_self.MECHANISM,
    non_local.MECHANISM,
    attention_pool.MECHANISM,
    modified_resnet.MECHANISM,
    criss_cross.MECHANISM,
)

BY_ID = {mechanism.id: mechanism for mechanism in MECHANISMS}

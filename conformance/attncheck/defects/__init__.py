"""Known mistakes as mutants of the references: they prove that checks can fail, and name findings."""

from attncheck.defects import (
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
from attncheck.defects.defect import Defect as Defect
from attncheck.defects.equivalents import EQUIVALENTS as EQUIVALENTS

DEFECTS: tuple[Defect, ...] = (
    *scaled_dot_product.DEFECTS,
    *masked_softmax.DEFECTS,
    *dot_product.DEFECTS,
    *additive.DEFECTS,
    *kernel_regression.DEFECTS,
    *multi_head.DEFECTS,
    *cross.DEFECTS,
    *relative_position.DEFECTS,
    *squeeze_excitation.DEFECTS,
    *cbam_channel.DEFECTS,
    *cbam_spatial.DEFECTS,
    *cbam_block.DEFECTS,
    *selective_kernel.DEFECTS,
    *spatial_self.DEFECTS,
    *channel_self.DEFECTS,
    *non_local.DEFECTS,
    *attention_pool.DEFECTS,
    *modified_resnet.DEFECTS,
    *criss_cross.DEFECTS,
)

BY_ID = {defect.id: defect for defect in DEFECTS}

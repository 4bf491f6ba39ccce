"""All mechanisms, in the order of the docs."""

from attnref._mechanism import Mechanism
from attnref.mechanisms import (
    additive,
    cross,
    dot_product,
    kernel_regression,
    masked_softmax,
    multi_head,
    relative_position,
    scaled_dot_product,
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
)

BY_ID = {mechanism.id: mechanism for mechanism in MECHANISMS}

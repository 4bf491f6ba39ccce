"""All mechanisms, in the order of the docs."""

from attnref._mechanism import Mechanism
from attnref.mechanisms import cross, multi_head, scaled_dot_product

MECHANISMS: tuple[Mechanism, ...] = (
    scaled_dot_product.MECHANISM,
    multi_head.MECHANISM,
    cross.MECHANISM,
)

BY_ID = {mechanism.id: mechanism for mechanism in MECHANISMS}

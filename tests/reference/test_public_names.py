"""What `attnref` offers, by name: a name added or lost is a decision, not an accident."""

import attnref
from attnref.catalogue import BY_ID

PUBLIC = {
    "AXES", "BrokenLaw", "Citation", "Contract", "Law", "MECHANISMS", "Mechanism", "Option", "Rule", "ShapeError",
    "Variant", "checked",
}  # fmt: skip
SEQUENCE = (
    "scaled_dot_product",
    "masked_softmax",
    "dot_product",
    "additive",
    "kernel_regression",
    "multi_head",
    "cross",
    "relative_position",
)


def test_the_package_offers_exactly_these_names():
    modules = {"axes", "catalogue", "large", "long", "mechanisms"}
    offered = {name for name in vars(attnref) if not name.startswith("_")} - modules

    assert offered == PUBLIC


def test_the_sequence_mechanisms_stand_first_in_the_order_of_the_docs():
    assert tuple(m.id for m in attnref.MECHANISMS)[: len(SEQUENCE)] == SEQUENCE


def test_ids_are_unique():
    assert len(BY_ID) == len(attnref.MECHANISMS)


def test_a_function_is_named_as_its_file_and_a_class_in_camel_case():
    for mechanism in attnref.MECHANISMS:
        assert mechanism.call.__name__ == mechanism.id
        assert mechanism.call.__module__ == f"attnref.mechanisms.{mechanism.id}"
        if mechanism.module is not None:
            assert mechanism.module.__name__ == mechanism.id.title().replace("_", "")

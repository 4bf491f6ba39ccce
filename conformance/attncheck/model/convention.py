"""Conventions: points on which serious libraries differ legitimately, with the options that count."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """One point of difference. A target that follows one of the options consistently conforms."""

    id: str
    question: str
    options: tuple[str, ...]


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "mask_polarity",
        "what a mask's entry means",
        ("true_attends", "true_ignores", "additive", "lengths"),
    ),
    Convention("causal_alignment", "where the causal diagonal starts", ("upper_left", "lower_right")),
    Convention(
        "fully_masked_row",
        "what a query gets that may attend to nothing",
        ("zeros", "nan", "mean_of_the_values"),
    ),
    Convention("empty_axes", "what happens if batch, q_len or kv_len is 0", ("supported", "raises")),
    Convention("mismatched_size_one", "what happens if 1 meets another size", ("raises", "broadcasts")),
    Convention(
        "weights_returned",
        "which attention weights come back",
        ("per_head", "averaged", "none", "before_dropout", "after_dropout"),
    ),
    Convention(
        "softmax_precision",
        "in which precision the softmax is computed",
        ("of_the_input", "float32", "all_float32"),
    ),
    Convention(
        "no_reduced_channels",
        "what happens if channels // reduction is 0",
        ("raises", "at_least_one_unit"),
    ),
    Convention("nan_behind_a_mask", "whether NaN or ±inf behind a mask shows", ("blocked", "leaks")),
    Convention(
        "layout",
        "how the tensors are laid out",
        ("batch_first", "sequence_first", "channels_first", "channels_last", "heads_first", "length_first"),
    ),
    Convention("initial_values", "what γ and the last norm start from", ("as_in_the_paper", "other")),
)

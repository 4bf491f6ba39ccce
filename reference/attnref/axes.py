"""The glossary of axes: one word for each dimension, used in annotations, messages and docs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A named dimension; its extent in one call is a size."""

    name: str
    meaning: str
    also_called: tuple[str, ...] = ()


AXES: tuple[Axis, ...] = (
    Axis("batch", "samples that must not influence each other", ("B", "N", "bsz")),
    Axis("heads", "attention heads", ("H", "num_heads", "n_head")),
    Axis("kv_heads", "heads of keys and values, each shared by several query heads", ("G",)),
    Axis("q_len", "queries: positions that look", ("L", "Sq", "tgt_len")),
    Axis("kv_len", "keys and values: positions that are looked at", ("S", "Sk", "src_len")),
    Axis("head_dim", "features of one query or key in one head", ("d", "d_k", "dim_head")),
    Axis("v_dim", "features of one value", ("d_v", "vdim")),
    Axis("model_dim", "features of one token between layers", ("D", "d_model", "embed_dim")),
    Axis("query_size", "features of a query before its projection", ("q_dim",)),
    Axis("key_size", "features of a key before its projection", ("kdim", "context_dim")),
    Axis("value_size", "features of a value before its projection", ("vdim",)),
    Axis("hidden", "features of an inner layer", ("num_hiddens", "inner")),
    Axis("v_hidden", "features of the values of all heads", ("heads·v_dim",)),
    Axis("tokens", "positions of a sequence that attends to itself", ("N", "seq_len")),
    Axis("window", "positions along one side of an attention window", ("Wh", "Ww")),
    Axis("channels", "feature maps of an image", ("C", "in_channels")),
    Axis("out_channels", "feature maps after the layer", ("planes", "C_out")),
    Axis("reduced", "feature maps after a squeeze", ("C // r", "mip")),
    Axis("least_reduced", "fewest feature maps that a squeeze may leave", ("L",)),
    Axis("groups", "groups of a grouped convolution", ("G", "cardinality")),
    Axis("branches", "parallel branches that a gate chooses from", ("M",)),
    Axis("height", "rows of an image", ("H",)),
    Axis("width", "columns of an image", ("W",)),
    Axis("time", "frames of a clip", ("T",)),
    Axis("length", "positions of a one-dimensional signal", ("L",)),
    Axis("kernel", "side of a convolution kernel", ("k", "kernel_size")),
    Axis("gate_kernel", "side of the kernel of a spatial gate", ("spatial_kernel_size",)),
    Axis("stride", "step of a convolution", ("s",)),
    Axis("reduction", "channels per squeezed channel", ("r", "ratio")),
    Axis("classes", "entries of a network's answer", ("num_classes", "output_dim")),
)

BY_NAME = {axis.name: axis for axis in AXES}

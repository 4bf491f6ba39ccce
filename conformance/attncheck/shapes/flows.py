"""The flow of every mechanism, as data; that the references make these tensors is tested."""

from collections.abc import Mapping

from attncheck.shapes.flow import Flow, Step
from attncheck.shapes.table import table
from attnref import Mechanism

_SCORES = "batch q_len kv_len"
_HEADS = "batch heads q_len kv_len"
_MAP = "batch channels height width"
_SELF = "batch heads tokens tokens"
_SPLIT = "batch heads tokens model_dim//heads"
_STRIDED = "(height-1)//stride+1 (width-1)//stride+1"
_OUT = f"batch out_channels {_STRIDED}"

FLOWS: Mapping[str, Flow] = {
    "scaled_dot_product": Flow(
        (
            Step("q kᵀ · scale", ("q", "k"), "logits", _HEADS),
            Step("cap, add bias, hide", ("logits", "bias", "mask"), "visible", _HEADS),
            Step("softmax over kv_len", ("visible",), "weights"),
            Step("average the values", ("weights", "v"), "out"),
        )
    ),
    "masked_softmax": Flow(
        (
            Step("hide what is past the length", ("scores", "valid_lens"), "visible", _SCORES),
            Step("softmax over kv_len", ("visible",), "out"),
        )
    ),
    "dot_product": Flow(
        (
            Step("divide by √head_dim", ("queries",), "scaled", "batch q_len head_dim"),
            Step("products", ("scaled", "keys"), "scores", _SCORES),
            Step("masked_softmax", ("scores", "valid_lens"), "weights"),
            Step("average the values", ("weights", "values"), "out"),
        )
    ),
    "additive": Flow(
        (
            Step("project", ("queries",), "asked", "batch q_len hidden", ("query.weight",)),
            Step("project", ("keys",), "offered", "batch kv_len hidden", ("key.weight",)),
            Step("tanh of every sum", ("asked", "offered"), "features", "batch q_len kv_len hidden"),
            Step("score", ("features",), "scores", _SCORES, ("score.weight",)),
            Step("masked_softmax", ("scores", "valid_lens"), "weights"),
            Step("average the values", ("weights", "values"), "out"),
        )
    ),
    "kernel_regression": Flow(
        (
            Step("|x − x_j| · |w|", ("queries", "keys"), "distances", "q_len kv_len", ("inverse_width",)),
            Step("softmax of −d²/2", ("distances",), "weights"),
            Step("average the values", ("weights", "values"), "out"),
        )
    ),
    "multi_head": Flow(
        (
            Step("project, split", ("q",), "queries", "batch heads q_len head_dim", ("query.weight",)),
            Step("project, split", ("k",), "keys", "batch heads kv_len head_dim", ("key.weight",)),
            Step("project, split", ("v",), "values", "batch heads kv_len v_dim", ("value.weight",)),
            Step("products / √head_dim", ("queries", "keys"), "logits", _HEADS),
            Step("hide", ("logits", "mask", "valid_lens"), "visible", _HEADS),
            Step("softmax over kv_len", ("visible",), "weights"),
            Step("average the values", ("weights", "values"), "read", "batch heads q_len v_dim"),
            Step("join the heads", ("read",), "joined", "batch q_len heads*v_dim"),
            Step("project", ("joined",), "out", learns=("output.weight",)),
        )
    ),
    "cross": Flow(
        (
            Step("project", ("x",), "queries", "batch q_len head_dim", ("query.weight",)),
            Step("project", ("y",), "keys", "batch kv_len head_dim", ("key.weight",)),
            Step("project", ("y",), "values", "batch kv_len v_dim", ("value.weight",)),
            Step("products / √head_dim", ("queries", "keys"), "logits", _SCORES),
            Step("hide", ("logits", "mask"), "visible", _SCORES),
            Step("softmax over kv_len", ("visible",), "weights"),
            Step("average the values", ("weights", "values"), "out"),
        )
    ),
    "relative_position": Flow(
        (
            Step("project, split", ("x",), "queries", _SPLIT, ("query.weight",)),
            Step("project, split", ("x",), "keys", _SPLIT, ("key.weight",)),
            Step("project, split", ("x",), "values", _SPLIT, ("value.weight",)),
            Step("look up every offset", (), "bias", "heads tokens tokens", ("table",)),
            Step("scaled products + bias", ("queries", "keys", "bias"), "logits", _SELF),
            Step("softmax over keys", ("logits",), "weights"),
            Step("average the values", ("weights", "values"), "read", _SPLIT),
            Step("join the heads", ("read",), "joined", "batch tokens model_dim"),
            Step("project", ("joined",), "out", learns=("output.weight",)),
        )
    ),
    "squeeze_excitation": Flow(
        (
            Step("mean over pixels", ("x",), "pooled", "batch channels"),
            Step("squeeze, relu", ("pooled",), "squeezed", "batch reduced", ("squeeze.weight",)),
            Step("excite", ("squeezed",), "logits", "batch channels", ("excite.weight",)),
            Step("sigmoid", ("logits",), "gate", "batch channels 1 1"),
            Step("scale the channels", ("x", "gate"), "out"),
        ),
        also={"reduced": "channels//reduction"},
    ),
    "cbam_channel": Flow(
        (
            Step("mean over pixels", ("x",), "mean", "batch channels"),
            Step("maximum over pixels", ("x",), "maximum", "batch channels"),
            Step("stack", ("mean", "maximum"), "pooled", "2 batch channels"),
            Step("squeeze, relu", ("pooled",), "squeezed", "2 batch reduced", ("squeeze.weight",)),
            Step("excite, add both", ("squeezed",), "logits", "batch channels", ("excite.weight",)),
            Step("sigmoid", ("logits",), "gate", "batch channels 1 1"),
            Step("scale the channels", ("x", "gate"), "out"),
        ),
        also={"reduced": "channels//reduction"},
    ),
    "cbam_spatial": Flow(
        (
            Step("mean over channels", ("x",), "mean", "batch height width"),
            Step("maximum over channels", ("x",), "maximum", "batch height width"),
            Step("stack", ("mean", "maximum"), "maps", "batch 2 height width"),
            Step("convolve, zeros outside", ("maps",), "logits", "batch 1 height width", ("conv.weight",)),
            Step("sigmoid", ("logits",), "gate", "batch 1 height width"),
            Step("scale the pixels", ("x", "gate"), "out"),
        )
    ),
    "cbam_block": Flow(
        (
            Step("convolve", ("x",), "convolved", _OUT, ("conv.weight",)),
            Step("norm, relu", ("convolved",), "features", _OUT, ("norm.weight",)),
            Step("cbam_channel", ("features",), "recalibrated", _OUT,
                 ("channel.squeeze.weight", "channel.excite.weight")),
            Step("cbam_spatial", ("recalibrated",), "gated", _OUT,
                 ("spatial.conv.weight",)),
            Step("1×1 convolution", ("x",), "skip", _OUT, ("skip.conv.weight",)),
            Step("add, relu", ("gated", "skip"), "out"),
        )
    ),
    "selective_kernel": Flow(
        (
            Step("branches: convolve, norm, relu", ("x",), "features", f"batch branches channels {_STRIDED}",
                 ("conv.0.weight", "norm.0.weight")),
            Step("mean over pixels", ("features",), "fused", "batch branches channels"),
            Step("sum over branches", ("fused",), "pooled", "batch channels"),
            Step("squeeze, norm, relu", ("pooled",), "squeezed",
                 "batch max(channels//reduction,least_reduced)", ("squeeze.weight", "squeeze_norm.weight")),
            Step("excite each branch", ("squeezed",), "logits", "batch branches channels",
                 ("excite.0.weight",)),
            Step("softmax over branches", ("logits",), "weights"),
            Step("average the branches", ("weights", "features"), "out"),
        )
    ),
    "spatial_self": Flow(
        (
            Step("project", ("x",), "queries", "batch height*width reduced", ("query.weight",)),
            Step("project", ("x",), "keys", "batch height*width reduced", ("key.weight",)),
            Step("project", ("x",), "values", "batch height*width v_dim", ("value.weight",)),
            Step("products", ("queries", "keys"), "logits", "batch height*width height*width"),
            Step("softmax over keys", ("logits",), "weights"),
            Step("average the values", ("weights", "values"), "read", _MAP),
            Step("γ · read + x", ("read", "x"), "out", learns=("gamma",)),
        )
    ),
    "channel_self": Flow(
        (
            Step("products over pixels", ("x",), "logits", "batch channels channels"),
            Step("softmax over channels", ("logits",), "weights"),
            Step("average the channels", ("weights", "x"), "read", _MAP),
            Step("γ · read + x", ("read", "x"), "out", learns=("gamma",)),
        )
    ),
    "non_local": Flow(
        (
            Step("project", ("x",), "queries", "batch reduced height*width", ("query.weight",)),
            Step("project", ("x",), "keys", "batch reduced height*width", ("key.weight",)),
            Step("project", ("x",), "values", "batch reduced height*width", ("value.weight",)),
            Step("products", ("queries", "keys"), "logits", "batch height*width height*width"),
            Step("softmax over kv_len", ("logits",), "weights"),
            Step("average the values", ("weights", "values"), "read", "batch reduced height width"),
            Step("project", ("read",), "projected", _MAP, ("output.weight",)),
            Step("add", ("projected", "x"), "out"),
        ),
        also={"q_len": "height*width", "kv_len": "height*width"},
        forms={"x": 4, "out": 4},
    ),
    "attention_pool": Flow(
        (
            Step("mean of the pixels, then all pixels", ("x",), "pixels", "batch height*width+1 channels"),
            Step("add positions", ("pixels",), "tokens", "batch height*width+1 channels", ("position",)),
            Step("first token: project, split", ("tokens",), "query", "batch heads 1 channels//heads",
                 ("query.weight",)),
            Step("project, split", ("tokens",), "keys", "batch heads height*width+1 channels//heads",
                 ("key.weight",)),
            Step("project, split", ("tokens",), "values", "batch heads height*width+1 channels//heads",
                 ("value.weight",)),
            Step("scaled products, softmax", ("query", "keys"), "weights"),
            Step("average the values", ("weights", "values"), "read", "batch heads 1 channels//heads"),
            Step("join the heads", ("read",), "joined", "batch channels"),
            Step("project", ("joined",), "out", learns=("output.weight",)),
        )
    ),
    "modified_resnet": Flow(
        (
            Step("stem: three 3×3 convolutions", ("x",), "stemmed",
                 "batch hidden (height+1)//2 (width+1)//2"),
            Step("mean over 2×2", ("stemmed",), "pooled", "batch hidden (height+1)//4 (width+1)//4"),
            Step("four stages of blocks", ("pooled",), "features",
                 "batch hidden*32 (height+1)//32 (width+1)//32"),
            Step("attention_pool", ("features",), "out", learns=("head.position", "head.output.weight")),
        )
    ),
    "criss_cross": Flow(
        (
            Step("project", ("x",), "queries", "batch reduced height width", ("query.weight",)),
            Step("project", ("x",), "keys", "batch reduced height width", ("key.weight",)),
            Step("project", ("x",), "values", _MAP, ("value.weight",)),
            Step("products along column and row", ("queries", "keys"), "logits",
                 "batch height width height+width-1"),
            Step("softmax over the cross", ("logits",), "weights"),
            Step("average the values", ("weights", "values"), "read", _MAP),
            Step("γ · read + x", ("read", "x"), "out", learns=("gamma",)),
        )
    ),
}  # fmt: skip


def flow_of(mechanism: Mechanism) -> Flow:
    """The flow of a mechanism; one step for one of a distribution that says nothing of its own."""
    if mechanism.id in FLOWS:
        return FLOWS[mechanism.id]
    rows = table(mechanism)
    inputs = tuple(row.name for row in rows if row.role == "input")
    learned = tuple(row.name for row in rows if row.role == "parameter")
    first, *_ = (row.name for row in rows if row.role == "output")
    return Flow((Step(mechanism.id, inputs, first, learns=learned),))

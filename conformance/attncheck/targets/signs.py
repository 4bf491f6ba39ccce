"""What speaks for each mechanism: words in a target's name, words in its code, and how much it must be given."""

from collections.abc import Mapping
from dataclasses import dataclass

# What almost every attention has says little of which one it is.
_COMMON = 0.6
_SOFTMAX = r"softmax|scaled_dot|exp\("
_MEAN = r"mean\(|avg_?pool"


@dataclass(frozen=True)
class Signs:
    """Patterns of one mechanism, of names and code in lower case, words of names parted by underscores.

    name      what names nothing else
    hint      what may name others too
    code      each is one sign; code that shows them all is worth as much as a name, times `weight`
    inputs    the least and the most arguments without a default that a call of it takes
    """

    name: str
    hint: str
    code: tuple[str, ...]
    inputs: tuple[int, int] = (1, 1)
    weight: float = 1.0


SIGNS: Mapping[str, Signs] = {
    "scaled_dot_product": Signs(
        r"scaled?_?dot|sdpa?(?![a-z])|flash|ring_att",
        r"dot|qkv|core|fused|tiled|paged|attend$",
        (r"\bscale\b|sqrt|\*\* ?-0?\.5", r"causal|attn_mask|\bmask\b", r"\bq(uery)?\b", _SOFTMAX),
        (3, 3), _COMMON,
    ),
    "masked_softmax": Signs(
        r"softmax", r"^$", (r"softmax|exp\(", r"valid|lens|lengths", r"scores|logits|\bx\b"), (1, 2)
    ),
    "dot_product": Signs(
        r"(?<!scaled_)dot_?product|luong|dot_(att|score)|multiplicative",
        r"dot",
        (r"valid|lens|lengths", r"queries|keys|query", r"softmax", r"bmm|@|matmul|einsum"),
        (2, 4), _COMMON,
    ),
    "additive": Signs(
        r"additive|bah?danau|concat|mlp_att|perceptron",
        r"scorer|pointer",
        (r"^(?!.*cap).*tanh", r"^(?!.*cap).*tanh", r"w_?v|v_?a|energy|score|softmax"),
        (2, 4),
    ),
    "kernel_regression": Signs(
        r"kernel_?reg|nadaraya|watson|gauss|kernel_?smooth|smoother|kernel_att|parzen",
        r"kernel|(^|_)nw(_|$)|regress",
        (r"\*\* ?2|square|cdist|pow\(", r"gauss|bandwidth|sigma|width|nadaraya|kernel"),
        (1, 3),
    ),
    "multi_head": Signs(
        r"multi_?head|mha|mhsa$",
        r"self_att|msa$|heads?(_|$)|transformer",
        (r"head", r"head", r"embed|proj|w_?o|w_?q|out|qkv", _SOFTMAX),
        (1, 4), 0.75,
    ),
    "cross": Signs(
        r"(?<!criss)(?<!criss_)cross_?(att|mod|dom|head)|enc(oder)?_dec",
        r"(?<!criss)(?<!criss_)cross|context|memory|guided|condition|two_stream|bipartite|_to_",
        (r"context|\by\b|memory|enc|cond|source|\bkv", _SOFTMAX),
        (2, 3), _COMMON,
    ),
    "relative_position": Signs(
        r"relative|rel_?(pos|bias|att)|swin",
        r"window|offset|bias(ed)?_|grid_att|toeplitz",
        (
            r"rel_|relative|offset|rpb|rpe|bias_table",
            r"table|2 ?\* ?\(?\w+(\[\d\])? ?(- ?1|\) ?- ?1)|distance",
            r"head",
            r"table|offset|bias\[",
        ),
    ),
    "squeeze_excitation": Signs(
        r"squeeze|(?<![a-z])se(?![a-z])|se(net|_?layer|_?block|_?module)|excit|recalib",
        r"gate|channel",
        (r"sigmoid", _MEAN, r"squeeze|excit|reduc", r"^(?!.*(max_?pool|amax))"),
    ),
    "cbam_channel": Signs(
        r"channel_?gate|cbam_channel",
        r"^cam|channel|gate",
        (r"sigmoid", _MEAN, r"max_?pool|amax|max\(", r"reduc|mlp|ratio|hidden"),
    ),
    "cbam_spatial": Signs(
        r"spatial_?(gate|mask|weight)|cbam_spatial|pixel_gate|^sam$",
        r"spatial|pixel|gate",
        (r"sigmoid", r"max", r"cat\(|stack\(", r"kernel|conv"),
    ),
    "cbam_block": Signs(
        r"cbam|cbatten|attent?(ion|ive)?_?(block|res|conv|unit|stage|basic)|conv_?block_?att",
        r"block|unit|bottleneck",
        (r"norm", r"spatial|sa\b", r"channel|ca\b", r"shortcut|residual|skip|downsample|stride"),
    ),
    "selective_kernel": Signs(
        r"selective|(?<![a-z])sk(?![a-z])|sk_?(conv|unit|net|layer|block|module|att)|ske|kernel_select",
        r"branch|multi_?scale|multi_field|select",
        (r"branch|path", r"dilat|kernels|groups", r"softmax", r"modulelist|fcs|convs|sum\("),
    ),
    "spatial_self": Signs(
        r"sagan|spatial_?self|self_?att(entio)?n_spatial|pam(_|$)|position_?att|biggan",
        r"self_?att|spatial|2d$|pixel",
        (r"gamma|sigma|gain", r"conv|, 1, 1\)|\(1, 1\)", r"// ?8|height|\bh\b|pixel|chw", _SOFTMAX),
        weight=0.9,
    ),
    "channel_self": Signs(
        r"self_?att(entio)?n_channel|cam_module|channel_?self|channel_(affin|non|context)|gram",
        r"channel|^cam|affinity",
        (
            r"gamma|beta|channel",
            r"-1\)|flat|reshape",
            r"energy|affinity|gram|bmm|einsum|@",
            _SOFTMAX,
            r"^(?!.*sigmoid)",
        ),
        weight=0.8,
    ),
    "non_local": Signs(
        r"non_?local|(?<![a-z])nl_?block|embedded_gauss",
        r"(?<![a-z])nl(?![a-z])|global",
        (r"theta", r"phi", r"\bg\b", r"sub_?sample|dimension|conv_?(nd|3d)|inner|inter_channels|\bdim\b"),
    ),
    "attention_pool": Signs(
        r"att(entio)?n(al)?_?pool|qkv_?pool|(mean|query|token)_\w*pool",
        r"pool",
        (r"pos", r"mean\(", r"cat\(", r"head"),
    ),
    "modified_resnet": Signs(
        r"res_?net",
        r"visual|backbone|clip|tower|encoder|network|^rn",
        (r"bottleneck|block", r"layer1|layers|stages", r"stem|conv1", r"avg_?pool|att\w*_?pool|width|embed"),
    ),
    "criss_cross": Signs(
        r"criss|cc_?(net|att|module)|(?<![a-z])r?cca(?![a-z])",
        r"cross|row_col|axial|strip|path|column",
        (r"height|\bh\b", r"inf\b|diag|eye", r"gamma|conv", r"row|col|horizontal|vertical|_h\b|_w\b"),
    ),
}  # fmt: skip

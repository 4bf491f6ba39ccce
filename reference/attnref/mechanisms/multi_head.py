"""Multi-head attention: several attentions side by side, each on its own slice of the projections."""

from typing import Literal

from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from attnref._checked import ShapeError, checked
from attnref._mechanism import Citation, Contract, Law, Mechanism, Option, Rule
from attnref.mechanisms.masked_softmax import visible_keys
from attnref.mechanisms.scaled_dot_product import scaled_dot_product


@checked
def multi_head(
    q: Float[Tensor, "batch q_len query_size"],
    k: Float[Tensor, "batch kv_len key_size"],
    v: Float[Tensor, "batch kv_len value_size"],
    query_weight: Float[Tensor, "hidden query_size"],
    key_weight: Float[Tensor, "hidden key_size"],
    value_weight: Float[Tensor, "v_hidden value_size"],
    output_weight: Float[Tensor, "model_dim v_hidden"],
    query_bias: Float[Tensor, " hidden"] | None = None,
    key_bias: Float[Tensor, " hidden"] | None = None,
    value_bias: Float[Tensor, " v_hidden"] | None = None,
    output_bias: Float[Tensor, " model_dim"] | None = None,
    mask: Bool[Tensor, "#batch #heads #q_len #kv_len"] | Bool[Tensor, "#batch #q_len #kv_len"] | None = None,
    valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
    *,
    heads: int,
    causal: bool = False,
    alignment: Literal["upper_left", "lower_right"] = "upper_left",
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch q_len model_dim"]
    | tuple[Float[Tensor, "batch q_len model_dim"], Float[Tensor, "batch {heads} q_len kv_len"]]
):
    """Attend with `heads` heads; head h works on features h·head_dim to (h+1)·head_dim.

    Self-attention is the call with q, k and v the same tensor. In `mask`, True means "may
    attend", and a mask of rank 3 is `batch q_len kv_len`. `valid_lens` counts the keys, from the
    first, that a sample (or each of its queries) may attend to. Weights come back per head.

    Differs from: torch.nn.MultiheadAttention, where True in a mask means "ignore" and weights
    are averaged over heads.

    Source: Vaswani et al. 2017, section 3.2.2, arXiv:1706.03762.
    Raises: ShapeError if axes do not agree; ValueError if heads do not divide hidden or v_hidden.
    """
    require_divisible(heads, hidden=query_weight.shape[0], v_hidden=value_weight.shape[0])
    mask = _full_mask(mask, valid_lens, heads=heads, kv_len=k.shape[1])
    split = "batch length (heads head_dim) -> batch heads length head_dim"
    out, weights = scaled_dot_product(
        rearrange(linear(q, query_weight, query_bias), split, heads=heads),
        rearrange(linear(k, key_weight, key_bias), split, heads=heads),
        rearrange(linear(v, value_weight, value_bias), split, heads=heads),
        mask,
        causal=causal,
        alignment=alignment,
        need_weights=True,
    )
    joined = rearrange(out, "batch heads q_len head_dim -> batch q_len (heads head_dim)")
    result = linear(joined, output_weight, output_bias)
    return (result, weights) if need_weights else result


def _full_mask(mask: Tensor | None, valid_lens: Tensor | None, *, heads: int, kv_len: int) -> Tensor | None:
    """Mask and valid lengths as one mask with the axes `batch heads q_len kv_len`."""
    if mask is not None and mask.dim() == 3:
        mask = mask[:, None]
    # The annotation cannot tie #heads to an argument, so a mask of rank 4 is held to it here.
    if mask is not None and mask.shape[1] not in (1, heads):
        raise ShapeError(f"multi_head: mask has heads={mask.shape[1]}, but heads is {heads}")
    if valid_lens is None:
        return mask
    within = visible_keys(valid_lens, kv_len)[:, None]
    return within if mask is None else within & mask


def require_divisible(heads: int, **widths: int) -> None:
    """Raise ValueError unless `heads` divides each of `widths`."""
    for name, width in widths.items():
        if heads < 1 or width % heads:
            raise ValueError(
                f"multi_head: {name} must be a multiple of heads, got {name}={width}, heads={heads}"
            )


class MultiHead(nn.Module):
    """`multi_head` with the four projections as parameters.

    Keys, queries and values may have sizes of their own; each is `model_dim` unless given.
    A head works with `head_dim` features of queries and keys, model_dim // heads unless given,
    and `v_dim` features of values, as many as `head_dim` unless given.
    """

    def __init__(
        self,
        model_dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        v_dim: int | None = None,
        query_size: int | None = None,
        key_size: int | None = None,
        value_size: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if head_dim is None:
            require_divisible(heads, model_dim=model_dim)
        self.model_dim, self.heads = model_dim, heads
        self.head_dim = model_dim // heads if head_dim is None else head_dim
        self.v_dim = self.head_dim if v_dim is None else v_dim
        self.query_size = model_dim if query_size is None else query_size
        self.key_size = model_dim if key_size is None else key_size
        self.value_size = model_dim if value_size is None else value_size
        self.query = nn.Linear(self.query_size, heads * self.head_dim, bias=bias)
        self.key = nn.Linear(self.key_size, heads * self.head_dim, bias=bias)
        self.value = nn.Linear(self.value_size, heads * self.v_dim, bias=bias)
        self.output = nn.Linear(heads * self.v_dim, model_dim, bias=bias)

    @checked
    def forward(
        self,
        q: Float[Tensor, "batch q_len {self.query_size}"],
        k: Float[Tensor, "batch kv_len {self.key_size}"],
        v: Float[Tensor, "batch kv_len {self.value_size}"],
        mask: Bool[Tensor, "#batch #{self.heads} #q_len #kv_len"]
        | Bool[Tensor, "#batch #q_len #kv_len"]
        | None = None,
        valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
        *,
        causal: bool = False,
        alignment: Literal["upper_left", "lower_right"] = "upper_left",
        need_weights: bool = False,
    ) -> (
        Float[Tensor, "batch q_len {self.model_dim}"]
        | tuple[
            Float[Tensor, "batch q_len {self.model_dim}"],
            Float[Tensor, "batch {self.heads} q_len kv_len"],
        ]
    ):
        """Attend from q to k and v."""
        return multi_head(
            q, k, v,
            self.query.weight, self.key.weight, self.value.weight, self.output.weight,
            self.query.bias, self.key.bias, self.value.bias, self.output.bias,
            mask, valid_lens,
            heads=self.heads, causal=causal, alignment=alignment, need_weights=need_weights,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="multi_head",
    title="Multi-head attention",
    formula=r"\mathrm{concat}_h\!\left(\mathrm{softmax}(q_h k_h^\top / \sqrt{\mathrm{head\_dim}})\, v_h\right) W_o^\top",
    call=multi_head,
    module=MultiHead,
    outputs=("out", "weights"),
    cite=(Citation("Attention Is All You Need", "https://arxiv.org/abs/1706.03762", "section 3.2.2"),),
    differs_from="torch.nn.MultiheadAttention: True in a mask means ignore, weights are averaged.",
    contract=Contract(
        rules=(Rule("model_dim % heads == 0", "heads share model_dim evenly, unless head_dim is given"),),
        defaults={
            "head_dim": "model_dim // heads",
            "v_dim": "head_dim",
            "query_size": "model_dim",
            "key_size": "model_dim",
            "value_size": "model_dim",
        },
        lengths={"valid_lens": "kv_len"},
        options=(
            Option("bias", (True, False), "whether the projections have a bias"),
            Option("causal", (False, True), "query i sees keys up to i"),
            Option("alignment", ("upper_left", "lower_right"), "where the causal diagonal starts"),
        ),
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("v",), parameters=("key",)),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("q", "k")),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", inputs=("q", "k")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law("ignores_key_bias", parameters=("key.bias",)),
            Law("linear_in_values", parameters=("value",)),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
            Law("causal_sees_no_future", axes=("q_len", "kv_len")),
        ),
        conventions=(
            "mask_polarity",
            "causal_alignment",
            "fully_masked_row",
            "empty_axes",
            "mismatched_size_one",
            "weights_returned",
            "softmax_precision",
            "layout",
        ),
    ),
)

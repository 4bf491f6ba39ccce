"""Selective kernels: branches that see differently far, and a gate that weighs them per channel."""

from typing import Literal

import torch
from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant
from attnref.mechanisms._pixels import require_pixels


@checked
def selective_kernel(
    features: Float[Tensor, "batch branches channels height width"],
    logits: Float[Tensor, "batch branches channels"],
    *,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch channels height width"]
    | tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch branches channels"]]
):
    """Average the features of the branches, each channel weighted by a softmax over branches.

    Differs from: attention over positions; here the softmax runs over branches, and every
    position of a channel has the same weights.

    Source: Li et al. 2019, equations 5 and 6, arXiv:1903.06586.
    Raises: ShapeError if axes do not agree.
    """
    weights = torch.softmax(logits, dim=1)
    names = "batch branches channels, batch branches channels height width -> batch channels height width"
    out = einsum(weights, features, names)
    return (out, weights) if need_weights else out


class SelectiveKernel(nn.Module):
    """Branches of convolution, batch norm and relu, joined by `selective_kernel`.

    Branch i, counted from 0, spans 3 + 2i pixels: a 3×3 kernel with dilation 1 + i if `dilated`,
    else a full kernel. The gate reads the spatial mean of the sum of all branches:
    logits_i = E_i z with z = relu(norm(S mean)), or, with `gate="affine"`, z = S mean.
    The gate's width is channels // reduction, but at least `least_reduced`.

    While training, batch norm needs more than one sample for z, and more than one value of each
    channel in a branch.
    """

    def __init__(
        self,
        channels: int,
        *,
        branches: int = 2,
        groups: int = 32,
        reduction: int = 16,
        least_reduced: int = 32,
        stride: int = 1,
        gate: Literal["normalised", "affine"] = "normalised",
        gate_bias: bool = False,
        dilated: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.branches, self.groups, self.stride = channels, branches, groups, stride
        self.reduction, self.least_reduced, self.gate = reduction, least_reduced, gate
        self._require_sensible()
        self.reduced = max(channels // reduction, least_reduced)
        self.conv = nn.ModuleList(self._branch(1 + i, dilated=dilated, bias=bias) for i in range(branches))
        self.norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(branches))
        self.squeeze = nn.Linear(channels, self.reduced, bias=gate_bias)
        self.squeeze_norm = nn.BatchNorm1d(self.reduced) if gate == "normalised" else None
        self.excite = nn.ModuleList(
            nn.Linear(self.reduced, channels, bias=gate_bias) for _ in range(branches)
        )

    def _require_sensible(self) -> None:
        for name in ("branches", "groups", "reduction", "least_reduced", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"selective_kernel: {name} must be at least 1, got {name}={getattr(self, name)}"
                )
        if self.channels < 1 or self.channels % self.groups:
            raise ValueError(
                "selective_kernel: channels must be a positive multiple of groups, "
                f"got channels={self.channels}, groups={self.groups}"
            )

    def _branch(self, reach: int, *, dilated: bool, bias: bool) -> nn.Conv2d:
        """A convolution that sees `reach` pixels to every side."""
        return nn.Conv2d(
            self.channels,
            self.channels,
            3 if dilated else 1 + 2 * reach,
            self.stride,
            padding=reach,
            dilation=reach if dilated else 1,
            groups=self.groups,
            bias=bias,
        )

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"], *, need_weights: bool = False
    ) -> (
        Float[Tensor, "batch {self.channels} (height-1)//{self.stride}+1 (width-1)//{self.stride}+1"]
        | tuple[
            Float[Tensor, "batch {self.channels} (height-1)//{self.stride}+1 (width-1)//{self.stride}+1"],
            Float[Tensor, "batch {self.branches} {self.channels}"],
        ]
    ):
        """Convolve x in every branch and weigh the results."""
        require_pixels("selective_kernel", x)
        branches = zip(self.conv, self.norm, strict=True)
        features = torch.stack([relu(norm(conv(x))) for conv, norm in branches], dim=1)
        fused = reduce(features, "batch branches channels height width -> batch branches channels", "mean")
        squeezed = self.squeeze(fused.sum(dim=1))
        if self.squeeze_norm is not None:
            squeezed = relu(self.squeeze_norm(squeezed))
        logits = torch.stack([excite(squeezed) for excite in self.excite], dim=1)
        return selective_kernel(features, logits, need_weights=need_weights)


MECHANISM = Mechanism(
    id="selective_kernel",
    title="Selective kernel convolution",
    formula=r"\sum_i \mathrm{softmax}_i(E_i z) \cdot F_i(x),"
    r"\quad z = \mathrm{relu}\!\left(\mathrm{norm}\!\left("
    r"S\, \mathrm{mean}_{hw} \textstyle\sum_i F_i(x)\right)\right)",
    call=selective_kernel,
    module=SelectiveKernel,
    outputs=("out", "weights"),
    cite=(Citation("Selective Kernel Networks", "https://arxiv.org/abs/1903.06586", "section 3.1"),),
    differs_from="Many ports leave batch norm and relu out of the gate, or use full 5×5 and 7×7 kernels.",
    contract=Contract(
        rules=(
            Rule("height >= 1 and width >= 1", "a map has at least one pixel"),
            Rule("branches >= 1", "there is something to choose from"),
            Rule("groups >= 1 and channels % groups == 0", "groups share channels evenly"),
            Rule("reduction >= 1 and least_reduced >= 1", "the gate has at least one hidden unit"),
            Rule("stride >= 1", "a convolution moves on"),
        ),
        options=(
            Option("gate", ("normalised", "affine"), "whether batch norm and relu stand in the gate"),
            Option("gate_bias", (False, True), "whether the gate's linear maps have a bias"),
            Option("dilated", (True, False), "whether far branches dilate a 3×3 kernel or enlarge it"),
            Option("bias", (False, True), "whether the convolutions have a bias"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",), only_eval=True),
            Law("follows_sample_order", axes=("batch",)),
            Law("ignores_repeated_batch", axes=("batch",)),
            Law("output_is_not_negative", inputs=("x",)),
            Law("equal_branches_give_their_value", axes=("branches",), parameters=("norm",)),
            Law("zero_excite_adds_up_branches", axes=("branches",), parameters=("excite", "norm")),
            Law("ignores_common_branch_logits", axes=("branches",), parameters=("excite",)),
            Law("survives_large_logits", parameters=("excite",)),
            Law("survives_large_logits", inputs=("x",)),
            Law(
                "one_branch_ignores_the_gate",
                axes=("branches",),
                parameters=("squeeze", "excite"),
                when="branches == 1",
            ),
            Law(
                "ignores_opposite_rescaling",
                parameters=("squeeze_norm", "excite.weight"),
                when="gate == 'normalised'",
            ),
        ),
        broken_laws=(
            BrokenLaw(
                Law("samples_do_not_mix", axes=("batch",)),
                "while training, batch norm divides by the deviation of the whole batch",
            ),
            BrokenLaw(
                Law("follows_pixel_order", axes=("height", "width")),
                "convolutions know which pixels are neighbours",
            ),
            BrokenLaw(
                Law("zero_input_gives_zero", inputs=("x",)),
                "batch norm adds its bias, and in evaluation its running mean",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "layout"),
        variants=(
            Variant(
                "affine_gate",
                "the logits are an affine function of the pooled features",
                {"gate": "affine", "gate_bias": True},
                "pppLang/SKNet",
            ),
            Variant(
                "full_kernels",
                "an affine gate, full kernels of 3, 5, 7 and so on, and biases everywhere",
                {"gate": "affine", "gate_bias": True, "dilated": False, "bias": True},
                "the source article",
            ),
        ),
    ),
)

"""Gates of fightingcv-attention: what comes back is the gate, and the caller multiplies."""

from fightingcv_attention.attention.CBAM import ChannelAttention, SpatialAttention


class ChannelGate:
    """The shared layers are 1×1 convolutions without bias."""

    mechanism = "cbam_channel"
    fixed = {"bias": False}

    def build(self, channels, reduction):
        return ChannelAttention(channels, reduction)

    def load(self, module, weights):
        first, last = module.se[0], module.se[2]
        first.weight.data.copy_(weights["squeeze.weight"].reshape(first.weight.shape))
        last.weight.data.copy_(weights["excite.weight"].reshape(last.weight.shape))

    def call(self, module, x):
        return x * module(x)


class SpatialGate:
    """The maximum comes before the mean."""

    mechanism = "cbam_spatial"
    fixed = {"bias": True, "maximum_first": True}

    def build(self, kernel):
        return SpatialAttention(kernel)

    def load(self, module, weights):
        module.conv.weight.data.copy_(weights["conv.weight"])
        module.conv.bias.data.copy_(weights["conv.bias"])

    def call(self, module, x):
        return x * module(x)

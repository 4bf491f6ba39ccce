"""What published code calls things: constructor arguments, inputs, masks, flags and layers."""

import re
from collections.abc import Mapping

# Heads of keys and values, where each may serve several heads of queries.
KV_HEADS = ("num_kv_heads", "n_kv_heads", "kv_heads", "num_key_value_heads", "n_kv_head", "num_kv", "kv_n_heads")  # fmt: skip

# Lengths, sides and factors that a constructor may want, and layers and configurations it is given.
LENGTHS = ("block_size", "max_len", "max_seq_len", "seq_len", "max_length", "context_length", "n_ctx", "ctx_len",
           "max_position_embeddings", "n_positions", "longest", "span", "max_positions", "max_position",
           "max_tokens", "sequence_length")  # fmt: skip
RESOLUTIONS = ("image_size", "input_resolution", "resolution", "img_size", "image_resolution", "input_size", "img", "image",
               "hw", "im_size", "input_shape", "n_pix", "pixels", "image_height", "img_height", "img_hw", "image_hw", "img_shape",
               "picture", "size", "res", "side", "in_size", "crop_size")  # fmt: skip
# What is left of an image behind the last stage of a network.
GRIDS = ("grid", "grid_size", "feat_size", "fmap_size", "spacial_dim", "spatial_dim", "final_size",
         "pool_size")  # fmt: skip
# A dictionary of weights that a function is handed.
PARAMETERS = ("params", "parameters", "param", "state_dict", "weights_dict", "theta")
# Names of the height alone, not of a map's size.
SIDES = ("height", "h", "feat_h", "map_height", "window_height", "wh", "win_h", "feat_height", "image_height", "img_height",
         "img_h", "input_height", "input_h")  # fmt: skip
ACROSS = ("width", "w", "feat_w", "map_width", "window_width", "ww", "win_w", "feat_width", "image_width", "img_width",
          "img_w", "input_width", "input_w")  # fmt: skip
WINDOWS = ("window_size", "window", "win_size", "ws", "window_shape", "shape", "input_resolution", "size", "resolution",
           "grid_size", "grid", "feat_size", "map_size", "fmap_size", "input_size", "patch_grid", "hw", "side", "image_size",
           "img_size", "feature_size", "input_shape", "spatial_size")  # fmt: skip
FACTORS = {"temperature": "head_dim ** 0.5", "scale": "head_dim ** -0.5", "temp": "head_dim ** 0.5",
           "scale_factor": "head_dim ** -0.5", "norm_factor": "head_dim ** 0.5"}  # fmt: skip
INNER = ("inner_dim", "attn_dim", "d_attn", "attention_dim", "qkv_dim", "qkv_features", "hidden_dim", "proj_dim", "d_inner",
         "inner")  # fmt: skip
KERNELS = ("kernels", "kernel_sizes")
# Of each stage of a network, how wide it is and how far it strides.
STAGE_WIDTHS = ("widths", "dims", "planes", "stage_widths", "stage_channels", "stage_dims", "stage_planes", "hidden_sizes",
                "embed_dims", "filters", "num_filters", "features", "num_features", "channel_list")  # fmt: skip
STAGE_STRIDES = ("strides", "stage_strides")
BLOCKS = re.compile("block|layer|depth|repeat|stage")
# How wide one head is, where that follows from the others.
HEAD_WIDTHS = ("num_heads_channels", "num_head_channels", "head_channels", "channels_per_head", "head_dim", "dim_head",
               "dim_per_head", "head_size", "size_per_head", "head_width", "per_head_dim", "d_head",
               "attention_head_dim")  # fmt: skip
CONFIGS = ("config", "spec", "cfg", "args", "conf", "params", "opt", "hparams", "configuration", "c", "settings",
           "options")  # fmt: skip
# Arguments of constructors that go by other names than the reference's options.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "bias": ("use_bias", "with_bias", "add_bias", "fc_bias", "conv_bias", "has_bias", "biases"),
    "rank": ("dimension", "dimensions", "ndim", "n_dim", "n_dims", "dims", "spatial_dims"),
    "norm": ("bn_layer", "bn", "use_bn", "batch_norm", "with_bn", "use_norm", "batchnorm"),
    "sub_sample": ("subsample", "sub_sampling", "subsampling"),
    "scaled": ("use_scale",),
    "pairwise": ("mode",),
}
# Constructor argument -> axes it may mean, the likeliest first. The mechanism decides among them.
ARGUMENTS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("dim", "d_model", "embed_dim", "hidden_size", "n_embd", "emb_size", "embed_dims", "model_dim", "d",
     "embedding_dim", "embedding_dimension", "n_state", "features", "width", "units", "embed_size", "emb_dim",
     "hidden_dim", "feat_dim", "n_feat", "attn_dim", "att_dim", "dim_model", "d_embed", "embed", "size", "dims",
     "dimensions", "channels", "in_features", "input_dim", "in_dim", "c", "dmodel", "embedding_size", "n_embed",
     "num_features", "token_dim", "qkv_features", "emb", "n_emb"):
        ("model_dim", "channels", "query_size", "hidden", "head_dim"),
    ("num_hiddens", "hidden", "hiddens", "hidden_units", "inner_dim", "inner", "attention_dim", "att_size",
     "attn_size", "d_attn", "d_att", "d_hidden", "proj_dim", "d_inner", "hid_dim", "attention_size", "hidden_size",
     "hidden_dim", "num_hidden", "n_hidden", "units"):
        ("hidden", "model_dim", "head_dim", "reduced"),
    ("in_channels", "channels", "channel", "in_planes", "inplanes", "in_dim", "dim", "ch", "c1", "inp", "chan", "chans",
     "in_chs", "in_chans", "chs",
     "in_channel", "input_channels", "num_channels", "n_channels", "c", "n_in", "ni", "nc", "planes", "features",
     "num_features", "c_in", "cin", "in", "n_ch", "fmaps", "maps", "n_maps", "fmap", "wide", "ins", "nin",
     "gate_channels", "input_dim", "embed_dim", "input_dims", "in_ch", "n_feats",
     "chnls", "filters", "nf", "in_features", "width", "feat_channels", "chn", "spacial_dim_c", "embed_dims"):
        ("channels",),
    ("out_channels", "out_dim", "planes", "c2", "oup", "out_planes", "out_channel", "out_ch", "c_out", "cout",
     "output_channels", "out", "outplanes", "outs", "nout", "n_out", "out_chs", "out_chans"):
        ("out_channels", "channels", "reduced", "v_dim", "model_dim"),
    ("num_heads", "heads", "n_head", "n_heads", "h", "head_num", "number_of_heads", "nhead", "nheads",
     "num_attention_heads", "head", "query_heads", "n_attention_heads", "num_head", "attention_heads", "head_count",
     "attn_heads", "pool_heads", "n_attn_heads"):
        ("heads",),
    ("dim_head", "head_dim", "d_k", "dim_heads", "attn_head_dim", "key_dim", "d_head", "head_size", "dk",
     "d_qk", "size_per_head", "head_features", "per_head_dim", "qk_dim", "qk_size", "dim_k", "attn_dim", "hid_q_dim",
     "kq_dim", "qk_features", "qk_out", "qk_channels", "qk_width", "out_qk",
     "att_dim", "d_attn", "attention_dim", "inner_dim", "proj_dim", "hidden_dim", "hidden", "hidden_size", "dim_key"):
        ("head_dim", "hidden", "reduced"),
    ("value_size", "vdim", "value_dim", "v_size", "dim_value", "d_value", "n_v", "val_features", "v_features"):
        ("value_size", "v_dim"),
    ("v_out", "v_channels", "v_width", "out_v", "value_out",
     "d_v", "value_dim", "vo_size", "v_dim", "vdim", "dv", "dim_v", "out_dim", "output_dim", "out_features", "dim_out",
     "d_out", "output_size", "output_shape", "dim_value", "d_value", "embed_dim", "d_output"):
        ("v_dim", "model_dim", "value_size", "classes", "out_channels"),
    ("query_size", "query_dim", "q_dim", "x_dim", "qdim", "d_query", "in_q_dim", "dim_q", "num_q_input_channels",
     "q_size", "dim_query", "query_features", "d_q", "query_in", "in_dim", "dim", "decoder_dim", "dec_dim",
     "dec_hidden", "dunits", "query_channels", "d_x", "latent_dim", "target_dim", "tgt_dim", "dim_x", "input_dim",
     "d_model", "hidden_size", "embed_dim", "embed_q", "n_q", "x_features", "x_width", "q_features", "q_width"):
        ("query_size", "model_dim"),
    ("model_size",): ("model_dim",),
    ("key_in", "k_in"): ("key_size",),
    ("value_in", "v_in"): ("value_size",),
    ("key_size", "context_dim", "kdim", "key_dim", "k_dim", "dim_context", "cross_attention_dim", "y_dim", "enc_dim",
     "kv_dim", "context_input_size", "in_dim", "memory_dim", "source_dim", "d_context", "context_size", "ctx_dim",
     "d_key", "d_y", "dim_kv", "encoder_dim", "num_kv_input_channels", "k_size", "dim_key", "dim_y", "kv_size",
     "src_dim", "enc_hidden", "eprojs", "eunits", "d_kv", "d_memory", "mem_dim", "cond_dim", "in_kv_dim", "encoder_hidden_size",
     "context_features", "dim_ctx", "d_ctx", "embed_kv", "d_enc", "d_cross", "d_cond", "d_src", "n_k", "y_features",
     "y_width", "ctx_features", "ctx_width", "k_features", "k_width"):
        ("key_size", "value_size"),
    # A width to read, or that of a head.
    ("key_size",): ("head_dim",),
    ("reduction", "ratio", "r", "reduction_ratio", "reduction_rate", "squeeze_factor", "red", "rate",
     "se_ratio", "rd_ratio", "reduce", "reduction_factor", "squeeze_ratio", "red_ratio", "shrinkage_rate",
     "shrink_ratio", "squeeze_rate", "div", "divisor", "reduce_by", "shrink", "squeeze_by"):
        ("reduction",),
    ("reduced", "inter_channels", "mid_channels", "squeeze_channels", "inner_channels", "rd_channels",
     "se_channels", "squeeze_dim", "hidden_channels", "bottleneck", "hidden_dim", "inner_dim", "inter_dim", "mid",
     "key_channels", "inter_planes", "squeeze", "hidden", "d", "d_k", "key_dim", "qk_dim", "attn_channels", "embed_channels"):
        ("reduced", "hidden"),
    ("least_reduced", "l", "floor", "min_channels", "min_attn_channels", "min_reduced", "min_dim", "min_width", "min_hidden",
     "min_units", "d_min", "min_d", "min_size"):
        ("least_reduced",),
    ("kernel_size", "kernel", "k", "ks", "k_size", "ksize", "kernel_sz", "win", "window", "filter_size"):
        ("kernel", "gate_kernel"),
    ("stride", "s", "strides", "step"): ("stride",),
    ("groups", "group", "g", "cardinality", "num_groups", "n_groups"): ("groups",),
    ("branches", "m", "num_branches", "n_branches", "num_paths", "paths", "n_paths", "num_kernels", "n_kernels",
     "num_convs", "n_convs"): ("branches",),
    ("tokens", "num_tokens", "seq_len", "max_len", "n_tokens", "num_ttokens", "max_seq_len", "length", "n",
     "sequence_length", "num_positions", "context_length", "block_size",
     "longest", "span", "max_positions", "max_position", "size", "seq_length", "max_length", "n_ctx"):
        ("tokens", "height", "length"),
    (*SIDES, "spacial_dim", "feat_size", "fmap_size", "window_size", "size", "spatial_dim", "input_resolution", "map_size",
     "spatial_size", "feature_size", "grid_size", "grid", "hw", "resolution", "input_size"):
        ("height",),
    ACROSS: ("width",),
    ("window_size", "window"): ("window", "height"),
    ("num_classes", "classes", "projection_dim", "output_dim", "n_classes", "out_dim", "embedding", "emb_out", "n_out",
     "out_features", "embed", "embed_dim_out", "n_outputs", "num_outputs", "nclass", "out", "outputs", "output"):
        ("classes", "model_dim", "v_dim"),
    ("image_size", "input_resolution", "resolution", "img_size", "image_resolution"): ("height",),
    ("base", "base_width", "width", "base_channels", "stem_width", "planes", "inplanes", "n_width", "w",
     "filters", "n_filters", "num_filters", "base_filters", "nf", "init_channels", "stem_channels",
     "width_per_stage", "stage_width", "ch", "c", "base_ch", "stem_ch"): ("hidden",),
}  # fmt: skip

# What a width may be called that goes in or comes out.
_WIDE = "width|channels?|planes?|chans?|maps?|filters?|feats?|features?|ch"
# Parts of longer names that tell a role.
_SPEAKING: Mapping[str, str] = {
    "q": r"quer|decoder|target|(^|_)dec(_|$)",
    "k": r"key",
    "v": r"val",
    "kv": r"context|memory|encoder|source|cond|(^|_)enc(_|$)",
    "x": r"state|feature|image|input|token|hidden",
}
ZERO = ("dropout", "attn_drop", "attn_dropout", "dropout_rate", "attention_dropout", "proj_drop", "drop", "p",
        "attn_drop_rate", "proj_drop_rate", "drop_rate", "drop_prob", "dropout_p", "resid_dropout", "dropout_prob",
        "attention_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout_prob", "pdrop", "attn_pdrop",
        "resid_pdrop", "drop_path", "attn_dropout_rate", "attn_p", "proj_dropout", "dropout_ratio", "p_drop")  # fmt: skip

# Forward argument -> role it may play.
INPUTS: Mapping[str, tuple[str, ...]] = {
    "q": ("q", "inputs_q", "query", "queries", "qs", "query_states", "q_in", "q_input", "decoder_hidden", "target", "tgt", "x_q",
          "q_vec", "xq", "query_input", "input_q", "queries_in"),
    "k": ("k", "inputs_k", "key", "keys", "ks", "key_states", "k_in", "x_k", "xk", "key_input", "input_k", "keys_in"),
    "v": ("v", "inputs_v", "value", "values", "vs", "value_states", "v_in", "x_v", "xv", "value_input", "input_v", "vals",
          "values_in"),
    "kv": ("context", "key_value_states", "y", "xa", "kv", "memory", "encoder_hidden_states", "ctx", "source",
           "src", "cond", "x_kv", "key_value", "encoder_output", "enc_out", "enc", "encoder_out", "kv_input",
           "memory_states", "s", "x2", "b", "other", "m"),
    "x": ("x", "hidden_states", "input", "inputs", "x_in", "inp", "feature", "features", "feature_map", "img", "image",
          "hidden", "tokens", "sequence", "fmap", "feat", "x1", "a", "seq", "xs", "data", "tensor", "embeddings",
          "signal", "series", "images", "maps", "feature_maps", "feats", "volume", "video", "clip", "frames", "activations"),
}  # fmt: skip

MASKS = ("mask", "attn_mask", "attention_mask", "key_padding_mask", "valid_lens", "context_mask", "src_mask", "kv_mask",
         "key_mask", "padding_mask", "attn_bias", "lengths", "valid_len", "enc_len", "pad_mask", "valid_lengths",
         "key_padding", "lens", "bias_mask", "attend_mask", "allowed", "keep", "visible", "ignore_mask", "additive_mask",
         "seq_lens", "seq_lengths", "pad", "ignore", "n_visible", "n_keys",
         "kv_lens", "key_lengths", "key_lens", "n_valid", "keep_mask", "blocked", "memory_mask",
         "encoder_mask", "encoder_attention_mask", "tgt_mask", "causal_mask", "memory_key_padding_mask", "m", "bias")  # fmt: skip
BIASES = ("bias", "attn_bias", "attention_bias", "rel_bias", "relative_bias", "logits_bias", "position_bias",
          "logit_bias", "additive_bias", "score_bias", "rel_pos_bias")  # fmt: skip
CAUSAL = ("causal", "is_causal", "use_causal_mask", "autoregressive", "masked", "is_decoder", "use_causal", "decoder",
          "unidirectional", "look_ahead", "causal_mask", "causal_attention", "mask_future")  # fmt: skip
# Names that as often mean something else, such as a cache of keys.
PERHAPS_CAUSAL = ("is_decoder", "decoder", "masked")
NEED_WEIGHTS = ("need_weights", "return_attention", "output_attentions", "return_weights", "return_attn",
                "return_attention_scores", "return_attn_weights", "with_weights", "get_weights", "need_attn",
                "return_attention_weights", "output_attention", "return_probs", "return_scores", "give_weights")  # fmt: skip
SCALE = ("scale", "softmax_scale", "sm_scale", "scale_factor", "scaling", "qk_scale", "temperature_inv")
SOFT_CAP = ("soft_cap", "softcap", "logits_soft_cap", "logit_cap", "attn_logit_softcapping", "cap", "ceiling",
            "softcapping")  # fmt: skip

# Words in a layer's name that tell its role, the most telling first.
LAYERS: Mapping[str, str] = {
    "query": r"(^|[._])(q|wq|w_q|q_proj|to_q|query|queries|q_lin|fc_q|theta|f|query_conv|proj_q|linear_q|q_linear|conv_q|qs|"
             r"lin_q|w_query|query_proj|wq_proj|query_projection|convq|q_layer|query_layer|query_dense|q_conv|query_linear|"
             r"w_qs|q_net|q_map|queries_proj|phi_q|conv_theta|b_q|bq|q_weight|q_bias|f_conv|to_query|toqueries|tokeys_q|"
             r"conv_b|proj_query|query_transform|query_mlp|from_q)([._]|$)",
    "key": r"(^|[._])(k|wk|w_k|k_proj|to_k|key|keys|k_lin|fc_k|phi|g_key|key_conv|proj_k|linear_k|k_linear|conv_k|ks|lin_k|"
           r"w_key|key_proj|key_projection|convk|k_layer|key_layer|key_dense|k_conv|key_linear|w_ks|k_net|k_map|keys_proj|"
           r"conv_phi|b_k|bk|k_weight|k_bias|g_conv|to_key|tokeys|conv_c|proj_key|key_transform|key_mlp|from_k)([._]|$)",
    "value": r"(^|[._])(v|wv|w_v|v_proj|to_v|value|values|v_lin|fc_v|g|value_conv|proj_v|linear_v|v_linear|conv_v|vs|lin_v|"
             r"w_value|value_proj|value_projection|convv|v_layer|value_layer|value_dense|v_conv|value_linear|w_vs|v_net|v_map|"
             r"values_proj|conv_g|b_v|bv|v_weight|v_bias|h_conv|to_value|tovalues|conv_d|proj_value|value_transform|from_v)([._]|$)",
    "output": r"(^|[._])(o|out|wo|w_o|o_proj|to_out|output|out_proj|proj|fc|fc_o|dense|c_proj|fc_out|out_lin|proj_out|"
              r"linear_out|out_linear|out_dense|w_out|unifyheads|final|merge|z|w|conv_out|last|conv_z|fuse|out_conv|"
              r"attn_out|mix|combine|joined|linear|wo_proj|b_o|bo|out_projection|output_proj|restore|unify|head_proj|o_net|"
              r"last_conv|proj_o)([._]|$)",
}  # fmt: skip


def axes_for(argument: str) -> tuple[str, ...]:
    """Axes that a constructor argument of this name may mean, the likeliest first."""
    name = argument.lower().strip("_")
    told = _told_by_parts(name)
    found = [axis for names, axes in ARGUMENTS.items() if name in names for axis in axes]
    if not found and told != name:
        return axes_for(told)
    return tuple(dict.fromkeys(found))


def _told_by_parts(name: str) -> str:
    """The usual name of what a longer one speaks of, or the name itself: `width_in`, `gate_hidden`."""
    side = re.fullmatch(rf"(?:{_WIDE})_(in|out)|(in|out)_(?:{_WIDE})", name)
    if side is not None:
        return f"{side[1] or side[2]}_channels"
    end = re.search(r"_(hidden|kernel|kernel_size|reduction)$", name)
    return end[1] if end is not None else name


def roles_for(argument: str) -> tuple[str, ...]:
    """Roles that a forward argument of this name may play."""
    name = argument.lower().strip("_")
    exact = tuple(role for role, names in INPUTS.items() if name in names)
    if exact or is_mask(name):
        return exact
    return tuple(role for role, pattern in _SPEAKING.items() if re.search(pattern, name))


def is_mask(argument: str) -> bool:
    """Whether an argument of this name hides keys."""
    name = argument.lower().strip("_")
    # Sequences that were padded to one length are called so as well: xs_pad.
    pads = re.search(r"(?<![hxyz]s)_pad|^pad", name)
    return name in MASKS or (pads or re.search(r"mask|(^|_)lens?(gths?)?($|_)|valid_", name)) is not None


def is_padding(argument: str) -> bool:
    """Whether an argument of this name hides keys of a sample, whoever asks."""
    return (
        re.search(r"padd?ing|(^|_)(pad|key|keys|kv|memory|context)_mask$|key_padding", argument.lower())
        is not None
    )


# Flags by which a function is told that it is trained, without which it drops nothing.
TRAINING = ("training", "train", "is_training")


def is_dropout(argument: str) -> bool:
    """Whether an argument of this name is a rate of dropout, or a flag that switches dropout on."""
    name = argument.lower().strip("_")
    return name in ZERO or re.search(r"(^|_)drop(out)?s?($|_)|dropout", name) is not None


def layer_role(path: str) -> str | None:
    """The role that a layer's path tells, if one does: its last telling part counts.

    Within a part, query, key and value tell more than output: `q_proj` is a query.
    """
    for part in reversed(path.lower().split(".")):
        for role, pattern in LAYERS.items():
            if re.search(pattern, part):
                return role
    return None

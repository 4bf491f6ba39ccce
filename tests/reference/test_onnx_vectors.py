"""Scaled dot-product attention meets the published test vectors of ONNX's Attention operator."""

import warnings
from dataclasses import dataclass

import pytest
import torch

from attnref.mechanisms.scaled_dot_product import scaled_dot_product

# What the operator adds around attention, and how a case that uses it is recognised.
PAST = "keeps keys and values of earlier calls"
PADDED = "counts the keys that are not padding"
WINDOW = "limits how far a query sees"
LEFT_OUT = {
    PAST: {
        "test_attention_4d_with_past_and_present",
        "test_attention_4d_gqa_with_past_and_present",
        "test_attention_4d_gqa_with_past_and_present_fp16",
        "test_attention_4d_diff_heads_with_past_and_present",
        "test_attention_4d_diff_heads_with_past_and_present_mask3d",
        "test_attention_4d_diff_heads_with_past_and_present_mask4d",
        "test_attention_4d_with_past_and_present_qk_matmul_bias",
        "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask",
        "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask",
        "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
        "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
        "test_attention_4d_with_past_and_present_qk_matmul",
        "test_attention_3d_with_past_and_present",
        "test_attention_3d_gqa_with_past_and_present",
        "test_attention_3d_diff_heads_with_past_and_present",
        "test_attention_3d_with_past_and_present_qk_matmul",
        "test_attention_3d_with_past_and_present_qk_matmul_bias",
        "test_attention_3d_with_past_and_present_qk_matmul_softcap",
        "test_attention_3d_with_past_and_present_qk_matmul_softmax",
        "test_attention_4d_causal_with_past_and_present",
        "test_attention_local_window_with_past",
    },
    PADDED: {
        "test_attention_4d_diff_heads_mask4d_padded_kv",
        "test_attention_4d_padded_kv_bf16",
        "test_attention_4d_causal_padded_kv_bf16",
        "test_attention_4d_gqa_causal_nonpad_decode",
        "test_attention_4d_gqa_causal_nonpad_decode_fp16",
        "test_attention_4d_causal_nonpad_continued_prefill",
        "test_attention_4d_causal_nonpad_negative_offset_structural_empty",
        "test_attention_4d_causal_nonpad_attn_mask_composition",
        "test_attention_4d_causal_nonpad_batch_prefill",
        "test_attention_local_window_ext_cache_rank3_head_mask",
        "test_attention_local_window_ext_cache_rank4_batch_mask",
        "test_attention_local_window_ext_cache_rank2_mask",
        "test_attention_local_window_ext_cache_float16_mask",
    },
    WINDOW: {
        "test_attention_local_window",
        "test_attention_bidirectional_window",
        "test_attention_local_window_rank1_boolean_mask",
        "test_attention_local_window_with_past",
        "test_attention_local_window_ext_cache_rank3_head_mask",
        "test_attention_local_window_ext_cache_rank4_batch_mask",
        "test_attention_local_window_ext_cache_rank2_mask",
        "test_attention_local_window_ext_cache_float16_mask",
        "test_attention_3d_local_window",
        "test_attention_local_window_gqa_rank4_mask",
    },
}


@dataclass(frozen=True)
class Vector:
    """One published case: inputs and outputs by their place in the operator's signature."""

    inputs: dict[int, torch.Tensor]
    outputs: dict[int, torch.Tensor]
    attributes: dict[str, float]

    @property
    def reasons(self) -> set[str]:
        """What of the operator this case uses that attention itself has not."""
        windows = [self.attributes.get(f"{side}_window_size", -1) for side in ("left", "right")]
        used = {PAST: 4 in self.inputs, PADDED: 6 in self.inputs, WINDOW: max(windows) >= 0}
        return {reason for reason, uses in used.items() if uses}


def _tensor(array):
    # torch reads no bfloat16 of numpy's extension types; the detour by float32 is exact.
    if str(array.dtype) == "bfloat16":
        return torch.from_numpy(array.astype("float32")).bfloat16()
    return torch.from_numpy(array.copy())


@pytest.fixture(scope="session")
def vectors() -> dict[str, Vector]:
    """The published cases by name; those with a suffix repeat them for the expanded operator."""
    from onnx import helper

    with warnings.catch_warnings():
        # Building the vectors of other operators overflows on purpose.
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = [c for c in collect_testcases("Attention") if not c.name.endswith("_expanded")]
    found = {}
    for case in cases:
        node, (given, expected) = case.model.graph.node[0], case.data_sets[0]
        inputs = [place for place, name in enumerate(node.input) if name]
        outputs = [place for place, name in enumerate(node.output) if name]
        found[case.name] = Vector(
            dict(zip(inputs, map(_tensor, given), strict=True)),
            dict(zip(outputs, map(_tensor, expected), strict=True)),
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
    return found


def attend(vector, device):
    """The case in float64; ranks and shared heads are the caller's business, so they are met here."""
    q, k, v = (vector.inputs[place].to(device) for place in range(3))
    dtype, rank = q.dtype, q.dim()
    if rank == 3:
        heads = [int(vector.attributes[f"{side}_num_heads"]) for side in ("q", "kv", "kv")]
        q, k, v = (t.unflatten(2, (n, -1)).transpose(1, 2) for t, n in zip((q, k, v), heads, strict=True))
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    mask = vector.inputs.get(3)
    if mask is not None:
        mask = mask.to(device)[(None,) * (4 - mask.dim())]
    as_bool = mask is not None and mask.dtype == torch.bool
    out, weights = scaled_dot_product(
        q.double(), k.double(), v.double(),
        mask if as_bool else None,
        None if as_bool or mask is None else mask.double(),
        causal=bool(vector.attributes.get("is_causal", 0)),
        scale=vector.attributes.get("scale"),
        soft_cap=vector.attributes.get("softcap"),
        need_weights=True,
    )  # fmt: skip
    assert dtype == vector.outputs[0].dtype
    return out.transpose(1, 2).flatten(2) if rank == 3 else out, weights


def test_every_vector_of_attention_itself_is_met(vectors, agrees, device):
    covered = {name: vector for name, vector in vectors.items() if not vector.reasons}
    missed = []
    for name, vector in covered.items():
        out, weights = attend(vector, device)
        if not agrees(vector.outputs[0].to(device), out):
            missed.append(name)
        # Mode 3 publishes the weights too; the other modes publish logits.
        if vector.attributes.get("qk_matmul_output_mode") == 3 and not agrees(
            vector.outputs[3].to(device), weights
        ):
            missed.append(f"{name}: weights")

    assert missed == []
    assert len(covered) == len(vectors) - len(set().union(*LEFT_OUT.values())) > 40


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_what_is_left_out_is_exactly_what_attention_itself_has_not(vectors, reason):
    assert {name for name, vector in vectors.items() if reason in vector.reasons} == LEFT_OUT[reason]

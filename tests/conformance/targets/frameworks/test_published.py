"""Published attention of JAX, Flax, Equinox and Keras; `make frameworks` installs what this needs."""

import importlib.util

import pytest

import attncheck

EXTRAS = {"jax": "jax", "flax": "jax", "equinox": "jax", "keras": "keras"}


def judged(target, mechanism, **options):
    package = target.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install attncheck[{EXTRAS[package]}]")
    return attncheck.run(target, mechanism, budget="quick", seed=0, explain=False, **options)


# A few checks of each family: every size is compiled, so the whole run takes minutes.
CHECKS = (
    "ignores_key_order",
    "samples_do_not_mix",
    "masked_equals_removed",
    "matches_the_reference",
    "input_gradients_match",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("target", "mechanism", "layout"),
    [
        ("jax.nn:dot_product_attention", "scaled_dot_product", "heads after length"),
        ("flax.nnx:MultiHeadAttention", "multi_head", "batch first"),
        ("equinox.nn:MultiheadAttention", "multi_head", "batch first"),
        ("keras.layers:MultiHeadAttention", "multi_head", "batch first"),
    ],
)
def test_a_published_implementation_conforms(target, mechanism, layout):
    report = judged(target, mechanism, checks=CHECKS)
    passed = {verdict.check for verdict in report.verdicts if verdict.outcome == "passed"}

    assert report.failed == ()
    assert set(CHECKS) <= passed
    assert any(layout in line for line in report.header.adapter)


@pytest.mark.timeout(900)
def test_values_as_wide_as_queries_are_said_to_be_what_jax_wants():
    report = judged("jax.nn:dot_product_attention", "scaled_dot_product", checks=("output_keeps_the_dtype",))

    assert "sizes fixed by the target: v_dim = head_dim" in report.header.adapter


@pytest.mark.timeout(900)
def test_a_wrong_function_of_jax_does_not_conform(tmp_path):
    file = tmp_path / "unscaled.py"
    file.write_text(
        "import jax\nimport jax.numpy as jnp\n\n\ndef attention(q, k, v):\n"
        '    return jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k)) @ v\n'
    )
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install attncheck[jax]")

    report = attncheck.run(
        f"{file}:attention", "scaled_dot_product", budget="quick", seed=0, explain=False,
        checks=("matches_the_reference",),
    )  # fmt: skip

    assert [verdict.check for verdict in report.failed] == ["matches_the_reference"]

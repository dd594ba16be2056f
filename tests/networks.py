# SPDX-License-Identifier: Apache-2.0
"""Networks as users write them, which know nothing of axjax, for the tests of `emulate`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import axjax


def _conv_and_norm(train):
    norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
    return functools.partial(nn.Conv, use_bias=False), norm


class _Block(nn.Module):
    """Two convolutions and a shortcut (He et al., CVPR 2016, figure 5 left)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        conv, norm = _conv_and_norm(train)
        y = nn.relu(norm()(conv(self.features, (3, 3), (self.stride, self.stride))(x)))
        y = norm(scale_init=nn.initializers.constant(0.5))(conv(self.features, (3, 3))(y))
        if x.shape != y.shape:
            strides = (self.stride, self.stride)
            x = norm(name="norm_proj")(
                conv(self.features, (1, 1), strides, name="conv_proj")(x)
            )
        return nn.relu(x + y)


class _Bottleneck(nn.Module):
    """Three convolutions and a shortcut (figure 5 right)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        conv, norm = _conv_and_norm(train)
        y = nn.relu(norm()(conv(self.features, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.features, (3, 3), (self.stride, self.stride))(y)))
        y = norm(scale_init=nn.initializers.constant(0.5))(conv(4 * self.features, (1, 1))(y))
        if x.shape != y.shape:
            strides = (self.stride, self.stride)
            x = conv(4 * self.features, (1, 1), strides, name="conv_proj")(x)
            x = norm(name="norm_proj")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """ImageNet's residual network, with the names of Flax's example."""

    stages: tuple[int, ...]
    block: type
    width: int = 64
    classes: int = 10

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(
            self.width,
            (7, 7),
            (2, 2),
            padding=[(3, 3), (3, 3)],
            use_bias=False,
            name="conv_init",
        )(x)
        x = nn.BatchNorm(use_running_average=not train, name="bn_init")(x)
        x = nn.max_pool(nn.relu(x), (3, 3), strides=(2, 2), padding="SAME")
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = self.block(self.width * 2**stage, stride)(x, train)
        return nn.Dense(self.classes)(x.mean((1, 2)))


ResNet18 = functools.partial(ResNet, stages=(2, 2, 2, 2), block=_Block)
ResNet50 = functools.partial(ResNet, stages=(3, 4, 6, 3), block=_Bottleneck)


class VisionTransformer(nn.Module):
    """Patches, encoder blocks, class token (Dosovitskiy et al., ICLR 2021)."""

    blocks: int = 2
    width: int = 16

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (4, 4), strides=(4, 4), padding="VALID", name="patches")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("token", nn.initializers.normal(), (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(), (1, x.shape[1], self.width))
        for number in range(self.blocks):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=2, name=f"attention{number}")(
                y, y
            )
            y = nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width)(y)
        return nn.Dense(10, name="head")(nn.LayerNorm()(x)[:, 0])


class MobileNet(nn.Module):
    """Depthwise and pointwise convolutions (Howard et al., 2017)."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu6(nn.Conv(8, (3, 3), (2, 2), name="stem")(x))
        for features, stride in ((16, 1), (24, 2)):
            x = nn.Conv(x.shape[-1], (3, 3), (stride, stride), feature_group_count=x.shape[-1])(
                x
            )
            x = nn.relu6(nn.BatchNorm(use_running_average=True)(x))
            x = nn.relu6(nn.Conv(features, (1, 1))(x))
        return nn.Dense(10)(x.mean((1, 2)))


class NnxNetwork(nnx.Module):
    """A small CNN in nnx."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.body = nnx.List([nnx.Conv(8, 8, (3, 3), rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(8, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.stem(x)))
        for conv in self.body:
            x = nnx.relu(conv(x))
        return self.head(x.mean((1, 2)))


def plain_network(params, x):
    """No framework: a convolution, a scan over layers, a product."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(
        x, params["stem"]["w"], (1, 1), "SAME", None, None, numbers
    )
    x = jax.nn.relu(x).mean((1, 2))
    layer = lambda x, w: (jnp.tanh(x @ w), None)
    x, _ = jax.lax.scan(layer, x, params["hidden"])
    return x @ params["head"]["w"] + params["head"]["b"][None]


def plain_params(rng):
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32) * shape[-2] ** -0.5
    return {
        "stem": {"w": normal(3, 3, 3, 8)},
        "hidden": normal(3, 8, 8),
        "head": {"w": normal(8, 10), "b": normal(1, 10)[0]},
    }


def images(rng, size=16, batch=2):
    return jnp.asarray(rng.normal(size=(batch, size, size, 3)), jnp.float32)


def initialised(network, rng, size=16):
    """Variables with statistics and biases that are not the trivial ones, and images."""
    x = images(rng, size)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    noise = lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
    shake = lambda path, leaf: noise(leaf) if path[-1].key in ("var", "mean", "scale") else leaf
    return jax.tree_util.tree_map_with_path(shake, variables), x


def dyadic(variables):
    """Variables with which a network computes with small multiples of powers of two.

    Sums are then exact in float32, in any order: two programs that compute the same agree in
    all bits. Normalisations divide by 1.
    """

    def leaf(path, value):
        constant = {"var": 1 - 1e-5, "mean": 0.25, "scale": 1.0, "bias": 0.125}
        return (
            jnp.full_like(value, constant[path[-1].key]) if path[-1].key in constant else value
        )

    return jax.tree_util.tree_map_with_path(leaf, variables)


def rounded_operations(lhs_scale, rhs_scale):
    """lax's operations on operands rounded to int8 steps of these sizes: NumPy's formulas.

    Gradients go straight through rounding, and are zero where it clipped.
    """
    conv, dot = jax.lax.conv_general_dilated, jax.lax.dot_general

    def rounded(x, scale):
        steps = jnp.floor(x / scale + 0.5)
        codes = jnp.clip(steps, -128, 127)
        passed = jnp.where(codes == steps, x, 0)
        return jax.lax.stop_gradient(scale * codes) + (passed - jax.lax.stop_gradient(passed))

    return tuple(
        lambda lhs, rhs, *args, operation=operation, **kwargs: operation(
            rounded(lhs, lhs_scale), rounded(rhs, rhs_scale), *args, **kwargs
        )
        for operation in (conv, dot)
    )


def fake_quantized_operations(multiplier):
    """lax's operations on fake-quantised operands, in code of its own: NumPy's formulas.

    Activations by the range of the batch, affine for unsigned codes; kernels for each output
    channel. Returns a convolution and a product for `x @ w` with one contracted dimension.
    """
    conv, dot = jax.lax.conv_general_dilated, jax.lax.dot_general

    def rounded(x, axes, codes):
        low = jnp.minimum(x.min(axes, keepdims=True), 0)
        high = jnp.maximum(x.max(axes, keepdims=True), 0)
        if codes.signed:
            scale = jnp.maximum(-low, high) / codes.max
            scale = jnp.where(scale == 0, 1.0, scale)
            return scale * jnp.clip(jnp.floor(x / scale + 0.5), -codes.max, codes.max)
        scale = (high - low) / codes.max
        scale = jnp.where(scale == 0, 1.0, scale)
        zero = jnp.floor(-low / scale + 0.5)
        return scale * (jnp.clip(jnp.floor(x / scale + 0.5) + zero, 0, codes.max) - zero)

    def fake_conv(lhs, rhs, *args, **kwargs):
        lhs = rounded(lhs, None, multiplier.activation)
        return conv(lhs, rounded(rhs, (0, 1, 2), multiplier.weight), *args, **kwargs)

    def fake_dot(lhs, rhs, numbers, *args, **kwargs):
        lhs = rounded(lhs, None, multiplier.activation)
        rhs = rounded(rhs, tuple(numbers[0][1]), multiplier.weight)
        return dot(lhs, rhs, numbers, *args, **kwargs)

    return fake_conv, fake_dot


UNSIGNED = axjax.Multiplier.exact(8)
SIGNED = axjax.Multiplier.exact(8, signed=True)


def assert_close(actual, expected, rtol=2e-5):
    """Equal but for the rounding of float32 sums, by the largest entry."""
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(
            a, e, rtol=0, atol=rtol * max(float(jnp.abs(e).max()), 1e-30)
        ),
        actual,
        expected,
    )

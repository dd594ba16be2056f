# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits on approximate multipliers: what `axjax demo` does, as a user writes it.

python digits.py                        # trains, evaluates, fine-tunes under mul8u_drum3
python digits.py --multiplier mine.bin --epochs 20
"""

import argparse

import flax.linen as nn
import jax
import numpy as np
import optax
from sklearn import datasets

import axjax
from axjax import linen as axnn


class Net(nn.Module):
    """Two convolutions and a dense layer, which never runs on the multiplier."""

    multiplier: axjax.Multiplier | None = None

    @nn.compact
    def __call__(self, x):
        # Activations after relu6 lie in 0 to 6: with a range given beforehand, what an image
        # gives does not depend on the images that share its batch.
        for features, greatest in ((16, 1.0), (32, 6.0)):
            quantization = axjax.Quantization(lhs=axjax.GivenRange(0.0, greatest))
            x = axnn.Conv(
                features, (3, 3), multiplier=self.multiplier, quantization=quantization
            )(x)
            x = nn.max_pool(nn.relu6(x), (2, 2), (2, 2))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


optimizer = optax.adam(1e-3)


@jax.jit  # the multiplier is an argument: another table runs without compiling again
def train_step(variables, state, x, y, multiplier):
    def loss(variables):
        scores = Net(multiplier).apply(variables, x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    updates, state = optimizer.update(jax.grad(loss)(variables), state)
    return optax.apply_updates(variables, updates), state


@jax.jit
def accuracy(variables, x, y, multiplier):
    return 100 * (Net(multiplier).apply(variables, x).argmax(-1) == y).mean()


def train(variables, x, y, multiplier, epochs):
    state = optimizer.init(variables)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in rng.permutation(len(y))[: len(y) // 64 * 64].reshape(-1, 64):
            variables, state = train_step(variables, state, x[batch], y[batch], multiplier)
    return variables


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--multiplier", default="mul8u_drum3", help="to fine-tune under")
    parser.add_argument("--epochs", type=int, default=30, help="in float; a third to fine-tune")
    options = parser.parse_args(arguments)
    chosen = axjax.load(options.multiplier)

    digits = datasets.load_digits()
    x = (digits.images[..., None] / 16).astype(np.float32)
    y = digits.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(y))
    test, learn = order[:500], order[500:]

    variables = Net().init(jax.random.key(0), x[:1])
    variables = train(variables, x[learn], y[learn], None, options.epochs)
    print(f"{'float':16} {accuracy(variables, x[test], y[test], None):5.1f} %")
    for name in axjax.available():
        multiplier = axjax.load(name)
        found = accuracy(variables, x[test], y[test], multiplier)
        print(f"{name:16} {found:5.1f} %   MAE {multiplier.metrics().mae_percent:.4f} %")

    before = accuracy(variables, x[test], y[test], chosen)
    tuned = train(variables, x[learn], y[learn], chosen, max(1, options.epochs // 3))
    after = accuracy(tuned, x[test], y[test], chosen)
    print(f"fine-tuned under {chosen.name}: {before:.1f} % -> {after:.1f} %")


if __name__ == "__main__":
    main()

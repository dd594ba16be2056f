# SPDX-License-Identifier: Apache-2.0
"""Products per second of the CPU engine for factored tables, beside `cpu` and XLA's float32.

    python benchmarks/cpu_factored.py --out benchmarks/results/cpu_factored.json

Shapes, codes and the way of measuring are those of cpu_engine.py. Factors are random, of 1 to
16 terms; engine `cpu` has the table of 4. The handler chooses its form: where int8 products
are slower, it multiplies the table out. Levels below the machine's best have 4 terms. Every
candidate is first compared with engine `cpu`, bit for bit.
"""

import sys

import numpy as np
from cpu_engine import SHAPES, clock, exact_conv, operands, rates, run

TERMS = (1, 4, 8, 16)
LEVELS = ("avx512vbmi", "avx2vnni")
FOUR = "4 terms"


def factored(rng, terms):
    """A multiplier of so many random terms; entries of four fit 16 bits."""
    import axjax

    stride = -(-terms // 4) * 4
    u, v = (np.zeros((1, 256, stride), np.int8) for _ in "uv")
    u[..., :terms], v[..., :terms] = rng.integers(-90, 91, (2, 1, 256, terms))
    zeros = np.zeros(256, np.int32)
    factors = axjax.Factors(u, v, zeros, zeros, (terms,), alpha_is_zero=True)
    return axjax.Multiplier(factors.table(), name=f"{terms} terms").with_factors(factors)


def candidates(shape):
    """Functions without arguments, each with the products it computes."""
    import jax
    import jax.numpy as jnp

    import axjax
    from axjax import _cpu

    lhs_shape, rhs_shape, stride, groups = shape
    rng = np.random.default_rng(0)
    x, w = map(jnp.asarray, operands(rng, lhs_shape, rhs_shape))

    def conv(multiplier, engine):
        run = jax.jit(
            lambda x, w, m: axjax.lut_conv(
                x, w, m, stride, "SAME", feature_group_count=groups, engine=engine
            )
        )
        multiplier = jax.tree.map(jnp.asarray, multiplier)
        return lambda: run(x, w, multiplier).block_until_ready()

    def at_level(level, run):
        def forced():
            _cpu.set_instruction_set(level)
            out = run()
            _cpu.set_instruction_set(best)
            return out

        return forced

    *others, best = _cpu.build()["instruction_sets"]
    multipliers = {f"{terms} terms": factored(rng, terms) for terms in TERMS}
    runs = {name: conv(m, "cpu_factored") for name, m in multipliers.items()}
    for level in LEVELS:
        if level in others:
            runs[f"{FOUR}, {level}"] = at_level(level, runs[FOUR])
    runs["engine cpu"] = conv(multipliers[FOUR], "cpu")
    for name, candidate in runs.items():
        multiplier = multipliers.get(name, multipliers[FOUR])
        expected = np.asarray(conv(multiplier, "cpu")())
        assert (np.asarray(candidate()) == expected).all(), name
    runs["XLA float32"] = exact_conv(x, w, stride, groups)
    products = expected.size * int(np.prod(rhs_shape[:3]))
    return {name: (candidate, products) for name, candidate in runs.items()}


def measure(options):
    """The rates of every shape, on the cores that this process may use."""
    results = {}
    for name, shape in SHAPES.items():
        if options.only not in name:
            continue
        found = results[name] = rates(candidates(shape), options.seconds, clock())
        exact = found["XLA float32"]
        text = ", ".join(f"{k} {v / 1e9:.1f}" for k, v in found.items())
        print(f"{name}: {text}; {found[FOUR] / exact:.2f}", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    run(__file__, __doc__, measure)

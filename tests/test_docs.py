# SPDX-License-Identifier: Apache-2.0
"""What the documents show runs, and what they name is there."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import axjax

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(axjax.__path__, "axjax.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["axjax", *MODULES])
def test_docstring_examples_run(name):
    if name == "axjax._cuda" or name.startswith("axjax.demo"):
        pytest.importorskip(name)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_python_blocks_run(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict = {}
    with axjax_defaults():
        for block in blocks:
            exec(compile(block, str(document), "exec"), namespace)


def axjax_defaults():
    """Users' JAX, not the strict one of the tests."""
    import contextlib

    import jax

    stack = contextlib.ExitStack()
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    return stack


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    for target in re.findall(
        r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")
    ):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_equation_that_the_code_cites_exists():
    text = (ROOT / "docs" / "arithmetic.md").read_text(encoding="utf-8")
    numbered = set(re.findall(r"^\((\d+)\)", text, re.MULTILINE))
    cited = set()
    for file in (ROOT / "axjax").rglob("*.py"):
        cited |= set(
            re.findall(r"\((\d+)\) of docs/arithmetic", file.read_text(encoding="utf-8"))
        )
    assert cited
    assert cited <= numbered


def test_public_names_have_docstrings():
    for name in axjax.__all__:
        assert getattr(axjax, name).__doc__, name


def test_ci_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, test = "pip install '.[test]'", "pytest"
    assert f"{install} && {test}" in readme
    assert f"{install}\n" in ci
    assert f"\n{test}\n" in ci

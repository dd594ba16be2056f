# SPDX-License-Identifier: Apache-2.0
"""The examples run, on data that they make or that is laid out as users have it."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import axjax

pytest.importorskip("sklearn")
pytest.importorskip("optax")
pytest.importorskip("rich")

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def run_example(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment["PYTHONPATH"] = str(pathlib.Path(axjax.__file__).parents[1])
    name, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *rest],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


@pytest.fixture
def example(monkeypatch):
    """Imports a file of the examples by name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def parts(rng):
    """CIFAR-10's four arrays, small."""
    return {
        "x_train": rng.integers(0, 256, (15, 32, 32, 3), np.uint8),
        "y_train": rng.integers(0, 10, 15, np.uint8),
        "x_test": rng.integers(0, 256, (3, 32, 32, 3), np.uint8),
        "y_test": rng.integers(0, 10, 3, np.uint8),
    }


@pytest.fixture
def random_resnet8(example, rng):
    """Variables of a ResNet-8, random and positive: variances are."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(example("resnet").ResNet(8).init, jax.random.key(0), image)
    return jax.tree.map(lambda s: rng.uniform(0.01, 0.1, s.shape).astype(np.float32), shapes)


def test_digits():
    found = run_example("digits.py", "--epochs", 6, "--multiplier", "mul8u_drum3")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == axjax.available()
    assert float(lines[0].split()[1]) > 80
    before, after = (float(part.split()[-2]) for part in lines[-1].split("->"))
    assert after > before


def test_cifar10_evaluate_and_finetune_on_synthetic_data(tmp_path):
    common = ["--data", "synthetic", "--depth", 8, "--limit", 24, "--batch", 16]
    common += ["--calibration-images", 32, "--train-limit", 64]
    tuned = tmp_path / "new" / "tuned.npz"
    found = run_example(
        "cifar10_resnet.py", "finetune", *common, "--multiplier", "mul8u_drum4",
        "--epochs", 1, "--train-batch", 32, "--save", tuned,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "synthetic data: random images and labels" in found.stdout

    found = run_example(
        "cifar10_resnet.py", "evaluate", *common, "--parameters", tuned,
        "--multipliers", "mul8u_trunc4", "mul8u_drum4", "--out", tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    written = json.loads((tmp_path / "cifar10_resnet.json").read_text())
    names = [row["multiplier"] for row in written["results"]]
    assert names == [
        "float",
        "exact uint8 x uint8",
        "mul8u_trunc4",
        "mul8u_drum4",
    ]
    assert written["network"] == "ResNet-8"
    assert written["test_images"] == 24
    assert written["compiled_programs"] == 2  # float, unsigned
    assert len(written["input_ranges"]) == 7
    with np.load(tuned) as arrays:  # fine-tuning's own ranges were used
        ends = arrays["layer1.0.conv2.input_range"].tolist()
    assert written["input_ranges"]["layer1_0_conv2"] == pytest.approx(ends)
    assert (tmp_path / "cifar10_resnet.md").read_text() in found.stdout


def test_cifar10_train_writes_what_evaluate_reads(tmp_path, example):
    found = run_example(
        "cifar10_resnet.py", "train", "--data", "synthetic", "--depth", 8, "--epochs", 2,
        "--train-limit", 64, "--limit", 16, "--train-batch", 32, "--save", tmp_path / "a.npz",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    depth, variables, ranges = example("resnet").load_parameters(tmp_path / "a.npz")
    assert (depth, len(ranges)) == (8, 7)
    assert np.abs(variables["batch_stats"]["bn1"]["mean"]).max() > 0  # was trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.npz"], "load_cifar10: data is an .npz file or the folder"),
        (["--data", "synthetic", "--multipliers", "nonsense"], "load: no shipped multiplier"),
        (["--data", "synthetic", "--depth", "9"], "got depth=9. Pass 8, 14, 20"),
        (["--data", "synthetic", "--parameters", "no.npz"], "no.npz"),
        (["--data", "synthetic", "--multipliers", "mul8u_exact", "mul8u_exact"], "got two of"),
    ],
    ids=["data", "multiplier", "depth", "parameters", "twice"],
)
def test_cifar10_mistakes_end_with_code_2_and_one_line(example, arguments, message, capsys):
    before = jax.config.jax_default_matmul_precision
    try:
        assert example("cifar10_resnet").main(["evaluate", *arguments]) == 2
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_cifar10_wants_parameters_for_real_images(example, parts, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", **parts)
    before = jax.config.jax_default_matmul_precision
    try:
        assert (
            example("cifar10_resnet").main(
                ["evaluate", "--data", f"{tmp_path}/data.npz", "--depth", "14"]
            )
            == 2
        )
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert "got depth=14. Pass --parameters FILE" in capsys.readouterr().err


def test_cifar10_refuses_an_engine_that_cannot_run(example, monkeypatch):
    states = {"engines": {"cuda_texture": "no device"}}
    monkeypatch.setattr(axjax, "build_info", lambda: states)
    with pytest.raises(ValueError, match="got engine='cuda_texture': no device"):
        example("cifar10_resnet").check_engine("cuda_texture")


def test_cifar10_is_read_from_npz_and_from_the_binary_version(example, parts, tmp_path):
    load = example("cifar10_data").load_cifar10
    np.savez(tmp_path / "cifar10.npz", **parts)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()

    def write(name, x, y):
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        np.concatenate([y[:, None], planes], 1).tofile(folder / name)

    for i in range(5):
        part = slice(3 * i, 3 * i + 3)
        write(f"data_batch_{i + 1}.bin", parts["x_train"][part], parts["y_train"][part])
    write("test_batch.bin", parts["x_test"], parts["y_test"])
    for source in (tmp_path / "cifar10.npz", folder):
        found = load(str(source))
        for key, array in parts.items():
            np.testing.assert_array_equal(getattr(found, key), array)

    (folder / "test_batch.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="a record has 3073 bytes, got 100 bytes"):
        load(str(folder))


def test_digits_stand_in_for_cifar10(example):
    data = example("cifar10_data").load_cifar10("digits")
    assert data.x_train.shape == (1438, 32, 32, 3)
    assert data.x_test.shape == (359, 32, 32, 3)
    assert data.x_train.max() == 255
    assert set(data.y_train) == set(data.y_test) == set(range(10))


def test_parameters_of_two_networks_come_with_the_examples(example):
    module, run = example("resnet"), example("cifar10_resnet")
    for depth in (8, 20):
        found, _, ranges = module.load_parameters(run.PARAMETERS / f"resnet{depth}.npz")
        assert (found, len(ranges)) == (depth, depth - 1)


def test_cifar10_files_of_other_contents_are_refused(example, parts, tmp_path):
    load = example("cifar10_data").load_cifar10
    path = tmp_path / "data.npz"
    np.savez(path, **{**parts, "x_test": parts["x_test"].astype(np.float32)})
    with pytest.raises(ValueError, match=r"images are uint8 .*dtype=float32"):
        load(str(path))
    np.savez(path, x_train=parts["x_train"])
    with pytest.raises(ValueError, match=r"an \.npz file holds x_train, y_train"):
        load(str(path))
    np.savez(path, **{**parts, "y_test": np.array([object()] * 3)})
    with pytest.raises(ValueError, match="allow_pickle"):
        load(str(path))


def test_resnet_parameters_survive_a_file(example, random_resnet8, tmp_path):
    module, variables = example("resnet"), random_resnet8
    ranges = {"layer2_0_conv1": (np.float32(-1), np.float32(2.5))}
    module.save_parameters(tmp_path / "a.npz", variables, ranges)
    depth, found, found_ranges = module.load_parameters(tmp_path / "a.npz")
    assert depth == 8
    assert found_ranges == ranges
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))


def test_resnet_refuses_files_that_hold_no_network(example, random_resnet8, tmp_path):
    module = example("resnet")
    module.save_parameters(tmp_path / "a.npz", random_resnet8)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "b.npz", **{k: v for k, v in arrays.items() if k != "bn1.bias"})
    with pytest.raises(ValueError, match="with 7 convolutions. Write it with save_parameters"):
        module.load_parameters(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"no zip file")
    with pytest.raises(ValueError, match=r"a network is an \.npz file"):
        module.load_parameters(tmp_path / "c.npz")


def test_resnet_reads_the_parameters_of_others(example):
    path = pathlib.Path(__file__).parents[2] / "shared/models/cifar10_resnet20.npz"
    if not path.is_file():
        pytest.skip("the trained network is not beside this checkout")
    depth, variables, ranges = example("resnet").load_parameters(path)
    assert (depth, ranges) == (20, None)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(
            variables["params"]["layer3_2_conv2"]["kernel"], arrays["layer3.2.conv2.weight"]
        )


def test_resnet_has_as_many_parameters_as_published(example):
    module = example("resnet")
    shape = jax.eval_shape(
        module.ResNet(20).init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)
    )
    # 269,722 with option A: 0.27 M in table 6 of He et al.
    assert sum(leaf.size for leaf in jax.tree.leaves(shape["params"])) == 269_722


def test_resnet_result_of_an_image_does_not_depend_on_its_batch(example, random_resnet8):
    module, run = example("resnet"), example("cifar10_resnet")
    x = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    ranges = module.input_ranges(random_resnet8, run.normalize(x), depth=8)
    apply = jax.jit(module.resnet(8, axjax.load("mul8u_drum3"), ranges).apply)
    scores = np.asarray(apply(random_resnet8, run.normalize(x)))
    x[3:] = 0
    among_others = np.asarray(apply(random_resnet8, run.normalize(x)))
    np.testing.assert_array_equal(scores[:3], among_others[:3])
    assert not np.array_equal(scores[3:], among_others[3:])


def test_assign_multipliers(tmp_path):
    pytest.importorskip("pymoo")
    found = run_example(
        "assign_multipliers.py", "--out", tmp_path, "--epochs", 4, "--population", 8,
        "--generations", 3,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    front = json.loads((tmp_path / "front.json").read_text())
    assert front["front"]
    assert all(a["accuracy"] >= front["floor"] for a in front["front"])
    assert all(0 < a["power"] <= 1 for a in front["front"])


@pytest.fixture
def tuning(example, random_resnet8, rng):
    """Fine-tunes a ResNet-8 for two epochs; keywords go to `fit`."""
    training = example("cifar10_training")
    images = rng.integers(0, 256, (16, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, 16).astype(np.int32)
    multiplier = axjax.load("mul8u_drum3")
    multiplier = multiplier.with_gradient(axjax.Gradient.lut_difference(multiplier))
    x = images.astype(np.float32) / 64 - 2
    ranges = example("resnet").input_ranges(random_resnet8, x, depth=8)
    recipe = training.Recipe(2, 0.01, batch=8, distillation=0.5)

    def fit(**keywords):
        keywords = dict(multiplier=multiplier, ranges=ranges, depth=8) | keywords
        with jax.numpy_dtype_promotion("standard"):  # which optax relies on
            return training.fit(random_resnet8, images, labels, recipe, **keywords)

    fit.multiplier = multiplier
    return fit


def test_training_goes_on_from_a_checkpoint_to_the_same_bits(tuning, tmp_path):
    path = tmp_path / "new" / "checkpoint"
    whole = tuning()

    def interrupted(steps, title):
        if title.startswith("epoch 2"):
            raise KeyboardInterrupt
        return steps

    with pytest.raises(KeyboardInterrupt):
        tuning(checkpoint=path, progress=interrupted)
    assert path.exists()
    epochs = []
    resumed = tuning(checkpoint=path, after_epoch=lambda epoch: epochs.append(epoch.number))
    assert epochs == [2]
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    other_seed = tuning(seed=1)
    kernel = lambda variables: variables["params"]["conv1"]["kernel"]
    assert not np.array_equal(kernel(other_seed), kernel(whole))

    # A schedule runs each epoch on its own multiplier, in one program.
    step = sys.modules["cifar10_training"].training_step
    before = step._cache_size()
    schedule = axjax.gradually(tuning.multiplier, 2)
    scheduled = tuning(schedule=lambda epoch: schedule[epoch])
    assert step._cache_size() == before + 1  # without factors
    assert not np.array_equal(kernel(scheduled), kernel(whole))


def test_distance_to_the_teacher(example):
    distance = example("cifar10_training").distance_to
    scores, teacher = np.array([[1.0, 3.0]], np.float32), np.array([[0.0, 4.0]], np.float32)
    p, q = (np.exp(s / 2) / np.exp(s / 2).sum() for s in (teacher, scores))
    expected = 4 * (p * np.log(p / q)).sum()
    np.testing.assert_allclose(distance(teacher, scores, 2.0), expected, rtol=1e-5)
    assert distance(teacher, teacher, 2.0) == pytest.approx(0, abs=1e-6)

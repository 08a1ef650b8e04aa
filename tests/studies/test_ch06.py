import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from studies import ch06_speedrun as study
from zoo.ch06_cnn.speedrun import model
from zoo.ch06_cnn.speedrun.task import TASK
from zoo.common import fit
from zoo.common.data import DataError, Dataset


@pytest.fixture
def tiny(monkeypatch):
    """The studies' data set, 48 pictures to train on and 20 to test on, and a configuration."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 68).astype(np.uint8)
    images = (rng.integers(0, 100, (68, 32, 32, 3)) + 15 * labels[:, None, None, None]).astype("u1")
    train = {"image": images[:48], "label": labels[:48]}
    test = {"image": images[48:], "label": labels[48:]}
    dataset = Dataset("CIFAR-10", "real", "holdout", "pictures", train, test, ("a",) * 10)
    monkeypatch.setattr(study, "TASK", dataclasses.replace(TASK, load=lambda *_: dataset))
    return model.Config(width=2, epochs=2, batch_size=16, precision="float32", views="flips")


def test_seeds_are_repeated_once_and_kept(tiny, tmp_path, capsys, monkeypatch):
    out = tmp_path / "speedrun.json"
    study.repeat(tiny, seeds=2, target=0.0, device="cpu", out=out)
    assert "2 seeds" in capsys.readouterr().out
    (rows,) = json.loads(out.read_text())["rows"].values()
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["train_loss"] != rows[1]["train_loss"]
    assert rows[0]["compile_seconds"] > 0 == rows[1]["compile_seconds"]
    monkeypatch.setattr(study, "_runs", lambda *a, **_: [None] * len(a[2]))
    study.repeat(tiny, seeds=2, target=1.1, device="cpu", out=out)
    assert "target 110.00%: missed" in capsys.readouterr().out
    other = dataclasses.replace(tiny, width=4)
    with pytest.raises(DataError, match="results of another config"):
        study.repeat(other, seeds=1, device="cpu", out=out)


def test_ablation_goes_on_where_it_stopped_and_compares_by_seed(tiny, tmp_path, monkeypatch):
    asked = []

    def runs(config, dataset, seeds, warm_up):
        for seed in seeds:
            asked.append((config, seed))
            accuracy = 0.9 + 0.01 * seed - (0.02 if config.shift == 0 else 0.0)
            row = {"seed": seed, "test_accuracy": accuracy, "seconds": 2.0}
            yield {**row, "compile_seconds": 1.0, "train_loss": [1.0]}

    monkeypatch.setattr(study, "_runs", runs)
    out = tmp_path / "ablation.json"
    options = {"rows": ("all ideas", "no shifts"), "device": "cpu", "out": out}
    study.ablation(tiny, seeds=1, **options)
    study.ablation(tiny, seeds=2, **options)
    assert [seed for _, seed in asked] == [0, 0, 1, 1]
    table = out.with_suffix(".md").read_text()
    assert "| all ideas | 2 | 90.50 ± 0.71 % |  | 2.0 |" in table
    assert "| no shifts | 2 | 88.50 ± 0.71 % | -2.00 | 2.0 |" in table
    with pytest.raises(DataError, match="'nothing', expected one of: all ideas"):
        study.ablation(tiny, rows=("nothing",), device="cpu", out=out)


def test_each_row_of_the_ablation_changes_a_field(tiny):
    for name, change in study.ABLATIONS.items():
        assert (dataclasses.replace(model.Config(), **change) != model.Config()) == bool(change), (
            name
        )


@pytest.mark.slow
def test_the_program_of_a_whole_run_equals_training_step_by_step():
    # Blurred, so that patches are correlated: else the whitening filters are those of chance.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 32).astype(np.uint8)
    images = rng.integers(0, 80, (32, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    images += rng.integers(0, 30, images.shape) + 14 * labels[:, None, None, None]
    data, rows = {"image": images.astype(np.uint8), "label": labels}, []
    config = dataclasses.replace(
        model.RECIPES["speedrun-cpu"], width=4, batch_size=16, epochs=3, rise=0.2, shift=0
    )
    config = dataclasses.replace(config, views="plain", average=0.5, bias_rate=1.0)

    def follow(reports):
        for report in reports:
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    state = TASK.train(config, data, follow=follow)
    sided = jax.tree.map(jnp.asarray, TASK.prepare(config, data))
    found = jax.jit(study.whole_run(config, 32))(jax.random.key(config.seed), sided, data)
    assert found["loss"].shape == found["accuracy"].shape == (3,)
    np.testing.assert_allclose(found["loss"], [row["train_loss"] for row in rows], rtol=2e-2)
    classify = TASK.predictions(config)["classify"].function
    expected = fit.predict(classify, TASK.weights(state), {"image": data["image"]}, 32)
    accuracy = (expected["probabilities"].argmax(-1) == labels).mean()
    np.testing.assert_allclose(found["test_accuracy"], accuracy, atol=0.07)

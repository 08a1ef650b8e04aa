import jax
import pytest

from zoo import tasks
from zoo.ch04_gpu import models
from zoo.common.data import DataError


def test_every_task_is_measured():
    assert {model.task.name for model in models.every()} == {task.name for task in tasks()}


def test_names_are_distinct_and_the_books_times_belong_to_its_programs():
    names = [model.name for model in models.every()]
    assert len(set(names)) == len(names)
    assert {models.choose((name,))[0].recipe for name in models.BOOK_SECONDS} == {"book"}


@pytest.mark.parametrize("model", models.every(), ids=lambda model: model.name)
def test_a_model_can_be_updated_and_predicts(model):
    """Traced only: nothing is compiled."""
    size = model.batch_size
    data = model.random(size)
    assert {len(array) for array in data.values()} == {size}

    def update():
        step, state, batch = model.step(data)
        return state, *step(state, batch)

    state, after, metrics = jax.eval_shape(update)
    assert set(metrics) == set(state.totals) - {"bad_step"}
    assert jax.tree.structure(after.params) == jax.tree.structure(state.params)
    predictions = model.task.predictions(model.config).values()
    assert any(prediction.inputs.keys() <= data.keys() for prediction in predictions)


def test_an_epoch_is_that_of_the_chapters_data():
    digits, photographs = 60_000, 50_000  # of MNIST and CIFAR-10
    assert {task.label: task.epoch for task in tasks()} == {
        "basic_nn": 10_000 * 4,  # steps of four rows
        "feedforward": digits,
        "autoencoder": digits,
        "rbm": 943,  # users of MovieLens 100K
        "lstm": 15_680,
        "cnn": photographs,
        "speedrun": photographs,
        "agent": 32_000,
        "planner": 6_400,
        "vae": digits,
        "conv": photographs,
    }


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"got the model 'lenet', expected one of .*feedforward"):
        models.choose(("lenet",))

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
    assert model.task.epoch > 0


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"got the model 'lenet', expected one of .*feedforward"):
        models.choose(("lenet",))

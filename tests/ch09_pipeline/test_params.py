"""params.yaml is read as it is written, and what is wrong in it is named."""

import dataclasses

import pytest

from zoo.ch06_cnn import RECIPES
from zoo.ch09_pipeline import params
from zoo.ch09_pipeline.params import Params
from zoo.common.run import RunError

GOOD = Params({"recipe": "nodropout", "epochs": 3, "filters": [4, 4, 4], "learning_rate": 1})


def test_what_is_written_is_read_again(tmp_path):
    params.write(tmp_path, GOOD)
    assert params.read(tmp_path) == GOOD


def test_nodropout_is_the_books_network_without_dropout():
    config, book = params.VARIANTS["nodropout"], RECIPES["book"]
    assert (book.dropout, book.dropout_dense) == (0.2, 0.55)
    assert config == dataclasses.replace(book, dropout=0.0, dropout_dense=0.0)


def test_fields_beside_the_recipe_change_it():
    config = GOOD.config
    assert (config.epochs, config.filters, config.learning_rate) == (3, (4, 4, 4), 1.0)
    assert config.solver == "rmsprop"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("nodropout", "alexnet", "recipe is 'alexnet', expected one of book, nodropout, modern"),
        ("epochs: 3", "epochs: many", "yaml: got epochs 'many', expected an integer, at least 1"),
        ("epochs: 3", "epochs: 0", "yaml: got epochs 0, expected at least 1"),
        ("epochs: 3", "epochs: true", "yaml: got epochs True, expected an integer"),
        ("epochs: 3", f"epochs: {'9' * 5000}", "yaml is no YAML: Exceeds the limit"),
        ("epochs: 3", "dropout: .nan", "yaml: got dropout nan, expected 0 to 1"),
        ("epochs: 3", "7: 3", "no setting 7"),
        ("nodropout", "[book]", r"recipe is \['book'\], expected one of"),
        ("epochs: 3", "epoch: 3", "no setting 'epoch'"),
        ("epochs: 3", "dataset: mnist", "no setting 'dataset'"),
        ("device: cpu", "device: abacus", "device is 'abacus', expected cpu or auto"),
        ("device: cpu", "device: 7", "device is 7, expected a str"),
        ("device: cpu", "device: [", "is no YAML"),
        ("device: cpu\n", "", "expected model, device, classes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, before, after, message):
    params.write(tmp_path, GOOD)
    text = (tmp_path / "params.yaml").read_text()
    assert before in text
    (tmp_path / "params.yaml").write_text(text.replace(before, after))
    with pytest.raises(RunError, match=message):
        params.read(tmp_path)


def test_a_folder_that_is_no_workspace_is_said(tmp_path):
    with pytest.raises(RunError, match="is no workspace"):
        params.read(tmp_path)

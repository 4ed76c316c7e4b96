import pytest

from layersearch.config import config_from
from layersearch.errors import ConfigError

BASE = {"backbone": {"name": "resnet18"}, "data": {"source": "digits"}}


def read(callbacks, overrides=()):
    config = config_from({**BASE, "callbacks": callbacks}, overrides)
    return [(section.name, section.options) for section in config.callbacks]


def test_there_are_none_by_default():
    assert config_from(BASE).callbacks == ()
    assert read(None) == []


def test_names_and_options_may_be_written_in_short():
    assert read("tensorboard") == [("tensorboard", {})]
    assert read(["mlflow", {"name": "wandb", "project": "x"}]) == [
        ("mlflow", {}),
        ("wandb", {"project": "x"}),
    ]
    assert read({"name": "a.b:C", "options": {"volume": 3}}) == [("a.b:C", {"volume": 3})]


def test_the_command_line_sets_them():
    assert read([], ["callbacks=[tensorboard]"]) == [("tensorboard", {})]


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [
        (["tensorbord"], "did you mean 'tensorboard'"),
        ([{"name": "wandb", "projekt": "x"}], "did you mean 'project'"),
        ([{"volume": 3}], "callbacks"),
        ([3], "callbacks"),
    ],
)
def test_what_is_wrong_is_told_with_the_remedy(callbacks, says):
    with pytest.raises(ConfigError) as found:
        read(callbacks)
    assert says in str(found.value)
    assert "callbacks[0]" in str(found.value)


def test_passwords_are_not_in_what_is_kept():
    uri = "postgresql://me:hunter2@db/runs"
    config = config_from({**BASE, "callbacks": [{"name": "mlflow", "tracking_uri": uri}]})
    assert "hunter2" not in str(config.resolved())
    assert config.callbacks[0].options["tracking_uri"] == uri

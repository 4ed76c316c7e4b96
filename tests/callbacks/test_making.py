import sys

import pytest

from layersearch.callbacks import make_callback
from layersearch.callbacks.making import METHODS
from layersearch.config.callbacks import CALLBACKS
from layersearch.errors import ConfigError
from layersearch.execution import Observer

OWN = "tests.callbacks.listening"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_one_clear_error(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as found:
        make_callback(name, {}, where="callbacks[0]")
    assert "callbacks[0]" in str(found.value)
    assert f"pip install 'layersearch[{name}]'" in str(found.value)


@pytest.mark.parametrize("name", ["Bell", "made"])
def test_the_users_own_gets_its_options(name):
    assert make_callback(f"{OWN}:{name}", {"volume": 3}, where="callbacks[0]").volume == 3


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("nowhere:Bell", {}, "cannot be imported"),
        (f"{OWN}:Bel", {}, "cannot be imported"),
        (f"{OWN}:NUMBER", {}, "cannot be called"),
        (f"{OWN}:Bell", {"volum": 3}, "did you mean 'volume'"),
        (f"{OWN}:made", {}, "needs 'volume'"),
        (f"{OWN}:broken", {}, "no bell"),
        (f"{OWN}:deaf", {}, "listens to nothing"),
        ("wandb", {"mode": "loud"}, "mode must be offline"),
    ],
)
def test_what_cannot_be_made_says_why(name, options, says):
    if name == "wandb":
        pytest.importorskip("wandb")
    with pytest.raises(ConfigError, match=r"callbacks\[2\]") as found:
        make_callback(name, options, where="callbacks[2]")
    assert says in str(found.value)


def test_the_methods_are_those_of_an_observer():
    assert set(METHODS) == {name for name in vars(Observer) if not name.startswith("_")}


@pytest.mark.parametrize("name", list(CALLBACKS))
def test_every_option_of_a_tracker_is_taken(name):
    pytest.importorskip(name)
    values = {"mode": "offline", "curves": False}
    options = {option: values.get(option, "x") for option in CALLBACKS[name]}
    assert make_callback(name, options, where="callbacks[0]") is not None

"""All trials of a study are trained in one precision, whatever machine goes on with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from layersearch.build.given import NOTHING_GIVEN
from layersearch.build.precision import (
    apply_precision,
    kept_precision,
    mixed,
    settle_precision,
)
from layersearch.build.preparing import Prepared, prepare
from layersearch.build.search import run_to_end
from layersearch.config import SearchConfig, config_from
from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.study import attributes as names
from tests.processors import pretend_processor


@pytest.fixture
def computes_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine one that is fast at a precision."""

    def having(precision: str) -> None:
        pretend_processor(monkeypatch, *(["amx_tile"] if precision == "bf16" else []))

    return having


def described(tmp_path: Path, **sections: Any) -> SearchConfig:
    return config_from(
        {
            "backbone": {"name": "layersearch/cifar_resnet14"},
            "data": {"source": "digits", "train_samples": 40, "folds": 2, "test_samples": 20},
            "recipe": {"epochs": 1, "batch_size": 20},
            "strategy": {"name": "random", "trials": 2},
            "execution": {"threads": 1},
            "study": {"directory": str(tmp_path), "name": "one"},
            **sections,
        }
    )


def settled(search: Prepared, said: list[str], *, worker: bool = False) -> str:
    """The precision that the search is trained in."""
    with search.open_study([], worker=worker) as opened:
        ready = settle_precision(search, opened, tell=said.append, decides=not worker)
        return ready.parts.materials.recipe.precision


def record(number: int, precision: str | None) -> TrialRecord:
    attributes = {} if precision is None else {names.PRECISION: precision}
    return TrialRecord(
        number=number,
        subset=Subset(()),
        state=TrialState.COMPLETE,
        values=(0.5,),
        attributes=attributes,
    )


@pytest.mark.parametrize(("first", "second"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_whoever_goes_on_trains_as_the_first_did(
    tmp_path: Path, computes_in: Any, first: str, second: str
) -> None:
    search = prepare(described(tmp_path), NOTHING_GIVEN)
    said: list[str] = []
    computes_in(first)
    assert settled(search, said) == first
    assert settled(search, said) == first
    assert not said
    computes_in(second)
    for worker in (False, True):
        assert settled(search, said, worker=worker) == first
        assert f"are trained in {first}" in said.pop()


def test_a_worker_chooses_nothing(tmp_path: Path, computes_in: Any) -> None:
    computes_in("bf16")
    search = prepare(described(tmp_path), NOTHING_GIVEN)
    with search.open_study([]):
        assert settled(search, [], worker=True) == "auto"


def test_what_is_said_stays(tmp_path: Path, computes_in: Any) -> None:
    computes_in("bf16")
    said: list[str] = []
    search = prepare(
        described(tmp_path, recipe={"epochs": 1, "batch_size": 20, "precision": "fp32"}),
        NOTHING_GIVEN,
    )
    assert settled(search, said) == "fp32"
    assert apply_precision(search, "bf16") is search
    assert not said


def test_devices_that_differ_train_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_device(wanted: str, device: torch.device, network: object) -> str:
        assert wanted == "auto"
        assert network is not None
        return "bf16" if device.type == "cuda" else "fp32"

    monkeypatch.setattr("layersearch.build.precision.resolve_precision", by_device)
    search = prepare(described(tmp_path), NOTHING_GIVEN)
    assert settled(replace(search, devices=["cuda:0", "cpu"]), []) == "fp32"


def test_trials_say_what_they_were_trained_in(tmp_path: Path, computes_in: Any) -> None:
    """Also where the study does not: of a cluster, whose machines choose."""
    computes_in("fp32")
    config = described(tmp_path)
    ended = run_to_end(config)
    assert {trial.attributes[names.PRECISION] for trial in ended.run.history} == {"fp32"}
    assert kept_precision({}, ended.run.history) == "fp32"
    assert ended.factory.materials.recipe.precision == "fp32"
    assert ended.study is not None
    assert ended.study.user_attrs[names.PRECISION] == "fp32"


def test_the_study_has_the_last_word_on_its_trials() -> None:
    assert kept_precision({names.PRECISION: "bf16"}, [record(0, "fp32")]) == "bf16"
    assert kept_precision({}, [record(0, None), record(1, "fp32"), record(2, "bf16")]) == "fp32"
    assert kept_precision({}, [record(0, None)]) is None


def test_a_mixture_is_told_of() -> None:
    assert not mixed([])
    assert not mixed([record(0, "bf16"), record(1, None), record(2, "bf16")])
    told = mixed([record(0, "fp32"), record(1, "bf16"), record(2, "fp32")])
    assert told.startswith("2 trials in fp32 and 1 trial in bf16")
    assert "recipe.precision" in told

"""A worker of a search without training, to be run in threads and processes on one study."""

import random
import time
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from layersearch.space import Bounds, SearchSpace, Subset
from layersearch.strategies import Done, Wait
from layersearch.strategies.optuna_adapter import (
    StrategySampler,
    SubsetSampler,
    claimed,
    make_search_sampler,
)
from layersearch.study import history
from tests.strategies.simulation import random_score, units

SPACE = SearchSpace(
    units(3, 1, 4, 1, 5, 9),
    bounds=Bounds(min_units=1, max_units=4, never=("layer5",)),
    limits={"trainable_parameters": 12},
)
SCORE = random_score(7, levels=1000)
STUDY = "contract"

SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy paired": ("greedy", {}),
    "greedy paper": ("greedy", {"stop": "paper"}),
    "greedy official": ("greedy", {"stop": "official"}),
    "greedy backward": ("greedy", {"direction": "backward"}),
    "greedy both": ("greedy", {"direction": "both"}),
    "nested": ("nested", {"patience": 1}),
    "profile": ("profile", {}),
    "exhaustive": ("exhaustive", {}),
    "random": ("random", {}),
    "tpe": ("tpe", {"n_startup_trials": 3}),
    "gp": ("gp", {"n_startup_trials": SPACE.count() - 4}),
    "nsga2": ("nsga2", {"population_size": 6}),
    "nsga3": ("nsga3", {"population_size": 6}),
    "qmc": ("qmc", {}),
    "random_sampler": ("random_sampler", {}),
}


def sampler_of(search: str, *, patience: float = 30.0) -> StrategySampler | SubsetSampler:
    name, options = SEARCHES[search]
    return make_search_sampler(
        name,
        options,
        space=SPACE,
        seed=3,
        read_history=history,
        enqueue=(Subset(),),
        patience=patience,
    )


def work(
    storage: BaseStorage | str, search: str, *, limit: int | None = None, pause: float = 0.0
) -> None:
    """Trains until the strategy is done, or `limit` trials; a trial takes up to `pause` seconds."""
    if isinstance(storage, str):
        storage = RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 100}})
    sampler = sampler_of(search)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
    trained = 0
    while trained != limit:
        outlook = sampler.outlook(history(study))
        if isinstance(outlook, Done):
            return
        if isinstance(outlook, Wait):
            time.sleep(0.02)
            continue
        trial = study.ask(sampler.distributions)
        subset = claimed(trial)
        if subset is None:
            study.tell(trial, state=TrialState.FAIL)
            continue
        trained += 1
        time.sleep(pause * random.random())
        study.tell(trial, SCORE(subset))

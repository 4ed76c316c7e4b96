"""Strategies as Optuna samplers and the other way round: claims, repairs, recipe numbers, names."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import cloudpickle
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from layersearch.errors import ConfigError
from layersearch.space import Bounds, SearchSpace, Subset
from layersearch.strategies import Done, Greedy, Wait
from layersearch.strategies.optuna_adapter import (
    CLAIM,
    SAMPLERS,
    StrategySampler,
    SubsetSampler,
    claimed,
    distribution,
    make_pruner,
    make_sampler,
    make_search_sampler,
    recipe_numbers,
)
from layersearch.study import history
from tests.strategies.simulation import random_score, units

SCORE = random_score(1, levels=1000)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def space_of(n: int = 4, **bounds: Any) -> SearchSpace:
    return SearchSpace(units(*range(1, n + 1)), bounds=Bounds(**bounds))


def sampler(name: Any, space: SearchSpace, **more: Any) -> StrategySampler | SubsetSampler:
    return make_search_sampler(name, space=space, seed=0, read_history=history, **more)


def study_with(by: BaseSampler, **more: Any) -> Study:
    return optuna.create_study(direction="maximize", sampler=by, **more)


def ask(study: Study) -> Trial:
    return study.ask(study.sampler.distributions)


def train(study: Study, trials: int) -> list[Subset]:
    subsets = []
    for _ in range(trials):
        trial = ask(study)
        subset = claimed(trial)
        assert subset is not None
        subsets.append(subset)
        study.tell(trial, SCORE(subset))
    return subsets


# --- Claims ---------------------------------------------------------------------------------------


def test_a_claim_is_there_when_the_trial_is() -> None:
    space = space_of()
    study = study_with(sampler("exhaustive", space, enqueue=[space.subset("all")]))
    trial = study.ask()  # nothing is asked of it yet
    assert claimed(trial) == space.subset("all")
    assert study.trials[0].user_attrs["subset"] == ["layer0", "layer1", "layer2", "layer3"]


def test_parameters_are_one_boolean_a_unit() -> None:
    space = space_of(never=("layer3",))
    study = study_with(sampler("exhaustive", space))
    train(study, 2)
    assert study.trials[1].params == {"layer0": True, "layer1": False, "layer2": False}


def test_waits_for_the_claim_of_a_lower_number() -> None:
    space = space_of()
    study = study_with(sampler("exhaustive", space))
    storage, first = study._storage, study._storage.create_new_trial(study._study_id)
    seen: list[Subset | None] = []
    second = threading.Thread(target=lambda: seen.append(claimed(study.ask())))
    second.start()
    time.sleep(0.05)
    assert not seen
    storage.set_trial_user_attr(first, "subset", [])
    second.join(timeout=10)
    assert seen == [space.subset(["layer0"])]


def test_a_trial_that_never_claims_costs_one_wait() -> None:
    by = sampler("exhaustive", space_of(), patience=0.2)
    study = study_with(by)
    study._storage.create_new_trial(study._study_id)
    polls = 0
    reading = study.get_trials

    def counted(*args: Any, **kwargs: Any) -> list[FrozenTrial]:
        nonlocal polls
        polls += 1
        return reading(*args, **kwargs)

    study.get_trials = counted  # type: ignore[method-assign]  # to see it wait
    study.ask()
    first, polls = polls, 0
    study.ask()
    assert first > 3
    assert polls <= 3


def test_claims_nothing_rather_than_raise_when_there_is_nothing_to_train() -> None:
    space = space_of(1)
    study = study_with(sampler("exhaustive", space))
    train(study, 2)
    trial = ask(study)
    assert claimed(trial) is None
    assert trial.user_attrs[CLAIM] == "none: all 2 subsets of the space are tried"


@pytest.mark.parametrize("name", ["exhaustive", "tpe"])
def test_says_wait_while_the_last_are_running_and_done_after(name: str) -> None:
    by = sampler(name, space_of(1))
    study = study_with(by)
    assert by.outlook(history(study)) is None
    last = [ask(study), ask(study)]
    assert isinstance(by.outlook(history(study)), Wait)
    assert claimed(ask(study)) is None
    for trial in last:
        study.tell(trial, 0.5)
    assert isinstance(by.outlook(history(study)), Done)


def test_an_error_while_a_trial_is_created_fails_it() -> None:
    def broken(study: Study) -> Any:
        raise RuntimeError("storage is gone")

    by = StrategySampler(Greedy(space_of()), space_of(), read_history=broken)
    study = study_with(by)
    with pytest.raises(RuntimeError, match="storage is gone"):
        study.ask()
    assert study.trials[0].state is TrialState.FAIL
    assert study.trials[0].user_attrs[CLAIM] == "none: RuntimeError: storage is gone"


@pytest.mark.parametrize("name", ["greedy", "tpe"])
def test_a_trial_that_was_enqueued_in_the_study_keeps_its_parameters(name: str) -> None:
    space = space_of()
    study = study_with(sampler(name, space))
    study.enqueue_trial({"layer1": True, "layer3": True, "layer0": False, "layer2": False})
    trial = ask(study)
    assert claimed(trial) == space.subset(["layer1", "layer3"])
    assert trial.params == space.to_parameters(space.subset(["layer1", "layer3"]))


# --- Optuna's samplers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "gp"])
def test_samplers_stay_in_a_narrow_space_and_exhaust_it(name: str) -> None:
    numels = [5, 9, 2, 7, 4]
    space = SearchSpace(
        units(*numels), bounds=Bounds(min_units=2), limits={"trainable_parameters": 13}
    )
    by = sampler(name, space)
    study = study_with(by)
    assert set(train(study, space.count())) == set(space.enumerate())
    assert isinstance(by.outlook(history(study)), Done)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "qmc", "random_sampler"])
def test_runs_are_proposed_as_runs(name: str) -> None:
    space = SearchSpace(units(*[1] * 8), bounds=Bounds(contiguous=3))
    study = study_with(sampler(name, space))
    assert set(train(study, 6)) == set(space.enumerate())


def test_the_queue_comes_first_even_from_outside_the_space() -> None:
    space = space_of(min_units=1)
    queue = [Subset(), space.subset("all")]
    assert train(study_with(sampler("tpe", space, enqueue=queue)), 2) == queue


def test_a_failed_subset_may_come_again_and_a_lost_one_does_not() -> None:
    space = space_of(1)
    study = study_with(sampler("random_sampler", space))
    for _ in range(4):
        study.tell(ask(study), state=TrialState.FAIL)
    counts = Counter(claimed(trial) for trial in study.trials)
    assert counts == {Subset(): 2, space.subset("all"): 2}


def test_recipe_numbers_are_sampled_jointly_and_may_come_with_a_known_subset() -> None:
    recipe = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "epochs": {"choices": [5, 10]}}
    by = sampler("tpe", space_of(2), recipe=recipe)
    study = study_with(by)
    trials = [ask(study) for _ in range(10)]
    numbers = [recipe_numbers(trial) for trial in trials]
    assert all(set(n) == {"lr", "epochs"} for n in numbers)
    assert all(1e-4 <= n["lr"] <= 1e-2 and n["epochs"] in {5, 10} for n in numbers)
    assert len({n["lr"] for n in numbers}) == 10
    assert by.outlook(history(study)) is None
    assert {"layer0", "layer1", "recipe.lr", "recipe.epochs"} == set(trials[0].params)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_searches_recipe_numbers(name: str) -> None:
    options = {"n_startup_trials": 5} if name in {"gp", "tpe"} else {}
    by = make_search_sampler(
        name,
        options,
        space=space_of(3),
        seed=0,
        read_history=history,
        recipe={"lr": FloatDistribution(1e-4, 1e-2, log=True)},
    )
    study = study_with(by)
    train(study, 6)
    numbers = [trial.params["recipe.lr"] for trial in study.trials]
    assert all(1e-4 <= number <= 1e-2 for number in numbers)
    assert len(set(numbers)) >= 4  # GP likes the ends of a range


def test_a_resumed_search_does_not_repeat_its_random_numbers() -> None:
    recipe = {"lr": {"low": 0.0, "high": 1.0}}
    storage = optuna.storages.InMemoryStorage()
    numbers = []
    for _ in range(3):
        by = sampler("random_sampler", space_of(), recipe=recipe)
        study = study_with(by, storage=storage, study_name="s", load_if_exists=True)
        trial = ask(study)
        numbers.append(recipe_numbers(trial)["lr"])
        study.tell(trial, 0.0)
    assert len(set(numbers)) == 3


def test_the_same_seed_gives_the_same_search() -> None:
    first, second = (train(study_with(sampler("tpe", space_of(6))), 20) for _ in range(2))
    assert first == second


def test_samplers_learn_from_what_was_trained_not_from_what_they_wished_for() -> None:
    space = space_of(4, max_units=1)
    study = study_with(sampler("random_sampler", space))
    train(study, 5)
    assert all(sum(trial.params.values()) <= 1 for trial in study.trials)


def test_hyperband_shows_a_sampler_one_bracket_but_claims_see_all() -> None:
    space = space_of(4)
    pruner = make_pruner("hyperband", {"min_resource": 1, "max_resource": 9})
    study = study_with(sampler("tpe", space), pruner=pruner)
    assert len(set(train(study, space.count()))) == space.count()


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3", "random_sampler"])
def test_samplers_with_two_objectives_do_not_repeat_a_subset(name: str) -> None:
    space = space_of(4)
    by = sampler(name, space)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=by)
    for _ in range(space.count()):
        trial = ask(study)
        subset = claimed(trial)
        assert subset is not None
        study.tell(trial, [SCORE(subset), len(subset)])
    assert len({claimed(trial) for trial in study.trials}) == space.count()
    assert isinstance(by.outlook(history(study)), Done)


class Stubborn(RandomSampler):
    """A user's own sampler: always wishes for everything."""

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return True


def test_takes_a_users_own_sampler_by_object_or_by_name() -> None:
    space = space_of(3)
    for own in (Stubborn(), "tests.strategies.test_optuna_adapter:Stubborn"):
        subsets = train(study_with(sampler(own, space)), 8)
        assert subsets[0] == space.subset("all")
        assert len(set(subsets)) == 8
        assert all(len(a) == 2 for a in subsets[1:4])  # the neighbours of what it wishes for


def test_takes_a_users_own_strategy() -> None:
    space = space_of(3)
    study = study_with(sampler(Greedy(space, stop="paper"), space, enqueue=[Subset()]))
    assert train(study, 2) == [Subset(), space.subset(["layer0"])]


@pytest.mark.parametrize("name", ["greedy", "exhaustive", "tpe", "qmc"])
def test_samplers_travel_to_other_processes(name: str) -> None:
    by = sampler(name, space_of())
    study = study_with(by)
    train(study, 1)
    copy = cloudpickle.loads(cloudpickle.dumps(by))
    assert copy.outlook(history(study)) is None
    study.sampler = copy
    assert len({*train(study, 3), claimed(study.trials[0])}) == 4


# --- Names and options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("tpee", {}, ["strategy.name", "'tpee'", "did you mean 'tpe'?"]),
        ("tpe", {"n_startup_trial": 3}, ["strategy.n_startup_trial", "'n_startup_trials'"]),
        ("nsga2", {"population_size": 1}, ["NSGAIISampler refuses", "greater than or equal to 2"]),
        ("no.such.module:thing", {}, ["strategy.name", "cannot be imported"]),
        ("json:loads", {"s": "3"}, ["gives a int, not an optuna.samplers.BaseSampler"]),
        ("greedy", {"direktion": "forward"}, ["strategy.direktion", "'direction'"]),
        ("greedy", {"stop": "never", "z": "1"}, ["paired, paper, official ('never')", "a number"]),
    ],
)
def test_refuses_what_is_no_sampler_before_any_work(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_search_sampler(name, options, space=space_of(), seed=0, read_history=history)
    for word in words:
        assert word in str(refusal.value)


def test_refuses_recipe_numbers_for_a_strategy_of_subsets() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.lr: greedy chooses subsets"):
        sampler("greedy", space_of(), recipe={"lr": {"low": 0.1, "high": 1.0}})


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        (None, {}, "NopPruner"),
        ("none", {}, "NopPruner"),
        ("median", {"n_warmup_steps": 2}, "MedianPruner"),
        ("percentile", {"percentile": 25.0}, "PercentilePruner"),
        ("hyperband", {}, "HyperbandPruner"),
        ("successive_halving", {}, "SuccessiveHalvingPruner"),
        ("threshold", {"lower": 0.1}, "ThresholdPruner"),
        ("wilcoxon", {"p_threshold": 0.05}, "WilcoxonPruner"),
        ("patient", {"wrapped_pruner": "median", "patience": 2}, "PatientPruner"),
        (
            "patient",
            {"wrapped_pruner": {"name": "percentile", "percentile": 10.0}, "patience": 2},
            "PatientPruner",
        ),
        ("optuna.pruners:NopPruner", {}, "NopPruner"),
    ],
)
def test_makes_pruners_by_name(name: str | None, options: dict[str, Any], kind: str) -> None:
    made = make_pruner(name, options)
    assert type(made).__name__ == kind
    assert make_pruner(made) is made


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("medain", {}, "did you mean 'median'"),
        ("median", {"n_warmup_step": 2}, "did you mean 'n_warmup_steps'"),
        ("percentile", {}, "PercentilePruner needs 'percentile'"),
        ("threshold", {}, "ThresholdPruner refuses"),
    ],
)
def test_refuses_what_is_no_pruner(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_pruner(name, options)


def test_makes_samplers_by_name_with_a_seed() -> None:
    assert type(make_sampler("tpe", {"n_startup_trials": 3}, seed=2**62)).__name__ == "TPESampler"
    own = RandomSampler()
    assert make_sampler(own, seed=0) is own


def test_ranges_of_recipe_numbers() -> None:
    assert distribution("lr", {"low": 1e-4, "high": 1, "log": True}) == FloatDistribution(
        1e-4, 1, log=True
    )
    assert distribution("epochs", {"low": 1, "high": 8}) == IntDistribution(1, 8)
    assert distribution("optimizer", {"choices": ["sgd", "adamw"]}) == CategoricalDistribution(
        ["sgd", "adamw"]
    )
    with pytest.raises(ConfigError, match=r"recipe\.lr\.hihg: .*did you mean 'high'"):
        distribution("lr", {"low": 0.1, "hihg": 1.0})
    with pytest.raises(ConfigError, match=r"recipe\.lr: FloatDistribution refuses"):
        distribution("lr", {"low": 1.0, "high": 0.1})

import functools
import pickle
import re

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import ObjectiveError
from layersearch.objectives import (
    binomial_standard_error,
    make_objective,
    paired_difference,
    standard_error,
)
from layersearch.space.subset import Subset


def error_rate(outcome):
    return float((outcome.predictions != outcome.targets).float().mean())


def test_accuracy_is_scored_on_the_pooled_samples(make_outcome):
    outcome = make_outcome()
    objective = make_objective("accuracy")
    evaluation = objective.evaluate(outcome)
    correct = objective.correct(outcome.logits, outcome.targets)
    assert evaluation.values == (correct.mean(),)
    assert evaluation.stderr == binomial_standard_error(correct)
    assert objective.score(outcome.logits, outcome.targets) == correct.mean()


def test_the_paired_difference_of_two_outcomes_is_that_of_their_scores(make_outcome):
    objective = make_objective("accuracy")
    first, second = make_outcome(seed=1), make_outcome(seed=2)
    scores = [objective.evaluate(outcome).values[0] for outcome in (first, second)]
    correct = [objective.correct(outcome.logits, outcome.targets) for outcome in (first, second)]
    assert paired_difference(*correct)[0] == pytest.approx(scores[0] - scores[1])


@pytest.mark.parametrize("name", ["macro_f1", "auroc", "calibration_error", "cohen_kappa"])
def test_every_metric_is_measured_on_the_pooled_samples(make_outcome, name):
    outcome = make_outcome(folds=3)
    objective = make_objective(name)
    pooled = objective.score(outcome.logits, outcome.targets)
    evaluation = objective.evaluate(outcome)
    assert evaluation.values == (pooled,)
    assert 0 < evaluation.stderr < 0.2
    assert objective.correct(outcome.logits, outcome.targets) is None


def test_the_standard_error_is_found_by_the_same_redrawn_samples_each_time(make_outcome):
    outcome = make_outcome(folds=1, samples=200)
    evaluation = make_objective("macro_f1").evaluate(outcome)
    assert evaluation.stderr == make_objective("macro_f1").evaluate(outcome).stderr
    binomial = make_objective("accuracy").evaluate(outcome).stderr
    assert binomial / 2 < evaluation.stderr < binomial * 2


def test_log_loss_has_the_standard_error_of_its_samples(make_outcome):
    outcome = make_outcome()
    losses = torch.nn.functional.cross_entropy(outcome.logits, outcome.targets, reduction="none")
    evaluation = make_objective("log_loss").evaluate(outcome)
    assert evaluation.values[0] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert evaluation.stderr == pytest.approx(standard_error(losses), rel=1e-5)


def test_a_minimised_metric_is_oriented_so_that_higher_is_better():
    assert make_objective("log_loss").oriented(2.0) == -2.0
    assert make_objective("accuracy").oriented(0.5) == 0.5


def test_an_objective_survives_pickling(make_outcome):
    objective = make_objective("auroc", constraints={"task_bytes": {"max": 10}})
    again = pickle.loads(pickle.dumps(objective))
    outcome = make_outcome(costs={"task_bytes": 4.0})
    assert again.evaluate(outcome) == objective.evaluate(outcome)


# --- A metric of the user's own ---


def test_a_callable_gets_the_whole_outcome(make_outcome):
    seen = []

    def small_and_good(outcome):
        seen.append(outcome)
        return 1.0 - outcome.costs["trainable_parameters"] / 1000

    outcome = make_outcome(costs={"trainable_parameters": 100.0}, fold_scores=(0.5, 0.7, 0.6))
    evaluation = make_objective(small_and_good).evaluate(outcome)
    assert seen == [outcome]
    assert evaluation.values == (0.9,)
    assert evaluation.stderr == pytest.approx(0.1 / 3**0.5)


def test_a_callable_gets_an_outcome_of_the_fold_for_the_curve(make_outcome):
    seen = []

    def watch(outcome):
        seen.append(outcome)
        return 0.0

    whole = make_outcome(samples=4)
    make_objective(watch).score(
        whole.logits,
        whole.targets,
        samples=torch.tensor([5, 6, 7, 9]),
        sample_ids=["a", "b", "c", "d"],
        subset=Subset(["layer1"]),
        fold=2,
        costs={"task_bytes": 8.0},
    )
    (part,) = seen
    assert part.subset == Subset(["layer1"])
    assert part.folds.tolist() == [2] * 4
    assert part.samples.tolist() == [5, 6, 7, 9]
    assert part.sample_ids == ("a", "b", "c", "d")
    assert part.costs == {"task_bytes": 8.0}


def test_a_callable_is_named_in_a_description(make_outcome, tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(
        "class Own:\n"
        "    @staticmethod\n"
        "    def errors(outcome):\n"
        "        return (outcome.predictions != outcome.targets).float().mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    objective = make_objective("my_metrics:Own.errors", direction="minimize")
    outcome = make_outcome()
    assert objective.evaluate(outcome).values[0] == pytest.approx(error_rate(outcome))
    assert objective.name == "my_metrics:Own.errors"
    assert objective.direction == "minimize"


def test_what_a_callable_raises_passes_unchanged(make_outcome):
    def broken(outcome):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make_objective(broken).evaluate(make_outcome())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), r"must be finite \(got nan\)"),
        (float("-inf"), r"must be finite \(got -inf\)"),
        (torch.tensor(float("nan")), r"must be finite \(got nan\)"),
        (None, r"must return a number \(got None, NoneType\)"),
        ("0.5", r"must return a number \(got '0.5', str\)"),
        (True, r"must return a number \(got True, bool\)"),
        (1 + 2j, "must return a number"),
        ((0.5, 0.6), r"must return one number \(got several"),
        ({"accuracy": 0.5}, "must return a number, several, or a mapping with 'values'"),
        ({"values": 0.5, "bounds": {}}, "must return a number, several, or a mapping"),
        ({"values": {"other": 0.5}}, "must return values named .*odd .got other."),
        ({"values": 0.5, "constraints": [0.1]}, "must return its constraints as a mapping"),
        (np.array([0.5]), "must return one number"),
        (torch.zeros(2), "must return one number"),
    ],
)
def test_what_is_not_one_finite_number_is_refused_by_name_and_value(make_outcome, value, reason):
    def odd(outcome):
        return value

    with pytest.raises(ObjectiveError, match=f"odd' {reason}"):
        make_objective(odd).evaluate(make_outcome())


@pytest.mark.parametrize(
    "value", [1, np.float32(0.5), np.int64(2), torch.tensor(0.25), np.array(3)]
)
def test_numbers_of_any_library_are_taken(make_outcome, value):
    assert make_objective(lambda outcome: value).evaluate(make_outcome()).values == (float(value),)


@pytest.mark.parametrize("function", [sk.f1_score, "sklearn.metrics:f1_score", lambda: 0.0])
def test_a_callable_that_does_not_take_the_outcome_is_refused_with_a_remedy(function):
    with pytest.raises(ObjectiveError, match=r"takes one argument, the outcome .* wrap it"):
        make_objective(function)


def test_partial_functions_and_objects_are_callables_too(make_outcome):
    class Weighted:
        def __call__(self, outcome, weight=2.0):
            return weight * error_rate(outcome)

    outcome = make_outcome()
    for function in (Weighted(), functools.partial(Weighted(), weight=2.0)):
        value = make_objective(function).evaluate(outcome).values[0]
        assert value == pytest.approx(2 * error_rate(outcome))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no_such_module:metric", "no module 'no_such_module'"),
        ("json.nothing:metric", r"no module 'json.nothing'"),
        ("json:load_s", "has no 'load_s'.*did you mean 'loads'"),
        ("json:__name__", "cannot be called"),
    ],
)
def test_a_reference_to_nothing_is_refused(reference, reason):
    with pytest.raises(ObjectiveError, match=reason):
        make_objective(reference)


def test_what_a_module_of_the_user_cannot_import_is_shown_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        make_objective("needs_more:metric")


@pytest.mark.parametrize("metric", [3, None])
def test_what_is_neither_a_name_nor_a_callable_is_refused(metric):
    with pytest.raises(ObjectiveError, match="must be a name or a callable"):
        make_objective(metric)


# --- Bad scores ---


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_that_diverged_fails_even_where_a_class_could_be_read_off(bad, make_outcome):
    outcome = make_outcome()
    outcome.logits[3, 1] = bad
    for judge in (make_objective("accuracy"), make_objective(error_rate)):
        with pytest.raises(ObjectiveError, match="training diverged"):
            judge.evaluate(outcome)
        with pytest.raises(ObjectiveError, match="training diverged"):
            judge.score(outcome.logits, outcome.targets)


def test_no_samples_are_refused():
    with pytest.raises(ObjectiveError, match="needs samples"):
        make_objective("accuracy").score(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


# --- Direction and constraints ---


def test_a_direction_that_contradicts_the_metric_is_refused():
    assert make_objective("accuracy", direction="maximize").direction == "maximize"
    with pytest.raises(ObjectiveError, match="'log_loss' is to be minimized"):
        make_objective("log_loss", direction="maximize")
    with pytest.raises(ObjectiveError, match="must be 'maximize' or 'minimize'"):
        make_objective("accuracy", direction="up")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_bound_is_met_exactly_when_its_excess_is_not_positive(make_cost_outcome, cost, bound):
    outcome = make_cost_outcome(cost)
    objective = make_objective("accuracy", constraints={"task_bytes": {"max": bound}})
    assert (objective.evaluate(outcome).constraints["task_bytes.max"] <= 0) == (cost <= bound)
    objective = make_objective("accuracy", constraints={"task_bytes": {"min": bound}})
    assert (objective.evaluate(outcome).constraints["task_bytes.min"] <= 0) == (cost >= bound)


@pytest.fixture(scope="module")
def make_cost_outcome():
    from layersearch.objectives import Outcome

    def make(cost):
        return Outcome(
            subset=Subset(),
            fold_scores=(1.0,),
            curves=((1.0,),),
            logits=torch.eye(2),
            targets=torch.arange(2),
            samples=torch.arange(2),
            sample_ids=("0", "1"),
            folds=torch.zeros(2, dtype=torch.long),
            costs={"task_bytes": cost},
        )

    return make


def test_maxima_of_costs_are_limits_and_metrics_are_judged_at_the_end(make_outcome):
    objective = make_objective(
        "accuracy",
        constraints={
            "trainable_parameters": {"max": 1000, "min": 10},
            "calibration_error": {"max": 0.9},
        },
    )
    assert objective.limits == {"trainable_parameters": 1000.0}
    excess = objective.evaluate(make_outcome(costs={"trainable_parameters": 5.0})).constraints
    assert excess["trainable_parameters.max"] == -995.0
    assert excess["trainable_parameters.min"] == 5.0
    assert excess["calibration_error.max"] < 0


@pytest.mark.parametrize(
    ("constraints", "reason"),
    [
        ({"trainable_params": {"max": 5}}, "did you mean 'trainable_parameters'"),
        ({"task_bytes": {}}, "needs 'max', 'min' or both"),
        ({"task_bytes": {"maximum": 5}}, "needs 'max', 'min' or both"),
        ({"task_bytes": 5}, "needs 'max', 'min' or both"),
        ({"task_bytes": {"max": float("nan")}}, r"task_bytes.max: must be a finite number"),
        ({"task_bytes": {"max": "5"}}, r"must be a finite number \(got '5'\)"),
        ({"task_bytes": {"max": True}}, "must be a finite number"),
        ({"task_bytes": {"max": 1, "min": 2}}, "min 2 is above max 1"),
    ],
)
def test_constraints_that_cannot_be_read_are_refused(constraints, reason):
    with pytest.raises(ObjectiveError, match=reason):
        make_objective("accuracy", constraints=constraints)


def test_a_constraint_on_a_cost_that_the_trial_lacks_says_which_there_are(make_outcome):
    objective = make_objective("accuracy", constraints={"task_bytes": {"max": 5}})
    message = re.escape("has no such cost (it has trainable_parameters)")
    with pytest.raises(ObjectiveError, match=message):
        objective.evaluate(make_outcome(costs={"trainable_parameters": 1.0}))


def test_describe_tells_objectives_apart():
    plain = make_objective("accuracy").describe()
    bounded = make_objective("accuracy", constraints={"task_bytes": {"max": 5}}).describe()
    assert plain == {"metric": "accuracy", "direction": "maximize", "constraints": {}}
    assert bounded["constraints"] == {"task_bytes.max": 5.0}
    several = make_objective(["accuracy", "task_bytes"]).describe()
    assert several["metric"] == ["accuracy", "task_bytes"]
    assert several["direction"] == ["maximize", "minimize"]
    assert make_objective("macro_f1").describe()["measured_on"] == "pooled folds"


# --- Several values ---


def test_values_are_metrics_and_after_them_costs(make_outcome):
    outcome = make_outcome(costs={"trainable_parameters": 120.0})
    objective = make_objective(["accuracy", "macro_f1", "trainable_parameters"])
    assert objective.several
    assert objective.names == ("accuracy", "macro_f1", "trainable_parameters")
    assert objective.directions == ("maximize", "maximize", "minimize")
    assert objective.costs == {"trainable_parameters"}
    evaluation = objective.evaluate(outcome)
    by_themselves = [make_objective(name).evaluate(outcome) for name in objective.names[:2]]
    assert evaluation.values == (*(one.values[0] for one in by_themselves), 120.0)
    assert evaluation.stderrs == (*(one.stderr for one in by_themselves), None)
    assert evaluation.stderr == evaluation.stderrs[0]
    assert objective.score(outcome.logits, outcome.targets) == evaluation.values[0]
    measured = objective.measures(outcome.logits, outcome.targets)
    assert tuple(measured.values()) == evaluation.values[:2]


def test_a_cost_needs_a_metric_before_it():
    for metrics in ("latency_ms", ["task_bytes", "accuracy"]):
        with pytest.raises(ObjectiveError, match=r"is a cost.* such as \[accuracy, "):
            make_objective(metrics)


def test_a_cost_that_the_trial_lacks_is_named(make_outcome):
    objective = make_objective(["accuracy", "latency_ms"])
    with pytest.raises(ObjectiveError, match=r"no cost 'latency_ms' \(it has task_bytes\)"):
        objective.evaluate(make_outcome(costs={"task_bytes": 1.0}))


def test_a_misspelt_cost_is_answered_with_the_nearest():
    with pytest.raises(ObjectiveError, match="did you mean 'latency_ms'"):
        make_objective(["accuracy", "latency"])


def test_directions_are_one_a_value():
    objective = make_objective(["accuracy", error_rate], direction=["maximize", "minimize"])
    assert objective.directions == ("maximize", "minimize")
    with pytest.raises(ObjectiveError, match=r"2 metrics need as many directions \(got 3\)"):
        make_objective(["accuracy", "macro_f1"], direction=["maximize"] * 3)
    with pytest.raises(ObjectiveError, match="'task_bytes' is to be minimized"):
        make_objective(["accuracy", "task_bytes"], direction=["maximize", "maximize"])


def test_names_are_one_a_value_and_all_different():
    assert make_objective(["accuracy", "task_bytes"], names=["a", "b"]).names == ("a", "b")
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ObjectiveError, match="2 values need as many different names"):
            make_objective(["accuracy", "task_bytes"], names=names)


@pytest.mark.parametrize(
    "answer",
    [
        (0.5, 3),
        [np.float32(0.5), torch.tensor(3)],
        torch.tensor([0.5, 3.0]),
        np.array([0.5, 3.0]),
        {"values": (0.5, 3.0)},
        {"values": {"cost": 3.0, "score": 0.5}},
        {"values": [0.5, 3.0], "constraints": {}},
    ],
)
def test_a_callable_gives_as_many_values_as_it_has_directions(make_outcome, answer):
    objective = make_objective(
        lambda outcome: answer, direction=["maximize", "minimize"], names=["score", "cost"]
    )
    outcome = make_outcome()
    evaluation = objective.evaluate(outcome)
    assert evaluation.values == (0.5, 3.0)
    assert evaluation.stderrs == (standard_error(outcome.fold_scores), None)
    assert objective.score(outcome.logits, outcome.targets) == 0.5


@pytest.mark.parametrize("answer", [0.5, (0.5,), (1, 2, 3), "ab", {"values": 0.5}])
def test_other_numbers_of_values_are_refused(make_outcome, answer):
    objective = make_objective(lambda outcome: answer, direction=["maximize", "minimize"])
    with pytest.raises(ObjectiveError, match=r"must return (2 values|a number)"):
        objective.evaluate(make_outcome())


def test_the_values_of_one_callable_are_numbered_where_they_have_no_names():
    objective = make_objective("statistics:fmean", direction=["maximize", "minimize"])
    assert objective.names == ("statistics:fmean[1]", "statistics:fmean[2]")


def test_a_callable_may_bring_constraints(make_outcome):
    def careful(outcome):
        return {"values": 0.5, "constraints": {"spread": 0.1, "size": -3}}

    objective = make_objective(careful, constraints={"task_bytes": {"max": 10}})
    evaluation = objective.evaluate(make_outcome(costs={"task_bytes": 4.0}))
    assert evaluation.constraints == {"task_bytes.max": -6.0, "spread": 0.1, "size": -3.0}
    odd = make_objective(lambda outcome: {"values": 0.5, "constraints": {"c": float("nan")}})
    with pytest.raises(ObjectiveError, match="constraint c' must be finite"):
        odd.evaluate(make_outcome())


def test_minima_of_costs_are_known_before_training_too():
    objective = make_objective("accuracy", constraints={"task_bytes": {"min": 10}})
    assert objective.floors == {"task_bytes": 10.0}
    assert objective.limits == {}


# --- Classes and labels ---


def test_a_metric_of_a_class_learns_the_classes_by_name(make_outcome):
    outcome = make_outcome()
    objective = make_objective(
        ["accuracy", "recall[cat]"], constraints={"precision[a dog]": {"min": 0.1}}
    )
    with pytest.raises(ObjectiveError, match="must first know the classes"):
        objective.evaluate(outcome)
    with pytest.raises(ObjectiveError, match="there is no class 'cat'; did you mean 'cart'"):
        objective.for_classes(["a dog", "cart", "x", "y"])
    bound = objective.for_classes(["a dog", "x", "cat", "y"])
    mine = outcome.targets == 2
    expected = float((outcome.predictions == 2)[mine].float().mean())
    assert bound.evaluate(outcome).values[1] == pytest.approx(expected)
    said = outcome.predictions == 0
    precision = float((outcome.targets == 0)[said].float().mean())
    excess = bound.evaluate(outcome).constraints["precision[a dog].min"]
    assert excess == pytest.approx(0.1 - precision)
    assert pickle.loads(pickle.dumps(bound)).evaluate(outcome) == bound.evaluate(outcome)


def test_labels_that_a_metric_cannot_judge_are_found_before_any_training():
    folds = [torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0])]
    make_objective("auroc").try_out(folds, classes=3)
    one_class = [torch.tensor([0, 1]), torch.tensor([1, 1])]
    with pytest.raises(ObjectiveError, match="two classes at least"):
        make_objective("auroc").try_out(one_class, classes=3)
    make_objective(["accuracy", "auroc"]).try_out(one_class, classes=3)  # pooled, there are two
    with pytest.raises(ObjectiveError, match="'roc_auc_ovr' cannot score this"):
        make_objective(["accuracy", "roc_auc_ovr"]).try_out(folds, classes=3)
    rare = make_objective("accuracy", constraints={"recall[c]": {"min": 0.5}})
    with pytest.raises(ObjectiveError, match="needs validation samples of its class"):
        rare.for_classes("abc").try_out(folds, classes=3)

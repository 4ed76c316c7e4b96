import math
import pickle

import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.errors import ObjectiveError
from layersearch.objectives import libraries, metric_names
from layersearch.objectives.metrics import OWN, find_metric


def scores(samples, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator)
    targets = torch.randint(0, classes, (samples,), generator=generator)
    return logits, targets


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1000))
def test_own_metrics_agree_with_scikit_learn(samples, classes, seed):
    logits, targets = scores(samples, classes, seed)
    truth, said = targets.numpy(), logits.argmax(1).numpy()
    present = sorted({*truth.tolist(), *said.tolist()})
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.recall_score(
            truth, said, labels=sorted(set(truth)), average="macro"
        ),
        "macro_f1": sk.f1_score(truth, said, labels=present, average="macro"),
        "recall[1]": sk.recall_score(truth, said, labels=[1], average="macro", zero_division=0),
        "precision[1]": sk.precision_score(
            truth, said, labels=[1], average="macro", zero_division=0
        ),
        "f1[1]": sk.f1_score(truth, said, labels=[1], average="macro", zero_division=0),
        "log_loss": sk.log_loss(truth, logits.double().softmax(1).numpy(), labels=range(classes)),
    }
    for name, value in expected.items():
        if "[" in name and 1 not in truth:
            continue
        metric = find_metric(name).for_classes([str(label) for label in range(classes)])
        assert metric.measure(logits, targets) == pytest.approx(value, abs=1e-6), name


@settings(max_examples=25)
@given(st.integers(20, 60), st.integers(3, 5), st.integers(0, 1000))
def test_ranking_and_calibration_agree_with_the_libraries(samples, classes, seed):
    logits, targets = scores(samples, classes, seed)
    targets[:classes] = torch.arange(classes)
    with_ties = (logits * 4).round() / 4
    ranking = sk.roc_auc_score(targets, with_ties.double().softmax(1), multi_class="ovr")
    assert find_metric("auroc").measure(with_ties, targets) == pytest.approx(ranking, abs=1e-9)
    theirs = libraries.torchmetrics_measure("calibration_error")(logits, targets)
    ours = find_metric("calibration_error").measure(logits, targets)
    assert ours == pytest.approx(theirs, abs=1e-5)


@given(st.integers(1, 30), st.integers(3, 6), st.integers(0, 1000))
def test_more_guesses_never_hit_less(samples, classes, seed):
    logits, targets = scores(samples, classes, seed)
    found = [find_metric(f"top{k}_accuracy").measure(logits, targets) for k in range(1, classes)]
    assert found == sorted(found)
    assert found[0] == find_metric("accuracy").measure(logits, targets)


@pytest.mark.parametrize("name", ["top3", "top_3", "top3_accuracy", "top_3_accuracy"])
def test_top_k_is_found_for_any_k_under_each_spelling(name):
    assert find_metric(name).name == "top3_accuracy"


def test_as_many_guesses_as_classes_are_refused():
    with pytest.raises(ObjectiveError, match="more than 5 classes"):
        find_metric("top5_accuracy").measure(*scores(10, 5))


def test_every_listed_name_is_found_and_scores_two_classes():
    logits, targets = scores(50, 2)
    names = [name for name in metric_names() if name != "top5_accuracy"]
    assert len(names) > 30
    for name in names:
        metric = pickle.loads(pickle.dumps(find_metric(name)))  # workers are sent it
        assert math.isfinite(metric.measure(logits, targets)), name


@pytest.mark.parametrize(
    "name", ["accuracy", "macro_f1", "auroc", "f1_weighted", "roc_auc_ovr", "neg_brier_score"]
)
def test_perfect_scores_beat_wrong_ones_when_maximised(name):
    metric = find_metric(name)
    targets = torch.arange(12) % 3
    right = 5 * torch.nn.functional.one_hot(targets, 3).float()
    assert metric.direction == "maximize"
    assert metric.measure(right, targets) > metric.measure(-right, targets)


@pytest.mark.parametrize("name", ["log_loss", *sorted(libraries.TORCHMETRICS_MINIMISED)])
def test_perfect_scores_beat_wrong_ones_when_minimised(name):
    metric = find_metric(name)
    targets = torch.arange(12) % 3
    right = 9 * torch.nn.functional.one_hot(targets, 3).float()
    assert metric.direction == "minimize"
    wrong = right.roll(1, dims=1)
    assert metric.measure(right, targets) < metric.measure(wrong, targets)


def test_names_that_both_libraries_have_agree_where_they_mean_the_same():
    logits, targets = scores(80, 3)
    for ours, theirs in [("f1_score", "f1_macro"), ("auroc", "roc_auc_ovr")]:
        a = find_metric(ours).measure(logits, targets)
        assert a == pytest.approx(find_metric(theirs).measure(logits, targets), abs=1e-6)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ObjectiveError, match="'acuracy' is not a metric; did you mean 'accuracy'"):
        find_metric("acuracy")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("confusion_matrix", "more than one number"),
        ("fbeta_score", "needs a value for beta"),
        ("recall_at_fixed_precision", "needs a value for min_precision"),
        ("r2", "judges regressions"),
        ("f1_samples", "several labels a sample"),
    ],
)
def test_a_metric_that_needs_what_it_cannot_have_says_so(name, reason):
    with pytest.raises(ObjectiveError, match=reason):
        find_metric(name)


def test_a_metric_for_two_classes_refuses_three_in_its_own_words():
    with pytest.raises(ObjectiveError, match="'f1' cannot score this: Target is multiclass"):
        find_metric("f1").measure(*scores(20, 3))


def test_ranking_leaves_out_classes_without_a_sample():
    logits, targets = scores(40, 3)
    targets = targets % 2
    by_hand = [sk.roc_auc_score(targets == c, logits.softmax(1)[:, c]) for c in (0, 1)]
    found = find_metric("auroc").measure(logits, targets)
    assert found == pytest.approx(sum(by_hand) / 2, abs=1e-6)


def test_ranking_a_single_class_is_refused():
    logits, _ = scores(10, 3)
    with pytest.raises(ObjectiveError, match="two classes at least"):
        find_metric("auroc").measure(logits, torch.zeros(10, dtype=torch.long))


def test_only_shares_of_hits_have_right_and_wrong_samples():
    assert {name for name, metric in OWN.items() if metric.hits} == {"accuracy", "top5_accuracy"}

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layersearch.data.picking import divide, pick, quotas
from layersearch.errors import DataError

counts_of_classes = st.lists(st.integers(5, 40), min_size=2, max_size=6)


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def names(counts: list[int]) -> list[str]:
    return [f"class{label}" for label in range(len(counts))]


@given(available=st.lists(st.integers(0, 50), min_size=1, max_size=8), data=st.data())
def test_quotas_share_out_the_total_in_proportion(available, data):
    total = data.draw(st.integers(0, sum(available)))
    shared = quotas(available, total)
    assert sum(shared) == total
    assert all(0 <= part <= whole for part, whole in zip(shared, available, strict=True))
    if total >= len(available):
        assert all(part >= 1 for part, whole in zip(shared, available, strict=True) if whole)
    if total and min(available) * total >= sum(available):  # no class is lifted to one
        exact = [total * whole / sum(available) for whole in available]
        assert all(abs(part - share) < 1 for part, share in zip(shared, exact, strict=True))


@settings(max_examples=50)
@given(counts=counts_of_classes, folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_partition_the_samples_and_keep_each_class_even(counts, folds, seed):
    labels = labels_of(counts, seed)
    division = divide(labels, classes=names(counts), folds=folds, seed=seed)
    used = labels[division.used]
    everything = np.concatenate([validation for _, validation in division.folds])
    assert sorted(everything) == list(range(len(used)))
    for train, validation in division.folds:
        assert sorted([*train, *validation]) == list(range(len(used)))
    sizes = [len(validation) for _, validation in division.folds]
    assert max(sizes) - min(sizes) <= 1
    for label in range(len(counts)):
        each = [int((used[validation] == label).sum()) for _, validation in division.folds]
        assert max(each) - min(each) <= 1
    assert list(division.final) == list(range(len(used)))


@settings(max_examples=50)
@given(counts=counts_of_classes, share=st.floats(0.2, 0.55), seed=st.integers(0, 99))
def test_a_share_is_held_out_of_the_training_samples(counts, share, seed):
    labels = labels_of(counts, seed)
    total = sum(counts) // 2
    division = divide(labels, classes=names(counts), train_samples=total, holdout=share, seed=seed)
    ((train, validation),) = division.folds
    assert len(division.used) == total
    assert len(validation) == round(share * total)
    assert sorted([*train, *validation]) == list(range(total))
    assert len(division.final) == total


def test_a_count_is_held_out_beside_the_training_samples_where_there_are_enough():
    labels = labels_of([50, 50])
    division = divide(labels, classes="ab", train_samples=20, holdout=30, seed=1)
    ((train, validation),) = division.folds
    assert (len(train), len(validation), len(division.used)) == (20, 30, 50)
    assert np.bincount(labels[division.used][validation]).tolist() == [15, 15]
    assert list(division.final) == list(train)  # the winner is trained on what was asked for


def test_a_count_is_taken_out_of_the_training_samples_where_there_are_no_others():
    labels = labels_of([50, 50])
    division = divide(labels, classes="ab", holdout=30, seed=1)
    ((train, validation),) = division.folds
    assert (len(train), len(validation), len(division.used)) == (70, 30, 100)
    assert len(division.final) == 100


def test_what_the_winner_is_retrained_on_can_be_said():
    labels = labels_of([50, 50])
    options = {"classes": "ab", "train_samples": 20, "holdout": 30, "seed": 1}
    assert len(divide(labels, **options, retrain_on="all").final) == 50
    assert len(divide(labels, **options, retrain_on="train").final) == 20


def test_fewer_samples_are_among_more_and_keep_their_holdout():
    labels = labels_of([60, 60])
    few = divide(labels, classes="ab", train_samples=10, holdout=40, seed=3)
    many = divide(labels, classes="ab", train_samples=40, holdout=40, seed=3)

    def parts(division):
        ((train, validation),) = division.folds
        return set(division.used[train]), set(division.used[validation])

    assert parts(few)[0] < parts(many)[0]
    assert parts(few)[1] == parts(many)[1]


def test_the_same_seed_picks_the_same_and_another_does_not():
    labels = labels_of([40, 40, 40])
    first, again, other = (
        divide(labels, classes="abc", train_samples=30, seed=seed) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.used, again.used)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first.folds, again.folds, strict=True))
    assert not np.array_equal(first.used, other.used)


def test_the_sources_own_validation_split_is_the_holdout_unless_folds_are_asked_for():
    labels = labels_of([50, 50])
    given_split = np.arange(80, 100)
    own = divide(labels, classes="ab", given=given_split, seed=0)
    ((train, validation),) = own.folds
    assert list(own.used[validation]) == list(given_split)
    assert list(own.used[train]) == list(range(80))
    assert len(own.final) == 100
    folded = divide(labels, classes="ab", given=given_split, folds=5, seed=0)
    assert len(folded.used) == 100
    assert len(folded.folds) == 5


def test_samples_per_class_are_exact():
    labels = labels_of([50, 9])
    division = divide(labels, classes="ab", samples_per_class=7, folds=3, seed=0)
    assert np.bincount(labels[division.used]).tolist() == [7, 7]


def test_picks_of_a_test_split_are_stratified():
    labels = labels_of([30, 60, 10])
    chosen = pick(labels, np.arange(100), 20, classes=3, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [6, 12, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 6}, "6 folds, but class 'rare' has 5 training samples.*at most 5"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 3, "holdout": 10}, "one of them"),
        ({"train_samples": 3, "samples_per_class": 1}, "one of them"),
        ({"train_samples": 1}, "from 2 .* to 45"),
        ({"train_samples": 46}, "from 2 .* to 45"),
        ({"samples_per_class": 6}, "class 'rare' has 5"),
        ({"holdout": 1.0}, "between 0 and 1"),
        ({"holdout": 44}, "cannot be taken out of 45"),
        ({"holdout": 0}, "at least one"),
        ({"holdout": "given"}, "no validation split of its own"),
    ],
)
def test_impossible_wishes_are_refused_with_the_numbers(options, words):
    with pytest.raises(DataError, match=words):
        divide(labels_of([40, 5]), classes=["common", "rare"], **options, seed=0)

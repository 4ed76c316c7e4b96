import pickle

import pytest
import torch


def test_predictions_and_probabilities_follow_the_scores(make_outcome):
    outcome = make_outcome()
    assert torch.equal(outcome.predictions, outcome.logits.argmax(1))
    assert torch.equal(outcome.probabilities.argmax(1), outcome.predictions)
    torch.testing.assert_close(outcome.probabilities.sum(1), torch.ones(60))
    assert outcome.classes == 4


def test_an_outcome_cannot_be_changed(make_outcome):
    with pytest.raises(AttributeError):
        make_outcome().costs = {}


def test_an_outcome_survives_pickling(make_outcome):
    outcome = make_outcome(costs={"trainable_parameters": 3.0})
    again = pickle.loads(pickle.dumps(outcome))
    assert again.subset == outcome.subset
    assert again.sample_ids == outcome.sample_ids
    assert torch.equal(again.logits, outcome.logits)
    assert again.costs == {"trainable_parameters": 3.0}

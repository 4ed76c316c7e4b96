"""Names: remedies for unknown ones, and the words for what is compared."""

import pytest

from layersearch.space import contender_name, did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("layer9", ["layer1", "layer2"], "did you mean 'layer2' or 'layer1'?"),
        ("layer1", ["stem", "layer1.1", "layer1.0"], "did you mean 'layer1.1' or 'layer1.0'?"),
        ("zz", ["stem", "head"], "known: stem, head"),
        ("zz", [], "there are none"),
        ("zz", [f"unit{n}" for n in range(9)], "9 are known, from 'unit0' to 'unit8'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all_of_a_few(name, known, remedy):
    assert did_you_mean(name, known) == remedy


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chosen", "chosen"),
        ("full_finetune", "full finetune"),
        ("lp_ft", "LP-FT"),
        ("runner_up", "runner-up"),
    ],
)
def test_what_is_compared_is_called_as_people_call_it(name, words):
    assert contender_name(name) == words

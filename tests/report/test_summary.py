import io
import json

import pytest
from rich.console import Console

from layersearch.report import advice, compare, plain_summary, summary
from layersearch.report.summary import compare_with_baselines


def text(result):
    return " ".join(plain_summary(result).split())


def kept(result, name, **numbers):
    """Puts a comparison in the result, as it was made when the samples were at hand."""
    against = {"stderr": 0.003, "seeds": 3, "samples": 10000, "verdict": "", **numbers}
    result["test"][name]["against"] = against


def test_it_says_what_to_use_and_what_it_is_better_than(result):
    found = text(result)
    assert (
        "Tune {layer1.1, layer2.0} and a new head (18.4 k parameters, 6.8% of the backbone)."
        in found
    )
    assert "On the test split it is better than the linear probe by 1.4 points" in found
    assert "better than full finetuning by 2.8 points" in found


def test_a_difference_in_the_noise_is_called_that_and_nothing_more(result):
    (sentence,) = [line for line in advice(result) if "LP-FT" in line]
    assert "within noise" in sentence
    assert "better" not in sentence


def test_the_interval_decides_not_the_difference(result):
    kept(result, "linear_probe", difference=0.05, low=-0.01, high=0.11)
    sentences = advice(result)
    assert "Against the linear probe the difference is within noise" in sentences[1]
    assert any("nothing shows that tuning these units gains anything" in s for s in sentences)


def test_a_better_baseline_is_recommended_instead(result):
    kept(result, "full_finetune", difference=-0.02, low=-0.03, high=-0.01)
    sentences = advice(result)
    assert "it is worse than full finetuning by 2.0 points" in " ".join(sentences)
    assert sentences[-1].startswith("So use full finetuning instead")


def test_a_draw_with_full_finetuning_claims_only_less_to_store(result):
    kept(result, "full_finetune", difference=0.002, low=-0.004, high=0.008)
    assert advice(result)[-1].startswith("So it does not beat full finetuning")


def test_one_training_each_claims_nothing(result):
    for side in result["test"].values():
        side.update(seeds=1, stderr=None, scores=side["scores"][:1])
    sentences = " ".join(advice(result))
    assert "is better than" not in sentences
    assert "too few runs" in sentences
    assert "set final.seeds to 3 or more" in text(result)


def test_a_probe_that_wins_is_named_as_it_is(result):
    result["subset"] = []
    sentences = advice(result)
    assert sentences[0] == "Tune no unit: train a new head alone (the linear probe)."
    assert not any("the linear probe by" in sentence for sentence in sentences)


def test_without_a_test_nothing_is_claimed(result):
    del result["test"]
    found = text(result)
    assert "nothing says it is worth it" in found
    assert "better" not in found


def test_losses_are_better_when_lower(result):
    result["metric"] = {"name": "log_loss", "direction": "minimize"}
    comparisons = compare_with_baselines(result)
    assert comparisons["linear_probe"].verdict == "worse"
    assert "points" not in text(result)


def test_it_tells_the_cost_against_one_full_finetuning(result):
    found = text(result)
    assert "23 trainings, 575 epochs, 1.24 PFLOP and 3 min 20 s." in found
    assert "115 times the epochs, 41 times the FLOPs and 12 times the time of one full" in found


def test_costs_that_are_not_known_are_left_out(result):
    result["cost"].update(flops=None)
    result["cost_of_full_finetune"] = None
    found = text(result)
    assert "The search took 23 trainings, 575 epochs and 3 min 20 s." in found
    assert "of one full finetuning" not in found


def test_it_shows_the_rounds_and_the_one_not_taken(result):
    lines = plain_summary(result).splitlines()
    start = lines.index("The way there:")
    assert lines[start + 1].split() == ["1.", "the", "head", "alone", "87.0", "±", "1.0%"]
    assert lines[start + 2].split()[:3] == ["2.", "+", "layer1.1"]
    assert lines[start + 4].endswith("not taken")


def test_rounds_that_remove_units_say_so(result):
    result["rounds"] = [
        {"subset": ["a", "b"], "score": 0.8},
        {"subset": ["b"], "score": 0.9, "gain": 0.1},
    ]
    assert "2. \N{MINUS SIGN} a  90.0%, gain +10.0 points" in plain_summary(result)


def test_a_gain_is_shown_with_its_paired_error_and_its_rivals(result):
    result["rounds"] = [
        {
            "base": ["b"],
            "subset": ["a", "b"],
            "score": 0.9,
            "gain": 0.012,
            "gain_stderr": 0.006,
            "candidates": 9,
        }
    ]
    assert "1. + a  90.0%, gain +1.2 ± 0.6 points, the best of 9" in plain_summary(result)


def test_an_interrupted_search_promises_nothing(result):
    del result["test"]
    result["interrupted"] = True
    sentences = advice(result)
    assert "interrupted before its end" in sentences[-1]
    result.update(subset=[], score={"mean": None, "stderr": None})
    assert advice(result) == ["No subset has a score yet."]
    assert "flatters" not in text(result)


def test_names_are_never_read_as_markup(result):
    result["study"] = "[bold red]x[/nope]"
    result["metric"] = {"name": "[/red]", "direction": "maximize"}
    found = plain_summary(result)
    assert "[bold red]x[/nope]" in found
    assert "test [/red]" in found


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal(result, width):
    assert all(len(line) <= width for line in plain_summary(result, width=width).splitlines())


def test_it_is_the_same_after_a_trip_through_json_and_in_colour(result):
    assert plain_summary(json.loads(json.dumps(result))) == plain_summary(result)
    buffer = io.StringIO()
    Console(file=buffer, force_terminal=True, color_system="truecolor", width=100).print(
        summary(result)
    )
    assert "\x1b[32mchosen is better" in buffer.getvalue()


def test_a_comparison_on_samples_says_so(result):
    hits = [[1, 1, 1, 0] * 50] * 3
    misses = [[1, 0, 1, 0] * 50] * 3
    sides = result["test"]["chosen"]["scores"], result["test"]["linear_probe"]["scores"]
    found = compare(*sides, chosen_samples=hits, baseline_samples=misses)
    result["test"]["linear_probe"]["against"] = found.to_json()
    assert "the same seeds and the same 200 test samples" in text(result)

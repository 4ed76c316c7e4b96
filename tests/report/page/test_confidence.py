"""The page of a race, and how sure it is, from studies made by hand."""

import copy

from optuna.trial import TrialState

from layersearch.report.page import headline_of, read_evidence
from layersearch.report.page.trials import in_words
from layersearch.space import Subset
from layersearch.study import attributes as names
from tests.report.page.made import RESULT, SAMPLES, UNITS, score_of, study, trial
from tests.report.test_confidence import entry, schedule, sure


def look(subset, score=None):
    """A look of one epoch: PRUNED to Optuna, with a score all the same."""
    value = score_of(subset) - 0.05 if score is None else score
    made = trial(subset, state=TrialState.PRUNED, score=value, epochs=2)
    made.user_attrs = {
        **made.user_attrs,
        names.LOOK: 1,
        names.SCORE: value,
        names.STDERR: 0.02,
        names.RECIPE: {"epochs": 1},
        names.REASON: "a look of 1 epochs",
    }
    return made


def race(whole=(("layer2",),), **options):
    """Looks at the probe, the units, and what the second round adds; finalists."""
    looks = [look(()), *(look((unit,)) for unit in UNITS)]
    looks += [look(tuple(u for u in UNITS if u in ("layer2", v))) for v in UNITS if v != "layer2"]
    finalists = [trial(subset) for subset in whole]
    return study([*looks, *finalists], strategy={"protocol": "fast"}, **options)


def test_what_a_race_searched_is_shown_by_its_looks(page):
    result = copy.deepcopy(RESULT)
    result["config"]["strategy"]["protocol"] = "fast"
    shown = page(race(whole=[("layer1", "layer2"), ("layer2",)]), result)
    assert "Of the units by themselves, by looks of 1 epoch, layer2 scores best." in shown.text
    assert "Its rounds went by looks of 1 epoch" in shown.text
    assert "Scored subsets, by looks of 1 epoch, the best first" in shown.text
    assert "10 trials: 2 complete, 8 looks." in shown.text
    assert "Why trials were pruned" not in shown.text
    # No length is mixed with another: the profile has the looks' scores, 5 points lower.
    assert "81.0" in shown.text


def test_without_a_finalist_the_answer_goes_by_looks(page):
    made = race(whole=())
    assert headline_of(made) == (
        "Best so far of 8 subsets scored: {layer1, layer2}, with 83.0 ± 2.0% validation accuracy, "
        "by looks of 1 epoch."
    )
    assert "No subset has a score" not in page(made).text


def test_a_whole_score_of_the_answer_goes_before_its_look():
    evidence = read_evidence(race(whole=[("layer2",)]))
    assert evidence.compared is evidence
    assert evidence.chosen == Subset(["layer2"])
    assert evidence.by_looks is not None
    assert len(evidence.by_looks.scored) == 8
    assert evidence.searched.look == evidence.profiled.look == 1
    assert in_words(evidence.history) == "1 complete, 8 looks"


def test_a_study_without_looks_is_what_it_was():
    evidence = read_evidence(study([trial(("stem",))]))
    assert evidence.by_looks is None
    assert evidence.compared is evidence.searched is evidence.profiled is evidence
    assert evidence.how == ""


def test_it_lists_what_is_as_good_and_what_is_ruled_out(page):
    probe = entry([], 3, 0.08, low=0.04, high=0.12, verdict="better", size=0)
    near = entry(["layer2"], 1, 0.006, low=-0.009, high=0.021, size=100)
    found = schedule(
        count=SAMPLES,
        compared=4,
        chosen=entry(["layer1", "layer2"], 0, size=200),
        runner_up=near,
        baselines={"linear_probe": probe, "full_finetune": entry(list(UNITS), 9, 0.0, size=400)},
        as_good=[near],
        as_good_count=70,
    )
    shown = page(study([trial(("layer1", "layer2"))]), {**copy.deepcopy(RESULT), **sure(found)})
    assert "confidence" in shown.titles
    assert "Compared by the whole schedule; 69 more are as good" in shown.text
    assert "runner-up {layer2} 100 88.0 ± 1.0% +0.6 −0.9 to +2.1 as good" in shown.text
    assert "linear probe the head alone 0 88.0 ± 1.0% +8.0 +4.0 to +12.0 ruled out" in shown.text
    assert "full finetune all units" in shown.text


def test_one_trial_has_no_such_section(page):
    lone = schedule(compared=1, runner_up=None, as_good=[], as_good_count=0)
    shown = page(study([trial(("layer2",))]), {**copy.deepcopy(RESULT), **sure(lone)})
    assert "confidence" not in shown.titles

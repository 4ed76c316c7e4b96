"""What the sections say, number by number."""

import copy
from math import inf

import numpy as np
import pytest
from optuna.trial import TrialState

from layersearch.report.page.cost import computed, cost_section, trial_costs
from layersearch.report.page.curves import MOST_CURVES, curve_of, selected
from layersearch.report.page.evidence import read_evidence
from layersearch.report.page.importance import best_count, importance_section, unit_uses
from layersearch.report.page.path import path_sections
from layersearch.report.page.profile import pairs_section, profile_section
from layersearch.report.page.replay import ledger_of
from layersearch.report.page.sensitivity import sensitivity_section
from layersearch.report.page.tradeoffs import Point, pareto_front, tradeoff_sections
from layersearch.report.page.trials import trials_section
from layersearch.report.page.variation import replay, variants
from layersearch.space import Subset, TrialRecord
from layersearch.space import TrialState as State
from tests.report.page.made import FOLDS, RESULT, STAGES, UNITS, greedy_trials, study, trial


@pytest.fixture
def greedy():
    return read_evidence(study(greedy_trials()), copy.deepcopy(RESULT))


def test_the_profile_lists_units_by_depth_with_their_sizes(greedy):
    (table,) = profile_section(greedy).tables
    assert [row[0] for row in table.rows] == [
        "head alone (linear probe)",
        *UNITS,
        "all units (full finetuning)",
    ]
    assert table.rows[3] == ("layer2", "100", "86.0 ± 2.0%")
    assert table.marked == {3}


def test_pairs_are_compared_with_the_better_of_their_units(greedy):
    (table,) = pairs_section(greedy).tables
    assert table.rows[0] == ("{layer1, layer2}", "88.0 ± 2.0%", "+2.0")


def test_the_path_shows_every_candidate_of_every_round(greedy):
    (section,) = path_sections(greedy)
    best, candidates = section.tables
    assert [row[:2] for row in best.rows] == [("1", "+ layer2"), ("2", "+ layer1"), ("3", "+ stem")]
    assert [row[-1] for row in best.rows] == ["taken", "taken", "not taken"]
    assert ("+ layer1", "84.0", "★ 88.0", "") in candidates.rows
    assert ("+ layer2", "★ 86.0", "", "") in candidates.rows
    assert "It stopped in round 3" in section.lead[-1]


def test_a_round_that_has_not_ended_says_what_is_missing():
    evidence = read_evidence(study([trial(()), trial(["stem"]), trial(["layer2"])]))
    (section,) = path_sections(evidence)
    assert section.lead[-1] == "Round 1 has not ended: 2 of its trials are missing."


def test_both_directions_have_a_path_each():
    trials = [*greedy_trials(), *(trial([u for u in UNITS if u != out]) for out in UNITS)]
    evidence = read_evidence(study(trials, strategy={"direction": "both"}))
    assert [section.key for section in path_sections(evidence)] == ["path-forward", "path-backward"]


def intervals(evidence, key):
    variant = next(v for v in variants({}) if v.key == key)
    found = replay(evidence, ledger_of(evidence), variant, "forward", {})
    return [(one.low, one.high, one.chosen, one.missing) for one in found]


def test_epsilon_turns_the_choice_exactly_at_the_gains_of_rounds(greedy):
    # The rounds gain 6 and 2 points; the third loses 1.
    found = intervals(greedy, "paired")
    assert [chosen for *_, chosen, _ in found] == [
        Subset(["layer1", "layer2"]),
        Subset(["layer2"]),
        Subset(),
    ]
    assert [high for _, high, *_ in found] == pytest.approx([0.02, 0.06, inf])
    assert not any(missing for *_, missing in found)


def test_the_papers_first_round_is_judged_against_zero(greedy):
    found = intervals(greedy, "paper")
    assert [high for _, high, *_ in found] == pytest.approx([0.02, 0.86, inf])


def test_the_papers_code_goes_on_while_it_loses_little(greedy):
    # Round 3 falls 1 point below the best seen, round 4 falls further; but
    # all units are in the study: whatever ε, the answer is final and the same.
    assert intervals(greedy, "code") == [(0.0, inf, Subset(["layer1", "layer2"]), 0)]


def test_what_needs_trials_that_were_never_run_is_said_to_be_unknown():
    short = read_evidence(study(greedy_trials()[:-2]))
    low = intervals(short, "code")[0]
    assert low[2:] == (Subset(["layer1", "layer2"]), 2)
    section = sensitivity_section(short)
    shown = [row[1] for table in section.tables for row in table.rows]
    assert "at least {layer1, layer2}; the next round lacks 2 trials" in shown


def test_sensitivity_is_left_out_where_the_first_round_is_not_known():
    assert sensitivity_section(read_evidence(study([trial(()), trial(["stem"])]))) is None


def test_another_strategys_trials_are_replayed_and_said_to_be():
    evidence = read_evidence(study(greedy_trials(), strategy={"name": "exhaustive"}))
    assert "Another strategy searched this study" in sensitivity_section(evidence).lead[1]
    assert path_sections(evidence) == []


def test_importance_counts_units_among_the_best(greedy):
    uses = {use.unit.name: use for use in unit_uses(greedy)}
    assert best_count(len(greedy.scored)) == 3
    assert uses["layer2"].best == 1.0
    on = [r.score for r in greedy.scored if "stem" in r.subset]
    off = [r.score for r in greedy.scored if "stem" not in r.subset]
    assert uses["stem"].effect == pytest.approx(np.mean(on) - np.mean(off))


def test_importance_of_few_subsets_is_not_shown():
    assert importance_section(read_evidence(study([trial(()), trial(["stem"])]))) is None


def test_costs_without_the_cache_add_the_prefix_to_every_step(greedy):
    record = next(r for r in greedy.history if r.subset == Subset(["layer2"]))
    cached, uncached = trial_costs(record, greedy, STAGES, FOLDS)
    forward = 300 + 200 + 10
    step = forward + (200 + 10) + (300 + 10)
    assert cached == 2 * (80 * step + 20 * forward)
    assert uncached == cached + 2 * (80 + 20) * (100 + 400)


def test_costs_without_pruning_train_pruned_trials_to_the_end():
    trials = [trial(["layer2"]), trial(["layer1"], state=TrialState.PRUNED, epochs=1, flops=0)]
    found = computed(read_evidence(study(trials)))
    assert (found.epochs, found.unpruned_epochs) == (5, 8)
    assert (found.trainings, found.unpruned_trainings) == (3, 4)
    assert found.cached < found.uncached < found.unpruned


def test_costs_say_what_is_not_known():
    made = study(greedy_trials())
    made.set_user_attr("search", {})
    section = cost_section(read_evidence(made))
    assert len(section.tables) == 1
    assert any("is not known" in note for note in section.notes)


def test_costs_are_compared_with_one_full_finetuning(greedy):
    rows = {row[0]: row[1:] for row in cost_section(greedy).tables[0].rows}
    assert rows["epochs"] == ("44", "2", "22 times")
    assert rows["time (measured)"] == ("16 s", "1.0 s", "16 times")


def test_the_front_holds_what_nothing_beats():
    def point(x, y):
        record = TrialRecord(number=0, subset=Subset(), state=State.COMPLETE)
        return Point(record=record, x=x, y=y)

    points = [point(1, 5), point(2, 4), point(2, 6), point(3, 6), point(4, 9)]
    front = pareto_front(points, lower_x=True, lower_y=False)
    assert [(p.x, p.y) for p in front] == [(1, 5), (2, 6), (4, 9)]


def test_latency_has_a_figure_where_trials_have_it():
    trials = [trial([u], added_latency_ms=float(i)) for i, u in enumerate(UNITS)]
    keys = [section.key for section in tradeoff_sections(read_evidence(study(trials)))]
    assert keys == ["against-added-latency-ms"]


def test_curves_are_means_over_folds():
    evidence = read_evidence(study([trial(["stem"], epochs=3, state=TrialState.PRUNED)]))
    curve = curve_of(evidence.history[0], evidence)
    assert curve.epochs == (1.0, 2.0)
    assert curve.scores == pytest.approx((0.72, 0.77))


def test_many_curves_are_thinned_and_keep_the_best():
    evidence = read_evidence(study([trial(["stem"], score=0.5 + i / 1000) for i in range(400)]))
    drawn = selected(list(evidence.history), evidence)
    assert len(drawn) <= MOST_CURVES
    assert evidence.scored[0].number in [record.number for record in drawn]


def test_reasons_are_grouped_and_counted():
    failed = [trial([u], state=TrialState.FAIL, reason="out of memory") for u in UNITS]
    section = trials_section(read_evidence(study([*failed, trial(())])))
    assert section.tables[1].rows == [("out of memory", "failed", "4", "0, 1, 2, 3")]


def test_the_front_of_three_objectives_is_that_of_all_three(page):
    values = {  # accuracy, parameters, latency
        "stem": (0.90, 300.0, 3.0),
        "layer1": (0.85, 300.0, 1.0),  # beaten by stem in the two that are drawn
        "layer2": (0.80, 100.0, 2.0),
        "layer3": (0.80, 100.0, 2.5),  # beaten in all
    }
    made = study(
        [trial([unit], score=list(found)) for unit, found in values.items()],
        directions=("maximize", "minimize", "minimize"),
        metric=["accuracy", "trainable_parameters", "latency_ms"],
    )
    written = page(made)
    assert "3 of 4 subsets are on the Pareto front." in written.text
    assert "The first two of its 3 objectives are drawn" in written.text
    assert "{layer1} 85.0% 300 1.0000" in written.text
    assert "sensitivity" not in written.titles  # greedy needs one order


def test_accuracy_is_shown_against_added_latency_where_trials_have_it(page):
    written = page(study([trial([u], latency_ms=1.0 + i) for i, u in enumerate(UNITS)]))
    assert "Accuracy against added latency (ms)" in written.text
    assert (written.path.parent / "figures" / "accuracy_against_latency-ms.svg").is_file()

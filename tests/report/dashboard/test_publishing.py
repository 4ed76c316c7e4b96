"""Notes of made studies, as the dashboard gets them."""

import copy

import pytest
from markdown_it import MarkdownIt  # rich's own
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from layersearch.report.dashboard import publish
from layersearch.report.dashboard.markdown import code, escaped
from layersearch.report.page import write_page
from tests.report.page.made import RESULT, UNITS, greedy_trials, study, trial


@pytest.fixture
def noted(tmp_path):
    """Publishes a study; gives its note, and those of its trials."""

    def make(made, result=None):
        board = publish(made, tmp_path, result=result)
        return board.note(), [board.note(t) for t in made.trials]

    return make


def test_the_note_of_a_study_answers_in_one_sentence_and_says_how_sure_that_is(noted):
    note, _ = noted(study(greedy_trials()), copy.deepcopy(RESULT))
    assert "### Tune {layer1, layer2} and a new head: 87.0 ± 0.2% accuracy on the test" in note
    assert "the difference is within noise" in note
    assert "`{layer1, layer2}`, [trial 7](/dashboard/studies/" in note
    assert "layersearch search search.yaml" in note


def test_a_search_that_goes_on_is_described_as_far_as_it_got(noted):
    note, trials = noted(study([trial(["layer2"]), trial([], state=TrialState.RUNNING)]))
    assert "Best so far of 1 subset scored: {layer2}" in note
    assert "The search has not ended" in note
    assert trials[1] == ""
    assert "Nothing has been tried yet." in noted(study(name="empty"))[0]


def test_trials_say_their_round_scores_costs_and_place(noted):
    _, trials = noted(study(greedy_trials(latency_ms=1.25)))
    assert "Tunes `{layer1, layer2}` and a new head" in trials[7]
    assert "round 2: `+ layer1` to `{layer2}`, the best of 3 candidates, taken" in trials[7]
    assert "| its folds | 88.0, 88.0 |" in trials[7]
    assert "| place | 1 of 11 scored subsets |" in trials[7]
    assert "| added latency (ms) | 1.25 |" in trials[7]
    assert "the linear probe" in trials[0]
    assert "full finetuning" in trials[1]
    assert "round 3: `+ stem` to `{layer1, layer2}`" in trials[9]
    assert "not taken" in trials[9]


def test_failed_and_pruned_trials_say_why(noted):
    note, trials = noted(
        study(
            [
                trial(
                    ["stem"], state=TrialState.FAIL, epochs=1, reason="ValueError: no such class"
                ),
                trial(["layer1"], state=TrialState.PRUNED, reason="pruned after epoch 0"),
                trial(["layer2"], state=TrialState.PRUNED, infeasible="task_bytes 9 > 5"),
            ]
        )
    )
    assert "| failed | ValueError: no such class |" in trials[0]
    assert "| pruned | pruned after epoch 0 |" in trials[1]
    assert "| feasible | **no**: task_bytes 9 \\> 5 |" in trials[2]
    assert "all 3 trials" in note or "1 failed" in note
    assert "ValueError: no such class (trials 0)" in note


def test_the_note_says_where_the_dashboard_calls_a_trial_the_best_that_may_not_be_chosen(noted):
    broken = {"feasible": False, "constraints": {"recall[a]": 0.1, "log_loss": -1.0}}
    note, trials = noted(
        study([*greedy_trials(), trial(["layer1", "layer3"], score=0.95, **broken)])
    )
    assert "**no**: trial 11, which the dashboard calls the best, may not be chosen" in note
    assert "recall\\[a\\] by 0.1" in note
    assert "the best that keeps every limit is trial 7" in note
    assert "it breaks recall" in trials[11]
    assert "yes: it keeps every limit" in trials[7]


def test_the_page_figures_and_the_description_are_artifacts(tmp_path):
    made = study(greedy_trials())
    write_page(made, tmp_path)
    note = publish(made, tmp_path).note()
    names = {meta.filename for meta in get_all_artifact_meta(made)}
    assert {"report.html", "search.yaml", "profile.png", "curves.png", "pairs.png"} <= names
    assert note.count("![") == 3  # path, profile, curves
    assert "[The report page, with everything](/artifacts/" in note


def test_nothing_that_a_study_holds_becomes_markup_in_a_note(noted):
    hostile = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) **bold** `code` | cell"
    units = (hostile, "b")
    note, trials = noted(
        study(
            [
                trial([hostile], units=units),
                trial(["b"], state=TrialState.FAIL, reason=hostile, units=units),
            ],
            units=units,
            metric=hostile,
        )
    )
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for text in (note, *trials):
        page = reader.render(text)
        assert "<img src=x" not in page
        assert 'href="javascript' not in page
        assert "<strong>bold" not in page
        assert "onerror=alert(1)&gt;" in page  # it is shown
        assert page.count("<td>") == 2 * page.count("<tr>") - 2  # '|' makes no cell


@pytest.mark.parametrize("text", ["a`b", "``", "`", "plain", "a|b"])
def test_code_shows_its_text_whatever_it_holds(text):
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    assert fence not in text
    assert text in shown


def test_words_with_underscores_stay_readable():
    assert escaped("linear_probe of layer_1") == "linear_probe of layer_1"
    assert escaped("_emphasis_ *too*") == "\\_emphasis\\_ \\*too\\*"
    assert escaped("two\nlines\x00") == "two lines\ufffd"


def test_a_large_study_gets_few_notes(noted):
    import itertools

    units = [f"u{i}" for i in range(10)]
    subsets = [s for k in range(4) for s in itertools.combinations(units, k)]
    many = [trial(s, units=units, state=TrialState.PRUNED if i % 2 else TrialState.COMPLETE,
                  epochs=2, reason="r") for i, s in enumerate(subsets)]  # fmt: skip
    _, trials = noted(study(many, units=units, strategy={"name": "tpe"}))
    assert 30 < sum(map(bool, trials)) < 70


def test_several_objectives_have_their_values_by_name(noted):
    made = study(
        [trial([u], score=[0.8, float(i)]) for i, u in enumerate(UNITS)],
        directions=("maximize", "minimize"),
        metric=["accuracy", "latency_ms"],
    )
    note, trials = noted(made)
    assert "accuracy" in note
    assert "| latency_ms | 2.0000 |" in trials[2]

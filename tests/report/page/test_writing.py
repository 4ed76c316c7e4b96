import copy
import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from layersearch.errors import LayersearchError
from layersearch.report.page import headline_of, write_page
from tests.report.page.made import GAINS, RESULT, UNITS, greedy_trials, study, trial

EVERY_SECTION = [
    "answer",
    "baselines",
    "cost",
    "profile",
    "pairs",
    "path-forward",
    "sensitivity",
    "importance",
    "against-parameters",
    "curves",
    "trials",
    "again",
]


def test_a_finished_greedy_search_has_every_section(page):
    written = page(study(greedy_trials()), copy.deepcopy(RESULT))
    assert written.titles == EVERY_SECTION
    assert "Tune {layer1, layer2} and a new head: 87.0 ± 0.2% accuracy on the test" in written.text
    assert "better than the linear probe (95% interval" in written.text
    assert "not told apart from full finetuning" in written.text


def test_every_figure_is_inside_the_page_and_beside_it(page):
    written = page(study(greedy_trials()), copy.deepcopy(RESULT))
    images = [attrs for tag, attrs in written.elements if tag == "img"]
    assert len(images) == 8
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert all(image["alt"] for image in images)
    figures = written.path.parent / "figures"
    for kind in ("svg", "png"):
        assert len(list(figures.glob(f"*.{kind}"))) == 8


def test_the_page_needs_nothing_from_elsewhere(page):
    written = page(study(greedy_trials()), copy.deepcopy(RESULT))
    assert {"script", "link"} & written.tags <= {"link"}
    links = [attrs["href"] for tag, attrs in written.elements if tag in ("a", "link")]
    assert all(link.startswith("#") or link == "data:," for link in links)
    sources = [attrs for tag, attrs in written.elements if tag in ("img", "source", "iframe")]
    assert all((a.get("src") or a.get("srcset")).startswith("data:") for a in sources)


def test_an_unfinished_search_shows_what_there_is(page):
    written = page(study([trial(()), trial(["layer2"]), trial([], state=TrialState.RUNNING)]))
    assert "Best so far of 2 subsets scored: {layer2}, with 86.0 ± 2.0%" in written.text
    assert "The search has not ended" in written.text
    assert "baselines" not in written.titles


def test_an_empty_study_says_so(page):
    written = page(study())
    assert "Nothing has been tried yet." in written.text
    assert written.titles == ["answer", "trials", "again"]


def test_one_trial_is_enough_for_a_page(page):
    written = page(study([trial(["layer1"])]))
    assert "Best so far of 1 subset scored: {layer1}" in written.text
    assert "profile" in written.titles


def test_a_study_whose_trials_all_failed_says_why(page):
    failed = [
        trial(
            [unit],
            state=TrialState.FAIL,
            epochs=1,
            reason="ValueError: no such class",
            failure="ValueError: no such class\nTraceback …\n  in train",
        )
        for unit in UNITS
    ]
    written = page(study(failed))
    assert "No subset has a score: all 4 trials failed." in written.text
    assert "ValueError: no such class failed 4 0, 1, 2, 3" in written.text
    assert "What trial 0 said when it failed" in written.text
    assert "in train" in written.text


def test_a_study_whose_trials_were_all_pruned_shows_their_curves(page):
    pruned = [
        trial([u], state=TrialState.PRUNED, epochs=3, reason="pruned after epoch 0 of fold 1")
        for u in UNITS
    ]
    written = page(study(pruned))
    assert "No subset has a score: all 4 trials were pruned or ruled out." in written.text
    assert "4 trials with a learning curve, 4 of them pruned." in written.text
    assert "pruned after epoch 0 of fold 1" in written.text


def test_several_objectives_are_shown_against_each_other(page):
    scored = [trial([u], score=[0.8 + GAINS[u], float(i)]) for i, u in enumerate(UNITS)]
    made = study(scored, directions=("maximize", "minimize"), metric=["accuracy", "latency"])
    written = page(made)
    assert "objectives" in written.titles
    assert "The study has 2 objectives: accuracy, latency." in written.text
    assert "latency (lower is better)" in written.text
    # Layer3 is beaten on both: later and less accurate than layer2.
    assert "3 of 4 subsets are on the Pareto front." in written.text


def test_a_study_of_another_program_is_read_as_far_as_it_goes(page):
    made = optuna.create_study(study_name="theirs")
    made.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=3)
    written = page(made)
    assert "No subset has a score: all 3 trials are complete, but not of a search" in written.text
    assert "does not hold the description" in written.text


def test_a_minimised_metric_is_shown_as_it_is(page):
    losses = [trial([u], score=1.0 - GAINS[u]) for u in UNITS]
    written = page(study(losses, directions=("minimize",), metric="log_loss"))
    assert "{layer2}, with 0.9400 ± 0.0200 validation log_loss" in written.text
    assert "Of the units by themselves, layer2 scores best." in written.text


def test_a_part_that_cannot_be_made_costs_that_part_alone(tmp_path: Path):
    broken = study([trial(()), trial(["layer1"], epochs=2, stderr="a lot")])
    html = write_page(broken, tmp_path).read_text()
    assert "This part cannot be made from what the study holds" in html
    assert "To run it again" in html


def test_the_page_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = study(greedy_trials())
    first = write_page(made, tmp_path / "a").read_text()
    second = write_page(made, tmp_path / "b").read_text()

    def undated(html: str) -> str:
        return html[: html.index("<p>Written")]

    assert undated(first) == undated(second)
    names = sorted(path.name for path in (tmp_path / "a" / "figures").iterdir())
    for name in names:
        pictures = [(tmp_path / side / "figures" / name).read_bytes() for side in "ab"]
        assert pictures[0] == pictures[1]


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path):
    (tmp_path / "made").write_text("a file")
    with pytest.raises(LayersearchError, match="cannot be written"):
        write_page(study(), tmp_path / "made")


def test_the_description_can_be_searched_with_again(page):
    made = study(greedy_trials())
    written = page(made)
    start = written.html.index("<pre")
    text = written.html[written.html.index(">", start) + 1 : written.html.index("</pre>")]
    described = json.loads(text.replace("&#34;", '"'))
    assert described == {"strategy": {"name": "greedy"}, "execution": {}}
    assert "torch 2.6.0" in written.text


def test_ten_thousand_trials_make_a_small_page(page):
    import itertools

    units = [f"u{i}" for i in range(14)]
    subsets = itertools.islice(
        (s for k in range(15) for s in itertools.combinations(units, k)), 10_000
    )
    many = [
        trial(s, state=TrialState.PRUNED if i % 3 == 0 else TrialState.COMPLETE, correct=None)
        for i, s in enumerate(subsets)
    ]
    written = page(study(many, units=units))
    assert written.path.stat().st_size < 5_000_000
    assert "10,000 trials" in written.text
    assert "Drawn are 150" in written.text
    assert len([tag for tag in written.elements if tag[0] == "tr"]) < 600


def test_the_headline_needs_no_page():
    assert headline_of(study()) == "Nothing has been tried yet."

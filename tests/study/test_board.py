import json

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from layersearch.study import open_storage
from layersearch.study.board import Board, artifact_store


@pytest.fixture
def study(storage_url):
    made = optuna.create_study(storage=open_storage(storage_url), study_name="boarded")
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return made


def test_the_dashboard_reads_our_notes(study, tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    from optuna_dashboard._note import get_note_from_system_attrs

    long = "of many words " * 600  # of several pieces
    board = Board(study, tmp_path)
    board.keep_note(f"**{long}**")
    board.keep_note("a trial", study.trials[1])
    assert long.strip() in dashboard.get_note(study)
    attrs = study._storage.get_study_system_attrs(study._study_id)
    shown = get_note_from_system_attrs(attrs, study.trials[1]._trial_id)
    assert "a trial" in shown["body"]
    assert shown["version"] == 1
    assert get_note_from_system_attrs(attrs, study.trials[0]._trial_id)["body"] == ""


def test_what_people_wrote_into_a_note_stays(study, tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    dashboard.save_note(study, "Ask Ann before using this.")
    Board(study, tmp_path).keep_note("first")
    dashboard.save_note(study, dashboard.get_note(study) + "\n\nAnd Bob.")
    Board(study, tmp_path).keep_note("second " * 1_000)
    Board(study, tmp_path).keep_note("third")
    note = dashboard.get_note(study)
    assert "Ask Ann" in note
    assert "And Bob." in note
    assert "third" in note
    assert "first" not in note
    assert "second" not in note
    assert note == Board(study, tmp_path).note()


def test_what_is_the_same_is_not_written_again(study, tmp_path, monkeypatch):
    def everything(board):
        board.keep_note("a study")
        board.keep_note("a trial", study.trials[0])
        return [
            board.keep_artifact("a.png", b"x"),
            board.keep_artifact("a.png", b"y", study.trials[0]),
        ]

    before = everything(Board(study, tmp_path))

    def refuse(*args):
        raise AssertionError(args)

    monkeypatch.setattr(study._storage, "set_study_system_attr", refuse)
    assert everything(Board(study, tmp_path)) == before


def test_artifacts_are_optunas(study, tmp_path):
    board = Board(study, tmp_path)
    address = board.keep_artifact("profile.png", b"old")
    assert board.keep_artifact("profile.png", b"new") == address
    (described,) = get_all_artifact_meta(study)
    assert (described.filename, described.mimetype) == ("profile.png", "image/png")
    with artifact_store(tmp_path).open_reader(described.artifact_id) as file:
        assert file.read() == b"new"
    assert board.artifact("profile.png") == address
    assert board.artifact("curves.png") is None


def test_an_artifact_of_a_trial_that_has_ended_is_listed_with_it(study, tmp_path):
    pytest.importorskip("optuna_dashboard")
    from optuna_dashboard.artifact._backend import list_trial_artifacts

    Board(study, tmp_path).keep_artifact("curve.png", b"x", study.trials[1])
    attrs = study._storage.get_study_system_attrs(study._study_id)
    assert list_trial_artifacts(attrs, {}, study.trials[0]) == []
    (listed,) = list_trial_artifacts(attrs, {}, study.trials[1])
    assert listed["filename"] == "curve.png"
    assert json.dumps(listed)

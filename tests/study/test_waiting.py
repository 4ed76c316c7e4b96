import threading
import time

import pytest

from layersearch.errors import StudyError
from layersearch.study import keep_plan, open_study, wait_for_study

FOUND = {"seed": 0}


def wait(tmp_path, *, seconds=120.0, storage=None, tell=lambda text: None):
    wait_for_study("digits", storage=storage, directory=tmp_path, seconds=seconds, tell=tell)


@pytest.mark.parametrize("storage", [None, "{}/study.sqlite3", "{}/study.log"])
def test_returns_once_the_study_says_what_made_it_and_how_it_is_searched(tmp_path, storage):
    storage = storage and storage.format(tmp_path)
    told, returned = [], threading.Event()

    def waiting():
        wait(tmp_path, storage=storage, tell=told.append)
        returned.set()

    thread = threading.Thread(target=waiting)
    thread.start()
    while not told:
        time.sleep(0.01)
    with open_study("digits", storage=storage, directory=tmp_path, fingerprint=FOUND) as opened:
        assert not returned.is_set()  # what it must agree on is not all there
        keep_plan(opened.study, {"strategy": {"name": "greedy"}})
        thread.join()
        opened.storage.close()
    assert returned.is_set()
    (text,) = told
    assert "'digits'" in text
    assert "120 s" in text


def test_looking_makes_no_file(tmp_path):
    with pytest.raises(StudyError, match=r"no study 'digits' in sqlite.*layersearch search"):
        wait(tmp_path / "runs", seconds=0)
    assert not list(tmp_path.iterdir())


def test_a_storage_of_one_process_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"kept by one process only.*postgresql://"):
        wait(tmp_path, storage=":memory:")


def test_a_storage_that_cannot_be_opened_is_not_waited_for(tmp_path):
    with pytest.raises(StudyError, match=r"study\.storage: .* is not a database URL"):
        wait(tmp_path, storage="postgresql://host:port/x")

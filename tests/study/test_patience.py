import errno
import threading

import pytest

from layersearch.errors import StudyError
from layersearch.study import patience as module
from layersearch.study.patience import Patience
from layersearch.study.troubles import JournalBusy, Kind


class Flaky:
    """Fails some times, then gives what it was told of earlier attempts."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.told = []

    def __call__(self, again):
        self.told.append(again)
        if self.errors:
            error = self.errors.pop(0)
            raise error() if isinstance(error, type) else error
        return self.told


@pytest.fixture
def heard():
    return []


@pytest.fixture
def patience(heard, monkeypatch):
    monkeypatch.setattr(module, "_FIRST", 0.001)
    monkeypatch.setattr(module, "_LONGEST", 0.002)
    return Patience("db", timeout=0.2, say=heard.append, advice="take another")


def away():
    return OSError(errno.ESTALE, "Stale file handle")


def busy():
    return JournalBusy("process 7 holds it")


def test_an_attempt_is_told_whether_it_is_the_first(patience, heard):
    assert patience.run(Flaky(away(), away())) == [False, True, True]
    assert heard == []  # nobody needs to know of a moment


def test_waiting_is_said_once_and_so_is_its_end(patience, heard, monkeypatch):
    monkeypatch.setattr(module, "_QUIET", 0.0)
    patience.run(Flaky(*[busy()] * 5))
    patience.run(Flaky())
    waits, goes_on = heard
    assert waits.startswith("study.storage: db is locked by another process (process 7 holds it);")
    assert waits.endswith("up to 0.2 s; take another")
    assert goes_on.startswith("study.storage: db answers again after 0 s")
    patience.run(Flaky(away()))
    assert "does not answer (Stale file handle)" in heard[2]
    assert "take another" not in heard[2]


def test_it_gives_up_after_the_stated_time_and_then_tries_once(patience):
    with pytest.raises(StudyError, match=r"does not answer \(Stale file handle\), for 0 s"):
        patience.run(Flaky(*[away()] * 100_000))
    once = Flaky(away(), away())
    with pytest.raises(StudyError, match="what ended is recorded: run the same command"):
        patience.run(once)
    assert once.told == [False]
    patience.run(Flaky())  # it is back
    assert len(patience.run(Flaky(away()))) == 2


def test_without_waiting_everything_is_tried_once_by_that_thread_only(patience):
    once = Flaky(away(), away())
    with patience.without_waiting():
        with pytest.raises(StudyError):
            patience.run(once)
        other = []
        thread = threading.Thread(target=lambda: other.extend(patience.run(Flaky(away()))))
        thread.start()
        thread.join()
    assert once.told == [False]
    assert other == [False, True]
    assert len(patience.run(Flaky(away()))) == 2  # it did not give up


def test_what_a_person_must_mend_is_not_waited_for(patience):
    full = Flaky(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StudyError, match=r"no space is left for db .*free some space on its serv"):
        patience.run(full)
    broken = Flaky(OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(StudyError, match=r"db cannot be used \(Read-only file system\)"):
        patience.run(broken)
    assert full.told == broken.told == [False]


def test_some_troubles_are_not_worth_waiting_for(patience):
    attempt = Flaky(away(), away())
    with pytest.raises(StudyError):
        patience.run(attempt, waits=lambda trouble: trouble.kind is Kind.LOCKED)
    assert attempt.told == [False]


def test_other_errors_pass(patience):
    with pytest.raises(KeyError):
        patience.run(Flaky(KeyError))


def test_who_interrupts_does_not_wait_again(patience):
    with pytest.raises(KeyboardInterrupt):
        patience.run(Flaky(away(), KeyboardInterrupt))
    once = Flaky(away(), away())
    with pytest.raises(StudyError):
        patience.run(once)
    assert once.told == [False]

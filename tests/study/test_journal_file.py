import json
import os
import subprocess
import sys
import threading

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from layersearch.errors import StudyError
from layersearch.study import open_study, read_study
from layersearch.study.journal_file import JournalFile


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def journal(tmp_path):
    """A journal with a study of three trials."""
    path = tmp_path / "study.log"
    with open_study("s", storage=path) as opened:
        for number in range(3):
            opened.study.tell(opened.study.ask(), number / 4)
    return path


def values(path):
    return [trial.value for trial in read_study("s", storage=path).trials]


def backups(path):
    return sorted(path.parent.glob("study.log.torn-*"))


def test_it_is_a_journal_as_optuna_writes_it(journal):
    stock = optuna.load_study(
        study_name="s", storage=JournalStorage(JournalFileBackend(str(journal)))
    )
    assert [trial.value for trial in stock.trials] == [0.0, 0.25, 0.5]
    stock.tell(stock.ask(), 0.75)
    assert values(journal) == [0.0, 0.25, 0.5, 0.75]


def test_a_torn_end_is_mended_when_it_is_opened_and_said(journal):
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"dead","study_id":0,"datetime_st')
    torn = journal.read_bytes()
    heard = []
    with open_study("s", storage=journal, say=heard.append) as opened:
        (told,) = heard
        assert "study.log was torn and is mended" in told
        opened.study.tell(opened.study.ask(), 1.0)
    assert values(journal) == [0.0, 0.25, 0.5, 1.0]
    (copy,) = backups(journal)
    assert copy.read_bytes() == torn
    assert str(copy) in told


def test_a_record_without_its_end_of_line_is_whole(journal):
    journal.write_bytes(journal.read_bytes()[:-1])
    assert values(journal) == [0.0, 0.25, 0.5]
    assert journal.read_bytes().endswith(b"\n")


def test_what_optuna_appended_to_a_torn_line_is_kept(journal):
    """To Optuna itself, such a journal is lost for ever."""
    first = read_study("s", storage=journal)
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"dead","study_id":0,"datetime_st')
    stock = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="s", storage=stock)
    with pytest.raises((AttributeError, json.JSONDecodeError)):
        study.ask()
    heard = []
    with open_study("s", storage=journal, say=heard.append) as opened:
        assert "holds a whole record that is kept" in heard[0]
        # Optuna's trial, and not the torn one's.
        assert len(opened.study.trials) == 4
        opened.study.tell(opened.study.ask(), 1.0)
    assert values(journal) == [0.0, 0.25, 0.5, None, 1.0]
    assert len(first.trials) == 5  # opened before, and never the wiser


def test_a_line_torn_while_it_is_open_is_mended_by_who_meets_it(journal):
    heard = []
    with open_study("s", storage=journal, say=heard.append) as opened:
        with journal.open("ab") as file:
            file.write(b'{"op_code":4,"worker_id"')
        assert len(opened.study.trials) == 3  # it may still be being written
        assert heard == []
        opened.study.ask()
        assert "mended" in heard[0]
        with journal.open("ab") as file:  # and once more, with what Optuna appends
            file.write(b'{"op_co')
        stock = JournalFileBackend(str(journal))
        stock.append_logs([{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"k": 1}}])
        assert opened.study.user_attrs["k"] == 1
        assert len(heard) == 2
    assert len(backups(journal)) == 2


def test_a_damaged_record_that_others_depend_on_is_refused_by_line(journal):
    lines = journal.read_bytes().split(b"\n")
    number = next(i for i, line in enumerate(lines) if line.startswith(b'{"op_code":4'))
    lines[number] = lines[number][:20] + b"\0\0\0" + lines[number][23:]
    damaged = b"\n".join(lines)
    journal.write_bytes(damaged)
    with pytest.raises(StudyError, match=rf"is damaged at line {number + 1}, .*restore the file"):
        open_study("s", storage=journal)
    assert journal.read_bytes() == damaged


def test_a_damaged_record_that_nothing_depends_on_goes(journal):
    lines = journal.read_bytes().split(b"\n")
    number = next(i for i, line in enumerate(lines) if b'"user_attr":{"driver:' in line)
    lines[number] = lines[number][:-9] + b"\0" * 9
    journal.write_bytes(b"\n".join(lines))
    assert values(journal) == [0.0, 0.25, 0.5]
    assert len(backups(journal)) == 1


def test_a_journal_that_was_cut_while_in_use_is_refused(journal):
    with open_study("s", storage=journal) as opened:
        whole = journal.read_bytes()
        journal.write_bytes(whole[:100])
        with pytest.raises(StudyError, match="was cut or replaced"):
            opened.study.ask()
        journal.write_bytes(whole)


def test_a_journal_that_vanished_is_not_begun_anew(journal):
    with open_study("s", storage=journal, storage_timeout=0.2) as opened:
        journal.rename(journal.with_name("moved"))
        with pytest.raises(StudyError, match="No such file"):
            opened.study.ask()
        assert not journal.exists()
        journal.with_name("moved").rename(journal)
        assert opened.study.ask().number == 3


def test_a_write_that_fails_leaves_no_trace(journal, monkeypatch):
    backend = JournalFile(journal)
    before = journal.read_bytes()
    write = os.write

    def half(descriptor, data):
        if data.startswith(b'{"op_code"'):
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        backend.append_logs([{"op_code": 2, "study_id": 0, "worker_id": "w", "user_attr": {}}])
    assert journal.read_bytes() == before


def test_processes_and_threads_write_one_whole_line_after_another(tmp_path):
    path = tmp_path / "study.log"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from layersearch.study.journal_file import JournalFile\n"
        "journal = JournalFile(Path(sys.argv[1]))\n"
        "for number in range(50):\n"
        "    journal.append_logs([{'op_code': 2, 'number': number, 'text': 'x' * 5000}])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    backend = JournalFile(path)
    threads = [
        threading.Thread(
            target=lambda: [backend.append_logs([{"op_code": 2}] * 3) for _ in range(20)]
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sum(1 for _ in JournalFile(path).read_logs(0)) == 3 * 50 + 2 * 20 * 3
    assert len(list(JournalFile(path).read_logs(260))) == 10

import sqlite3

import pytest

from layersearch.errors import StudyError
from layersearch.study import MEMORY, masked, open_storage, open_study, read_study, resolve_storage


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("postgresql://me:se/c?r#et@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:se@cret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?password=secret&a=b", "postgresql://db/x?password=***&a=b"),
        ("mysql+pymysql://:secret@db/x", "mysql+pymysql://:***@db/x"),
        ("sqlite:///runs/a.db", "sqlite:///runs/a.db"),
    ],
)
def test_passwords_are_masked(url, shown):
    assert masked(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush-hush@127.0.0.1:1/db",
        "postgresql://me:hush-hush@no-such-host.invalid/db",
        "nonsense://me:hush-hush@db/x",
        "postgresql://me:hush-hush@db:port/x",
        "redis://me:hush-hush@db/0",
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_the_password(url):
    with pytest.raises(StudyError, match=r"^study\.storage: ") as caught:
        open_study("a", storage=url)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, "sqlite:///{0}/a/study.db"),
        ("x.db", "sqlite:///x.db"),
        ("x.sqlite3", "sqlite:///x.sqlite3"),
        ("x/y.log", "journal://x/y.log"),
        ("/x/y.journal", "journal:///x/y.journal"),
        ("mysql://h/d", "mysql://h/d"),
        (MEMORY, MEMORY),
    ],
)
def test_storages_are_paths_or_urls(given, url, tmp_path):
    assert resolve_storage(given, name="a", directory=tmp_path) == url.format(tmp_path)


def test_a_path_of_another_kind_is_refused():
    with pytest.raises(StudyError, match="neither a URL nor a path"):
        resolve_storage("studies", name="a", directory=None)


@pytest.mark.parametrize(
    "storage", ["{0}/new/x.db", "{0}/new/x.log", "journal://{0}/new/y", MEMORY]
)
def test_trials_are_kept_in_every_kind_of_storage(storage, tmp_path):
    with open_study("a", storage=storage.format(tmp_path)) as opened:
        opened.study.tell(opened.study.ask(), 0.5)
    if storage != MEMORY:
        assert read_study("a", storage=storage.format(tmp_path)).best_value == 0.5


def test_sqlite_is_written_ahead_and_waits_for_locks(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        opened.study.ask()
        file = tmp_path / "a" / "study.db"
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "x.db").write_text("not a database, but long enough to be one" * 100)
    with pytest.raises(StudyError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/x.db")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be made"):
        open_storage(f"sqlite:///{tmp_path}/file/x.db")


def test_reading_a_study_that_is_not_there_lists_those_that_are(tmp_path):
    with open_study("digits", directory=tmp_path):
        pass
    with pytest.raises(StudyError, match=r"there is no study 'mnist'.*it has: 'digits'"):
        read_study("mnist", directory=tmp_path)
    with pytest.raises(StudyError, match="it has: 'digits'"):
        read_study("mnist", storage=f"sqlite:///{tmp_path}/digits/study.db")
    assert not (tmp_path / "mnist").exists()

import errno
import sqlite3

import psycopg
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from layersearch.study.troubles import JournalBusy, Kind, Troubled, one_line, trouble_of


def sqlite_error(name, text="words"):
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = name
    return OperationalError("SELECT 1", {}, error)


def kind(error):
    trouble = trouble_of(error)
    return None if trouble is None else trouble.kind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SQLITE_BUSY", Kind.LOCKED),
        ("SQLITE_BUSY_SNAPSHOT", Kind.LOCKED),
        ("SQLITE_LOCKED", Kind.LOCKED),
        ("SQLITE_FULL", Kind.FULL),
        ("SQLITE_IOERR_SHMSIZE", Kind.AWAY),
        ("SQLITE_CANTOPEN", Kind.AWAY),
        ("SQLITE_READONLY_DBMOVED", Kind.BROKEN),
        ("SQLITE_ERROR", None),  # too many variables, no such table
    ],
)
def test_what_sqlite_says(name, expected):
    assert kind(sqlite_error(name)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.AdminShutdown(), Kind.AWAY),
        (psycopg.errors.CannotConnectNow(), Kind.STARTING),
        (psycopg.errors.TooManyConnections(), Kind.STARTING),
        (psycopg.errors.LockNotAvailable(), Kind.LOCKED),
        (psycopg.errors.DeadlockDetected(), Kind.LOCKED),
        (psycopg.errors.DiskFull(), Kind.FULL),
        (psycopg.errors.ReadOnlySqlTransaction(), Kind.AWAY),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Kind.AWAY),
        (psycopg.OperationalError("FATAL: the database system is starting up"), Kind.STARTING),
        (psycopg.OperationalError("number of parameters must be less"), None),
        (psycopg.errors.StringDataRightTruncation(), None),
    ],
)
def test_what_postgresql_says(error, expected):
    assert kind(OperationalError("SELECT 1", {}, error)) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, Kind.FULL),
        (errno.EDQUOT, Kind.FULL),
        (errno.ESTALE, Kind.AWAY),
        (errno.EROFS, Kind.BROKEN),
        (errno.EACCES, Kind.BROKEN),
    ],
)
def test_what_the_system_says(code, expected):
    assert kind(OSError(code, "words")) is expected


def test_a_journal_that_is_written_to_is_locked():
    assert trouble_of(JournalBusy("process 7 holds it")).text == "process 7 holds it"
    assert kind(JournalBusy("")) is Kind.LOCKED


def test_it_is_found_behind_optunas_own_error():
    wrapped = StorageInternalError("during the commit")
    wrapped.__cause__ = sqlite_error("SQLITE_BUSY", "database is locked")
    assert trouble_of(wrapped).text == "database is locked"
    assert trouble_of(Troubled(trouble_of(wrapped))) == trouble_of(wrapped)


def test_errors_about_what_was_asked_are_none():
    assert trouble_of(KeyError("no such trial")) is None
    assert trouble_of(StorageInternalError("without a cause")) is None


def test_the_address_is_not_said_twice():
    text = (
        'connection failed: connection to server at "::1", port 1 failed: Connection refused\n\tIs'
    )
    assert one_line(Exception(text)) == "Connection refused"
    assert one_line(Exception()) == "Exception"

"""PostgreSQL that restarts, crashes, vanishes, loses answers, or was never there."""

import os
import signal
import threading
import time

import pytest
from optuna.trial import TrialState as OptunaState

from layersearch.errors import StudyError
from layersearch.study import open_study, read_study
from tests.execution.jobs import ALL, trained
from tests.storages.drivers import (
    DONE,
    check_whole,
    drive,
    finish,
    records,
    said,
    wait_until,
)
from tests.storages.jobs import at_once
from tests.storages.proxy import proxied

pytestmark = pytest.mark.cluster


@pytest.fixture
def network(postgres):
    with proxied(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def through(postgres, network):
    """An empty database, reached through the proxy."""
    return postgres.url(postgres.new_database(), port=network.port)


# --- A server that goes away (case 6) -------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_search_goes_on_when_its_server_is_back(postgres, postgres_url, tmp_path, mode):
    log = tmp_path / "trained.log"
    driver = drive(tmp_path, postgres_url, "--seconds=0.05")
    wait_until(lambda: len(trained(log)) >= 4)
    postgres.stop(mode)
    try:
        wait_until(lambda: said(tmp_path))
    finally:
        postgres.start()
    assert finish(driver) == DONE
    check_whole(postgres_url)
    assert sorted(trained(log)) == sorted(str(subset) for subset in ALL)
    away, back = said(tmp_path)
    assert "does not answer (" in away
    assert "waiting for it, up to 120 s" in away
    assert "answers again after" in back
    assert postgres.password not in away + back


def test_a_quick_restart_is_met_without_a_word(postgres, postgres_url):
    heard = []
    with open_study("s", storage=postgres_url, say=heard.append) as opened:
        trial = opened.study.ask()
        postgres.restart()
        opened.study.tell(trial, 0.5)
        assert opened.study.best_value == 0.5
    assert not any("does not answer" in text for text in heard)


def test_a_search_gives_up_after_the_stated_time_and_can_be_resumed(
    postgres, postgres_url, tmp_path
):
    log = tmp_path / "trained.log"
    driver = drive(tmp_path, postgres_url, "--seconds=0.05", "--timeout=2")
    wait_until(lambda: len(trained(log)) >= 4)
    postgres.stop()
    try:
        told = finish(driver)
    finally:
        postgres.start()
    assert driver.returncode == 1
    assert "does not answer" in told
    assert "run the same command again when it is back" in told
    assert "\n" not in told
    before = records(postgres_url)
    assert finish(drive(tmp_path, postgres_url)) == DONE
    after = check_whole(postgres_url)
    assert all(after[record.number].score == score for score, record in _scored(before))


def _scored(found):
    return [(record.score, record) for record in found if record.score is not None]


# --- Answers that are lost ------------------------------------------------------------------------


def test_a_trial_whose_making_was_not_answered_is_found_again(network, through):
    with open_study("s", storage=through) as opened:
        network.lose_commit_of(b"INSERT INTO trials")
        trial = opened.study.ask()
        assert network.lost == 1
        assert trial.number == 0
        assert len(opened.study.get_trials()) == 1
        assert opened.study.ask().number == 1


def test_an_end_that_was_not_answered_counts(network, through):
    with open_study("s", storage=through) as opened:
        trial = opened.study.ask()
        network.lose_commit_of(b"UPDATE trials SET state")
        opened.study.tell(trial, 0.5)
        assert network.lost == 1
        assert opened.study.best_value == 0.5


def test_an_enqueued_trial_whose_claim_was_not_answered_is_ours(network, through):
    with open_study("s", storage=through) as opened:
        opened.study.enqueue_trial({"a": True})
        network.lose_commit_of(b"UPDATE trials SET state")
        assert opened.study.ask().number == 0
        assert network.lost == 1
        assert [trial.state for trial in opened.study.get_trials()] == [OptunaState.RUNNING]


def test_attributes_and_reports_that_were_not_answered_are_there_once(network, through):
    with open_study("s", storage=through) as opened:
        trial = opened.study.ask()
        network.lose_commit_of(b"INSERT INTO trial_intermediate_values")
        trial.report(0.25, 0)
        network.lose_commit_of(b"INSERT INTO trial_user_attributes")
        trial.set_user_attr("k", 1)
        network.lose_commit_of(b"INSERT INTO trial_params")
        trial.suggest_categorical("a", [False, True])
        assert network.lost == 3
        opened.study.tell(trial, 0.5)
        (ended,) = opened.study.get_trials()
        assert ended.intermediate_values == {0: 0.25}
        assert ended.user_attrs["k"] == 1
        assert set(ended.params) == {"a"}


# --- A host that vanishes -------------------------------------------------------------------------


def test_a_host_that_vanishes_is_noticed_and_waited_for(network, through):
    """The kernel says nothing: its timeouts do not strike, since something acknowledges."""
    heard = []
    with open_study("s", storage=through, storage_timeout=20, say=heard.append) as opened:
        opened.storage._guard._within = 2.0
        trial = opened.study.ask()
        network.silence()
        threading.Timer(4.0, network.mend).start()
        opened.study.tell(trial, 0.5)
        assert opened.study.best_value == 0.5
    assert ["does not answer" in text for text in heard] == [True, False]


def test_a_server_that_is_stopped_is_given_up(postgres, postgres_url):
    with open_study("s", storage=postgres_url, storage_timeout=3) as opened:
        trial = opened.study.ask()
        backends = postgres.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'layersearch'"
        )
        stopped = [int(pid) for pid in backends.split()] + [postgres.pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StudyError, match="does not answer"):
                opened.study.tell(trial, 0.5)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        opened.study.tell(trial, 0.5)
        assert opened.study.best_value == 0.5


def test_connections_end_by_themselves_on_both_sides(postgres, postgres_url):
    with open_study("s", storage=postgres_url) as opened:
        engine = opened.storage._backend._backend.engine
        with engine.connect() as connection:
            info = connection.connection.dbapi_connection.info.get_parameters()
            shown = connection.exec_driver_sql(
                "SELECT current_setting('lock_timeout'), current_setting('tcp_keepalives_idle'), "
                "current_setting('idle_in_transaction_session_timeout')"
            ).one()
    assert info["connect_timeout"] == "10"
    assert info["tcp_user_timeout"] == "20000"
    assert (info["keepalives_idle"], info["keepalives_count"]) == ("10", "3")
    assert tuple(shown) == ("30s", "10", "1min")


def test_a_url_may_say_otherwise(postgres, postgres_url):
    with open_study("s", storage=f"{postgres_url}?connect_timeout=7") as opened:
        engine = opened.storage._backend._backend.engine
        with engine.connect() as connection:
            info = connection.connection.dbapi_connection.info.get_parameters()
    assert info["connect_timeout"] == "7"


# --- Locks ----------------------------------------------------------------------------------------


def test_a_study_locked_by_a_driver_that_hangs_is_waited_for(postgres, postgres_url):
    heard = []
    with open_study("s", storage=postgres_url, say=heard.append) as opened:
        engine = opened.storage._backend._backend.engine
        with engine.connect() as other:
            other.exec_driver_sql("SELECT * FROM studies FOR UPDATE")
            release = threading.Timer(4.0, other.rollback)
            with engine.connect() as mine:
                mine.exec_driver_sql("SET lock_timeout = '500ms'")
                mine.commit()
                mine.exec_driver_sql("SELECT 1")
                mine.rollback()
            release.start()
            assert opened.study.ask().number == 0
            release.join()
    assert "is locked by another process" in heard[0]
    assert "answers again" in heard[1]


# --- Never there (case 21) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"password": "hush-hush"},
            r"password authentication failed .*check the user and the pass",
        ),
        ({"database": "nowhere"}, r'database "nowhere" does not exist\); create it'),
        ({"port": 1}, r"Connection refused\); is the server running there\?"),
    ],
)
def test_what_cannot_heal_is_one_line_at_once(postgres, change, reason):
    heard = []
    url = postgres.url(**{"database": "postgres", **change})
    with pytest.raises(StudyError, match=reason) as caught:
        open_study("s", storage=url, say=heard.append)
    assert "\n" not in str(caught.value)
    for secret in ("hush-hush", postgres.password):
        assert secret not in str(caught.value)
    assert heard == []  # nothing was waited for


def test_an_unknown_host_is_one_line_at_once():
    heard = []
    with pytest.raises(StudyError, match=r"me:\*\*\*@no-such-host.invalid.*check the host's name"):
        open_study("s", storage="postgresql://me:hush@no-such-host.invalid/x", say=heard.append)
    assert heard == []


def test_the_socket_folder_serves_as_well_as_the_network(postgres):
    database = postgres.new_database()
    url = f"postgresql://searcher:{postgres.password}@/{database}?host={postgres.sockets}"
    url += f"&port={postgres.port}"
    with open_study("s", storage=url) as opened:
        opened.study.tell(opened.study.ask(), 0.5)
        assert postgres.password not in opened.address
    assert read_study("s", storage=url).best_value == 0.5


# --- Two drivers, one of them cut off (cases 3, 13) -----------------------------------------------


@pytest.mark.slow
def test_a_driver_that_is_cut_off_ends_before_another_takes_its_work(
    postgres, network, through, tmp_path, other_machine
):
    log = tmp_path / "trained.log"
    here = drive(
        *(tmp_path, through, "--join", "--workers=1", "--seconds=1.5"),
        *("--timeout=4", "--stale-after=12"),
    )
    wait_until(lambda: len(trained(log)) >= 2)
    network.silence()
    direct = through.replace(f":{network.port}/", f":{postgres.port}/")
    there = drive(
        *(tmp_path, direct, "--join", "--workers=1", "--seconds=0.05", "--stale-after=12"),
        prefix=other_machine,
    )
    assert "does not answer" in finish(here)
    assert finish(there) == DONE
    check_whole(direct)
    assert at_once(tmp_path / "notes.log") == []
    taken = [r for r in records(direct) if "died" in r.attributes.get("reason", "")]
    assert len(taken) == 1


@pytest.mark.slow
def test_drivers_whose_server_was_away_for_several_heartbeats_keep_their_trials(
    postgres, postgres_url, tmp_path, other_machine
):
    """The first that is back must not take the other for dead."""
    log = tmp_path / "trained.log"
    options = ("--join", "--workers=1", "--seconds=0.8", "--timeout=60", "--stale-after=24")
    drivers = [
        drive(tmp_path, postgres_url, *options),
        drive(tmp_path, postgres_url, *options, prefix=other_machine),
    ]
    wait_until(lambda: len(trained(log)) >= 3)
    postgres.stop()
    try:
        wait_until(lambda: len(said(tmp_path)) == 2)
        time.sleep(6.0)
    finally:
        postgres.start()
    assert [finish(driver) for driver in drivers] == [DONE] * 2
    found = check_whole(postgres_url)
    assert not any("died" in record.attributes.get("reason", "") for record in found)
    assert sorted(trained(log)) == sorted(str(subset) for subset in ALL)
    assert at_once(tmp_path / "notes.log") == []

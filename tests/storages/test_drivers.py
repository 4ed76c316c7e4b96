"""Whole drivers on every storage: two at a time, killed, resumed."""

import time
from collections import Counter

import pytest

from layersearch.space import TrialState
from tests.execution.jobs import ALL, trained
from tests.storages.drivers import DONE, check_whole, drive, finish, kill, records, wait_until
from tests.storages.jobs import at_once


def test_drivers_share_the_work_and_train_nothing_twice(storage_url, tmp_path):
    drivers = [
        drive(tmp_path, storage_url, "--join", "--workers=1", "--seconds=0.05") for _ in range(3)
    ]
    assert [finish(driver) for driver in drivers] == [DONE] * 3
    found = check_whole(storage_url)
    assert Counter(trained(tmp_path / "trained.log")) == Counter(str(subset) for subset in ALL)
    drivers = {r.attributes["driver"] for r in found if r.state is TrialState.COMPLETE}
    assert len(drivers) > 1


def test_what_a_killed_driver_left_is_gone_on_with(storage_url, tmp_path):
    log = tmp_path / "trained.log"
    first = drive(tmp_path, storage_url, "--seconds=0.1")
    wait_until(lambda: len(trained(log)) >= 6)
    kill(first)
    before = records(storage_url)
    begun = Counter(trained(log))
    assert before.running
    assert finish(drive(tmp_path, storage_url)) == DONE
    after = check_whole(storage_url)
    for record in before:
        if record.state is TrialState.COMPLETE:
            assert after[record.number].score == record.score
            assert Counter(trained(log))[str(record.subset)] == begun[str(record.subset)] == 1
        else:
            assert after[record.number].attributes["interrupted"] is True


@pytest.mark.slow
def test_a_driver_killed_many_times_loses_nothing(storage_url, tmp_path):
    """At any moment: while it writes, while it asks, while it holds a lock."""
    log = tmp_path / "trained.log"
    for count in (2, 5, 9, 12):
        driver = drive(tmp_path, storage_url, "--seconds=0.02")
        wait_until(lambda: len(trained(log)) >= count or driver.poll() is not None)  # noqa: B023
        time.sleep(count * 0.003)
        kill(driver)
    assert finish(drive(tmp_path, storage_url)) == DONE
    check_whole(storage_url)
    assert at_once(tmp_path / "notes.log") == []

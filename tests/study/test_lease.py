import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import optuna
import pytest

from layersearch.errors import StudyError
from layersearch.study import Lease
from layersearch.study.attributes import DRIVER_PREFIX, TAKEN_PREFIX
from layersearch.study.drivers import HOLDING, DriverRecord, driver_records, process_start
from layersearch.study.lease import seconds_driven


@pytest.fixture
def study():
    return optuna.create_study(study_name="digits", storage=optuna.storages.InMemoryStorage())


def mine(study):
    return driver_records(study.user_attrs)[-1]


def put(study, record):
    study.set_user_attr(DRIVER_PREFIX + record.token, asdict(record))


def elsewhere(study, *, heartbeat):
    """A driver on another machine."""
    lease = Lease(study)
    record = replace(mine(study), token="other", host="node7", place="node7//", heartbeat=heartbeat)
    lease.release()
    put(study, record)
    return record


def test_a_second_driver_is_refused_and_told_who_holds_it(study):
    lease = Lease(study)
    with pytest.raises(StudyError, match=rf"'digits' is held by process {os.getpid()} on .* UTC"):
        Lease(study)
    lease.release()
    Lease(study).release()


def test_a_driver_that_joins_is_let_in(study):
    first = Lease(study)
    second = Lease(study, join=True)
    assert first.live_tokens() == second.live_tokens() == {first.token, second.token}
    first.release()
    with pytest.raises(StudyError, match="is held by"):
        Lease(study)
    second.release()


def test_a_worker_is_always_let_in_and_keeps_nobody_out(study):
    early = Lease(study, worker=True)
    driver = Lease(study)
    late = Lease(study, worker=True)
    assert driver.live_tokens() == {early.token, driver.token, late.token}
    with pytest.raises(StudyError, match="is held by"):
        Lease(study)
    driver.release()
    Lease(study).release()
    early.release()
    late.release()


def test_a_short_time_to_count_as_dead_makes_the_heart_beat_faster(study):
    lease = Lease(study, stale_after=0.2)
    first = mine(study).heartbeat
    deadline = time.monotonic() + 60
    while mine(study).heartbeat == first:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lease.release()


def test_a_dead_process_on_this_machine_frees_its_study_at_once(study):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lease = Lease(study)
    record = replace(mine(study), token="dead", pid=dead.pid, heartbeat=time.time())
    lease.release()
    put(study, record)
    Lease(study).release()


def test_a_reused_process_id_is_not_taken_for_the_dead_process(study):
    lease = Lease(study)
    record = replace(mine(study), token="dead", process="1")
    lease.release()
    put(study, record)
    Lease(study).release()


def test_a_zombie_counts_as_dead(study):
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lease = Lease(study)
    record = replace(mine(study), token="z", pid=zombie.pid, process=process_start(zombie.pid))
    lease.release()
    put(study, record)
    assert record.is_live(now=time.time())
    zombie.kill()
    while record.is_live(now=time.time()):
        time.sleep(0.01)
    zombie.communicate()


def test_a_driver_elsewhere_holds_while_its_heartbeat_is_recent(study):
    elsewhere(study, heartbeat=time.time())
    with pytest.raises(StudyError, match=r"on node7, .*dead after 120 s without a sign of life"):
        Lease(study)


def test_a_driver_elsewhere_that_was_silent_for_long_is_replaced_and_told(study):
    record = elsewhere(study, heartbeat=time.time() - 500)
    lease = Lease(study)
    assert study.user_attrs[TAKEN_PREFIX + record.token]["by"] == lease.token
    lease.release()


def test_each_driver_says_itself_how_long_it_may_be_silent(study):
    record = elsewhere(study, heartbeat=time.time() - 500)
    put(study, replace(record, stale_after=1000.0))
    with pytest.raises(StudyError, match=r"dead after 1000 s without a sign of life"):
        Lease(study, stale_after=1.0)


def test_a_driver_whose_study_was_taken_notices_although_it_renews_its_lease(study):
    lease = Lease(study, heartbeat=0.01)
    study.set_user_attr(TAKEN_PREFIX + lease.token, {})
    deadline = time.monotonic() + 60
    while not lease.lost:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lease.release()
    assert mine(study).state == HOLDING
    Lease(study).release()  # it is not in the way


def test_a_driver_that_was_asleep_asks_before_it_goes_on(study):
    """Its thread has not had its turn yet: the next beat is a minute away."""
    now = time.time()
    lease = Lease(study, heartbeat=60, clock=lambda: now)
    study.set_user_attr(TAKEN_PREFIX + lease.token, {})
    assert not lease.lost
    now += 500
    assert lease.lost
    lease.release()


def test_a_driver_that_wakes_while_it_is_condemned_is_left_its_trials_and_told(study):
    """Both stop, rather than both go on."""
    sleeper = elsewhere(study, heartbeat=time.time() - 500)
    lease = Lease(study, join=True)
    set_user_attr = study.set_user_attr

    def wake_meanwhile(key, value):
        set_user_attr(key, value)
        if key.startswith(TAKEN_PREFIX):
            set_user_attr(*replace(sleeper, heartbeat=time.time()).attribute)

    study.set_user_attr = wake_meanwhile
    assert lease.condemn([sleeper.token]) == frozenset()
    assert sleeper.token not in lease.live_tokens()
    lease.release()


def test_the_dead_stay_condemned(study):
    dead = elsewhere(study, heartbeat=time.time() - 500)
    lease = Lease(study, join=True)
    assert lease.condemn([dead.token, "never seen"]) == {dead.token, "never seen"}
    lease.release()


def test_a_heartbeat_is_renewed(study):
    lease = Lease(study, heartbeat=0.01)
    first = mine(study).heartbeat
    deadline = time.monotonic() + 60
    while mine(study).heartbeat == first:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lease.release()


def test_of_many_that_ask_at_the_same_moment_one_holds(tmp_path):
    """Processes, on SQLite, as in real life."""
    code = (
        "import sys, time\n"
        "from layersearch.study import open_study\n"
        "from layersearch.errors import StudyError\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "try:\n"
        "    open_study('a', directory=sys.argv[1])\n"
        "    sys.stdout.write('held\\n')\n"
        "except StudyError as error:\n"
        "    sys.stdout.write(f'{error}\\n')\n"
        "    sys.exit()\n"
        "sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    start = str(time.time() + 4)
    asking = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path), start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.stdout.readline() for process in asking]
    for process in asking:
        process.communicate("")
    assert said.count("held\n") == 1
    assert sum("is held by process" in line for line in said) == 3


def test_seconds_are_counted_once_where_drivers_overlap():
    def driver(token, started, heartbeat):
        record = DriverRecord(
            token=token,
            host="h",
            place="p",
            pid=1,
            process="1",
            state=HOLDING,
            join=True,
            started=started,
            heartbeat=heartbeat,
        )
        return DRIVER_PREFIX + token, asdict(record)

    attrs = dict([driver("a", 0, 10), driver("b", 5, 20), driver("c", 100, 103)])
    assert seconds_driven(attrs, now=105, token="c") == 25

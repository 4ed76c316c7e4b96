"""What every strategy and every sampler keeps, on a real Optuna study with synthetic scores."""

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from layersearch.space import Subset
from layersearch.strategies import Done
from layersearch.strategies.optuna_adapter import claimed
from layersearch.study import history
from tests.contracts.claiming import SCORE, SEARCHES, SPACE, STUDY, sampler_of, work

LINEAR_PROBE = Subset()
DETERMINISTIC = [
    name for name in SEARCHES if name.startswith(("greedy", "nested", "profile", "exhaustive"))
]
QUICK = [name for name in SEARCHES if name != "gp"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def new_study(storage: BaseStorage) -> Study:
    return optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")


def trained(study: Study) -> list[Subset]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [subset for trial in trials if (subset := claimed(trial)) is not None]


def check(study: Study, search: str) -> Subset:
    """The contract; returns the answer."""
    subsets = trained(study)
    sampler = sampler_of(search)
    past = history(study)
    assert max(Counter(subsets).values()) == 1, "no subset is trained twice"
    assert LINEAR_PROBE in subsets, "what is enqueued is trained"
    assert all(s in SPACE for s in subsets if s != LINEAR_PROBE), "nothing outside the space is"
    assert isinstance(sampler.outlook(past), Done)
    answer = sampler.answer(past)
    assert answer is not None
    assert answer in SPACE or answer == LINEAR_PROBE
    assert sampler.explain(past).best == answer
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        assert trial.params == SPACE.to_parameters(claimed(trial) or LINEAR_PROBE)
    return answer


def expected(search: str) -> Subset:
    if search == "nested":
        return climbed()
    inside = list(SPACE.enumerate())
    if not search.startswith("greedy"):
        if search == "profile":
            inside = [subset for subset in inside if len(subset) <= 3 and is_profiled(subset)]
            inside.append(LINEAR_PROBE)
        return max(inside, key=SCORE)
    if search == "greedy both":
        answers = [expected("greedy paired"), expected("greedy backward")]
        return max(answers, key=SCORE)
    return greedily(search.split()[1])


def is_profiled(subset: Subset) -> bool:
    positions = SPACE.positions(subset)
    return len(subset) <= 2 or positions[-1] - positions[0] == 2


def climbed() -> Subset:
    """Up the nested subsets from the best single one: the linear probe is outside the space."""
    path = [Subset()]
    for single in sorted(SPACE.runs(1), key=SCORE, reverse=True):
        longer = SPACE.subset((*path[-1], *single))
        path.extend([longer] if longer in SPACE else [])
    place = 1
    while place + 1 < len(path) and SCORE(path[place + 1]) > SCORE(path[place]):
        place += 1
    singles = SPACE.runs(1)  # they have whole scores, too
    return max([path[place], *singles], key=SCORE)


def greedily(rule: str) -> Subset:
    """Forward from the singles, since the linear probe is outside the space (min_units)."""
    if rule == "backward":
        pool = SPACE.subset(["layer0", "layer1", "layer2", "layer3"])  # without the largest
        best = pool
        while candidates := [
            s for n in pool if (s := SPACE.subset(m for m in pool if m != n)) in SPACE
        ]:
            pool = max(candidates, key=SCORE)
            if SCORE(pool) <= SCORE(best):
                return best
            best = pool
        return best
    base = max((s for s in SPACE.enumerate() if len(s) == 1), key=SCORE)
    best = base
    while candidates := [
        s for n in SPACE.free if n not in base and (s := SPACE.subset([*base, n])) in SPACE
    ]:
        base = max(candidates, key=SCORE)
        if rule == "official" and SCORE(base) < SCORE(best) - 0.01:
            return best
        if rule != "official" and SCORE(base) <= SCORE(best):
            return best
        best = max(best, base, key=SCORE)
    return best


@pytest.mark.parametrize("search", SEARCHES)
def test_one_worker_trains_each_subset_once_and_finds_the_answer(search: str) -> None:
    storage = InMemoryStorage()
    study = new_study(storage)
    work(storage, search)
    assert check(study, search) == expected(search)
    if search not in DETERMINISTIC:
        assert set(trained(study)) == {*SPACE.enumerate(), LINEAR_PROBE}


@pytest.mark.parametrize("search", QUICK)
def test_four_threads_share_the_work(search: str) -> None:
    storage = InMemoryStorage()
    study = new_study(storage)
    with ThreadPoolExecutor(4) as pool:
        for end in [pool.submit(work, storage, search, pause=0.004) for _ in range(4)]:
            end.result()
    assert check(study, search) == expected(search)


@pytest.mark.parametrize("search", QUICK)
def test_goes_on_where_an_interrupted_search_stopped(search: str) -> None:
    storage = InMemoryStorage()
    study = new_study(storage)
    for limit in (1, 4, 7, None):
        work(storage, search, limit=limit)
        if limit is not None:
            leave_a_trial_behind(study, search)
    assert check(study, search) == expected(search)


def leave_a_trial_behind(study: Study, search: str) -> None:
    """A worker dies with a claimed trial; whoever resumes fails it as interrupted."""
    sampler = sampler_of(search)
    if sampler.outlook(history(study)) is not None:
        return
    dying = optuna.load_study(study_name=STUDY, storage=study._storage, sampler=sampler)
    trial = dying.ask(sampler.distributions)
    assert claimed(trial) not in trained(study)
    trial.set_user_attr("interrupted", True)
    study.tell(trial.number, state=TrialState.FAIL)


@pytest.mark.parametrize("search", ["greedy both", "tpe"])
def test_four_processes_on_sqlite_survive_being_killed(
    search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # for the server of forks
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = new_study(RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 100}}))
    for survive in (3, None):  # trials, then kill -9 for all that run
        crew = [process(url, search) for _ in range(4)]
        while survive is not None and len(trained(study)) < survive:
            time.sleep(0.05)
        for worker in crew:
            if survive is not None:
                worker.kill()
            worker.join()
            assert worker.exitcode == (0 if survive is None else -signal.SIGKILL)
        fail_orphans(study)
    assert check(study, search) == expected(search)


def process(url: str, search: str) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.contracts.claiming"])
    worker = context.Process(target=work, args=(url, search), kwargs={"pause": 0.2}, daemon=True)
    worker.start()
    return worker


def fail_orphans(study: Study) -> None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
        study.tell(trial.number, state=TrialState.FAIL)

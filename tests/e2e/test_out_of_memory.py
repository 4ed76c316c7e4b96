"""Trials that memory really does not take: workers under a limit of the kernel (case 12)."""

import optuna
import pytest

from layersearch.execution import Budgets, Ending, ProcessPool, make_places, run_search
from layersearch.execution.messages import Finished
from layersearch.space import Subset, TrialState
from layersearch.space.trial import Proposal
from layersearch.study import open_study
from tests.e2e.starved import Starved
from tests.execution.doubles import Every, sampler_of

pytestmark = pytest.mark.slow
A = Subset(["a"])
optuna.logging.set_verbosity(optuna.logging.WARNING)


def _taken(parts):
    """What a trial in so many parts gives without a limit, and the bytes that it takes."""
    pool = ProcessPool(make_places(1, threads=1))
    ends = []
    try:
        pool.start(Starved())
        pool.submit(Proposal(number=0, subset=A, batch_parts=parts), answered=False)
        while not ends or not isinstance(ends[-1], Finished):
            pool.wait(ends.append, seconds=1)
    finally:
        pool.close(now=True)
    return ends[-1].result, ends[-1].result.attributes["taken"]


@pytest.fixture(scope="module", autouse=True)
def _plain_malloc():
    """One arena, and large blocks by themselves: address space is taken for what is in use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MALLOC_ARENA_MAX", "1")
        patch.setenv("MALLOC_MMAP_THRESHOLD_", str(1 << 17))
        yield


@pytest.fixture(scope="module")
def measured(_plain_malloc):
    """The loss with whole batches, and a limit between what these and quarters of them take."""
    (whole, much), (_, little) = _taken(1), _taken(4)
    assert much > little + (32 << 20)
    return whole.values[0], (much + little) // 2


def made(folder):
    """The processes in which jobs were made."""
    return [int(line) for line in (folder / "made").read_text().splitlines()]


@pytest.fixture
def search(tmp_path, measured):
    def search(**options):
        with open_study(
            "search",
            directory=tmp_path,
            directions=("minimize",),
            sampler=sampler_of(Every([A])),
        ) as opened:
            return run_search(
                opened,
                Starved(more=measured[1], log=tmp_path / "made"),
                pool=ProcessPool(make_places(1, threads=1)),
                **options,
            )

    return search


def test_it_runs_again_in_a_fresh_worker_with_smaller_parts(search, measured, tmp_path):
    run = search(smaller_batches=True)
    assert run.ending is Ending.DONE
    *failed, last = run.history
    assert failed
    assert all("out of memory on cpu" in record.attributes["reason"] for record in failed)
    assert all(record.attributes["interrupted"] for record in failed)
    assert last.state is TrialState.COMPLETE
    assert last.attributes["micro_batch"] == 32 // 2 ** len(failed)
    assert -last.score == pytest.approx(measured[0], rel=1e-3)  # the same effective batch
    assert len(made(tmp_path)) == 1 + len(failed)  # a worker each
    assert made(tmp_path)[-1] == last.attributes["pid"]


def test_it_fails_where_that_is_asked_for(search):
    run = search(budgets=Budgets(trials=1))
    assert {record.state for record in run.history} == {TrialState.FAILED}
    reason = run.history[0].attributes["reason"]
    assert "out of memory on cpu with 32 samples at a time" in reason
    assert "set execution.out_of_memory to smaller_batch" in reason

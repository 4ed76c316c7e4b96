"""What a search says of where it stands, while it runs."""

import optuna

from layersearch.execution import Budgets
from layersearch.execution.statuses import _join_front
from tests.execution.doubles import Every
from tests.execution.jobs import ALL


class Listener:
    """Keeps statuses, phases and what else comes with them; hears nothing of trials."""

    def __init__(self):
        self.statuses = []
        self.phases = []

    def status(self, status):
        self.statuses.append(status)

    def phase(self, text):
        self.phases.append(text)


def test_the_last_status_is_of_the_whole_search(search):
    listener = Listener()
    search(strategy=Every(ALL[:4]), observers=[listener], budgets=Budgets(trials=9))
    last = listener.statuses[-1]
    assert (last.done, last.scored, last.pruned, last.failed, last.running) == (4, 4, 0, 0, 0)
    assert last.best is not None
    assert last.best_trial is not None
    assert (last.candidates, last.candidates_done) == (4, 4)
    assert [(bound.name, bound.limit, bound.used) for bound in last.budget] == [("trials", 9, 4)]
    assert listener.phases == ["preparing the worker", "searching"]


def test_workers_say_what_they_do(search):
    listener = Listener()
    search(strategy=Every(ALL[:6]), observers=[listener], workers=2, seconds=0.3)
    seen = {worker.doing for status in listener.statuses for worker in status.crew}
    assert seen == {"trains", "idle"}
    names = {worker.name for status in listener.statuses for worker in status.crew}
    assert names == {"0", "1"}
    assert listener.statuses[-1].workers == 2
    assert listener.phases[0] == "starting 2 workers"


def test_the_last_failure_is_told_with_its_reason(search):
    listener = Listener()
    search({ALL[1]: "nan"}, strategy=Every(ALL[:3]), observers=[listener])
    last = listener.statuses[-1]
    assert last.failed >= 1
    assert str(ALL[1]) in last.last_failed
    assert "nan" in last.last_failed


def test_epochs_that_a_budget_leaves_are_trials_that_remain(search):
    listener = Listener()
    search(
        strategy=Every(ALL[:8]),
        observers=[listener],
        budgets=Budgets(epochs=9, epochs_per_trial=3),
    )
    first = listener.statuses[0]
    assert (first.remaining, first.covers) == (2, "search")


def test_trials_of_other_processes_are_seen(open_it, search):
    mine = open_it(Every(ALL[:2]))
    other = open_it(Every(ALL[:2]), join=True)
    theirs = other.study.ask()
    theirs.set_user_attr("driver", other.lease.token)

    class UntilSeen(Listener):
        """Ends the other process's trial, which the search waits for, once it was told of."""

        ended = False

        def status(self, status):
            super().status(status)
            if self.seen() and not self.ended:
                self.ended = True
                other.study.tell(theirs, state=optuna.trial.TrialState.FAIL)

        def seen(self):
            return [w for s in self.statuses for w in s.crew if not w.own]

    listener = UntilSeen()
    search(observers=[listener], opened=mine)
    others = listener.seen()
    assert {(worker.trial, worker.doing) for worker in others} == {(theirs.number, "trains")}
    assert others[0].where
    assert all(worker.own for worker in listener.statuses[-1].crew)


def test_the_front_keeps_what_no_other_beats():
    front = []
    for values in [(1.0, 1.0), (2.0, 0.0), (0.5, 0.5), (1.0, 2.0), (1.0, 2.0), (3.0,)]:
        _join_front(front, values)
    assert sorted(front) == [(1.0, 2.0), (2.0, 0.0)]

"""Greedy SubTuning (Kaplun et al. 2023, algorithm 1), forward, backward, or the better of both.

n: units that are switched; k: rounds. Forward starts from the units that are always on (the linear
probe, usually) and tries, in each round, every unit that is not yet chosen; backward starts from
everything and tries to leave out each. A round ends when all its candidates are settled; then the
stop rule (`stop_rules`) judges its best. At most n·k + 1 trainings instead of 2^n.

Lazy rounds. What a unit gains rarely grows as the subset does. With `lazy`, a round after the first
tries last round's best first, and skips those whose last gain, plus so many of its standard errors,
is below what the best of this round gains already (`lazy`).

Races. With `eliminate`, a candidate that is clearly worse after some of its folds than the best of
its round is stopped (`elimination`).

Leaps. With `leap`, forward is over after its first round: all the units that are worth it by what
they gain alone are added at once (`leap`), and no later round is tried.

Bounds. Every candidate is in the search space. Where the start is not (`min_units`, runs), the
first round has all the smallest subsets of the space as candidates and its best is accepted: for
runs that is the whole search. Where everything is over a budget or `max_units`, backward starts
from what is left after leaving out the largest units.

Many workers. While a round's last candidates are running, free workers go on with what the rounds
to come will most probably ask for (`speculation`). Answers follow from the scores of whole rounds
only, so neither the number of workers nor the order in which trials end changes them; a score that
was speculated in vain stays in the study, and a running trial that no round can ask for any more is
named by `moot`, to be stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Literal

from layersearch.space import History, SearchSpace, Subset
from layersearch.space.records import PartOfTrial
from layersearch.strategies.beginning import check_first_round, find_start, smallest_subsets
from layersearch.strategies.elimination import why_beaten
from layersearch.strategies.lazy import tried_units
from layersearch.strategies.leap import nested_path, worth_together
from layersearch.strategies.protocol import (
    MAX_FAILURES,
    Done,
    Ledger,
    Progress,
    Wait,
    best_scored,
    finite_score,
    shown_score,
)
from layersearch.strategies.rounds import Past, Round, State
from layersearch.strategies.speculation import (
    LEAST_CHANCE,
    chances_ahead,
    forecast_scores,
    win_chances,
)
from layersearch.strategies.stop_rules import (
    Standing,
    Stop,
    Verdict,
    paired_gain,
    stop_rule,
)

Direction = Literal["forward", "backward"]

_BASES = 64  # whose candidates are kept


class Greedy:
    """Adds units one by one while it pays (forward), or leaves them out (backward).

    Args:
        space: the subsets that may be tried.
        direction: 'forward' or 'backward'.
        stop: the rule that judges a round's best: 'paired', 'paper' or 'official'.
        min_gain: the paper's ε, in units of the score (accuracy: 0 to 1). Default: 0, for
            'official' 0.01. Below 0 backward goes on while it loses no more than that.
        z: for 'paired', how many standard errors a gain must exceed.
        max_rounds: stop after that many rounds.
        start_score: for 'paper' and 'official' forward, what the first round's best must exceed.
            Default: 0, as in the paper; minus infinity if that best is negative, as a loss is.
        speculate: how many rounds ahead free workers go; 0: they wait.
        lazy: standard errors that a unit's gain may grow by from round to round; None: every
            round tries every unit.
        leap: whether forward adds, after the first round, all units at once that are worth it.
        eliminate: the chance at which a candidate that is as good as the best of its round may be
            stopped before its last fold; None: all are trained whole.
        max_failures: how often a subset may fail before it is lost.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        direction: Direction = "forward",
        stop: Stop = "paired",
        min_gain: float | None = None,
        z: float = 1.0,
        max_rounds: int | None = None,
        start_score: float | None = None,
        speculate: int = 1,
        lazy: float | None = None,
        leap: bool = False,
        eliminate: float | None = None,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.space = space
        self.lazy = lazy
        # After the round that comes before a leap every unit's gain counts.
        self.leap = leap and direction == "forward"
        self.eliminate = None if self.leap else eliminate
        self._only_gains = stop != "official" and (min_gain is None or min_gain >= 0)
        self.forward = direction == "forward"
        self.max_rounds = max_rounds
        self.speculate = speculate
        self.max_failures = max_failures
        self._start_score = start_score
        self._scores_start = stop == "paired" or not self.forward
        self._rule = stop_rule(stop, min_gain=min_gain, z=z)
        self._start = find_start(space, forward=self.forward)
        if self._start is None:
            check_first_round(space)
        self._past = Past()
        self._memo: dict[Subset | None, tuple[tuple[str, Subset], ...]] = {}

    @property
    def starts(self) -> frozenset[Subset]:
        """The subset that units are added to, or left out of."""
        return frozenset() if self._start is None else frozenset((self._start,))

    def propose(self, history: History) -> Subset | Wait | Done:
        """The first open candidate of this round, or of the likely next one."""
        ledger = Ledger(history, max_failures=self.max_failures)
        rounds = self.survey(ledger)
        certain = self.certain(rounds, ledger)
        return self.likely(rounds, ledger) if certain is None else certain

    def answer(self, history: History) -> Subset | None:
        """The subset that the rule has accepted; the current round counts as it stands."""
        ledger = Ledger(history, max_failures=self.max_failures)
        return self.survey(ledger)[-1].chosen

    def explain(self, history: History) -> Progress:
        """The current round, or the last."""
        ledger = Ledger(history, max_failures=self.max_failures)
        now = self.survey(ledger)[-1]
        return Progress(
            phase=self._in_words(now),
            candidates=len(now.trials),
            candidates_done=now.settled,
            base=now.base,
            best=now.chosen,
            best_score=shown_score(now.chosen, ledger),
            round=now.number,
        )

    def considered(self, history: History) -> frozenset[Subset]:
        """What the rounds so far asked for."""
        rounds = self.survey(Ledger(history, max_failures=self.max_failures))
        return frozenset(subset for played in rounds for subset in played.trials)

    def moot(self, history: History) -> frozenset[Subset]:
        """The running subsets whose scores no round can ask for any more."""
        ledger = Ledger(history, max_failures=self.max_failures)
        if not ledger.running:
            return frozenset()
        now = self.survey(ledger)[-1]
        return frozenset(subset for subset in ledger.running if self._is_moot(subset, now))

    def why_beaten(self, part: PartOfTrial, history: History) -> str:
        """Whether a candidate of the current round is clearly worse than the best one so far.

        Or than what the round builds on, where only a gain is accepted.
        """
        if self.eliminate is None:
            return ""
        ledger = Ledger(history, max_failures=self.max_failures)
        now = self.survey(ledger)[-1]
        if part.subset not in now.candidates:
            return ""
        rivals = (now.winner, now.base if self._only_gains else None)
        known = [ledger.scores[r] for r in rivals if r is not None and r in ledger.scores]
        return why_beaten(part, known, chance=self.eliminate)

    def survey(self, ledger: Ledger) -> list[Round]:
        """The rounds so far; the last is the current one if it is incomplete, else the search's."""
        past = self._past
        if past.lineage is not ledger.lineage:
            past = self._past = Past(lineage=ledger.lineage)
        rounds = list[Round]()
        state: State | None = State(number=1, base=self._start)
        for since, played, after in past.rounds:
            if since > ledger.known:  # this history is of an earlier moment
                break
            rounds.append(played)
            state = after
        while state is not None:
            played, state = self._play(state, ledger)
            rounds.append(played)
            if not played.complete:
                break
            if len(rounds) > len(past.rounds):
                past.rounds.append((ledger.known, played, state))
        return rounds

    def certain(self, rounds: Sequence[Round], ledger: Ledger) -> Subset | None:
        """The first open trial of the current round."""
        now = rounds[-1]
        return None if now.complete else ledger.first_open(now.trials)

    def likely(self, rounds: Sequence[Round], ledger: Ledger) -> Subset | Wait | Done:
        """The open trial that one of the next rounds will most probably ask for."""
        now = rounds[-1]
        if now.complete:
            return Done(f"round {now.number}: {now.stop}")
        chances = chances_ahead(
            now.begun,
            futures=lambda state: self._futures(state, ledger),
            trials=lambda state: self._play(state, ledger)[0].trials,
            rounds=self.speculate,
        )
        promising = (s for s in chances if ledger.open(s) and not ledger.failures(s))
        proposal = max(promising, key=chances.__getitem__, default=None)
        if proposal is not None and chances[proposal] >= LEAST_CHANCE:
            return proposal
        left = len(now.trials) - now.settled
        return Wait(f"round {now.number} waits for {left} trials that are running")

    def _is_moot(self, subset: Subset, now: Round) -> bool:
        """Whether it is no trial of this round or of one that may follow it."""
        if subset in now.trials and not now.complete:
            return False
        if now.complete:
            return True
        base = now.base
        if base is None:  # the smallest subsets come first; anything may be built on them
            return False
        return not (base <= subset if self.forward else subset <= base)

    # --- One round --------------------------------------------------------------------------------

    def _play(self, state: State, ledger: Ledger) -> tuple[Round, State | None]:
        """The round that begins in this state, and the state after it if there is one."""
        options = self._options(state.base)
        subsets = tuple(subset for _, subset in options)
        records = [ledger.scores.get(subset) for subset in subsets]
        scores = [-inf if record is None else finite_score(record) for record in records]
        unscored = [s for s, record in zip(subsets, records, strict=True) if record is None]
        pending = sum(not ledger.settled(subset) for subset in unscored)
        candidates = self._in_order(options, state.bounds or state.last) if pending else subsets
        skipped = self._skipped(state, ledger)
        if skipped:
            candidates = tuple(s for s in candidates if s not in skipped)
            scores = [-inf if s in skipped else x for s, x in zip(subsets, scores, strict=True)]
            pending = sum(not ledger.settled(s) for s in unscored if s not in skipped)
        trials = candidates
        if state.number == 1 and state.base is not None and self._scores_start:
            trials = (state.base, *candidates)
            pending += not ledger.settled(state.base)
            if ledger.score(state.base) > -inf:
                state = replace(state, chosen=state.base, best=ledger.score(state.base))
        played = Round(
            number=state.number,
            base=state.base,
            candidates=candidates,
            trials=trials,
            settled=len(trials) - pending,
            winner=best_scored(zip(subsets, scores, strict=True), self.space),
            chosen=state.chosen,
            begun=state,
            skipped=tuple(s for s in subsets if s in skipped),
        )
        if played.winner is not None:
            by_unit = {unit: score for (unit, _), score in zip(options, scores, strict=True)}
            after = replace(state, last=by_unit, bounds=self._bounds(options, state, ledger))
            return self._judged(played, after, ledger)
        if not candidates and state.chosen is None:
            played = replace(played, chosen=state.base)
        why = "every candidate failed or was pruned" if candidates else "no unit is left to try"
        return replace(played, stop=why), None

    def _skipped(self, state: State, ledger: Ledger) -> frozenset[Subset]:
        """Candidates that can hardly win, by their last gains; known for sure once the round ends.

        Decided in the order in which the round tries them, from the scores of those before: the
        same whoever trains them, and whatever else has a score.
        """
        base = ledger.score(state.base) if state.base is not None else -inf
        if not state.bounds or base == -inf:
            return frozenset()
        options = dict(self._options(state.base))
        gains = {unit: ledger.score(subset) - base for unit, subset in options.items()}
        tried = tried_units(gains, state.bounds)
        return frozenset(options[unit] for unit in options.keys() - set(tried))

    def _bounds(
        self, options: tuple[tuple[str, Subset], ...], state: State, ledger: Ledger
    ) -> Mapping[str, float]:
        """What each unit may gain in the next round; a skipped one, no more than before."""
        base = None if state.base is None else ledger.scores.get(state.base)
        if self.lazy is None or base is None or ledger.score(base.subset or Subset()) == -inf:
            return {}
        found = dict(state.bounds)
        skipped = self._skipped(state, ledger)
        for unit, subset in options:
            record = ledger.scores.get(subset)
            if record is not None and finite_score(record) > -inf and subset not in skipped:
                gain = paired_gain(record, base)
                found[unit] = gain.mean + self.lazy * gain.stderr
        return found

    def _judged(self, played: Round, state: State, ledger: Ledger) -> tuple[Round, State | None]:
        winner = played.winner
        assert winner is not None
        chosen, best = state.chosen, self._best_so_far(state, ledger.score(winner))
        verdict = self._verdict(winner, state, best, ledger)
        if verdict.choose:
            chosen, best = winner, ledger.score(winner)
        elif chosen is None:
            chosen = state.base
        stop = verdict.stop
        if self.leap and verdict.build_on and state.base is not None:
            leap = self._leap(state, ledger)
            chosen, stop = leap, _leap_in_words(len(leap) - len(state.base))
            played = replace(played, leap=leap)
        elif stop is None and state.number == self.max_rounds:
            stop = "the last one allowed"
        played = replace(played, chosen=chosen, stop=stop)
        if not verdict.build_on or stop is not None:
            return played, None
        return played, replace(
            state, number=state.number + 1, base=winner, chosen=chosen, best=best
        )

    def _leap(self, state: State, ledger: Ledger) -> Subset:
        """The units that are worth it by what they gain alone, all added to the base."""
        assert state.base is not None
        base = ledger.score(state.base)
        scores = {unit: ledger.score(subset) for unit, subset in self._options(state.base)}
        path = nested_path(self.space, state.base, scores)
        return path[max(1, worth_together([scores[unit] - base for unit, _ in path])) - 1][1]

    def _best_so_far(self, state: State, score: float) -> float:
        """What a rule compares with; in the first round of a start without score, the paper's 0."""
        if state.number > 1 or self._scores_start:
            return state.best
        if self._start_score is not None:
            return self._start_score
        return 0.0 if score >= 0.0 else -inf

    def _verdict(self, winner: Subset, state: State, best: float, ledger: Ledger) -> Verdict:
        if state.base is None:
            return Verdict(build_on=True, choose=True)
        base = ledger.scores.get(state.base) if ledger.score(state.base) > -inf else None
        return self._rule(Standing(candidate=ledger.scores[winner], base=base, best=best))

    def _futures(self, state: State, ledger: Ledger) -> Iterator[tuple[float, State]]:
        """Where the round that begins in this state may lead, with the chances."""
        played, after = self._play(state, ledger)
        if self.leap:  # what the round leads to follows from all of its scores
            return
        if played.complete:
            if after is not None:
                yield 1.0, after
            return
        options = dict(self._options(state.base))
        scores = {unit: ledger.score(subset) for unit, subset in options.items()}
        pending = [unit for unit, subset in options.items() if not ledger.settled(subset)]
        bar = -inf
        if played.winner is not None and after is None:
            # To go on, another must win, and be better than what there is.
            bar = max(ledger.score(played.winner), played.begun.best)
        forecast = forecast_scores(tuple(options), scores, pending, state.last)
        last = dict(zip(options, forecast.scores, strict=True))
        for unit, chance in win_chances(forecast, bar=bar):
            begin = after if after is not None and options[unit] == played.winner else state
            yield chance, replace(begin, number=state.number + 1, base=options[unit], last=last)

    def _options(self, base: Subset | None) -> tuple[tuple[str, Subset], ...]:
        """Unit -> candidate, in order of depth."""
        if base not in self._memo:
            if len(self._memo) >= _BASES:
                del self._memo[next(iter(self._memo))]
            self._memo[base] = tuple(self._changes(base))
        return self._memo[base]

    @staticmethod
    def _in_order(
        options: tuple[tuple[str, Subset], ...], last: Mapping[str, float]
    ) -> tuple[Subset, ...]:
        """The candidates in the order to try them: by last round's scores, then by depth."""
        by_score = sorted(options, key=lambda option: -last.get(option[0], -inf))
        return tuple(subset for _, subset in by_score)

    def _changes(self, base: Subset | None) -> Iterator[tuple[str, Subset]]:
        """What one more unit (forward) or one less (backward) makes of the base, in the space."""
        if base is None:
            yield from ((str(subset), subset) for subset in smallest_subsets(self.space))
            return
        for unit in self.space.free:
            if (unit in base) != self.forward:
                names = (*base, unit) if self.forward else (n for n in base if n != unit)
                subset = self.space.subset(names)
                if subset in self.space:
                    yield unit, subset

    def _in_words(self, now: Round) -> str:
        if now.complete and now.stop:
            return f"ended with round {now.number}: {now.stop}"
        if now.base is None:
            return f"round {now.number}: the smallest subsets"
        return (
            f"round {now.number}: what to {'add to' if self.forward else 'leave out of'} {now.base}"
        )


def _leap_in_words(units: int) -> str:
    if units == 1:
        return "the unit that gains most is worth more than several together"
    return f"the {units} units that gain most alone are tuned together, without further rounds"

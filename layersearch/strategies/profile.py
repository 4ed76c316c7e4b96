"""The finetuning profile (Kaplun et al. 2023, section 3): which layers are worth tuning.

The score of every single unit against its depth, of every run of 2 and of 3 consecutive units, and
of every pair; with the linear probe, against which they are read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from layersearch.errors import ConfigError, Problem
from layersearch.space import History, SearchSpace, Subset, did_you_mean
from layersearch.strategies.listed import Listed
from layersearch.strategies.protocol import MAX_FAILURES, Done, Progress, Wait

LINEAR_PROBE = "linear_probe"
PARTS = (LINEAR_PROBE, "single", "runs_2", "runs_3", "pairs")


@dataclass(frozen=True, kw_only=True)
class ProfilePoint:
    """One subset of a profile."""

    subset: Subset
    units: tuple[str, ...]  # those that the part switches on: without the units always on
    trainable_parameters: int
    score: float | None = None  # None: not trained, lost, or pruned
    stderr: float | None = None


class Profile:
    """Trains the subsets of a finetuning profile; the answer is the best of them.

    Args:
        space: subsets outside it are left out of the profile; units that are always on are in
            every one of it. The linear probe is allowed in any space.
        parts: what to train, in this order: 'linear_probe', 'single', 'runs_2', 'runs_3' (any
            'runs_k'), 'pairs'.
        max_failures: how often a subset may fail before it is lost.

    Raises:
        ConfigError: an unknown part, or none that has a subset in the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        parts: Sequence[str] = PARTS,
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.space = space
        self.parts: Mapping[str, tuple[Subset, ...]] = {
            part: tuple(self._subsets(part, number)) for number, part in enumerate(parts)
        }
        every = tuple(dict.fromkeys(s for subsets in self.parts.values() for s in subsets))
        if not every:
            raise _problem("strategy.parts", f"no subset of {list(parts)} is in the space")
        self._list = Listed(
            space,
            partial(iter, every),
            lists=frozenset(every).__contains__,
            total=len(every),
            what="subsets of the finetuning profile",
            max_failures=max_failures,
        )

    def propose(self, history: History) -> Subset | Wait | Done:
        """The next subset of the profile."""
        return self._list.propose(history)

    def answer(self, history: History) -> Subset | None:
        """The best subset of the profile."""
        return self._list.answer(history)

    def explain(self, history: History) -> Progress:
        """How much of the profile is done."""
        return self._list.explain(history)

    def points(self, history: History) -> Mapping[str, tuple[ProfilePoint, ...]]:
        """Part -> its points in order of depth, scored so far or not."""
        return {
            part: tuple(self._point(subset, history) for subset in subsets)
            for part, subsets in self.parts.items()
        }

    def _point(self, subset: Subset, history: History) -> ProfilePoint:
        record = history.scores.get(subset)
        return ProfilePoint(
            subset=subset,
            units=tuple(name for name in subset if name not in self.space.bounds.always),
            trainable_parameters=self.space.trainable_parameters(subset),
            score=None if record is None else record.score,
            stderr=None if record is None else record.stderr,
        )

    def _subsets(self, part: str, number: int) -> Iterator[Subset]:
        if part == LINEAR_PROBE:
            yield Subset()
            return
        yield from (subset for subset in self._of(part, number)() if subset in self.space)

    def _of(self, part: str, number: int) -> Callable[[], Iterator[Subset]]:
        if part == "single":
            return lambda: iter(self.space.runs(1))
        if part == "pairs":
            return self._pairs
        kind, _, length = part.partition("_")
        if kind == "runs" and length.isdecimal() and int(length) > 0:
            return lambda: iter(self.space.runs(int(length)))
        what = f"{part!r} is not a part of a finetuning profile"
        raise _problem(f"strategy.parts[{number}]", what, did_you_mean(part, PARTS))

    def _pairs(self) -> Iterator[Subset]:
        always = self.space.bounds.always
        for pair in combinations(self.space.free, 2):
            yield self.space.subset((*always, *pair))


def _problem(where: str, what: str, remedy: str = "") -> ConfigError:
    return ConfigError([Problem(where=where, what=what, remedy=remedy)])

"""The exceptions that users meet, and the one signal that ends a trial early.

LayersearchError
├── ConfigError             a search description that cannot be run; lists every problem
├── BackboneError           a backbone that cannot be built, cut or given a new head
│   └── WeightsError        a weights file that cannot be read or does not fit
├── DataError               a data set that cannot be read or used
│   └── SealedError         the test split was opened while the search was running
├── SpaceError              an empty search space, an unknown unit, an impossible budget
├── RecipeError             training settings that do not fit the subset, the data or the device
├── ObjectiveError          a metric that is unknown or gave no finite number
├── StudyError              a study that cannot be opened, or is held by somebody else
│   └── FingerprintError    a study made with another backbone, data, space, recipe or objective
├── SearchError             a search that cannot go on: every trial failed, a worker cannot start
├── SnapshotError           a trial's state that it cannot be resumed from
└── TaskError               a saved task that cannot be read or belongs to another backbone

TrialStopped                raised by a report callback to end its trial: pruned or interrupted
TrialOutOfMemory            raised by a trial that memory did not take
"""

from collections.abc import Sequence
from dataclasses import dataclass


class LayersearchError(Exception):
    """Anything a user can mend; its text says where, what and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a search description."""

    where: str  # dotted path, such as 'recipe.epochs' or 'space.units[3]'
    what: str  # the rule, then the value
    remedy: str = ""  # what to write instead

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class ConfigError(LayersearchError):
    """A search description that cannot be run.

    Args:
        problems: everything that is wrong with it, in the order of the description.
        source: the file or call that it came from.
    """

    def __init__(self, problems: Sequence[Problem], *, source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        head = f"{source}: " if source else ""
        lines = [f"{head}{count} problem{'s' if count != 1 else ''}"]
        super().__init__("\n".join(lines + [f"  {problem}" for problem in self.problems]))


class BackboneError(LayersearchError):
    """A backbone that cannot be built, cut or given a new head."""


class WeightsError(BackboneError):
    """A weights file that cannot be read safely or does not fit the backbone."""


class DataError(LayersearchError):
    """A data set that cannot be read or used."""


class SealedError(DataError):
    """The test split was opened while the search was running."""


class SpaceError(LayersearchError):
    """An empty search space, an unknown unit or an impossible budget."""


class RecipeError(LayersearchError):
    """Training settings that do not fit the subset, the data or the device."""


class ObjectiveError(LayersearchError):
    """A metric that is unknown, or gave no finite number."""


class StudyError(LayersearchError):
    """A study that cannot be opened, or is held by somebody else."""


class FingerprintError(StudyError):
    """A study made with another backbone, data, space, recipe or objective."""


class SearchError(LayersearchError):
    """A search that cannot go on."""


class SnapshotError(LayersearchError):
    """A trial's state that it cannot be resumed from: damaged, or of another trial."""


class TaskError(LayersearchError):
    """A saved task that cannot be read or belongs to another backbone."""


class TrialStopped(Exception):
    """Raised by a report callback to end its trial; the trial's function lets it pass.

    Args:
        reason: why, in words a user reads: 'pruned at epoch 3 of fold 1', 'interrupted'.
        pruned: whether the evidence decided (the trial is recorded as pruned), or somebody else.
    """

    def __init__(self, reason: str, *, pruned: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pruned = pruned


class TrialOutOfMemory(Exception):
    """Raised by a job whose trial memory did not take.

    Args:
        reason: what could not be allocated, in one line.
        splittable: whether the trial could run with fewer samples at a time.
    """

    def __init__(self, reason: str, *, splittable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.splittable = splittable

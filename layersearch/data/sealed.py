"""The test split, sealed: nothing can read it before the end of the search.

A search that looks at its test split, once, by mistake, reports a score that means nothing. So the
split is no attribute of anything: what can decode it is kept in a vault of this module, is asked
for only by `open`, and never travels with a copy or a pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from layersearch.errors import SealedError

if TYPE_CHECKING:
    from layersearch.data.samples import Samples


class SealedTest:
    """A test split that opens only after `unseal`.

    Args:
        load: decodes the samples; called at the first opening, not before.
        count: how many samples it holds.
        digest: a hash of their ids and labels.
        classes: the name of each class.
    """

    __slots__ = ("__weakref__", "_count", "_digest", "_opened", "_sealed", "classes")

    def __init__(
        self, load: Callable[[], Samples], *, count: int, digest: str, classes: tuple[str, ...]
    ) -> None:
        self._count = count
        self._digest = digest
        self.classes = classes
        self._sealed = True
        self._opened: tuple[str, ...] = ()
        _VAULT[self] = load

    def __len__(self) -> int:
        return self._count

    @property
    def digest(self) -> str:
        """A hash of ids and labels; known without opening."""
        return self._digest

    @property
    def sealed(self) -> bool:
        """Whether `open` would refuse."""
        return self._sealed

    @property
    def opened(self) -> tuple[str, ...]:
        """The reason of each opening so far."""
        return self._opened

    def unseal(self) -> None:
        """Ends the search's blindness: to be called once, when nothing is chosen any more.

        Raises:
            SealedError: this is a copy, made for a worker, and holds no data.
        """
        if self not in _VAULT:
            raise SealedError(
                "test split: this copy was made for a worker and holds no data; "
                "unseal the one that load_data returned"
            )
        self._sealed = False

    def open(self, reason: str) -> Samples:
        """The test samples, decoded at the first opening.

        Args:
            reason: what for, in words; kept in `opened`.

        Raises:
            SealedError: the search has not ended.
            DataError: a sample cannot be read.
        """
        if self._sealed:
            raise SealedError(
                f"test split: opened for {reason!r} while the search is running; "
                "choose by the folds' validation samples, the test split is for the very end"
            )
        samples = _VAULT[self]()
        _VAULT[self] = lambda: samples
        self._opened += (reason,)
        return samples

    def __repr__(self) -> str:
        return f"SealedTest({self._count} samples, {'sealed' if self._sealed else 'open'})"

    def __reduce__(self) -> tuple[Callable[..., SealedTest], tuple[int, str, tuple[str, ...]]]:
        return (_without_data, (self._count, self._digest, self.classes))


def _without_data(count: int, digest: str, classes: tuple[str, ...]) -> SealedTest:
    copy = SealedTest(_nothing, count=count, digest=digest, classes=classes)
    del _VAULT[copy]
    return copy


def _nothing() -> Samples:
    raise SealedError("test split: this copy holds no data")


_VAULT: WeakKeyDictionary[SealedTest, Callable[[], Samples]] = WeakKeyDictionary()

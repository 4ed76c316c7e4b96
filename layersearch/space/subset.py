"""Subset: the units that a trial tunes."""

from collections.abc import Iterable, Iterator


class Subset:
    """An immutable set of unit names that keeps the order it was given, by depth.

    Two subsets are equal if they hold the same units, whatever their order. `SearchSpace.subset`
    checks names and puts them in order of depth; nothing else should be needed to make one.

    >>> print(Subset(["layer2.1", "layer4.0"]))
    {layer2.1, layer4.0}
    """

    __slots__ = ("_members", "names")

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str] = ()) -> None:
        object.__setattr__(self, "names", tuple(dict.fromkeys(names)))
        object.__setattr__(self, "_members", frozenset(self.names))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"a Subset cannot be changed; make a new one instead of setting {name}"
        )

    def __reduce__(self) -> tuple[type["Subset"], tuple[tuple[str, ...]]]:
        return (Subset, (self.names,))

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subset) and self._members == other._members

    def __hash__(self) -> int:
        return hash(self._members)

    def __le__(self, other: "Subset") -> bool:
        return self._members <= other._members

    def __str__(self) -> str:
        return "{" + ", ".join(self.names) + "}"

    def __repr__(self) -> str:
        return f"Subset({list(self.names)})"

    _members: frozenset[str]

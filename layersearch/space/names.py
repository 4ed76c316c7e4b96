"""Naming what a user probably meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, shown: int = 3) -> str:
    """The remedy for an unknown name: what begins so and the nearest, all of a few, or how many.

    >>> did_you_mean("layer9", ["layer1", "layer2"])
    "did you mean 'layer1' or 'layer2'?"
    """
    names = list(dict.fromkeys(known))
    begun = sorted((item for item in names if len(name) > 1 and item.startswith(name)), key=len)
    close = difflib.get_close_matches(name, names, n=shown, cutoff=0.6)
    near = list(dict.fromkeys((*begun, *close)))[:shown]
    if near:
        return "did you mean " + " or ".join(repr(item) for item in near) + "?"
    if not names:
        return "there are none"
    if len(names) <= 8:
        return "known: " + ", ".join(names)
    return f"{len(names)} are known, from {names[0]!r} to {names[-1]!r}"

"""Names: what a user probably meant, and how what is compared is called in tables and lines."""

import difflib
from collections.abc import Iterable

_CONTENDERS = {"lp_ft": "LP-FT", "runner_up": "runner-up"}


def did_you_mean(name: str, known: Iterable[str], *, shown: int = 3) -> str:
    """The remedy for an unknown name: what begins so and the nearest, all of a few, or how many.

    >>> did_you_mean("layer9", ["layer1", "layer2"])
    "did you mean 'layer2' or 'layer1'?"
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


def contender_name(name: str) -> str:
    """The name of a subset that is retrained and tested, as people read it.

    >>> contender_name("linear_probe"), contender_name("lp_ft"), contender_name("runner_up")
    ('linear probe', 'LP-FT', 'runner-up')
    """
    return _CONTENDERS.get(name, name.replace("_", " "))

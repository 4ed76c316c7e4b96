"""Seeds: one number for a whole search, and one derived from it for each of its random choices."""

import hashlib


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed in [0, 2^63) for the choice named by `path`, unrelated to that of any other path.

    >>> derive_seed(0, "head", 1) == derive_seed(0, "head", 1)
    True
    >>> derive_seed(0, "head", 1) == derive_seed(0, "head", 2)
    False
    """
    text = "/".join(repr(part) for part in (seed, *path))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

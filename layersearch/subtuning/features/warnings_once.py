"""Warnings that a process gives once: a store on a full disk has many blocks to say it of."""

import logging

_given: set[tuple[str, str]] = set()


def warn_once(log: logging.Logger, about: tuple[str, str], text: str, *values: object) -> None:
    """Logs a warning, unless one was given about the same thing and place; then a debug message."""
    log.log(logging.DEBUG if about in _given else logging.WARNING, text, *values)
    _given.add(about)

"""A user's own callbacks, as a description names them."""

from typing import Any


class Bell:
    def __init__(self, volume: int = 1) -> None:
        self.volume = volume
        self.heard: list[Any] = []

    def finished(self, proposal: Any, record: Any, value: float) -> None:
        self.heard.append(value)


def made(volume: int) -> Bell:
    return Bell(volume)


def broken() -> Bell:
    raise OSError("no bell")


def deaf() -> object:
    return object()


NUMBER = 3

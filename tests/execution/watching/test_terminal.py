"""The live view on a real pseudo-terminal, its screen kept by a terminal emulator."""

import fcntl
import os
import struct
import termios
import threading
import time

import pytest
from rich.console import Console, ConsoleDimensions

from layersearch.execution.watching import Terminal
from tests.execution.watching.pictures import picture, proposal

pyte = pytest.importorskip("pyte")


class Screen:
    """A terminal that somebody looks at."""

    def __init__(self, columns, rows):
        self._master, slave = os.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._said = bytearray()
        self.bytes = 0  # that came in all
        # Whoever writes to a terminal waits until it is read.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.resize(columns, rows)
        self._reader.start()

    def resize(self, columns, rows):
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self._screen.resize(rows, columns)

    def lines(self):
        """What is shown once nothing more comes."""
        before = -1
        while before != self.bytes:
            before = self.bytes
            time.sleep(0.1)
        self._stream.feed(bytes(self._said))
        self._said.clear()
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # the other end is closed
                return
            self._said += data
            self.bytes += len(data)

    def close(self):
        self.file.close()
        self._reader.join(10)
        os.close(self._master)


@pytest.fixture
def screen():
    made = Screen(80, 24)
    yield made
    made.close()


class OwnSize(Console):
    """A console that asks its own file for its size."""

    @property
    def size(self):
        columns, rows = os.get_terminal_size(self.file.fileno())
        return ConsoleDimensions(columns, rows)


@pytest.fixture
def shown(screen, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    console = OwnSize(file=screen.file, force_terminal=True)
    made = Terminal(console, picture(), threading.RLock())
    made._live.start()
    yield made
    made.stop()


def test_the_block_is_drawn_in_place(screen, shown):
    for _ in range(3):
        shown._picture.clock.now += 1
        shown.draw()
    lines = screen.lines()
    assert sum("10 scored" in line for line in lines) == 1
    assert lines[0].startswith("digits · greedy")


def test_lines_scroll_above_the_block(screen, shown):
    shown.draw()
    for number in range(40):
        shown.line(f"trial {number} ended")
    lines = screen.lines()
    block = next(i for i, line in enumerate(lines) if line.startswith("digits · greedy"))
    assert lines[block - 1] == "trial 39 ended"
    assert sum("10 scored" in line for line in lines) == 1


def test_nothing_is_written_where_nothing_has_changed(screen, shown):
    shown.draw()
    screen.lines()
    before = screen.bytes
    for _ in range(5):
        shown.draw()
    screen.lines()
    assert screen.bytes == before


@pytest.mark.parametrize(("columns", "rows"), [(40, 24), (132, 40), (60, 10), (30, 6)])
def test_after_a_change_of_size_there_is_one_whole_block(screen, shown, columns, rows):
    shown.line("trial 1 ended")
    shown.draw()
    screen.lines()
    screen.resize(columns, rows)
    shown.draw()
    shown._picture.started(proposal(50))
    shown.draw()
    lines = screen.lines()
    assert sum(line.startswith("digits · greedy") for line in lines) == 1
    assert sum("scored" in line for line in lines) == 1
    assert len(lines) <= rows


def test_at_the_end_the_block_is_gone_and_the_lines_stay(screen, shown):
    shown.line("trial 1 ended")
    shown.draw()
    shown.stop()
    assert screen.lines() == ["trial 1 ended"]

"""A block of lines at the bottom of a terminal, redrawn in place; what has ended scrolls above it.

Each redraw is one write, which terminals that know synchronised output show at once; and nothing is
written where nothing has changed. When the terminal's size changes, what the old block has become
there is unknown: the screen is cleared and its last lines are printed again.
"""

import threading
from collections import deque

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

from layersearch.execution.watching.block import block
from layersearch.execution.watching.picture import Picture

_REDRAW = 0.25  # seconds
_KEPT = 200  # lines that may have to be printed again


class Terminal:
    """Draws the picture of a search.

    Args:
        console: a terminal.
        picture: what to draw.
        lock: held by whoever changes the picture.
    """

    def __init__(self, console: Console, picture: Picture, lock: "threading.RLock") -> None:
        self._console = console
        self._picture = picture
        self._lock = lock
        self._size = console.size
        self._drawn: list[Text] = []
        self._lines: deque[Text] = deque(maxlen=_KEPT)
        self._live = self._begin()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    def start(self) -> None:
        """Shows the block and keeps it up to date."""
        self._live.start()
        self._thread.start()

    def stop(self) -> None:
        """Takes the block away."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._live.stop()

    def line(self, text: str) -> None:
        """Prints a line above the block."""
        with self._lock:
            self._lines.append(Text(text))
            self._console.print(self._lines[-1], soft_wrap=True)

    def draw(self) -> None:
        """Redraws the block, if it has changed."""
        with self._lock:
            if self._console.size != self._size:
                self._adapt()
            lines = block(self._picture, self._console)
            if lines == self._drawn:
                return
            self._drawn = lines
            with self._console:  # one write
                self._console.control(_raw("\x1b[?2026h"))
                self._live.update(Group(*lines), refresh=True)
                self._console.control(_raw("\x1b[?2026l"))

    def _tick(self) -> None:
        while not self._over.wait(_REDRAW):
            self.draw()

    def _begin(self) -> Live:
        return Live(
            Group(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
        )

    def _adapt(self) -> None:
        """Begins anew on a clear screen."""
        self._size = self._console.size
        self._live.stop()
        with self._console:
            self._console.control(Control.clear(), Control.home())
            for line in list(self._lines)[-self._size.height :]:
                self._console.print(line, soft_wrap=True)
        self._drawn = []
        self._live = self._begin()
        self._live.start()


def _raw(code: str) -> Control:
    """A control code that rich has no name for."""
    control = Control()
    control.segment = Segment(code, None, [(ControlType.HOME,)])
    return control

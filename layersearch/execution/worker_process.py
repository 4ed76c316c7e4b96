"""A worker process: makes its job, runs the trials it is given, leaves when its driver does.

The driver starts it as `python -m layersearch.execution.worker_process CONNECTION LIFELINE DRIVER`,
with two inherited file descriptors and the driver's process id. It is no multiprocessing child, so
the user's script is not run again in it and needs no `if __name__ == "__main__"`.
"""

import faulthandler
import io
import os
import pickle
import select
import signal
import sys
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from layersearch.errors import TrialStopped
from layersearch.execution.jobs import describe, run_job
from layersearch.execution.messages import (
    Answer,
    Exit,
    Failed,
    Ready,
    Reported,
    Run,
    Start,
    Unready,
)
from layersearch.space.trial import Job, Report

_CHECK = 2.0  # seconds between two looks at the driver, besides its lifeline


def main(arguments: list[str]) -> None:
    """Serves a driver until it says Exit or dies."""
    descriptors = [int(argument) for argument in arguments[:2]]
    driver = int(arguments[2])
    # Ctrl-C reaches a terminal's whole process group; the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    sys.stdout, sys.stderr = (_forgiving(number) for number in (1, 2))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    threading.Thread(
        target=_die_with, args=(descriptors[1], driver), name="lifeline", daemon=True
    ).start()
    connection: Connection[Any, Any] = Connection(descriptors[0])
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)  # the driver is gone


def _serve(connection: "Connection[Any, Any]") -> None:
    job = _make_job(connection, connection.recv())
    while job is not None:
        message = connection.recv()
        if isinstance(message, Exit):
            return
        if isinstance(message, Run):  # answers that came too late for their trial are dropped
            _run(connection, job, message)


def _make_job(connection: "Connection[Any, Any]", start: Start) -> Job | None:
    sys.path[:] = start.path
    try:
        job: Job = pickle.loads(start.factory)(start.place)  # noqa: S301 - from our own driver
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the driver tells the user
        reason, traceback = describe(error)
        connection.send(Unready(reason=reason, traceback=traceback))
        return None
    connection.send(Ready())
    return job


def _run(connection: "Connection[Any, Any]", job: Job, run: Run) -> None:
    number = run.proposal.number
    stopped: list[TrialStopped] = []

    def report(said: Report) -> None:
        plain = replace(said, snapshot=None)
        connection.send_bytes(cloudpickle.dumps(Reported(number=number, report=plain)))
        waiting = run.answered
        while not stopped and (waiting or connection.poll()):
            answer = connection.recv()
            if isinstance(answer, Answer) and answer.number == number:
                waiting = False
                if answer.stop is not None:
                    stopped.append(answer.stop)
        if stopped:
            raise stopped[0]  # a job that swallows it meets it again

    event = run_job(job, run.proposal, report)
    try:
        packed = cloudpickle.dumps(event)
    except Exception as error:  # noqa: BLE001 - a result may hold anything
        reason, traceback = describe(error)
        text = f"the result cannot be sent to the driver: {reason}"
        packed = pickle.dumps(Failed(number=number, reason=text, traceback=traceback))
    connection.send_bytes(packed)


class _Forgiving(io.FileIO):
    """A log that a full disk may cost words, but no trial whose metric prints them."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _forgiving(descriptor: int) -> io.TextIOWrapper:
    raw = _Forgiving(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _die_with(lifeline: int, driver: int) -> None:
    """Ends this process and its children when the driver's end of the lifeline closes."""
    while os.getppid() == driver:
        readable, _, _ = select.select([lifeline], [], [], _CHECK)
        if readable:
            break
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

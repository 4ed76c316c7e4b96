"""Optuna Dashboard on one machine, for looking: it has no password, so it is kept on a short lead.

It listens on the loopback address and answers only to names of this machine, so that no web page
elsewhere reaches it by a name of its own; and it changes nothing but notes, so that a wrong click
deletes no study, unless that is asked for.
"""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna

from layersearch.errors import StudyError
from layersearch.study.board import artifact_store

HOST = "127.0.0.1"
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_READING = ("GET", "HEAD", "OPTIONS")
_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Server(ThreadingMixIn, WSGIServer):
    """A browser keeps connections open that it does not use: none may hold up the others."""

    daemon_threads = True


def dashboard_server(
    study: optuna.Study, folder: str | Path, *, port: int, changes: bool = False
) -> Server:
    """A server of the dashboard; `serve_forever` begins.

    Args:
        study: its whole storage is shown.
        folder: of the study, where its artifacts are.
        port: to listen on; 0: any that is free.
        changes: whether studies can be deleted, renamed and edited; notes always can.

    Raises:
        StudyError: Optuna Dashboard is not installed, or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise StudyError(
            "Optuna Dashboard is not installed; "
            "install it with: pip install 'layersearch[dashboard]'"
        ) from None
    storage = study._storage  # noqa: SLF001 (a study does not say it otherwise)
    application = guarded(wsgi(storage, artifact_store=artifact_store(folder)), changes=changes)
    try:
        return make_server(
            HOST, port, application, server_class=Server, handler_class=_QuietHandler
        )
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise StudyError(
            f"--port: {port} cannot be listened on ({why}); name another, or 0 for any that is free"
        ) from error


def guarded(application: _Application, *, changes: bool) -> _Application:
    """The application for this machine only, one request at a time, for reading only.

    Args:
        application: WSGI.
        changes: whether it may change more than notes.
    """
    turn = threading.Lock()  # storages and caches of the dashboard are made for one thread

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        reason = _why_not(environ, changes=changes)
        if reason:
            body = f'{{"reason": "{reason}"}}'.encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start("403 Forbidden", headers)
            return [body]
        with turn:
            return application(environ, start)

    return answer


def _why_not(environ: dict[str, Any], *, changes: bool) -> str:
    """Why a request is refused, or ''."""
    host = _host(environ.get("HTTP_HOST", ""))
    origin = environ.get("HTTP_ORIGIN")
    if host not in _LOCAL or (origin and _host(urlsplit(origin).netloc) not in _LOCAL):
        return "this dashboard answers to this machine only"
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    if method in _READING or changes or (method == "PUT" and path.rstrip("/").endswith("/note")):
        return ""
    return "nothing but notes can be changed here: start it with --allow-changes"


def _host(address: str) -> str:
    return address if address.endswith("]") else address.rpartition(":")[0] or address


class _QuietHandler(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Keeps the terminal for what matters."""

    def handle(self) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

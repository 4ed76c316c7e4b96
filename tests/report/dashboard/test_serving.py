"""The dashboard's server: for this machine, for looking."""

import json
import threading
from http.client import HTTPConnection

import pytest

from layersearch.errors import StudyError
from layersearch.report.dashboard import dashboard_server, publish
from layersearch.study.board import Board
from tests.report.page.made import greedy_trials, study

pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard")


@pytest.fixture
def made(tmp_path):
    return study(greedy_trials(), storage=f"sqlite:///{tmp_path}/study.db")


@pytest.fixture
def ask(made, tmp_path):
    """Asks a server of this study; gives status and body."""
    servers = []

    def make(method, path, *, body=None, headers=None, changes=False):
        server = dashboard_server(made, tmp_path, port=0, changes=changes)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        sent = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        connection.request(method, path, body=json.dumps(body) if body else None, headers=sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_study_is_served_with_its_artifacts(ask, made, tmp_path):
    status, text = ask("GET", "/api/studies")
    assert status == 200
    assert json.loads(text)["study_summaries"][0]["study_name"] == "made"
    publish(made, tmp_path)
    address = Board(made, tmp_path).keep_artifact("a.png", b"picture")
    assert ask("GET", address) == (200, b"picture")


def test_a_wrong_click_deletes_nothing(ask, made):
    status, text = ask("DELETE", "/api/studies/1")
    assert status == 403
    assert b"--allow-changes" in text
    assert ask("POST", "/api/studies/1/rename", body={"study_name": "x"})[0] == 403
    assert ask("GET", "/api/studies/1")[0] == 200


def test_notes_can_be_written(ask, made, tmp_path):
    body = {"version": 1, "body": "mine"}
    assert ask("PUT", "/api/studies/1/note", body=body)[0] == 204
    assert Board(made, tmp_path).note() == "mine"


def test_changes_can_be_allowed(ask):
    assert ask("DELETE", "/api/studies/1", body={"x": 1}, changes=True)[0] == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"},
    ],
)
def test_pages_elsewhere_are_not_answered(ask, headers):
    assert ask("GET", "/api/studies", headers=headers)[0] == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:1", "[::1]:1", "localhost"])
def test_names_of_this_machine_are(ask, host):
    assert ask("GET", "/api/studies", headers={"Host": host})[0] == 200


def test_a_port_that_is_taken_is_named(made, tmp_path):
    with (
        dashboard_server(made, tmp_path, port=0) as first,
        pytest.raises(StudyError, match=f"--port: {first.server_port} cannot be listened on"),
    ):
        dashboard_server(made, tmp_path, port=first.server_port)
    with pytest.raises(StudyError, match="--port: 99999"):
        dashboard_server(made, tmp_path, port=99999)

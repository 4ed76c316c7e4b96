"""What a search by Ray says of its workers while it runs."""

import io
import json
import socket

from layersearch.execution import SearchProgress
from tests.execution.doubles import Every
from tests.execution.jobs import ALL


def test_workers_are_told_with_their_nodes_and_what_they_do(search):
    stream = io.StringIO()
    with SearchProgress(mode="json", stream=stream) as shown:
        search(strategy=Every(ALL[:5]), observers=[shown], workers=2, seconds=0.4)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    events = [line["event"] for line in lines]
    assert events.count("started") == events.count("finished") == 5
    assert events.count("reported") == 15
    statuses = [line for line in lines if line["event"] == "status"]
    crew = [worker for status in statuses for worker in status["crew"]]
    training = [worker for worker in crew if worker["doing"] == "trains"]
    assert {worker["where"].split("/")[0] for worker in training} == {socket.gethostname()}
    assert {worker["device"] for worker in training} == {"cpu"}
    assert all(worker["name"].isdigit() for worker in training)
    assert max(sum(w["doing"] != "waits" for w in status["crew"]) for status in statuses) <= 2
    last = statuses[-1]
    assert (last["done"], last["running"]) == (5, 0)
    assert {worker["doing"] for worker in last["crew"]} <= {"idle"}

import json

import pytest

from layersearch.cli import main
from layersearch.objectives.latency import LatencyTable

QUICK = ["--input-size", "8", "--repeats", "3", "--seconds", "0.01s", "--threads", "1"]


def test_latency_lists_every_unit_the_head_and_how_wrong_it_is(capsys):
    assert main(["latency", "cifar_resnet14", *QUICK]) == 0
    out = capsys.readouterr().out
    for unit in ("stem", "layer1.0", "layer3.1", "(the head alone)"):
        assert f"\n{unit} " in out
    assert "subsets that were timed whole" in out
    assert "1 at a time, fp32, 1 threads" in out


def test_latency_writes_a_table_that_a_search_reads_and_draws(tmp_path, capsys):
    files = ["--output", str(tmp_path / "t.json"), "--plot", str(tmp_path / "l.svg")]
    assert main(["latency", "cifar_resnet14", *QUICK, "--batch-size", "2", "--json", *files]) == 0
    printed = json.loads(capsys.readouterr().out)
    table = LatencyTable.read((tmp_path / "t.json").read_text(), where="t.json")
    assert printed["batch_size"] == table.batch_size == 2
    assert printed["added"]["layer3.1"] == table.predict(["layer3.1"])
    assert "layer3.1" in (tmp_path / "l.svg").read_text()


def test_latency_of_a_search_is_of_its_units_and_as_its_file_says(tmp_path, capsys):
    path = tmp_path / "my.yaml"
    path.write_text(
        "backbone: {name: cifar_resnet14, input_size: 8}\ndata: {source: digits}\n"
        "space: {granularity: stage}\nobjective: {latency: {batch_size: 3, threads: 1}}\n"
    )
    assert main(["latency", str(path), "--repeats", "3", "--seconds", "0.01s", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["batch_size"] == 3
    assert list(printed["added"]) == ["stem", "layer1", "layer2", "layer3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "objective.latency.batch_size: must be at least 1"),
        (["--device", "tpu"], "objective.latency.device: must be a device, got 'tpu'"),
        (["--precision", "fp8"], "objective.latency.precision"),
        (["--plot", "l.txt"], "l.txt: a figure ends in .png"),
        (["--device", "cuda:77"], "objective.latency.device: cuda:77 is not on this machine"),
    ],
)
def test_latency_refuses_what_it_cannot_measure(options, message, capsys):
    assert main(["latency", "cifar_resnet14", "--input-size", "8", *options]) == 1
    assert message in capsys.readouterr().err

"""The scripts that measure cost: their arithmetic, and that they run end to end on a toy."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from layersearch.backbones import build_chain, load_backbone
from layersearch.data import splits_from_tensors
from layersearch.space import Subset, TrialRecord, TrialState
from layersearch.subtuning import Recipe
from layersearch.subtuning.trial import trial_flops

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture(scope="module")
def chain():
    return build_chain(load_backbone("cifar_resnet20", weights=None), granularity="stage")


class TestMeasuredSearch:
    @pytest.mark.parametrize("names", [(), ("layer3",), ("stem", "layer2")])
    def test_a_trial_needs_what_the_trial_itself_counts(self, script, chain, names):
        measured = script("measured_search")
        train, test = (measured.random_images(n, 32, classes=2, seed=n) for n in (20, 4))
        data = splits_from_tensors(*train, *test, folds=5, seed=0)
        recipe = Recipe(epochs=3)
        ours = measured.trial_flops(chain, Subset(names), recipe, trained=80, scored=20)
        assert ours == trial_flops(chain, Subset(names), data, recipe)

    def test_the_floor_counts_frozen_stages_once_and_looks_by_their_own_epochs(self, script, chain):
        measured = script("measured_search")
        setting = measured.Setting(
            backbone=None,
            data=None,
            data_options={},
            images=20,
            scored=20,
            trained=80,
            recipe={"epochs": 3},
        )
        subset = Subset(["layer3"])
        records = [
            TrialRecord(number=0, subset=subset, state=TrialState.COMPLETE, score=0.5),
            TrialRecord(number=1, subset=subset, state=TrialState.PRUNED, score=0.5, look=1),
        ]
        frozen = 2.0 * 20 * sum(chain.multiply_adds[:3])
        trials = [
            measured.trial_flops(chain, subset, Recipe(epochs=epochs), trained=80, scored=20)
            for epochs in (3, 1)
        ]
        assert measured.floor_flops(chain, records, setting) == frozen + sum(trials)

    def test_the_rate_is_of_multiplying(self, script):
        rate = script("measured_search").matrix_rate(torch.device("cpu"), torch.float32, size=32)
        assert rate > 1e6


class TestGrowth:
    def test_a_power_law_is_found(self, script):
        growth = script("benchmark_growth")
        assert growth.exponent([10, 20, 40], [3, 12, 48]) == pytest.approx(2.0)

    def test_a_figure_and_words_come_of_the_rows(self, script, tmp_path):
        growth = script("benchmark_growth")
        measured = script("measured_search").Measured
        rows = [
            growth.Row(
                network=network,
                weights="random",
                device="cpu",
                measured=measured(
                    protocol=protocol,
                    units=units,
                    rounds=2,
                    trials=2 * units,
                    looks=0,
                    trainings=2 * units,
                    epochs=4 * units,
                    seconds=9.0,
                    processor_seconds=0.1 * units**2,
                    trial_seconds=8.0,
                    flops=1e9,
                    floor_flops=1e9,
                ),
            )
            for network, units in (("cifar_resnet20", 10), ("cifar_resnet56", 28))
            for protocol in ("paper", "leap")
        ]
        assert growth.growth_in_words(rows) == [
            "paper on cpu: epochs grow as units^1.00, seconds as units^2.00",
            "leap on cpu: epochs grow as units^1.00, seconds as units^2.00",
        ]
        figure = growth.draw(rows, ["resnet50"], growth.parse([]))
        figure.savefig(tmp_path / "growth.svg")
        assert "resnet50" in figure.get_suptitle()
        assert (tmp_path / "growth.svg").stat().st_size > 0


class TestGPU:
    def test_without_a_gpu_it_says_that_nothing_was_measured(self, script, capsys):
        assert script("benchmark_gpu").main(["--device", "cpu"]) == 1
        assert capsys.readouterr().out.startswith("unmeasured")

    def test_unknown_protocols_are_refused(self, script, capsys):
        with pytest.raises(SystemExit):
            script("benchmark_gpu").parse(["--protocols", "paper,quick"])
        assert "quick; there are paper, whole, looks, leap" in capsys.readouterr().err

    @pytest.mark.slow
    def test_a_toy_runs_end_to_end_on_the_cpu(self, script, capsys, tmp_path):
        path = tmp_path / "measured.json"
        arguments = ["--device", "cpu", "--quick", "--json", str(path), "--rounds", "1"]
        assert script("benchmark_gpu").main(arguments) == 0
        printed = capsys.readouterr().out
        assert printed.count("\n| ") >= 4
        assert "A toy" in printed
        measured = json.loads(path.read_text())
        assert [run["protocol"] for run in measured["runs"]] == ["paper", "whole", "looks", "leap"]
        for run in measured["runs"]:
            assert 0 < run["floor_flops"] <= run["flops"]
            assert run["seconds"] > 0


class TestMemory:
    def side(self, script, name, *, budget, seconds, own):
        memory = script("benchmark_memory")
        return memory.Side(
            name,
            budget,
            epochs={"late": [{"cpu": value, "wall": value} for value in seconds]},
            peak={"RssAnon": own, "RssShmem": 0, "RssFile": 7 << 20},
        )

    def test_a_slow_side_and_one_over_its_budget_are_told(self, script):
        memory, mib = script("benchmark_memory"), 1 << 20
        none = self.side(script, "none", budget=0, seconds=[10, 10], own=100 * mib)
        good = self.side(script, "host", budget=64 * mib, seconds=[12, 9], own=170 * mib)
        slow = self.side(script, "cold", budget=0, seconds=[13, 10], own=100 * mib)
        large = self.side(script, "small", budget=8 * mib, seconds=[5, 5], own=300 * mib)
        assert memory.faults([none, good]) == []
        assert memory.faults([none, slow, large]) == [
            "slower: cold from late, 1.15 times",
            "over its budget: small, 200 MiB",
        ]

    def test_images_are_made_up_to_the_number_wanted(self, script, tmp_path):
        images = script("benchmark_memory").many_images(tmp_path, 64)
        assert images.shape == (64, 3, 32, 32)
        assert images.dtype == torch.uint8

    @pytest.mark.slow
    def test_each_side_trains_and_tells_what_it_took(self, script, monkeypatch, tmp_path):
        memory = script("benchmark_memory")
        arguments = ["--data", str(tmp_path), "--images", "40", "--epochs", "2", "--small", "1"]
        arguments += ["--cuts", "late,head", "--sides", "none,cold", "--batch-size", "20"]
        monkeypatch.setattr("sys.argv", ["benchmark_memory.py", *arguments])
        none, cold = memory.measure(memory.parse())
        assert [len(none.epochs[cut]) for cut in ("late", "head")] == [2, 2]
        assert none.stored == {}
        assert set(cold.choices) == {"late", "head"}
        assert none.own > 0


class TestPrecision:
    def test_both_precisions_are_measured_on_one_network(self, script):
        precision = script("benchmark_precision")
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        plain, half = precision.measure(
            network, batch=2, size=8, device=torch.device("cpu"), steps=2
        )
        assert plain > 0
        assert half > 0
        assert network[0].weight.grad is not None

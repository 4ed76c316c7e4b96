import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from layersearch import MultiTaskNetwork
from layersearch.backbones import build_chain
from layersearch.backbones.backbone import Preprocessing
from layersearch.errors import TaskError
from layersearch.serving import grouped, load_task, save_task
from layersearch.space.subset import Subset
from tests.serving.branches import assert_close
from tests.serving.tuning import CLASSES, small_backbone, tune

SUBSETS = {
    "linear": [],
    "late": ["layer3.0"],
    "middle": ["layer2.0"],
    "scattered": ["stem", "layer3.0"],
}


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def tasks(backbone, tmp_path_factory):
    """By name; 'siamese' besides those above."""
    folder = tmp_path_factory.mktemp("tasks")
    wanted = [(name, units, False) for name, units in SUBSETS.items()]
    found = {}
    for seed, (name, units, siamese) in enumerate([*wanted, ("siamese", ["layer2.0"], True)]):
        tuned = tune(backbone, Subset(units), seed=seed, siamese=siamese)
        path = folder / f"{name}.safetensors"
        found[name] = load_task(
            save_task(path, tensors=tuned.tensors, description=tuned.description)
        )
    return found


@pytest.fixture
def network(backbone, tasks):
    network = MultiTaskNetwork(backbone)
    for task in tasks.values():
        network.add(task)
    return network


def images(count=5):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def test_every_task_answers_as_if_it_were_alone(backbone, tasks, network):
    scores = network(images())
    assert list(scores) == ["original", *tasks]
    assert torch.equal(scores["original"], backbone.network(images()))
    for name, task in tasks.items():
        assert_close(scores[name], task.attach(backbone)(images()))


def test_without_tasks_there_is_the_original(backbone):
    network = MultiTaskNetwork(backbone)
    assert torch.equal(network(images())["original"], backbone.network(images()))
    assert list(network.scores(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))) == ["original"]


def test_raw_images_are_prepared_for_each_task(backbone, tasks):
    network = MultiTaskNetwork(backbone)
    described = tasks["late"].description
    other = replace(tasks["late"], description=replace(described, canvas=(16, 16)))
    for name, task in {**tasks, "small": other}.items():
        network.add(task, name=name)
    raw = torch.randint(0, 256, (5, 3, 30, 25), dtype=torch.uint8)
    scores, answers = network.scores(raw, batch_size=2), network.predict(raw)
    assert list(scores) == ["original", *tasks, "small"]
    for name, task in network.tasks.items():
        alone = task.attach(backbone)
        assert_close(scores[name], alone.scores(raw))
        assert answers[name] == alone.predict(raw)
    assert not torch.equal(scores["small"], scores["late"])
    assert set(answers["late"]) <= set(CLASSES)
    assert network.scores(raw[:0])["late"].shape == (0, 3)


def test_a_task_that_is_removed_is_served_no_more(network, tasks):
    network.remove("middle")
    network.remove("linear")
    left = [name for name in tasks if name not in ("middle", "linear")]
    assert list(network(images())) == ["original", *left]
    assert list(network.tasks) == left
    network.add(tasks["linear"], name="again")
    assert list(network(images())) == ["original", *left, "again"]


def test_what_is_removed_lets_its_memory_go(backbone, tasks):
    network = MultiTaskNetwork(backbone)
    before = {id(p) for p in network.parameters()}
    network.add(tasks["late"])
    assert {id(p) for p in network.parameters()} > before
    network.remove("late")
    assert {id(p) for p in network.parameters()} == before


def test_the_backbone_stays_as_it_was(backbone, tasks):
    before = copy.deepcopy(backbone.network.state_dict())
    network = MultiTaskNetwork(backbone)
    for task in tasks.values():
        network.add(task)
    network.train()
    network(images())
    after = backbone.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("late", "a task of this name is served already"),
        ("original", "is the name of the backbone's own scores"),
        ("", "must not be empty"),
    ],
)
def test_a_name_that_cannot_be_is_refused(network, tasks, name, reason):
    with pytest.raises(TaskError, match=reason):
        network.add(tasks["middle"], name=name)
    assert list(network.tasks) == list(tasks)


def test_two_files_of_one_name_are_refused(network, tasks):
    with pytest.raises(TaskError, match="late: a task of this name"):
        network.add(tasks["late"])


def test_removing_what_is_not_there_is_refused(network):
    with pytest.raises(TaskError, match=r"no task of this name is served \(there are: 'linear'"):
        network.remove("flowers")


def test_a_task_of_another_backbone_is_refused(tasks):
    network = MultiTaskNetwork(small_backbone(seed=1))
    with pytest.raises(TaskError, match="was tuned on CifarResNet"):
        network.add(tasks["late"])
    assert list(network.tasks) == []


def test_a_task_whose_images_were_prepared_otherwise_is_refused(backbone, tasks):
    other = Preprocessing(mean=(0.1,) * 3, std=(1.0,) * 3, input_size=(16, 16))
    described = replace(tasks["late"].description, preprocessing=other)
    with pytest.raises(TaskError, match="images prepared in another way"):
        MultiTaskNetwork(backbone).add(replace(tasks["late"], description=described))


def test_a_chain_of_another_backbone_is_refused(backbone):
    with pytest.raises(TaskError, match="is not of this backbone"):
        MultiTaskNetwork(backbone, chain=build_chain(small_backbone(seed=1)))


def test_a_finer_chain_forks_later(backbone, tasks):
    fine = MultiTaskNetwork(backbone, chain=build_chain(backbone, granularity="layer"))
    fine.add(tasks["late"])
    assert_close(fine(images())["late"], tasks["late"].attach(backbone)(images()))


def test_tasks_come_and_go_while_threads_serve(backbone, tasks):
    network = MultiTaskNetwork(backbone)
    network.add(tasks["linear"])
    expected = {name: task.attach(backbone)(images(3)) for name, task in tasks.items()}
    expected["original"] = backbone.network(images(3))
    done = threading.Event()

    def serve():
        rounds = 0
        while not (done.is_set() and rounds):
            scores = network(images(3))
            assert {"original", "linear"} <= scores.keys()
            for name, found in scores.items():
                assert_close(found, expected[name])
            rounds += 1

    def change(names):
        for _ in range(10):
            for name in names:
                network.add(tasks[name])
            for name in names:
                network.remove(name)

    with ThreadPoolExecutor(max_workers=4) as threads:
        serving = [threads.submit(serve) for _ in range(2)]
        changing = [
            threads.submit(change, names)
            for names in (["late", "siamese"], ["middle", "scattered"])
        ]
        try:
            for future in changing:
                future.result()
        finally:
            done.set()
        for future in serving:
            future.result()
    assert list(network(images(3))) == ["original", "linear"]


def test_one_name_added_by_two_threads_is_served_once(backbone, tasks):
    network = MultiTaskNetwork(backbone)
    with ThreadPoolExecutor(max_workers=4) as threads:
        futures = [threads.submit(network.add, tasks["late"]) for _ in range(4)]
    refused = [future.exception() for future in futures if future.exception()]
    assert list(network.tasks) == ["late"]
    assert len(refused) == 3
    assert all(isinstance(error, TaskError) for error in refused)


def test_calibration_changes_no_answers(monkeypatch, backbone, tasks):
    monkeypatch.setattr(grouped, "_GAIN", 1e9)
    network = MultiTaskNetwork(backbone)
    for name in ("late", "middle", "linear"):
        network.add(tasks[name])
    network.add(tasks["late"], name="again")
    assert network.calibrate(images()) == (network.chain.unit("layer3.0").depth,)
    network.add(tasks["scattered"])
    scores = network(images())
    assert torch.equal(scores["original"], backbone.network(images()))
    assert torch.equal(scores["again"], scores["late"])
    for name in ("late", "middle", "linear", "scattered"):
        assert_close(scores[name], tasks[name].attach(backbone)(images()))

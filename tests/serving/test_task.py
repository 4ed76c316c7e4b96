import copy
from dataclasses import replace

import pytest
import torch
import torchvision

from layersearch.backbones import backbone_from_module
from layersearch.backbones.weights import hash_weights
from layersearch.data import Views
from layersearch.errors import TaskError
from layersearch.serving import HeadShape, load_task, save_task
from layersearch.space.subset import Subset
from tests.serving.tuning import CLASSES, small_backbone, tune


def saved(tuned, folder):
    return save_task(
        folder / "task.safetensors", tensors=tuned.tensors, description=tuned.description
    )


@pytest.mark.parametrize("units", [[], ["stem"], ["layer2.0"], ["stem", "layer1.0", "layer3.0"]])
@pytest.mark.parametrize("norms", ["train", "eval"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_task_attached_to_its_backbone_computes_the_same_bits(
    backbone, tmp_path, units, norms, depth
):
    tuned = tune(backbone, Subset(units), depth=depth, norms=norms)
    network = load_task(saved(tuned, tmp_path)).attach(backbone)
    inputs = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert torch.equal(network(inputs), tuned.scores(inputs))
        assert not torch.equal(network(inputs), backbone.network(inputs)[:, :3])


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small"])
def test_torchvision_networks_compute_the_same_bits(tmp_path, name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torchvision.models.get_model(name, weights=None, num_classes=6)
    backbone = backbone_from_module(module, input_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    units = [unit.name for unit in tune(backbone, Subset()).chain.units]
    tuned = tune(backbone, Subset([units[-1]]))
    network = load_task(saved(tuned, tmp_path)).attach(backbone)
    inputs = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert torch.equal(network(inputs), tuned.scores(inputs))


@pytest.mark.parametrize("tuned_last", [False, True])
@pytest.mark.parametrize("attached_last", [False, True])
def test_the_memory_format_of_the_backbone_changes_no_bits(tmp_path, tuned_last, attached_last):
    formats = {False: torch.contiguous_format, True: torch.channels_last}
    first, second = small_backbone(), small_backbone()
    first.network.to(memory_format=formats[tuned_last])
    second.network.to(memory_format=formats[attached_last])
    tuned = tune(first, Subset(["layer2.0"]))
    before = {name: value.stride() for name, value in second.network.state_dict().items()}
    network = load_task(saved(tuned, tmp_path)).attach(second)
    inputs = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert torch.equal(network(inputs), tuned.scores(inputs))
    after = {name: value.stride() for name, value in second.network.state_dict().items()}
    assert before == after


def test_the_backbone_stays_as_it_was_and_shares_what_is_frozen(tmp_path):
    backbone = small_backbone()
    tuned = tune(backbone, Subset(["layer2.0"]))
    before = copy.deepcopy(backbone.network.state_dict())
    network = load_task(saved(tuned, tmp_path)).attach(backbone)
    network.train()
    network(torch.randn(8, 3, 16, 16))
    after = backbone.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = dict(network.network.named_parameters())
    theirs = dict(backbone.network.named_parameters())
    for name, parameter in theirs.items():
        tuned_or_head = name in tuned.tensors or name.startswith(f"{backbone.head}.")
        assert (own[name] is parameter) == (not tuned_or_head), name
    assert not any(module.training for module in network.modules())


def test_two_tasks_on_one_backbone_do_not_meet(backbone, tmp_path):
    inputs = torch.randn(4, 3, 16, 16)
    results = []
    for seed, unit in enumerate(["layer1.0", "layer3.0"]):
        tuned = tune(backbone, Subset([unit]), seed=seed)
        (tmp_path / unit).mkdir()
        results.append((load_task(saved(tuned, tmp_path / unit)).attach(backbone), tuned))
    with torch.inference_mode():
        for network, tuned in results:
            assert torch.equal(network(inputs), tuned.scores(inputs))


def test_images_are_prepared_as_they_were_for_training(backbone, tuned, tmp_path):
    network = load_task(saved(tuned, tmp_path)).attach(backbone)
    images = torch.randint(0, 256, (9, 3, 20, 20), dtype=torch.uint8)
    preprocessing = backbone.preprocessing
    views = Views(
        seed=3,
        mean=preprocessing.mean,
        std=preprocessing.std,
        input_size=preprocessing.input_size,
    )
    expected = tuned.scores(views.batch(images, torch.arange(9), -1))
    assert torch.equal(network.scores(images), expected)
    assert network.predict(images) == [CLASSES[label] for label in expected.argmax(1)]
    batched = network.scores(images, batch_size=4)
    torch.testing.assert_close(batched, expected)


def test_images_of_another_size_are_brought_to_the_canvas(backbone, tuned, tmp_path):
    network = load_task(saved(tuned, tmp_path)).attach(backbone)
    assert network.scores(torch.zeros(2, 3, 50, 31, dtype=torch.uint8)).shape == (2, 3)
    assert network.scores(torch.zeros(0, 3, 50, 31, dtype=torch.uint8)).shape == (0, 3)


def test_the_description_survives_the_file(tuned, tmp_path):
    task = load_task(saved(tuned, tmp_path))
    assert task.description == tuned.description
    assert task.nbytes == sum(t.numel() * t.element_size() for t in tuned.tensors.values())


def test_only_what_the_task_adds_is_in_the_file(backbone, tuned, tmp_path):
    path = saved(tuned, tmp_path)
    state = backbone.network.state_dict()
    tuned_names = {name for name in tuned.tensors if not name.startswith("head.")}
    assert tuned_names == {name for name in state if name.startswith("layer2.0.")}
    assert path.stat().st_size < load_task(path).nbytes + 6000


def test_other_weights_are_refused_by_name(tuned, tmp_path):
    task = load_task(saved(tuned, tmp_path))
    with pytest.raises(TaskError, match=r"task\.safetensors: was tuned on CifarResNet .*not on"):
        task.attach(small_backbone(seed=1))


def test_a_backbone_that_somebody_trained_meanwhile_is_refused(tmp_path):
    backbone = small_backbone()
    task = load_task(saved(tune(backbone, Subset(["layer2.0"])), tmp_path))
    backbone.network.bn1.running_mean += 0.1
    with pytest.raises(TaskError, match="was tuned on"):
        task.attach(backbone)


def test_another_architecture_is_refused(tuned, tmp_path):
    other = backbone_from_module(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4)),
        input_size=16,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    with pytest.raises(TaskError, match="Sequential has no module"):
        load_task(saved(tuned, tmp_path)).attach(other)


def test_a_task_whose_tensors_do_not_fit_its_backbone_is_refused(backbone, tuned, tmp_path):
    wrong_name = {**tuned.tensors, "layer9.weight": torch.zeros(2)}
    wrong_shape = {**tuned.tensors, "layer2.0.conv1.weight": torch.zeros(2, 2)}
    for tensors, reason in [
        (wrong_name, "no parameter or buffer 'layer9.weight'"),
        (wrong_shape, r"has shape \(2, 2\)"),
    ]:
        path = save_task(tmp_path / "t", tensors=tensors, description=tuned.description)
        with pytest.raises(TaskError, match=reason):
            load_task(path).attach(backbone)


@pytest.mark.parametrize(
    "change",
    [
        {"head": HeadShape(features=17)},
        {"head": HeadShape(features=16, depth=3)},
        {"head": HeadShape(features=16, kind="conv")},
        {"classes": ("ant", "bee")},
    ],
)
def test_a_head_other_than_described_is_refused_when_saved(tuned, tmp_path, change):
    description = replace(tuned.description, **change)
    with pytest.raises(TaskError, match="the head described has"):
        save_task(tmp_path / "t", tensors=tuned.tensors, description=description)
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_cannot_be_is_refused(tuned, tmp_path):
    description = replace(tuned.description, head=HeadShape(features=0))
    with pytest.raises(TaskError, match="its head cannot be built"):
        save_task(tmp_path / "t", tensors=tuned.tensors, description=description)


def test_a_recipe_that_is_no_json_is_refused(tuned, tmp_path):
    description = replace(tuned.description, recipe={"lr": object()})
    with pytest.raises(TaskError, match="the description is no JSON"):
        save_task(tmp_path / "t", tensors=tuned.tensors, description=description)


def test_the_error_of_a_single_seed_is_saved_as_unknown(tuned, tmp_path):
    scores = {"test": {"mean": 0.9, "stderr": float("nan")}, "seeds": [float("inf"), 1.0]}
    description = replace(tuned.description, scores=scores)
    path = save_task(tmp_path / "t", tensors=tuned.tensors, description=description)
    found = load_task(path).description.scores
    assert found == {"test": {"mean": 0.9, "stderr": None}, "seeds": [None, 1.0]}


def test_units_below_a_module_called_head_are_told_from_the_new_head(tmp_path):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(3, 4, 3)
            self.head = torch.nn.ModuleDict(
                {"norm": torch.nn.BatchNorm2d(4), "fc": torch.nn.Linear(4, 5)}
            )

        def forward(self, x):
            x = self.head["norm"](self.body(x).relu()).mean((2, 3))
            return self.head["fc"](x)

    backbone = backbone_from_module(Network(), input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    names = [unit.name for unit in tune(backbone, Subset()).chain.units]
    tuned = tune(backbone, Subset(names))
    assert "head.norm.weight" in tuned.tensors
    task = load_task(saved(tuned, tmp_path))
    assert set(task.head) == {"weight", "bias"}
    assert "head.norm.weight" in task.tuned
    inputs = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(task.attach(backbone)(inputs), tuned.scores(inputs))


def test_the_hash_leaves_the_classifier_out(backbone, tmp_path):
    """A backbone whose classifier was replaced is the same backbone."""
    other = small_backbone()
    torch.nn.init.zeros_(other.network.get_submodule(other.head).weight)
    assert hash_weights(other.network, head=other.head) == backbone.weights_hash

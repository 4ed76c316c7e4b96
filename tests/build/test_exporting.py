"""`layersearch export`: every form from every source, and one clear error for whatever is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from layersearch.backbones import Backbone, load_backbone
from layersearch.build import export
from layersearch.cli import main
from layersearch.data import load_data
from layersearch.errors import LayersearchError, TaskError
from layersearch.serving import load_model, load_task, save_task
from layersearch.serving.onnx_model import from_onnx
from layersearch.serving.portable import from_torch_export
from layersearch.space import Subset
from tests.serving.tuning import named_backbone, small_backbone, tune

NAME = "tests.serving.tuning:small_network"


def _saved(backbone: Backbone, folder: Path, *, siamese: bool = False) -> Path:
    tuned = tune(backbone, Subset(["layer2.0"]), siamese=siamese)
    description = replace(tuned.description, canvas=backbone.preprocessing.input_size)
    return save_task(folder / "task.safetensors", tensors=tuned.tensors, description=description)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task whose backbone a name makes."""
    return _saved(named_backbone(), tmp_path)


@pytest.fixture
def own_task(tmp_path: Path) -> Path:
    """A task on a module of the user's own."""
    return _saved(small_backbone(), tmp_path)


def _scores(network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        inputs = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
        scores: torch.Tensor = network(inputs)
        return scores


def test_a_task_is_copied_as_it_is(task: Path, tmp_path: Path) -> None:
    assert export(task, tmp_path / "a" / "copy.safetensors").read_bytes() == task.read_bytes()


@pytest.mark.parametrize("siamese", [False, True])
def test_a_task_becomes_a_model_and_that_a_graph(tmp_path: Path, siamese: bool) -> None:
    backbone = named_backbone()
    task = _saved(backbone, tmp_path, siamese=siamese)
    model = export(task, tmp_path / "model.safetensors", form="merged")
    expected = _scores(load_task(task).attach(backbone))
    assert torch.equal(_scores(load_model(model).build()), expected)
    told: list[str] = []
    graph = export(model, tmp_path / "model.pt2", normalise=False, tell=told.append)
    torch.testing.assert_close(_scores(from_torch_export(graph.read_bytes())), expected)
    assert "takes images (batch, 3, 16, 16) as the backbone takes them" in told[0]


def test_a_module_of_the_users_own_is_given_in_python(own_task: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="a module of its owner's"):
        export(own_task, tmp_path / "m.pt2")
    network = small_backbone().network.train().requires_grad_(True)
    for number, given in enumerate((network, small_backbone(), NAME)):
        file = tmp_path / f"{number}.safetensors"
        export(own_task, file, form="merged", backbone=given)
        assert load_file(file).keys() == small_backbone().network.state_dict().keys()
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_study_is_exported_with_the_weights_of_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "data" / "weights.pt"
    weights.parent.mkdir()
    torch.save(small_backbone(seed=4).network.state_dict(), weights)
    backbone = load_backbone(NAME, weights=weights, input_size=16)
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    task = _saved(backbone, folder)
    assert str(weights.parent) not in json.dumps(load_task(task).description.to_json())
    with pytest.raises(TaskError, match=r"with the weights of weights\.pt; say where .*--weights"):
        export(folder, tmp_path / "m.pt2")
    result = {"config": {"backbone": {"name": NAME, "weights": str(weights)}}}
    monkeypatch.setattr("layersearch.build.exporting.load_result", lambda path: result)
    for number, options in enumerate(({}, {"weights": weights})):
        model = export(folder, tmp_path / f"{number}.safetensors", form="merged", **options)
        assert torch.equal(
            _scores(load_model(model).fill(small_backbone().network)),
            _scores(load_task(task).attach(backbone)),
        )


def _flipped(task: Path) -> None:
    content = bytearray(task.read_bytes())
    content[-40] ^= 4
    task.write_bytes(content)


@pytest.mark.parametrize("output", ["x.safetensors", "x.pt2", "x.onnx"])
def test_one_flipped_byte_is_refused(task: Path, tmp_path: Path, output: str) -> None:
    _flipped(task)
    with pytest.raises(TaskError, match=r"task\.safetensors: is damaged"):
        export(task, tmp_path / output)
    assert not (tmp_path / output).exists()


def test_another_backbone_is_refused(task: Path, tmp_path: Path) -> None:
    for given, words in (
        (small_backbone(seed=1), "was tuned on .* not on this CifarResNet"),
        ("cifar_resnet20", "was tuned on .* not on this cifar_resnet20"),
        ("resnet18", "whose classifier is 'linear'; resnet18 has no module"),
    ):
        with pytest.raises(TaskError, match=words):
            export(task, tmp_path / "x.pt2", backbone=given, weights="none")
    with pytest.raises(LayersearchError, match="'resnet21' is unknown"):
        export(task, tmp_path / "x.pt2", backbone="resnet21")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.safetensors", "cannot be read"),
        ("study", "has no saved task"),
        ("foreign.safetensors", "but not one that layersearch wrote"),
        ("text.safetensors", "cut short or no saved task"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path: Path, name: str, words: str) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(TaskError, match=words):
        export(tmp_path / name, tmp_path / "x.pt2")


@pytest.mark.parametrize(
    ("output", "form", "words"),
    [
        ("x.bin", None, "suffix '.bin' does not tell what to write"),
        ("x", None, "suffix '' does not tell"),
        ("x.onnx", "merged", "ends in .onnx, which is not for merged; name it x.safetensors"),
        ("x.pt2", "coreml", "form: 'coreml' is unknown; use one of task, merged"),
        (".", "task", "is a folder"),
    ],
)
def test_what_cannot_be_written_so_is_refused(
    task: Path, tmp_path: Path, output: str, form: str | None, words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        export(task, tmp_path / output, form=form)  # type: ignore[arg-type]  # that is the test


def test_a_model_is_no_task_any_more(task: Path, tmp_path: Path) -> None:
    model = export(task, tmp_path / "model.safetensors", form="merged")
    with pytest.raises(TaskError, match="is a merged model, from which no task can be taken"):
        export(model, tmp_path / "task2.safetensors")
    again = export(model, tmp_path / "again.safetensors", form="merged")
    assert again.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("form", ["task", "merged", "torch-export"])
def test_an_output_that_cannot_be_written_is_one_error(
    task: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, no folder")
    assert main(["export", str(task), str(blocked / "x"), "--format", form]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"layersearch: {blocked / 'x'}: cannot be written")
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file", "task.safetensors"}


def test_the_command_writes_a_graph_and_says_what_it_checked(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(task), str(tmp_path / "x.pt2")]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "x.pt2")
    assert "takes images (batch, 3, 16, 16) in [0, 1]" in err
    assert (tmp_path / "x.pt2").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("siamese", [False, True])
def test_graphs_answer_photographs_from_files_as_pytorch_does(
    shared_data: Path, tmp_path: Path, siamese: bool
) -> None:
    pytest.importorskip("onnxruntime")
    weights = shared_data / "weights" / "resnet20-12fca82f.th"
    backbone = load_backbone("cifar_resnet20", weights=weights)
    task = _saved(backbone, tmp_path, siamese=siamese)
    data = load_data(
        "folder", path=shared_data / "cifar10_jpeg.tar.gz", train_samples=60, holdout=20, seed=0
    )
    pixels = data.train.images
    expected = load_task(task).attach(backbone).scores(pixels)
    for name, load in (("x.onnx", from_onnx), ("x.pt2", from_torch_export)):
        file = export(task, tmp_path / name, weights=weights)
        with torch.inference_mode():
            found = load(file.read_bytes())(pixels.float() / 255)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(found.argmax(1), expected.argmax(1))

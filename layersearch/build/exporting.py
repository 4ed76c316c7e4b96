"""Taking what a search found elsewhere: a task, a whole model, or a graph that runs by itself."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from layersearch.backbones import Backbone, load_backbone
from layersearch.build.conclusion import RESULT, TASK
from layersearch.config import GIVEN
from layersearch.errors import LayersearchError, TaskError
from layersearch.report import load_result
from layersearch.serving import Task, TaskDescription, TaskNetwork, load_model, load_task, merge
from layersearch.serving.agreement import check_agreement, photographs
from layersearch.serving.merged import KIND as MODEL
from layersearch.serving.onnx_model import from_onnx, require_onnx, to_onnx
from layersearch.serving.portable import Portable, from_torch_export, to_torch_export
from layersearch.serving.sealed_file import sealed_kind
from layersearch.space.files import unwritable, write_whole

Form = Literal["task", "merged", "torch-export", "onnx"]
_SUFFIXES: Mapping[str, Form] = {
    ".safetensors": "task",
    ".pt2": "torch-export",
    ".onnx": "onnx",
}
_SUFFIX_OF = {"merged": ".safetensors", **{form: suffix for suffix, form in _SUFFIXES.items()}}


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """How to come by the backbone, for what needs it."""

    backbone: Backbone | nn.Module | str | None
    weights: str | Path | None
    section: Mapping[str, Any]  # `backbone` of the search's config, if its study is at hand


def export(
    source: str | Path,
    output: str | Path,
    *,
    form: Form | None = None,
    backbone: Backbone | nn.Module | str | None = None,
    weights: str | Path | None = None,
    normalise: bool | None = None,
    tell: Callable[[str], object] | None = None,
) -> Path:
    """Writes what a search found as one file.

    Args:
        source: the folder of a study, `runs/<study>`, whose search has ended; or a saved task or a
            merged model, `*.safetensors`.
        output: the file to write.
        form: 'task' (tuned units and head: small, needs the backbone), 'merged' (a whole model, for
            `load_model` and for `load_state_dict`), 'torch-export' or 'onnx' (a graph that runs
            without layersearch). None: by the suffix of `output`: .safetensors is a task, .pt2
            torch-export, .onnx ONNX.
        backbone: what the task was tuned on; or its name, where it is another now. None: loaded by
            the name that the task gives. A task by itself needs none.
        weights: of the backbone, where a task or study does not tell or they have moved.
        normalise: whether a graph takes images in [0, 1] and normalises them itself. None: yes, if
            the task is one of images.
        tell: is told what was checked, in a sentence.

    A graph is run on photographs, in batches of several sizes, and its scores are compared with
    those of the network that it was made from before anything is written.

    Returns: the file that was written.

    Raises:
        TaskError: there is no task, it is damaged or of another backbone; the network cannot be
            exported so; or the output cannot be written (what was there is then as it was).
        LayersearchError: the backbone cannot be loaded.
    """
    source, output = Path(source), Path(output)
    form = _form(output, form)
    if output.is_dir():
        raise TaskError(f"{output}: is a folder; name the file to write")
    if form == "onnx":
        require_onnx()
    file, section = _file(source)
    origin = _Origin(backbone=backbone, weights=weights, section=section)
    if sealed_kind(file) == MODEL:
        network = _of_model(file, form, origin)
    else:
        task = load_task(file)
        if form == "task":
            return _write(output, file.read_bytes())
        loaded = _backbone(task, origin)
        if form == "merged":
            return merge(task, loaded).save(output)
        network = task.attach(loaded)
    if form == "merged":
        return _write(output, file.read_bytes())
    return _export_graph(network, output, form, normalise=normalise, tell=tell)


def _form(output: Path, form: str | None) -> Form:
    suffix = output.suffix.lower()
    if form is None:
        if suffix in _SUFFIXES:
            return _SUFFIXES[suffix]
        known = ", ".join(f"{suffix} ({form})" for suffix, form in _SUFFIXES.items())
        raise TaskError(
            f"{output}: its suffix {suffix!r} does not tell what to write; use one of {known}, or "
            f"name the form: {', '.join(get_args(Form))}"
        )
    for known in get_args(Form):
        if form == known:
            if suffix in _SUFFIXES and suffix != _SUFFIX_OF[known]:
                raise TaskError(
                    f"{output}: ends in {suffix}, which is not for {form}; name it "
                    f"{output.with_suffix(_SUFFIX_OF[known]).name}"
                )
            chosen: Form = known
            return chosen
    raise TaskError(f"form: {form!r} is unknown; use one of {', '.join(get_args(Form))}")


def _file(source: Path) -> tuple[Path, Mapping[str, Any]]:
    """The task or model to read, and the section `backbone` of the config, if there is one."""
    if source.suffix == ".safetensors" or source.is_file():
        return source, {}
    saved = source / TASK
    if not saved.is_file():
        raise TaskError(
            f"{source}: has no saved task; its search has not ended, so run `layersearch search` "
            "with the same file again"
        )
    try:
        config = load_result(source / RESULT).get("config", {})
    except LayersearchError:
        config = {}  # the task by itself is worth having
    return saved, config.get("backbone", {})


def _of_model(file: Path, form: Form, origin: _Origin) -> TaskNetwork:
    if form == "task":
        raise TaskError(
            f"{file}: is a merged model, from which no task can be taken; export the task from its "
            "study, or write another form"
        )
    model = load_model(file)
    given = origin.backbone
    if isinstance(given, Backbone):
        given = given.network
    return model.build() if given is None or isinstance(given, str) else model.fill(_own(given))


def _own(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network)


def _backbone(task: Task, origin: _Origin) -> Backbone:
    """The backbone of a task: given, or loaded; whether it is the right one, `attach` finds out."""
    saved, given = task.description, origin.backbone
    if isinstance(given, Backbone):
        return given
    if isinstance(given, nn.Module):
        return Backbone(
            name=type(given).__name__,
            network=_own(given).eval().requires_grad_(False),
            preprocessing=saved.preprocessing,
            weights="as given",
            weights_hash="",
            head=saved.head_path,
        )
    if given is None and saved.source is None and origin.section.get("name") in (None, GIVEN):
        raise TaskError(
            f"{task.where}: was tuned on {saved.backbone}, a module of its owner's, which no name "
            "makes; export it in Python, with backbone=…, or give --backbone package.module:factory"
        )
    arguments = origin.section.get("arguments", {}) if saved.source is None else {}
    images = saved.preprocessing
    return load_backbone(
        given or saved.backbone,
        weights=_weights(task.where, saved, origin),
        input_size=images.input_size,
        factory_args=arguments if saved.source is None else saved.source.arguments,
        head=None if isinstance(given, str) else saved.head_path,  # `attach` sees if it differs
        mean=images.mean,
        std=images.std,
        centre=images.centre,
    )


def _weights(where: str, saved: TaskDescription, origin: _Origin) -> str | Path | None:
    """Those named now, those of the study's config, or those that the task tells."""
    if origin.weights is not None:
        return origin.weights
    if origin.section:
        weights: str | None = origin.section.get("weights", "default")
        if saved.source is None or not saved.source.file or Path(str(weights)).is_file():
            return weights
    if saved.source is None:
        return "default"
    if saved.source.file and not Path(str(saved.source.weights)).is_file():
        raise TaskError(
            f"{where}: was tuned on {saved.backbone} with the weights of "
            f"{saved.source.weights}; say where that file is: --weights FILE, or weights=… in "
            "Python"
        )
    return saved.source.weights


def _export_graph(
    network: TaskNetwork,
    output: Path,
    form: Form,
    *,
    normalise: bool | None,
    tell: Callable[[str], object] | None,
) -> Path:
    portable = Portable(network, normalise=normalise)
    content = to_onnx(portable) if form == "onnx" else to_torch_export(portable)
    runs = from_onnx(content) if form == "onnx" else from_torch_export(content)
    error = check_agreement(portable, runs, photographs(portable.shape), where=str(output))
    written = _write(output, content)
    if tell is not None:
        channels, height, width = portable.shape
        values = "in [0, 1]" if portable.normalise else "as the backbone takes them"
        tell(
            f"takes images (batch, {channels}, {height}, {width}) {values}; its scores on "
            f"photographs are PyTorch's to {error:.0e} of the largest"
        )
    return written


def _write(output: Path, content: bytes) -> Path:
    try:
        return write_whole(output, content)
    except OSError as error:
        raise TaskError(unwritable(output, error)) from error

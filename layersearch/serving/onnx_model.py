"""A task's network as an ONNX model: for onnxruntime, TensorRT, OpenVINO, browsers and phones.

Needs the extra `onnx`: onnx and onnxscript write the file, onnxruntime checks it.
"""

import contextlib
import importlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layersearch.errors import TaskError
from layersearch.serving.portable import (
    INPUT,
    OUTPUT,
    Portable,
    examples,
    first_line,
    quietly,
    trace,
)

NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST = (1 << 31) - 1  # bytes of one protobuf message
_GRAPHS = (2, 9)  # the PyTorch from which on torch.onnx starts at torch.export by default


def require_onnx() -> None:
    """Raises TaskError: a package of the extra is missing."""
    missing = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise TaskError(
            f"ONNX needs {', '.join(NEEDED)}, of which {', '.join(missing)} is not installed; "
            "install them with: pip install 'layersearch[onnx]'"
        )


def to_onnx(portable: Portable) -> bytes:
    """An .onnx file: input `images` with a batch of any size, output `scores`.

    Raises: TaskError: a package is missing, or the network cannot be expressed in one file of ONNX.
    """
    require_onnx()
    export = _export if _version() >= _GRAPHS else _export_traced
    try:
        # The exporter tells its progress on stdout, which is for the result.
        with quietly(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            model = export(portable)
    except TaskError:
        raise
    except Exception as error:  # every layer of it raises its own
        raise TaskError(
            f"{portable.task.backbone}: PyTorch cannot express this network in ONNX "
            f"({first_line(error)}); try --format torch-export, or --merged"
        ) from error
    for name, value in (
        ("layersearch", json.dumps(portable.describe())),
        ("classes", json.dumps(portable.task.classes)),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    if model.ByteSize() > _LARGEST:
        raise TaskError(
            f"{portable.task.backbone}: takes {model.ByteSize()} bytes, more than one ONNX file "
            "holds (2 GiB); use --format torch-export"
        )
    content: bytes = model.SerializeToString()
    return content


def _export(portable: Portable) -> Any:
    """From the graph of torch.export."""
    exported: Any = torch.onnx.export(
        trace(portable),
        (),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    return exported.model_proto


def _export_traced(portable: Portable) -> Any:
    """By TorchScript, as PyTorch did before: the other way fails there with today's onnxscript."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            portable,
            (examples(portable),),
            str(file),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            dynamo=False,
        )
        return onnx.load(str(file))


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def from_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    """The model in an .onnx file, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (scores,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(scores)

    return run

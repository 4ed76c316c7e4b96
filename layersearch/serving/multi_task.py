"""Several tasks beside the backbone that they were tuned on, in one network.

The layers before a task's first tuned one are computed once for all; there its branch forks off.
Frozen layers after it hold the same weights in all branches, and take them as one batch (Kaplun et
al. 2023, section 4). `forked` has the network itself, `schedule` and `blocks` how it is run.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from layersearch.backbones import Backbone, Chain, build_chain
from layersearch.backbones.backbone import Preprocessing
from layersearch.data import EVALUATION, Views
from layersearch.data.decoding import fit_tensor
from layersearch.errors import TaskError
from layersearch.serving.branch import Branch, BranchNetwork
from layersearch.serving.forked import ORIGINAL, ForkedNetwork
from layersearch.serving.grouped import faster_grouped
from layersearch.serving.task import Task

Canvas = tuple[int, int]


@dataclass(frozen=True)
class _Group:
    """Tasks whose images are prepared alike; ('original' is in the first group)."""

    canvas: Canvas | None
    centre: float
    network: ForkedNetwork


@dataclass(frozen=True)
class _Served:
    """What is served at one moment; it is never changed, only replaced."""

    tasks: Mapping[str, Task]
    network: ForkedNetwork
    groups: tuple[_Group, ...]


class MultiTaskNetwork(nn.Module):
    """A backbone that answers for any number of tasks besides its own.

        network = MultiTaskNetwork(backbone)
        network.add(load_task("flowers.safetensors"))
        network.add(load_task("cars.safetensors"), name="cars")
        network(images)  # {"original": ..., "flowers": ..., "cars": ...}

    The original's scores are those of `backbone.network(images)` to the last bit; a task's are
    those of the task attached alone, but for rounding. A task copies its tuned tensors and its
    head, and shares everything else with the backbone. Tasks may be added and removed while other
    threads serve: each call answers for the tasks that there were when it began. Moving this module
    to a device moves the backbone too, and is not safe while others serve.

    A backbone that cannot be traced is not cut: then every task runs the whole network (with an
    `UncutBackboneWarning`).

    Args:
        backbone: in eval mode; it stays as it is.
        chain: of this backbone; None: cut at its blocks. Tasks that tune less than a block fork a
            little later in a finer one (`build_chain(backbone, granularity="layer")`).
    """

    def __init__(self, backbone: Backbone, *, chain: Chain | None = None) -> None:
        super().__init__()
        if chain is not None and chain.network is not backbone.network:
            raise TaskError("chain: is not of this backbone; make it by build_chain(backbone)")
        self.backbone = backbone
        self.chain = build_chain(backbone) if chain is None else chain
        self._lock = threading.Lock()  # one change at a time
        self._grouped: tuple[int, ...] = ()
        self.network = ForkedNetwork(self.chain)
        self._served = self._serve({}, self.network)
        super().train(False)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by name, in the order in which they were added."""
        return self._served.tasks

    def add(self, task: Task, *, name: str | None = None) -> str:
        """Serves a task too, from the next call on.

        Args:
            task: tuned on this backbone.
            name: of its scores; None: the name of its file, without the ending.

        Returns: the name.
        Raises: TaskError: if the name is taken, or the task was tuned on another backbone or on
            images prepared in another way.
        """
        chosen = Path(task.where).stem if name is None else name
        self._check_name(chosen)
        task.check(self.backbone)
        self._check_images(task, chosen)
        branch = BranchNetwork(
            self.chain,
            Branch(
                tuned=task.tuned,
                head=task.new_head(),
                name=chosen,
                siamese=task.description.head.siamese,
            ),
        )
        with self._lock:
            self._check_name(chosen)  # another thread may have been quicker
            self._replace({**self.tasks, chosen: task}, [*self.network.branches, branch])
        return chosen

    def remove(self, name: str) -> None:
        """Serves a task no more, from the next call on.

        Raises: TaskError: if there is no such task.
        """
        with self._lock:
            if name not in self.tasks:
                known = ", ".join(map(repr, self.tasks)) or "none"
                raise TaskError(f"{name}: no task of this name is served (there are: {known})")
            left = {other: task for other, task in self.tasks.items() if other != name}
            self._replace(left, [b for b in self.network.branches if b.name != name])

    @torch.inference_mode()
    def calibrate(self, images: Tensor) -> tuple[int, ...]:
        """Measures where tasks that tune the same layers run faster as one, and does so there.

        Worth it on a GPU, for small batches and tasks with the same tuned layers; call it when the
        tasks are there and the network is where it will serve. What it finds holds until the next
        call. Takes some forward passes.

        Args:
            images: preprocessed (N, C, H, W), as many at a time as will be served.

        Returns: the stages of the chain that are grouped from now on; on a CPU mostly none.
        """
        images = images.to(_device(self.network, images))
        with self._lock:
            branches = list(self.network.branches)
            self._grouped = faster_grouped(self.chain, branches, images)
            self._replace(self.tasks, branches)
            return self._grouped

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores (N, classes) by name: 'original', then the tasks in the order of their adding.

        Args:
            images: preprocessed (N, C, H, W), as for the backbone alone.

        Raises: BackboneError: if images have another size than the backbone's, and it matters.
        """
        return self._served.network(images)  # type: ignore[no-any-return]  # nn.Module's is Any

    def scores(self, images: Tensor, *, batch_size: int = 32) -> dict[str, Tensor]:
        """Scores (N, classes), float32 on the CPU, of images as they come from files.

        Tasks tuned on images of one size share a trunk; for each other size it is run anew.

        Args:
            images: uint8 (N, 3, h, w) of any size, brought to each task's canvas first; or
                floating-point features (N, ...), taken as they are.
            batch_size: of the forward passes; it may change the last bits of the scores.
        """
        return self._scores(self._served, images, batch_size)

    def predict(self, images: Tensor, *, batch_size: int = 32) -> dict[str, list[str]]:
        """Each task's name of the likeliest class of each image; arguments as of `scores`."""
        served = self._served
        found = self._scores(served, images, batch_size)
        return {
            name: [task.description.classes[label] for label in found[name].argmax(1).tolist()]
            for name, task in served.tasks.items()
        }

    def train(self, mode: bool = True) -> "MultiTaskNetwork":
        """Stays in eval mode: norms' statistics belong to the weights."""
        del mode
        return super().train(False)

    def _scores(self, served: _Served, images: Tensor, batch_size: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for group in served.groups:
            fitted = images
            if group.canvas is not None and images.dtype == torch.uint8:
                fitted = fit_tensor(images, canvas=group.canvas)
            parts = [self._answer(group, part) for part in _batches(fitted, batch_size)]
            for name in parts[0]:
                found.setdefault(name, torch.cat([part[name] for part in parts]))
        return {name: found[name] for name in (ORIGINAL, *served.tasks)}

    def _replace(self, tasks: Mapping[str, Task], branches: list[BranchNetwork]) -> None:
        order = list(tasks)
        branches.sort(key=lambda branch: order.index(branch.name))
        self.network = ForkedNetwork(self.chain, branches, grouped=self._grouped)
        self._served = self._serve(tasks, self.network)  # in one step: others are reading

    def _serve(self, tasks: Mapping[str, Task], network: ForkedNetwork) -> _Served:
        alike: dict[tuple[Canvas | None, float], list[str]] = {}
        for name, task in tasks.items():
            told = task.description
            alike.setdefault((told.canvas, told.preprocessing.centre), []).append(name)
        if not alike:
            alike[None, self.backbone.preprocessing.centre] = []
        branches = {branch.name: branch for branch in network.branches}
        groups = []
        for (canvas, centre), names in alike.items():
            part = network
            if len(alike) > 1:
                members = [branches[name] for name in names]
                part = ForkedNetwork(self.chain, members)
            groups.append(_Group(canvas, centre, part))
        return _Served(MappingProxyType(dict(tasks)), network, tuple(groups))

    def _answer(self, group: _Group, images: Tensor) -> dict[str, Tensor]:
        device = _device(self.network, images)
        told = self.backbone.preprocessing
        views = Views(
            seed=0,  # nothing is random in the evaluation view
            mean=told.mean,
            std=told.std,
            input_size=told.input_size,
            centre=group.centre,
        )
        samples = torch.arange(len(images), device=device)
        inputs = views.batch(images.to(device), samples, EVALUATION)
        return {name: scores.float().cpu() for name, scores in group.network(inputs).items()}

    def _check_name(self, name: str) -> None:
        if name == ORIGINAL:
            raise TaskError(f"{name}: is the name of the backbone's own scores; give another name")
        if not name:
            raise TaskError("name: must not be empty; give the task a name")
        if name in self.tasks:
            raise TaskError(f"{name}: a task of this name is served already; give another name")

    def _check_images(self, task: Task, name: str) -> None:
        expected, found = self.backbone.preprocessing, task.description.preprocessing
        if _prepared(expected) != _prepared(found):
            raise TaskError(
                f"{name}: was tuned on images prepared in another way (mean, std, size "
                f"{_prepared(found)}, the backbone's {_prepared(expected)}); load the backbone "
                "with the task's, or serve it apart by task.attach(backbone)"
            )


def _device(network: nn.Module, images: Tensor) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), images.device)


def _prepared(preprocessing: Preprocessing) -> tuple[object, ...]:
    return preprocessing.mean, preprocessing.std, preprocessing.input_size


def _batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Of so many; one empty batch where there are no images."""
    for start in range(0, max(1, len(images)), size):
        yield images[start : start + size]

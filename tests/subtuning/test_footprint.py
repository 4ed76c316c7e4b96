import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layersearch.backbones import build_chain, load_backbone, new_head
from layersearch.space import Subset
from layersearch.subtuning.footprint import memory_shape
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.optimisation import Optimisation
from layersearch.subtuning.recipe import Recipe

BATCH = 16


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations make, as long as they live."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves(args) if torch.is_tensor(t)}
        for tensor in tree_leaves(results):
            if torch.is_tensor(tensor) and id(tensor.untyped_storage()) not in given:
                self.watch(tensor.untyped_storage())
        return results

    def watch(self, storage):
        if storage not in self.seen:
            self.seen.add(storage)
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.gone, size)

    def gone(self, size):
        self.now -= size


def measured_peak(chain, subset, recipe):
    """Bytes alive at most in two steps of training, with the frozen backbone."""
    head = new_head(chain.head_features, 5, depth=1, kind=chain.head_kind, seed=0)
    frozen = sum(
        t.numel() * t.element_size()
        for t in (*chain.network.parameters(), *chain.network.buffers())
    )
    labels = torch.zeros(BATCH, dtype=torch.long)
    with LiveBytes() as live:
        network = TunedNetwork(chain, subset, head, recipe=recipe)
        steps = Optimisation(
            network.tuned_parameters,
            recipe,
            steps_per_epoch=2,
            device=torch.device("cpu"),
            precision="fp32",
        )
        for _ in range(2):
            with torch.no_grad():
                values = chain.run((torch.randn(BATCH, *chain.input_shape),), 0, network.first)
            live.peak = live.now  # the prefix's values come from the cache
            steps.step(F.cross_entropy(network(*values), labels) for _ in range(1))
    return frozen + live.peak


@pytest.fixture(scope="module", params=["cifar_resnet14", "vit"])
def chain(request):
    if request.param == "vit":
        from torchvision.models import VisionTransformer

        from layersearch.backbones import backbone_from_module

        network = VisionTransformer(
            image_size=16, patch_size=4, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64
        )
        backbone = backbone_from_module(
            network, input_size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3
        )
        return build_chain(backbone)
    return build_chain(load_backbone(request.param, weights=None, input_size=32))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("norms", ["train", "eval"])
def test_the_estimate_is_near_the_peak_that_is_measured(chain, norms, optimizer):
    recipe = Recipe(batch_size=BATCH, norms=norms, optimizer=optimizer)
    shape = memory_shape(chain, recipe, classes=5, precision="fp32", batch_size=BATCH)
    names = [unit.name for unit in chain.units]
    for subset in (names[:1], names[len(names) // 2 :][:1], names[-1:], names[::2], names):
        ordered = Subset(name for name in names if name in subset)
        peak = measured_peak(chain, ordered, recipe)
        assert 0.9 < shape(ordered) / peak < 1.5


def test_more_tuning_never_takes_less(chain):
    recipe = Recipe(batch_size=BATCH)
    shape = memory_shape(chain, recipe, classes=5, precision="fp32", batch_size=BATCH)
    assert shape.rises
    larger = memory_shape(chain, recipe, classes=5, precision="fp32", batch_size=2 * BATCH)
    names = [unit.name for unit in chain.units]
    assert larger(names) > shape(names) > shape(names[-1:]) > shape([])

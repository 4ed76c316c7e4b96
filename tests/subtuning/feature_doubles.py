"""Small chains, images and views for the tests of the feature store, also in child processes."""

import torch
from torch import nn

from layersearch.backbones.chain import Chain, cut
from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.backbones.units import find_units
from layersearch.data.augmentation import Augmentation
from layersearch.data.views import Views
from layersearch.subtuning.features import Budget, FeatureStore

MIB = 1 << 20
SIZE = (8, 8)


def tiny_chain() -> Chain:
    """Stem, two blocks and a head, of random weights that are always the same."""
    torch.manual_seed(0)
    network = CifarResNet((1, 1), classes=3, width=4).eval()
    return cut(network, find_units(network, input_size=SIZE), head="linear", input_size=SIZE)


def tiny_images(count=50):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


def tiny_views(*, flip=True):
    return Views(
        seed=3,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.3),
        input_size=SIZE,
        augmentation=Augmentation(flip=flip, crop=1 if flip else 0),
    )


class ListChain:
    """A chain of given stages, as the store sees chains; counts the samples that stages ran on."""

    def __init__(self, stages, *, uncacheable=()):
        self.stages = [stage.eval() for stage in stages]
        self.multiply_adds = tuple(range(1, len(stages) + 1))
        self.ran = [0] * len(stages)
        self._uncacheable = set(uncacheable)

    def run(self, values, start=0, stop=None):
        for index in range(start, len(self.stages) if stop is None else stop):
            self.ran[index] += len(values[0])
            values = self.stages[index](*values)
        return values

    def cacheable(self, k):
        return k not in self._uncacheable


class Grow(nn.Module):
    """A dense layer: its input crosses beside what it adds, in place of nothing."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, *values):
        joined = torch.cat(values, dim=1)
        return (*values, self.relu(self.conv(joined)))


class Halve(nn.Module):
    """Pools and adds, in place, to what it is given; also gives a mask."""

    def forward(self, *values):
        values[0].add_(1.0)
        pooled = torch.cat([nn.functional.avg_pool2d(value, 2) for value in values], dim=1)
        return (pooled, pooled.mean(dim=(1, 2, 3)) > 0.5)


class Finish(nn.Module):
    def forward(self, pooled, mask):
        return (pooled.flatten(1) * mask[:, None],)


def dense_chain(**options):
    """Several values cross its cuts, of several types, and one stage changes its input in place."""
    torch.manual_seed(0)
    return ListChain([Grow(3), Grow(5), Grow(7), Halve(), Finish()], **options)


def make_store(chain=None, *, images=None, views=None, **options):
    options.setdefault("policy", "always")
    options.setdefault("batch_size", 16)
    options.setdefault("budget", Budget(device_bytes=4 * MIB, host_bytes=4 * MIB))
    return FeatureStore(
        tiny_chain() if chain is None else chain,
        tiny_images() if images is None else images,
        tiny_views() if views is None else views,
        **options,
    )


@torch.no_grad()
def direct(chain, cut_number, samples, view, *, images=None, views=None):
    """What the store should give, computed with nothing of it."""
    images = tiny_images() if images is None else images
    views = tiny_views() if views is None else views
    batch = views.batch(images[samples], samples, view)
    return chain.run((batch,), 0, cut_number)

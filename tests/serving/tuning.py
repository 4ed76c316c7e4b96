"""Backbones, and tasks that were really tuned on them."""

from dataclasses import dataclass

import torch
from torch import nn

from layersearch.backbones import backbone_from_module, build_chain, load_backbone, new_head
from layersearch.backbones.cifar_resnet import CifarResNet
from layersearch.serving import HeadShape, TaskDescription
from layersearch.subtuning.network import TunedNetwork
from layersearch.subtuning.recipe import Recipe

CLASSES = ("ant", "bee", "cat")


def small_backbone(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CifarResNet((1, 1, 1), classes=5, width=4).train()
        with torch.no_grad():
            network(torch.randn(32, 3, 16, 16))
    return backbone_from_module(
        network, input_size=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3)
    )


@dataclass
class Tuned:
    """A task as a trial leaves it, and the network that computed it."""

    network: TunedNetwork
    chain: object
    tensors: dict
    description: TaskDescription

    def scores(self, inputs):
        with torch.inference_mode():
            return given(self.network, self.chain, inputs)


def given(network, chain, inputs):
    """What a tuned network makes of images, its frozen prefix computed for them."""
    beside = {"original": chain.features(inputs)} if network.siamese else {}
    return network(*chain.run((inputs,), 0, network.first), **beside)


def tune(backbone, subset, *, depth=1, norms="train", seed=0, siamese=False):
    """Three steps of training of the subset and a head."""
    chain = build_chain(backbone)
    recipe = Recipe(epochs=1, norms=norms, siamese=siamese)
    siamese = recipe.pairs_features(subset)
    features = chain.head_features * (2 if siamese else 1)
    head = new_head(features, len(CLASSES), depth=depth, kind=chain.head_kind, seed=seed)
    network = TunedNetwork(chain, subset, head, recipe=recipe)
    generator = torch.Generator().manual_seed(seed)
    size = backbone.preprocessing.input_size
    optimizer = torch.optim.SGD(network.tuned_parameters, lr=0.05)
    for _ in range(3):
        inputs = torch.randn(12, 3, *size, generator=generator)
        targets = torch.randint(0, len(CLASSES), (12,), generator=generator)
        scores = given(network, chain, inputs)
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores, targets).backward()
        optimizer.step()
    network.eval()
    network.unfold()  # as before the final evaluation: the saved task computes frozen norms
    return Tuned(
        network=network,
        chain=chain,
        tensors=network.tuned_state(),
        description=TaskDescription.of(
            backbone,
            head=HeadShape(features=features, depth=depth, kind=chain.head_kind, siamese=siamese),
            subset=subset,
            classes=CLASSES,
            canvas=(20, 20),
            recipe={"epochs": 1, "lr": 0.05},
            scores={"mean": 0.5, "stderr": None},
        ),
    )


def small_network():
    """A factory of the small backbone's network, for backbones by name."""
    return small_backbone().network


def named_backbone():
    """The small network as one that a name makes again."""
    return load_backbone("tests.serving.tuning:small_network", input_size=16)

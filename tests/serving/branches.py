"""Branches with random weights, and what they must compute: by a whole copy of the network."""

import copy

import torch

from layersearch.backbones import load_backbone
from layersearch.serving.branch import BranchNetwork, random_branch
from layersearch.space.subset import Subset

SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": [2, 2]}
VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
DENSENET = {"growth_rate": 4, "block_config": (2, 2), "num_init_features": 8}
FAMILIES = {  # each with its input size and the arguments of its factory
    "resnet": ("resnet18", 32, {}),
    "vit": ("vision_transformer:VisionTransformer", 16, {"image_size": 16, "patch_size": 8} | VIT),
    "densenet": ("densenet:DenseNet", 32, DENSENET),
    "mobilenet": ("mobilenet_v3_small", 32, {}),
    "convnext": ("convnext_tiny", 32, {}),
    "swin": ("swin_transformer:SwinTransformer", 32, {"patch_size": [4, 4]} | SWIN),
}


def family(name):
    """A small backbone of a family of torchvision's networks."""
    factory, size, arguments = FAMILIES[name]
    if ":" in factory:
        factory = f"torchvision.models.{factory}"
    return load_backbone(
        factory,
        weights=None,
        input_size=size,
        factory_args={"num_classes": 6, **arguments},
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


def branches_of(chain, subsets, *, siamese=False):
    """A branch of each subset, each with another number of classes."""
    return [
        random_branch(
            chain, Subset(units), name=f"task {i}", classes=2 + i, seed=i, siamese=siamese
        )
        for i, units in enumerate(subsets)
    ]


def run_alone(chain, branch, images):
    """The scores of a branch by the backbone's own code, with the weights and the head replaced."""
    network = copy.deepcopy(chain.network)
    network.load_state_dict({**network.state_dict(), **branch.tuned})
    head = branch.head
    if branch.siamese:
        head = _Beside(chain.features(images), head, kind=chain.head_kind)
    network.set_submodule(chain.head, head)
    with torch.no_grad():
        return network(images)


def grown(chain, branches):
    return [BranchNetwork(chain, branch) for branch in branches]


class _Beside(torch.nn.Module):
    def __init__(self, original, head, *, kind):
        super().__init__()
        self.original, self.head, self.dim = original, head, 1 if kind == "conv" else -1

    def forward(self, features):
        return self.head(torch.cat([self.original, features], dim=self.dim))


def assert_close(found, expected):
    """Equal but for rounding, relative to the largest score."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 + 1e-4 * scale)

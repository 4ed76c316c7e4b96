"""What is sent to workers arrives as it was, and shares the memory it came in."""

import numpy as np
import pytest
import torch
from torch import nn

from layersearch.execution.ray_tune.shipping import pack, unpack


class Both:
    def __init__(self, first, second):
        self.first, self.second = first, second


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(2, 3, 4),
        torch.arange(24).reshape(2, 3, 4).transpose(0, 2),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.arange(24.0)[::2],
        torch.tensor(3.5),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
        torch.randn(4).to(torch.bfloat16),
        torch.randn(3, 1, 2).expand(3, 4, 2),
        nn.Parameter(torch.randn(3), requires_grad=False),
        torch.randn(3, requires_grad=True),
    ],
)
def test_a_tensor_arrives_as_it_was(tensor):
    back = unpack(pack(tensor))
    assert type(back) is type(tensor)
    assert back.dtype == tensor.dtype
    assert back.requires_grad == tensor.requires_grad
    assert torch.equal(back, tensor)


def test_a_network_computes_the_same():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    network(torch.randn(8, 3, 4, 4))
    network.eval()
    x = torch.randn(2, 3, 4, 4)
    back = unpack(pack(network))
    assert torch.equal(back(x), network(x))
    assert list(back.state_dict()) == list(network.state_dict())


def test_large_values_travel_out_of_band_and_are_not_copied():
    sent = Both(np.zeros(1 << 16), torch.zeros(1 << 16))
    packed, buffers = pack(sent)
    assert len(packed) < 10_000
    back = unpack((packed, buffers))
    assert np.shares_memory(back.first, buffers[0])
    assert np.shares_memory(back.second.numpy(), buffers[1])


def test_strides_are_kept():
    tensor = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert unpack(pack(tensor)).stride() == tensor.stride()


def test_memory_that_may_not_be_written_is_taken_without_a_warning():
    packed, buffers = pack(torch.arange(5.0))
    for buffer in buffers:
        buffer.flags.writeable = False
    assert torch.equal(unpack((packed, buffers)), torch.arange(5.0))

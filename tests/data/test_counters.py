import torch
from hypothesis import given
from hypothesis import strategies as st

from layersearch.data.counters import uniforms


def mix(x: int) -> int:
    """SplitMix64's finaliser in Python's own integers."""
    mask = (1 << 64) - 1
    x &= mask
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
    return x ^ (x >> 31)


@given(seed=st.integers(0, 2**63 - 1), sample=st.integers(0, 2**40), view=st.integers(0, 2**20))
def test_numbers_are_those_of_exact_arithmetic(seed, sample, view):
    state = mix(mix(seed) + view)
    each = mix(sample + state)
    expected = [(mix(each + (k + 1) * 0x9E3779B97F4A7C15) >> 11) * 2.0**-53 for k in range(3)]
    assert uniforms(seed, torch.tensor([sample]), view, count=3)[0].tolist() == expected


@given(order=st.permutations(range(20)), size=st.integers(1, 20))
def test_a_samples_numbers_do_not_depend_on_its_batch(order, size):
    everything = uniforms(7, torch.arange(20), 3, 1, count=4)
    batch = torch.tensor(order[:size])
    assert torch.equal(uniforms(7, batch, 3, 1, count=4), everything[batch])


def test_numbers_are_uniform_and_unrelated():
    draws = uniforms(0, torch.arange(20_000), 0, 1, count=2)
    assert draws.min() >= 0
    assert draws.max() < 1
    # 5 standard errors: a histogram of 10 cells, and correlations between neighbours of each kind.
    cells = torch.histc(draws[:, 0].float(), 10, 0, 1)
    assert (cells - 2000).abs().max() < 5 * (2000 * 0.9) ** 0.5
    first = draws[:, 0]
    neighbours = [
        draws[:, 1],
        first.roll(1),
        uniforms(0, torch.arange(20_000), 1, 1, count=1)[:, 0],
        uniforms(0, torch.arange(20_000), 0, 2, count=1)[:, 0],
        uniforms(1, torch.arange(20_000), 0, 1, count=1)[:, 0],
    ]
    for other in neighbours:
        correlation = torch.corrcoef(torch.stack((first, other)))[0, 1]
        assert abs(correlation) < 5 / 20_000**0.5

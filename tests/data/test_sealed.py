import copy
import gc
import pickle

import numpy as np
import pytest
import torch

from layersearch.data import load_data, splits_from_tensors
from layersearch.errors import DataError, SealedError


def numbered_images(count: int, first: int) -> torch.Tensor:
    """Images that each carry their number, so that any trace of one is recognised."""
    numbers = torch.arange(first, first + count).view(-1, 1, 1, 1)
    return torch.cat([numbers // 256, numbers % 256, numbers * 0 + 77], 1).repeat(1, 1, 5, 5).byte()


@pytest.fixture
def splits():
    labels = torch.arange(40) % 2
    return splits_from_tensors(
        numbered_images(40, 0), labels, numbered_images(20, 1000), torch.arange(20) % 2, folds=2
    )


def test_opening_before_the_end_is_an_error(splits):
    with pytest.raises(SealedError, match="'a look' while the search is running"):
        splits.test.open("a look")
    assert splits.test.opened == ()


def test_the_sealed_error_is_a_data_error():
    assert issubclass(SealedError, DataError)


def test_it_opens_after_unsealing_and_says_what_for(splits):
    splits.test.unseal()
    samples = splits.test.open("final test")
    assert torch.equal(samples.images, numbered_images(20, 1000))
    assert splits.test.opened == ("final test",)
    assert splits.test.open("again") is samples


def test_no_attribute_of_the_splits_leads_to_a_test_image(splits):
    forbidden = {image.numpy().tobytes() for image in numbered_images(20, 1000)}
    for value in reachable(splits):
        if isinstance(value, torch.Tensor | np.ndarray):
            content = np.asarray(value).tobytes()
            assert not any(image in content for image in forbidden)
        assert not callable(value) or value is splits.test


def test_training_images_share_no_memory_with_the_pool_they_came_from():
    pool = numbered_images(60, 0)
    splits = splits_from_tensors(pool, torch.arange(60) % 2, train_samples=40, folds=2)
    assert splits.train.images.untyped_storage().nbytes() == splits.train.images.numel()


def test_a_pickle_never_carries_the_data_even_when_open(splits):
    secret = numbered_images(1, 1000)[0].numpy().tobytes()
    for _ in range(2):
        content = pickle.dumps(splits)
        assert secret not in content
        assert len(pickle.dumps(splits.test)) < 300
        splits.test.unseal()
        splits.test.open("final test")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda test: pickle.loads(pickle.dumps(test))]
)
def test_copies_stay_sealed_for_good(splits, duplicate):
    splits.test.unseal()
    twin = duplicate(splits.test)
    assert (len(twin), twin.digest, twin.classes) == (20, splits.test.digest, ("0", "1"))
    with pytest.raises(SealedError):
        twin.open("a look")
    with pytest.raises(SealedError, match="holds no data"):
        twin.unseal()


def test_it_has_no_room_for_more_attributes(splits):
    with pytest.raises(AttributeError):
        splits.test.images = 1


def test_describing_leaves_it_sealed(splits):
    splits.describe()
    assert splits.test.sealed
    assert "sealed" in repr(splits.test)


def test_files_are_decoded_at_opening_not_before(make_folder):
    folder = make_folder()
    splits = load_data("folder", path=folder, folds=2, seed=0)
    victim = folder / "test" / "cat" / "0.png"
    victim.write_bytes(victim.read_bytes()[:40])
    splits.test.unseal()
    with pytest.raises(DataError, match=r"test/cat/0\.png"):
        splits.test.open("final test")


def reachable(root: object) -> list[object]:
    """Everything that attributes, items and slots lead to, as a curious caller would go."""
    seen: dict[int, object] = {}
    queue = [root]
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, type | str | int | float | bytes):
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            queue += [*value.keys(), *value.values()]
        elif isinstance(value, tuple | list | set | frozenset):
            queue += list(value)
        elif type(value).__module__.startswith("layersearch"):
            queue += list(getattr(value, "__dict__", {}).values())
            slots = getattr(type(value), "__slots__", ())
            queue += [getattr(value, name) for name in slots if name != "__weakref__"]
            # What Python itself counts as held by the object.
            held = [v for v in gc.get_referents(value) if not isinstance(v, type)]
            queue += [v for v in held if not callable(v)]
    return list(seen.values())

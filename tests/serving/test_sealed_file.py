import json
import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from layersearch.errors import TaskError
from layersearch.serving import load_task, save_task
from layersearch.serving.sealed_file import read_sealed, write_sealed
from layersearch.serving.task import HEAD
from tests.disks import fill

TENSORS = {"layer.weight": torch.arange(12.0).view(3, 4), "head.bias": torch.tensor([1.0, -2.0])}
DESCRIPTION = {"classes": ["ä", 'a "quoted" one', '"sha256":"' + "0" * 64 + '"'], "x": 1.5}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    return write_sealed(tmp_path_factory.mktemp("sealed") / "t.safetensors", TENSORS, DESCRIPTION)


def test_what_is_sealed_is_read_again(sealed):
    tensors, description = read_sealed(sealed)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert description == DESCRIPTION


def test_a_header_of_any_length_is_read(tmp_path):
    """The file begins with that length, whose first byte may look like that of a pickle."""
    first_bytes = set()
    for length in range(0, 256, 8):
        path = write_sealed(tmp_path / "t", TENSORS, {"text": "x" * length})
        assert read_sealed(path)[1] == {"text": "x" * length}
        first_bytes.add(path.read_bytes()[0])
    assert 0x80 in first_bytes


def test_every_byte_of_a_file_is_guarded(sealed, tmp_path):
    content = sealed.read_bytes()
    path = tmp_path / "t.safetensors"
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(TaskError, match=r"t\.safetensors"):
            read_sealed(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_other_bytes_anywhere_are_found(sealed, tmp_path, data):
    content = bytearray(sealed.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(min_size=1, max_size=8))
    before = bytes(content)
    content[start : start + len(new)] = new
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    if bytes(content) != before:
        with pytest.raises(TaskError):
            read_sealed(path)


def test_a_file_cut_anywhere_is_refused(sealed, tmp_path):
    content = sealed.read_bytes()
    path = tmp_path / "t.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(TaskError, match=r"t\.safetensors: is"):
            read_sealed(path)


def test_a_file_cut_in_its_tensors_says_how_much_is_left(sealed, tmp_path):
    content = sealed.read_bytes()
    path = tmp_path / "t.safetensors"
    path.write_bytes(content[:-5])
    with pytest.raises(TaskError, match=rf"cut short \({len(content) - 5} of {len(content)} bytes"):
        read_sealed(path)


def test_bytes_added_at_the_end_are_found(sealed, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(sealed.read_bytes() + b"\0")
    with pytest.raises(TaskError, match="damaged"):
        read_sealed(path)


class Hostile:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", ["pickle", "torch", "torch_legacy", "zip"])
def test_pickled_code_is_refused_and_never_run(tmp_path, write):
    path, trace = tmp_path / "t.safetensors", tmp_path / "trace"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Hostile(trace)))
    elif write == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(Hostile(trace)))
    else:
        zipped = write == "torch"
        torch.save({"w": Hostile(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(TaskError, match=r"holds pickled objects.*refused"):
        load_task(path)
    assert not trace.exists()


def test_other_safetensors_files_are_no_tasks(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(TENSORS, path)
    with pytest.raises(TaskError, match="is a file of tensors, but not one that layersearch wrote"):
        load_task(path)
    save_file(TENSORS, path, metadata={"format": "pt"})
    with pytest.raises(TaskError, match="is no saved task"):
        load_task(path)


def test_a_later_format_is_refused_by_its_number(tmp_path):
    path = tmp_path / "t.safetensors"
    save_file(TENSORS, path, metadata={"format": "layersearch.task", "version": "2"})
    with pytest.raises(TaskError, match=r"saved task of format '2'.*reads format '1'"):
        load_task(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        bytes(100),
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (20).to_bytes(8, "little") + b'{"__metadata__":1}  ',
        (26).to_bytes(8, "little") + b'{"__metadata__":{},"a": 1}',
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"t\.safetensors: is"):
        read_sealed(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(TaskError, match="none: cannot be read"):
        load_task(tmp_path / "none")


def test_a_sealed_file_with_another_description_is_refused(tmp_path):
    path = write_sealed(tmp_path / "t.safetensors", TENSORS, {"classes": ["a"]})
    with pytest.raises(TaskError, match=r"description cannot be read \(KeyError\('backbone'\)\)"):
        load_task(path)


def test_a_disk_that_fills_up_leaves_the_previous_task(tuned, tmp_path, full_disk):
    path = tmp_path / "t.safetensors"
    save_task(path, tensors=tuned.tensors, description=tuned.description)
    before = path.read_bytes()
    other = {name: tensor + 1 for name, tensor in tuned.tensors.items()}
    with full_disk(), pytest.raises(TaskError, match=r"cannot be written.*is as it was"):
        save_task(path, tensors=other, description=tuned.description)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    load_task(path)


def test_on_a_full_disk_the_previous_task_stays(tuned, small_disk):
    path = small_disk / "t.safetensors"
    save_task(path, tensors=tuned.tensors, description=tuned.description)
    before = path.read_bytes()
    filler = fill(small_disk)
    other = {name: tensor + 1 for name, tensor in tuned.tensors.items()}
    with pytest.raises(TaskError, match=r"t\.safetensors: cannot be written.*free space there"):
        save_task(path, tensors=other, description=tuned.description)
    assert path.read_bytes() == before
    filler.unlink()
    assert list(small_disk.iterdir()) == [path]
    save_task(path, tensors=other, description=tuned.description)
    assert all(torch.equal(load_task(path).head[n], other[HEAD + n]) for n in load_task(path).head)


def test_the_description_can_be_read_without_layersearch(tuned, tmp_path):
    path = tmp_path / "t.safetensors"
    save_task(path, tensors=tuned.tensors, description=tuned.description)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    description = json.loads(header["__metadata__"]["description"])
    assert description["subset"] == ["layer2.0"]
    assert description["classes"] == ["ant", "bee", "cat"]

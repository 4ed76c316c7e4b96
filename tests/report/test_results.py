import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import LayersearchError
from layersearch.report import load_result, write_result
from layersearch.space.subset import Subset
from tests.disks import fill


def test_what_is_written_is_read_again(result, tmp_path):
    path = write_result(tmp_path / "runs" / "mine" / "result.json", result)
    assert load_result(path) == {"format": 1, **result}


def test_numbers_that_are_not_finite_become_null_and_the_file_stays_json(result, tmp_path):
    result["score"] = {"mean": 0.5, "stderr": math.nan}
    result["cost"]["flops"] = math.inf
    path = write_result(tmp_path / "result.json", result)
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict["score"]["stderr"] is None
    assert strict["cost"]["flops"] is None


def test_subsets_paths_and_numpy_numbers_are_written_plainly(result, tmp_path):
    result["subset"] = Subset(["layer1.0"])
    result["task"] = tmp_path / "task.safetensors"
    result["score"] = {"mean": np.float32(0.5), "stderr": np.float64("nan")}
    read = load_result(write_result(tmp_path / "result.json", result))
    assert read["subset"] == ["layer1.0"]
    assert read["task"] == str(tmp_path / "task.safetensors")
    assert read["score"] == {"mean": 0.5, "stderr": None}


def test_a_result_without_its_fields_is_refused_before_anything_is_written(result, tmp_path):
    del result["score"], result["cost"]
    with pytest.raises(LayersearchError, match="needs score, cost"):
        write_result(tmp_path / "result.json", result)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_json_is_refused_by_its_place_and_the_previous_file_stays(result, tmp_path):
    path = write_result(tmp_path / "result.json", result)
    before = path.read_bytes()
    result["config"] = {"recipe": [1, object()]}
    with pytest.raises(LayersearchError, match=r"result.config.recipe\[1\]: is no JSON value"):
        write_result(path, result)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_one_clear_error(result, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LayersearchError, match="cannot be written"):
        write_result(tmp_path / "file" / "result.json", result)


@given(share=st.floats(0, 0.99))
def test_a_file_cut_short_is_refused_by_name(share, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "result.json"
    whole = {"study": "s", "strategy": "t", "subset": [], "score": {}, "cost": {}}
    content = write_result(path, whole).read_bytes().rstrip()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(LayersearchError, match=r"result\.json: is no JSON, or is cut short"):
        load_result(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "is no result"),
        ('{"study": "x"}', "without strategy, subset, score, cost"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_other_files_are_no_results(tmp_path, content, reason):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(LayersearchError, match=reason):
        load_result(path)


def test_a_missing_file_and_a_later_format_are_refused(result, tmp_path):
    with pytest.raises(LayersearchError, match="cannot be read"):
        load_result(tmp_path / "none.json")
    path = write_result(tmp_path / "result.json", {**result, "format": 2})
    with pytest.raises(LayersearchError, match="has format 2"):
        load_result(path)


def test_on_a_full_disk_the_previous_result_stays(result, small_disk):
    path = write_result(small_disk / "result.json", result)
    before = path.read_bytes()
    fill(small_disk)
    with pytest.raises(LayersearchError, match=r"result\.json: cannot be written.*free space"):
        write_result(path, {**result, "ending": "other"})
    assert path.read_bytes() == before
    assert sorted(file.name for file in small_disk.iterdir()) == ["filler", "result.json"]

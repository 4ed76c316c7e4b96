import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.errors import StudyError
from layersearch.study import check_study_name, open_study


@pytest.mark.parametrize("name", ["digits", "a", "resnet-20 try.2", "größe_1", "lr=1e-3", "a@b+c"])
def test_ordinary_names_are_kept(name):
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..",
        ".",
        ".hidden",
        "a/b",
        "a\\b",
        "/etc",
        "",
        "   ",
        "a\x00b",
        "a\nb",
        "a\x1b[31mb",
        "a\u202eb",  # turns the text that follows around
        "a\ud800",
        "-rf",
        "a.",
        "a ",
        "x" * 101,
        "ж" * 101,
        "[red]a",
        "a'; DROP TABLE studies; --",
        "$(reboot)",
        "~root",
        "C:evil",
    ],
)
def test_hostile_names_are_refused_before_anything_is_made(name, tmp_path):
    with pytest.raises(StudyError, match=r"^study\.name: ") as caught:
        open_study(name, directory=tmp_path)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=120))
def test_a_name_that_is_allowed_is_one_folder_and_one_line(name):
    try:
        check_study_name(name)
    except StudyError:
        return
    assert "/" not in name
    assert ".." not in name
    assert name.isprintable()
    assert name == name.strip()
    assert len(name.encode()) <= 200

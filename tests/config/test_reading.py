"""Reading YAML: numbers as people write them, mistakes at their line, nothing executed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersearch.config.reading import read_document, read_value
from layersearch.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E4", 1e4),
        ("-2.5e+3", -2.5e3),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("true", True),
        ("null", None),
        ("", None),
        ("e3", "e3"),
        ("cuda:0", "cuda:0"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("[1, b]", [1, "b"]),
        ("{low: 1e-4}", {"low": 1e-4}),
    ],
)
def test_values_mean_what_they_look_like(text: str, value: object) -> None:
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_prints_is_read_as_that_number(number: float) -> None:
    assert read_value(repr(number)) == number


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "search.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_document(file)
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; a search needs at least backbone and data"),
        ("# nothing\n", "is empty"),
        ("- a\n- b\n", "must be a mapping of sections, got a list"),
        ("resnet50", "must be a mapping of sections, got text"),
        ("a: 1\nb: [2\nc: 3\n", "is not YAML: line 3"),
        ("a:\n\tb: 1\n", "line 2, column 1: a tab, where YAML wants spaces"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is already in line 1"),
        ("a: {b: 1, b: 2}\n", "line 1, column 11: the key 'b' is already in line 1"),
        ("[1, 2]: 3\n", "a key must be text"),
        ("a: &x [*x]\n", "stands for more than 100000 values"),
    ],
)
def test_what_is_no_description_is_refused_at_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    assert words in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['echo']", "!!python/name:os.system", "!include x"]
)
def test_tags_that_run_or_load_something_are_refused(tmp_path: Path, tag: str) -> None:
    text = refusal(tmp_path, f"seed: 0\nbackbone: {tag}\n")
    assert "line 2, column 11: the tag" in text
    assert "plain values only" in text


def test_aliases_that_blow_up_are_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "use fewer aliases" in refusal(tmp_path, "\n".join(rows))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "nested too deeply" in refusal(tmp_path, "a: " + "[" * 50_000)


def test_a_merge_key_is_no_repeated_key() -> None:
    assert read_value("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
    }


def test_a_file_that_is_not_there_is_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("seed: 0")
    with pytest.raises(ConfigError, match=r"does not exist; did you mean '.*digits\.yaml'\?"):
        read_document(tmp_path / "digts.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_document(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_document(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"a: \x07")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_document(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="is larger than 1000 kB"):
        read_document(tmp_path / "x.yaml")


def complaint(text: str) -> str | None:
    """Why a text is refused, if it is."""
    try:
        read_value(text)
    except ValueError as error:
        return str(error)
    return None


@given(st.text(max_size=60))
def test_whatever_the_text_only_a_value_or_one_kind_of_error_comes_out(text: str) -> None:
    assert complaint(text) != ""

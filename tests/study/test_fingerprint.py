import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from layersearch.errors import FingerprintError, StudyError
from layersearch.study import open_study, stored_fingerprint

STORAGE = InMemoryStorage()
BEFORE = {
    "backbone": {"name": "resnet20", "weights_hash": "ab12"},
    "recipe": {"epochs": 5, "lr": 1e-3, "head": {"depth": 1}},
    "space": ["layer1.0", "layer1.1"],
}


def changed(section, **fields):
    return {**BEFORE, section: {**BEFORE[section], **fields}}


def test_the_same_fingerprint_goes_on(tmp_path):
    for fingerprint in (BEFORE, {key: BEFORE[key] for key in reversed(BEFORE)}):
        with open_study("a", directory=tmp_path, fingerprint=fingerprint) as opened:
            assert stored_fingerprint(opened.study) == BEFORE


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (changed("recipe", epochs=8), "recipe.epochs: was 5, is now 8"),
        (changed("recipe", head={"depth": 2}), "recipe.head.depth: was 1, is now 2"),
        (changed("backbone", weights_hash="cd"), 'backbone.weights_hash: was "ab12", is now "cd"'),
        (changed("recipe", clip=1), "recipe.clip: was absent, is now 1"),
        ({**BEFORE, "space": ["layer1.0", "x"]}, 'space[1]: was "layer1.1", is now "x"'),
        ({**BEFORE, "space": ["layer1.0"]}, 'space: was ["layer1.0", "layer1.1"], is now'),
        ({**BEFORE, "data": {"hash": 1}}, 'data: was absent, is now {"hash": 1}'),
        ({"recipe": BEFORE["recipe"], "space": BEFORE["space"]}, "backbone: was {"),
    ],
)
def test_another_fingerprint_is_refused_and_says_what_changed(tmp_path, after, said):
    open_study("a", directory=tmp_path, fingerprint=BEFORE).close()
    with pytest.raises(FingerprintError) as caught:
        open_study("a", directory=tmp_path, fingerprint=after)
    text = str(caught.value)
    assert said in text
    assert text.count(" was ") - text.count("study 'a' was") == 1
    assert "another study.name" in text


def test_a_refused_driver_lets_go_of_the_study(tmp_path):
    open_study("a", directory=tmp_path, fingerprint=BEFORE).close()
    with pytest.raises(FingerprintError):
        open_study("a", directory=tmp_path, fingerprint={"x": 1})
    open_study("a", directory=tmp_path, fingerprint=BEFORE).close()


def test_a_study_of_unknown_origin_with_trials_is_refused(tmp_path):
    with open_study("a", directory=tmp_path) as opened:
        opened.study.tell(opened.study.ask(), 1.0)
    with pytest.raises(FingerprintError, match="does not say what made them"):
        open_study("a", directory=tmp_path, fingerprint=BEFORE)


def test_a_study_with_another_direction_is_refused(tmp_path):
    open_study("a", directory=tmp_path).close()
    with pytest.raises(
        StudyError, match=r"objective\.direction: .* made to maximize, not to minimize"
    ):
        open_study("a", directory=tmp_path, directions=("minimize",))


def test_many_changes_are_cut_short(tmp_path):
    open_study("a", directory=tmp_path, fingerprint={"r": dict.fromkeys("abcdefghijkl", 1)}).close()
    with pytest.raises(FingerprintError, match="and 4 more"):
        open_study("a", directory=tmp_path, fingerprint={"r": dict.fromkeys("abcdefghijkl", 2)})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), values, max_size=3))
def test_any_description_equals_itself(fingerprint):
    for _ in range(2):
        open_study("a", storage=STORAGE, fingerprint=fingerprint).close()
    STORAGE.delete_study(STORAGE.get_study_id_from_name("a"))

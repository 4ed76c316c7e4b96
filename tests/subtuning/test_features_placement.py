"""Which blocks make room for which."""

from hypothesis import given
from hypothesis import strategies as st

from layersearch.subtuning.features.placement import Resident, Wish, victims

RESIDENTS = st.lists(
    st.builds(
        Resident,
        name=st.tuples(st.integers(0, 9), st.integers(-1, 5)),
        nbytes=st.integers(1, 100),
        saved=st.floats(0.0, 10.0),
        last_used=st.integers(0, 20),
    ),
    unique_by=lambda resident: resident.name,
    max_size=12,
)
WISHES = st.builds(
    Wish, since=st.integers(0, 20), uses=st.floats(0.0, 9.0), evictions=st.integers(0, 4)
)


def resident(*, nbytes=10, saved=1.0, last_used=5, cut=0):
    return Resident(name=(cut, 0), nbytes=nbytes, saved=saved, last_used=last_used)


@given(
    nbytes=st.integers(1, 200),
    saved=st.floats(0.0, 10.0),
    free=st.integers(0, 200),
    wish=WISHES,
    residents=RESIDENTS,
)
def test_what_goes_makes_enough_room_and_is_idle_or_worth_less(
    nbytes, saved, free, wish, residents
):
    chosen = victims(nbytes=nbytes, saved=saved, free=free, wish=wish, residents=residents)
    if chosen is None:
        return
    names = [each.name for each in chosen]
    assert len(set(names)) == len(names)
    assert free + sum(each.nbytes for each in chosen) >= nbytes
    for each in chosen:
        idle = wish.ripe and each.last_used < wish.since
        assert idle or (not wish.evictions and saved / nbytes > each.saved / each.nbytes)
    if nbytes <= free:
        assert chosen == []


def test_an_equal_block_does_not_push_out_one_in_use():
    wish = Wish(since=3, uses=100.0)
    assert (
        victims(nbytes=10, saved=1.0, free=0, wish=wish, residents=[resident(last_used=4)]) is None
    )


def test_the_least_valuable_of_the_idle_goes_first():
    poor, rich = resident(saved=0.5, cut=1), resident(saved=2.0, cut=2)
    wish = Wish(since=9, uses=1.0)
    assert victims(nbytes=10, saved=1.0, free=0, wish=wish, residents=[rich, poor]) == [poor]


def test_a_block_that_saves_clearly_more_a_byte_pushes_out_one_in_use():
    assert victims(
        nbytes=10, saved=9.0, free=0, wish=Wish(since=0), residents=[resident(last_used=9)]
    ) == [resident(last_used=9)]


def test_a_block_that_was_given_up_waits_longer_each_time():
    idle = resident(last_used=0)
    for evictions in range(5):
        wish = Wish(since=1, uses=2.0**evictions - 0.5, evictions=evictions)
        assert victims(nbytes=10, saved=99.0, free=0, wish=wish, residents=[idle]) is None or (
            evictions == 0
        )
        wish.uses = 2.0**evictions
        assert victims(nbytes=10, saved=99.0, free=0, wish=wish, residents=[idle]) == [idle]


def test_many_weaker_blocks_do_not_go_for_one_that_saves_less_than_they_together():
    small = [resident(nbytes=10, saved=1.0, cut=cut, last_used=9) for cut in range(10)]
    wish = Wish(since=0)
    assert victims(nbytes=100, saved=12.0, free=0, wish=wish, residents=small) is None

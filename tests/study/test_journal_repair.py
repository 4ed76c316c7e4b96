import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from layersearch.study.journal_repair import looks_whole, mended

PATH = Path("study.log")
# Texts within records may look like the beginning of one.
texts = st.one_of(st.text(max_size=20), st.just('{"op_code":2,'), st.just('x{"op_code":5}'))
records = st.builds(
    lambda op, text: {"op_code": op, "worker_id": "w", "text": text}, st.integers(0, 9), texts
)


def written(logs):
    return b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)


@given(st.lists(records, max_size=6))
def test_what_is_whole_stays_as_it_is(logs):
    data = written(logs)
    assert mended(data, PATH) == (data, [])


@given(st.lists(records, max_size=4), records, st.data())
def test_what_was_torn_at_the_end_goes(logs, last, data):
    line = written([last])
    cut = data.draw(st.integers(1, len(line) - 2))
    torn = written(logs) + line[:cut]
    assert not looks_whole(torn)
    whole, notes = mended(torn, PATH)
    assert whole == written(logs)
    assert len(notes) == 1


@given(st.lists(records, max_size=4), records, st.lists(records, min_size=1, max_size=4), st.data())
def test_records_appended_to_a_torn_line_stay(before, torn, after, data):
    line = written([torn])
    cut = data.draw(st.integers(1, len(line) - 2))
    whole, notes = mended(written(before) + line[:cut] + written(after), PATH)
    assert whole == written(before) + written(after)
    assert len(notes) == 1


@given(st.lists(records, max_size=3), records)
def test_a_record_that_lacks_only_its_end_of_line_stays(logs, last):
    whole, notes = mended(written([*logs, last])[:-1], PATH)
    assert whole == written([*logs, last])
    assert len(notes) == 1

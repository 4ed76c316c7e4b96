"""Nothing that a study holds becomes markup."""

import copy
import re

import pytest
from optuna.trial import TrialState

from layersearch.report.page.rendering import clean
from tests.report.page.made import RESULT, greedy_trials, study, trial

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title></pre></textarea><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "a" * 500,
    "\u202egnp.exe",
    "nul\x00bell\x07escape\x1b[31m",
    "%s$\\alpha$^{2}",
]
ALLOWED = {
    "a", "bdi", "body", "caption", "details", "div", "figcaption", "figure", "footer", "h1", "h2",
    "head", "header", "html", "img", "li", "link", "main", "meta", "nav", "p", "picture", "pre",
    "section", "source", "style", "summary", "table", "tbody", "td", "th", "thead", "title", "tr",
    "ul",
}  # fmt: skip


@pytest.fixture
def hostile_page(page):
    units = HOSTILE
    everywhere = "<b onclick=alert(1)>{x}</b><script>alert(2)</script>"
    trials = [
        trial((), units=units),
        *(trial([unit], units=units) for unit in units),
        *(trial([units[0], unit], units=units) for unit in units[1:]),
        trial(units[:3], state=TrialState.FAIL, reason=everywhere,
              failure=everywhere + "\n" + everywhere),
        trial(units[:2], state=TrialState.PRUNED, epochs=3, reason=everywhere),
        trial(units[:4], added_latency_ms=2.0),
    ]  # fmt: skip
    made = study(trials, units=units, name="hostile study", metric=everywhere)
    made.set_user_attr(everywhere, everywhere)
    described = dict(made.user_attrs["search"])
    described["versions"] = {everywhere: everywhere}
    described["config"] = {"strategy": {"name": "greedy"}, everywhere: everywhere}
    made.set_user_attr("search", described)
    result = {
        **copy.deepcopy(RESULT),
        "subset": [units[0]],
        "study": everywhere,
        "ending": everywhere,
        "failed_baselines": {everywhere: everywhere},
        "config": described["config"],
    }
    return page(made, result)


def test_only_our_own_elements_are_in_the_page(hostile_page):
    assert hostile_page.tags <= ALLOWED
    for _, attrs in hostile_page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        assert "javascript:" not in (attrs.get("href") or "")
        assert "javascript:" not in (attrs.get("src") or "")


def test_what_was_said_is_shown_as_text(hostile_page):
    assert "<script>alert(1)</script>" in hostile_page.text
    assert "{{ 7 * 7 }}" in hostile_page.text
    assert "<b onclick=alert(1)>" in hostile_page.text


def test_characters_that_deceive_the_eye_are_replaced(hostile_page):
    assert "\u202e" not in hostile_page.html
    assert "\x1b" not in hostile_page.html
    assert "\x00" not in hostile_page.html
    assert clean("a\u202eb\x00") == "a\ufffdb\ufffd"
    assert clean("ordinary\ttext\nof two lines") == "ordinary\ttext\nof two lines"


def test_a_policy_forbids_scripts_and_requests(hostile_page):
    policies = [
        attrs["content"]
        for tag, attrs in hostile_page.elements
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[\w+/=]+'; base-uri 'none'; "
        r"form-action 'none'",
        policies[0],
    )
    assert not [attrs for _, attrs in hostile_page.elements if "style" in attrs]


def test_figures_hold_no_markup_of_others(hostile_page):
    for path in (hostile_page.path.parent / "figures").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "onerror=" not in re.sub(r">[^<]*<", "><", text)


def test_greedy_is_hostile_too(page):
    written = page(study(greedy_trials(reason="<script>")))
    assert "script" not in written.tags

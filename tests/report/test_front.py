from layersearch.report.front import SHOWN, value_text
from layersearch.report.summary import plain_summary

METRICS = [
    {"name": "accuracy", "direction": "maximize"},
    {"name": "trainable_parameters", "direction": "minimize"},
]


def result(members, choose="best"):
    chosen = next(member for member in members if member["chosen"])
    return {
        "study": "s",
        "strategy": "nsga2",
        "metric": METRICS[0],
        "metrics": METRICS,
        "subset": chosen["subset"],
        "score": {"mean": chosen["values"]["accuracy"], "stderr": 0.01},
        "values": chosen["values"],
        "choose": choose,
        "front": members,
        "front_of": 40,
        "cost": {},
    }


def member(number, *, chosen=False):
    return {
        "subset": [f"layer{number}"] if number else [],
        "values": {"accuracy": 0.8 + number / 1000, "trainable_parameters": 4_672.0 * number},
        "stderrs": {"accuracy": 0.012, "trainable_parameters": None},
        "chosen": chosen,
    }


def test_the_front_shows_values_in_their_units_and_marks_what_was_taken():
    text = plain_summary(result([member(2, chosen=True), member(1), member(0)]))
    assert "3 of 40 subsets are on the Pareto front of accuracy (maximized) and trainable" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["*", "{layer2}", "80.2", "±", "1.2%", "9.34", "k"] in lines
    assert ["the", "head", "alone", "80.0", "±", "1.2%", "0"] in lines
    assert "* taken: the best accuracy; take another by" in text


def test_a_long_front_is_cut_but_not_what_was_taken():
    members = [member(n) for n in range(30, 0, -1)]
    members[-1]["chosen"] = True
    text = plain_summary(result(members, choose="knee"))
    assert f"… and {30 - SHOWN} more in result.json" in text
    assert "{layer30}" in text
    assert "* {layer1} " in text.replace("   ", " ")
    assert "{layer15}" not in text
    assert "taken: the nearest to the best of all values at once" in text
    named = plain_summary(result(members, choose=["layer1"]))
    assert "taken: as objective.choose says" in named


def test_each_kind_of_value_has_its_words():
    assert value_text("latency_ms", 1.23456) == "1.23 ms"
    assert value_text("task_bytes", 318_536.0) == "319 kB"
    assert value_text("macro_f1", 0.8931, 0.012) == "89.3 ± 1.2%"
    assert value_text("log_loss", 0.41239) == "0.4124"

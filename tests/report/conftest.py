import copy

import pytest

RESULT = {
    "study": "resnet20_cifar10_jpeg",
    "strategy": "greedy",
    "subset": ["layer1.1", "layer2.0"],
    "score": {"mean": 0.893, "stderr": 0.0097},
    "parameters": {"tuned": 18432, "total": 272474},
    "test": {
        "chosen": {"mean": 0.890, "stderr": 0.001, "seeds": 3, "scores": [0.889, 0.890, 0.891]},
        "linear_probe": {
            "mean": 0.876,
            "stderr": 0.001,
            "seeds": 3,
            "scores": [0.8752, 0.8760, 0.8768],
        },
        "full_finetune": {
            "mean": 0.862,
            "stderr": 0.002,
            "seeds": 3,
            "scores": [0.860, 0.862, 0.864],
        },
        "lp_ft": {"mean": 0.8895, "stderr": 0.001, "seeds": 3, "scores": [0.890, 0.888, 0.8905]},
    },
    "cost": {"trainings": 23, "epochs": 575, "flops": 1.24e15, "seconds": 200.0},
    "cost_of_full_finetune": {"trainings": 1, "epochs": 5, "flops": 3e13, "seconds": 17.0},
    "rounds": [
        {"subset": [], "score": 0.87, "stderr": 0.01},
        {"subset": ["layer1.1"], "score": 0.89, "stderr": 0.01, "gain": 0.02},
        {"subset": ["layer1.1", "layer2.0"], "score": 0.893, "stderr": 0.01, "gain": 0.003},
        {
            "subset": ["layer1.1", "layer2.0", "layer3.0"],
            "score": 0.8935,
            "stderr": 0.01,
            "gain": 0.0005,
            "accepted": False,
        },
    ],
}


@pytest.fixture
def result():
    return copy.deepcopy(RESULT)

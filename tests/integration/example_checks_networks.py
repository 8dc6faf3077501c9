"""What the examples about networks and their explanation print."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

NUMBER = r"([+-]?\d+\.\d+)"
WITH_ERROR = rf"{NUMBER} ± (\d+\.\d+)"


def rows(pattern: str, printed: str) -> dict[str, list[float]]:
    """Return the numbers of each line that consists of a name and this pattern."""
    found = re.findall(rf"^(\S.*?) +{pattern}$", printed, re.MULTILINE)
    return {name: [float(number) for number in numbers] for name, *numbers in found}


def check_picture(folder: Path, name: str) -> None:
    """The example writes its picture and nothing else."""
    assert [file.name for file in folder.iterdir()] == [f"{name}.png"]
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def check_images_momentum(printed: str, folder: Path) -> None:
    """Momentum is no worse in tiny batches, and nothing beats the true hazard ratio."""
    scores = rows(rf"{NUMBER} +{NUMBER} +{WITH_ERROR}", printed)
    assert scores.keys() == {"2", "4", "16"}
    [limit] = re.findall(rf"the digit itself: {NUMBER}", printed)
    for size, (without, with_momentum, difference, error) in scores.items():
        assert 0.6 < without < float(limit), size
        assert 0.6 < with_momentum < float(limit), size
        assert abs(with_momentum - without - difference) < 0.0011, size
        assert error > 0, size
    assert scores["2"][2] > 0
    assert scores["16"][0] > scores["4"][1] > scores["2"][0]
    check_picture(folder, "plot_images_momentum")


def check_explain(printed: str, folder: Path) -> None:
    """Only the network uses creatinine, and it finds the lowest hazard inside the range."""
    losses = rows(rf"{WITH_ERROR} +{WITH_ERROR}", printed)
    linear, network = ({name: row[k] for name, row in losses.items()} for k in (0, 2))
    assert max(network, key=network.__getitem__) == max(linear, key=linear.__getitem__) == "age"
    assert network["creatinine"] > 0.003 > linear["creatinine"]
    for model in (linear, network):
        assert model["kappa and lambda"] > model["kappa"] + model["lambda"]
    along = rows(rf"{NUMBER} +{NUMBER} +{NUMBER} +{NUMBER}", printed)
    assert min(along["network"]) == along["network"][1] == along["linear"][1] == 0
    assert along["linear"] == sorted(along["linear"], reverse=True)
    difference, error = re.findall(
        rf"difference {NUMBER}, bootstrap standard error {NUMBER}", printed
    )[0]
    assert float(difference) > 2 * float(error) > 0
    check_shap(printed)
    check_picture(folder, "plot_explain")


def check_shap(printed: str) -> None:
    """The summands add up to the prediction, where the package is there."""
    if "SHAP values are left out" in printed:
        return
    table = printed[printed.index("one person") :]
    values = [float(summand) for summand in re.findall(rf" [\d.]+ +{NUMBER}$", table, re.MULTILINE)]
    [total] = re.findall(rf"^sum +{NUMBER}$", table, re.MULTILINE)
    [expected] = re.findall(rf"mean of 200 others: {NUMBER}$", table, re.MULTILINE)
    assert total == expected
    assert len(values) == 7
    assert abs(sum(values) - float(total)) < 0.05


def check_stacking(printed: str, folder: Path) -> None:
    """In-sample scores give the forest all of the weight, out-of-fold scores share it."""
    weights = rows(rf"{WITH_ERROR} +{WITH_ERROR}", printed)
    assert weights["in-sample scores"][0] < 0 < weights["out-of-fold scores"][0]
    assert weights["in-sample scores"][2] > weights["out-of-fold scores"][2] > 0
    less_forest = rows(rf"{NUMBER} +{WITH_ERROR}", printed)
    concordance = {name: row[0] for name, row in less_forest.items()}
    concordance |= {name: row[0] for name, row in rows(rf"{NUMBER} *", printed).items()}
    assert concordance.keys() >= {"network", "forest", "Stacking, in-sample", "mean of both"}
    assert concordance["stacked, out-of-fold"] > concordance["network"]
    _, difference, error = less_forest["stacked, out-of-fold"]
    assert abs(difference) < 2 * error
    check_picture(folder, "plot_stacking")


def check_own_skorch_net(printed: str, folder: Path) -> None:
    """The three ways agree, and predicted survival falls from group to group as observed."""
    scores = {name: row[0] for name, row in rows(rf"{NUMBER} +{NUMBER}", printed).items()}
    ways = [scores[name] for name in ("NeuralNet", "SurvivalNet", "CoxNNRegressor")]
    assert min(ways) > 0.77
    assert max(ways) - min(ways) < 0.01
    assert 0.77 < scores["built-in network"] < 1
    survival = rows(rf"{NUMBER} +{NUMBER} \({NUMBER} to {NUMBER}\)", printed)
    predicted = [survival[f"group {k}"][0] for k in (1, 5, 10)]
    assert 1 > predicted[0] > predicted[1] > predicted[2] > 0
    for group, (value, estimate, lower, upper) in survival.items():
        assert lower < estimate < upper, group
        assert abs(value - estimate) < 0.15, group
    check_picture(folder, "plot_own_skorch_net")


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "plot_images_momentum": check_images_momentum,
    "plot_explain": check_explain,
    "plot_stacking": check_stacking,
    "plot_own_skorch_net": check_own_skorch_net,
}

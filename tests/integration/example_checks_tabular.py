"""What the examples with tabular data have to print, for `test_examples`."""

import re
from collections.abc import Callable
from pathlib import Path

NUMBER = re.compile(r"-?\d+\.\d+")


def numbers(printed: str, row: str, *, after: str = "", occurrence: int = 0) -> list[float]:
    """Return the decimal numbers behind a name at the start of a line, below a heading."""
    assert after in printed, after
    part = printed[printed.index(after) :]
    lines = [line for line in part.splitlines() if line.startswith(row)]
    return [float(number) for number in NUMBER.findall(lines[occurrence].removeprefix(row))]


def check_picture(folder: Path, name: str) -> None:
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in folder.iterdir()} == {f"{name}.png"}


def check_tuning(printed: str, folder: Path) -> None:
    """The ranking scores bear with a penalty that the Brier score does not."""
    rows = [line for line in printed.splitlines() if "*" in line and line != "* chosen"]
    assert all(row.startswith(("network, alpha=0.1 ", "network, alpha=1 ")) for row in rows)
    assert sum(row.count("*") for row in rows) == 3
    name, heading = "network, alpha=1000", "difference to chosen"
    concordance, error, auc, auc_error, brier, brier_error = numbers(printed, name, after=heading)
    assert -concordance < 2 * error
    assert -auc < 2 * auc_error
    assert brier > 3 * brier_error
    for row in ("linear", "network, alpha=1 "):
        concordance, auc, brier = numbers(printed, row, after="held out   ")
        assert concordance > 0.5 < auc
        assert brier < numbers(printed, "Kaplan-Meier", after="held out   ")[2]
    intervals = numbers(printed, "network, alpha=1 ", after="against the linear model")
    assert max(intervals[::2]) < 0 < min(intervals[1::2])
    check_picture(folder, "plot_tuning")


def check_weibull_calibration(printed: str, folder: Path) -> None:
    """Calibrated after the first year and at the median, and not for breast cancer."""
    heading = "survival of everybody at years"
    lower, upper = (numbers(printed, f"  {end} end", after=heading) for end in ("lower", "upper"))
    for shape in ("shared", "per_sample"):
        predicted = numbers(printed, shape, after=heading)
        assert predicted[0] > upper[0]
        assert predicted[1] > upper[1]
        for k in (2, 3, 4):
            assert lower[k] < predicted[k] < upper[k]
    for k in (0, 1):
        heading = "share dead by the quantile of"
        low = numbers(printed, "  lower end", after=heading, occurrence=k)
        high = numbers(printed, "  upper end", after=heading, occurrence=k)
        assert low[4] < 50 < high[4]
        assert low[0] > 2
    assert numbers(printed, "shared, of the dead (wrong)")[3] > 50
    heading = "recurrence-free at years"
    lower, upper = (numbers(printed, f"  {end} end", after=heading) for end in ("lower", "upper"))
    cox = numbers(printed, "Cox", after=heading)
    assert all(low < value < high for low, value, high in zip(lower, cox, upper, strict=True))
    for shape in ("shared", "per_sample"):
        predicted = numbers(printed, f"Weibull, {shape}", after=heading)
        assert predicted[0] < lower[0]
        assert predicted[2] > upper[2]
    check_picture(folder, "plot_weibull_calibration")


def check_ties_strata_entry(printed: str, folder: Path) -> None:
    """Efron's ties lose less to rounding; without entry the effect and the predictions are off."""
    exact = numbers(printed, "days        efron")[4]
    for unit in ("months", "years", "5 years"):
        efron, breslow = (numbers(printed, f"{unit:12}{ties}")[4] for ties in ("efron", "breslow"))
        assert breslow < efron <= exact
    with_entry = numbers(printed, "age, with entry")
    ignored = numbers(printed, "age, entry ignored")
    assert abs(with_entry[2] - exact) < 2 * with_entry[3]
    assert ignored[2] < with_entry[2] / 2
    heading = "survival over ten years"
    lower, upper = (numbers(printed, f"  {end} end", after=heading) for end in ("lower", "upper"))
    predicted = numbers(printed, "predicted, with entry", after=heading)
    assert all(low < value < high for low, value, high in zip(lower, predicted, upper, strict=True))
    too_high = numbers(printed, "predicted, entry ignored", after=heading)
    assert all(value > high for value, high in zip(too_high[:3], upper[:3], strict=True))
    check_picture(folder, "plot_ties_strata_entry")


def check_time_varying(printed: str, folder: Path) -> None:
    """Coefficients are R's; the naive analysis finds an effect that is not there."""
    for name in ("age", "year", "surgery", "transplant"):
        row = numbers(printed, name, after="(standard error)")
        assert row[2] == row[4], name
    naive = numbers(printed, "naive", after="hazard after a transplant")
    right = numbers(printed, "start-stop", after="hazard after a transplant")
    assert naive[2] < 0.5
    assert right[1] < 1 < right[2]
    assert "75.000 deaths expected, 75 observed" in printed
    check_picture(folder, "plot_time_varying")


def check_patient_band(printed: str, folder: Path) -> None:
    """What the prose says: both curves in the band, a narrower one, one woman outside, p-values."""
    heading = "survival at years"
    ensemble, lower, upper, linear = (
        [numbers(printed, row, after=heading, occurrence=k) for k in (0, 1)]
        for row in ("Ensemble", "  lower bound", "  upper bound", "Linear model")
    )
    for patient in (0, 1):
        for k in range(3):
            assert lower[patient][k] < ensemble[patient][k] < upper[patient][k]
            assert lower[patient][k] <= linear[patient][k] <= upper[patient][k]
    assert linear[0][2] - ensemble[0][2] > 0.15
    assert abs(ensemble[0][2] - ensemble[1][2]) < 0.08
    assert upper[1][2] - lower[1][2] < 0.7 * (upper[0][2] - lower[0][2])
    outside = printed.split("women, linear model outside")[1].splitlines()[0].split()
    assert all(int(count) <= 5 for count in outside)
    width = numbers(printed, "mean width of the band, %")
    assert width[0] < width[1] < width[2]
    assert re.search(r"level 0\.5: 1\.\d to inf years", printed)
    for name in ("Ensemble", "Linear model"):
        assert numbers(printed, name, after="p-value of D-calibration")[0] > 0.1
    check_picture(folder, "plot_patient_band")


def check_competing_risks(printed: str, folder: Path) -> None:
    """Incidences are calibrated where 1 - S is not; age raises hazards more than incidences."""
    heading = "concordance, held out"
    causes = ("Circulatory disease", "Cancer", "Other causes")
    circulatory, cancer, other = (numbers(printed, name, after=heading)[0] for name in causes)
    assert 0.55 < cancer < min(circulatory, other)
    heading = "a woman of 80, in ten years"
    rows = [numbers(printed, name, after=heading) for name in (*causes, "Alive")]
    probability, time = (sum(column) for column in zip(*rows, strict=True))
    assert abs(probability - 1) < 0.025  # each is rounded to two digits
    assert abs(time - 10) < 0.25
    heading = "circulatory death within ten years"
    predicted = numbers(printed, "incidence, predicted", after=heading)
    too_high = numbers(printed, "1 - S, predicted", after=heading)
    observed = numbers(printed, "incidence, observed", after=heading)
    assert max(abs(a - b) for a, b in zip(predicted, observed, strict=True)) < 0.03
    assert too_high[4] - observed[4] > 0.06
    assert abs(too_high[0] - predicted[0]) < 0.003
    heading = "people aged 80 or more"
    low, high = (numbers(printed, f"  {end} end", after=heading)[0] for end in ("lower", "upper"))
    estimate = numbers(printed, "Aalen-Johansen", after=heading)[0]
    assert low < numbers(printed, "incidence", after=heading)[0] < high
    # The 1 of the name of the row is no decimal number.
    assert numbers(printed, "1 - S", after=heading)[0] > max(high, 1.35 * estimate)
    heading = "relative to the age of 60"
    for name in causes:
        hazard = numbers(printed, f"{name}, hazard", after=heading)
        incidence = numbers(printed, f"{name}, incidence", after=heading)
        assert hazard == sorted(hazard)
        assert all(a < b for a, b in zip(incidence[1:], hazard[1:], strict=True))
        if name == "Cancer":
            assert incidence[4] < incidence[3]
    check_picture(folder, "plot_competing_risks")


def check_distributions(printed: str, folder: Path) -> None:
    """A hazard that falls later on is more likely, by both scores; all are calibrated."""
    rows = {
        name: numbers(printed, name) for name in ("Weibull", "Log-normal", "Log-logistic", "Cox")
    }
    for name in ("Log-normal", "Log-logistic"):
        density, halves, difference, error, p_value = rows[name]
        assert density > rows["Weibull"][0]
        assert halves > rows["Weibull"][1]
        assert difference > 1.5 * error > 0
        assert p_value > 0.05
    assert abs(rows["Cox"][1]) < 3
    check_picture(folder, "plot_distributions")


def check_interval_censoring(printed: str, folder: Path) -> None:
    """Intervals are nearly as good as the times; the middle of them and the visit are not."""
    heading = "mean error of survival"
    rows = {
        name: numbers(printed, name, after=heading)
        for name in ("True times", "Intervals", "Middle", "Visit")
    }
    worst = {name: max(row[:-1]) for name, row in rows.items()}
    assert worst["Intervals"] < 1.7 * worst["True times"]
    assert worst["Intervals"] < 0.04
    assert worst["Middle"] > 2 * worst["Intervals"]
    assert worst["Visit"] > 6 * worst["Intervals"]
    shapes = {name: row[-1] for name, row in rows.items()}
    assert abs(shapes["Intervals"] - 2) < 0.1
    assert shapes["Visit"] > 2.3
    check_picture(folder, "plot_interval_censoring")


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "plot_distributions": check_distributions,
    "plot_interval_censoring": check_interval_censoring,
    "plot_competing_risks": check_competing_risks,
    "plot_tuning": check_tuning,
    "plot_weibull_calibration": check_weibull_calibration,
    "plot_ties_strata_entry": check_ties_strata_entry,
    "plot_time_varying": check_time_varying,
    "plot_patient_band": check_patient_band,
}

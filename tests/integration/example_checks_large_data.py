"""What the example with data that are larger than memory has to print, for `test_examples`."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.example_checks_tabular import numbers


def check_larger_than_memory(printed: str, folder: Path) -> None:
    """The fits are as good as that of the array in memory, and take little of its memory."""
    _, in_memory, concordance = numbers(printed, "in memory")
    assert concordance > 0.7
    for kind in (".npy", "Parquet"):
        seconds, peak, same = numbers(printed, kind)
        assert seconds > 0
        assert peak < 0.7 * in_memory  # which holds the features once
        assert abs(same - concordance) < 0.01
    assert not list(folder.iterdir())


CHECKS: dict[str, Callable[[str, Path], None]] = {"larger_than_memory": check_larger_than_memory}

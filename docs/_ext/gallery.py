"""Order of the example gallery."""


def quickstart_first(file_name: str) -> tuple[bool, str]:
    """Return the sort key of an example."""
    return file_name != "quickstart.py", file_name

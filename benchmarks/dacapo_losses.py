"""Load the loss classes of an installed DaCapo without the rest of it, whose dependencies are many.

``pip install --no-deps dacapo-ml==0.3.5`` is enough; ``make`` does so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load() -> ModuleType:
    """Return ``dacapo.experiments.tasks.losses`` as a module of its own."""
    package = find_spec("dacapo")
    if package is None or not package.submodule_search_locations:
        raise ImportError(
            "The losses of DaCapo are missing: pip install --no-deps dacapo-ml==0.3.5"
        )
    folder = Path(package.submodule_search_locations[0], "experiments", "tasks", "losses")
    name = "dacapo_losses_only"
    spec = spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

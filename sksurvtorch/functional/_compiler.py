"""What torch.compile leaves out of its graphs.

The compiler has a numpy of its own, which lacks some methods, and where `astype` may share memory
with a tensor whose numbers numpy copies. So code that works with arrays is not handed to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SKIPPED: Any = None
try:
    _frames: Any = torch._C._dynamo.eval_frame
    _SKIPPED = _frames._FrameExecStrategy(_frames._FrameAction.SKIP, _frames._FrameAction.SKIP)
except AttributeError:  # of a torch that names them otherwise, where a direct call may be compiled
    pass


def left_out_of_graphs(function: _Function) -> _Function:
    """Let torch.compile run a function as it is, with all that it calls.

    It marks the function itself. ``torch.compiler.disable`` would wrap it, which costs time in
    every call, and import the compiler, which takes a second.

    Parameters
    ----------
    function : callable
        Written in Python, without another decorator.

    Returns
    -------
    callable
        The same function.
    """
    if _SKIPPED is not None:
        _frames.set_code_exec_strategy(function.__code__, _SKIPPED)  # where the user calls it
    function._torchdynamo_disable = True  # type: ignore[attr-defined]  # within compiled code
    function._torchdynamo_disable_msg = "it works with arrays"  # type: ignore[attr-defined]
    return function

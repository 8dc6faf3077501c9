"""The private names of other packages that sksurvtorch uses: an upgrade says here what has moved.

Private is a name with one leading underscore. Behaviour that is relied on, and that no page of
those packages describes, is in `test_unwritten_behaviour`.
"""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from pkgutil import resolve_name
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from sklearn.linear_model import LinearRegression
from skorch import NeuralNet
from skorch.hf import AccelerateMixin
from torch import nn

from tests.contract.private_names import foreign_uses, sources


class AcceleratedNet(AccelerateMixin, NeuralNet):
    """skorch's net that accelerate drives."""


def prepared():
    """An accelerator that has a network and an optimizer."""
    accelerator, network = Accelerator(cpu=True), nn.Linear(1, 1)
    accelerator.prepare(network, torch.optim.SGD(network.parameters()))
    return accelerator


#: How an instance is made, where the class does not tell.
MADE = {
    "accelerate:Accelerator()": prepared,
    "sklearn.base:BaseEstimator()": LinearRegression,
    "skorch.hf:AccelerateMixin()": lambda: SimpleNamespace(  # its own attributes alone
        **vars(AcceleratedNet(nn.Linear, nn.MSELoss, accelerator=Accelerator(cpu=True)))
    ),
    "skorch.net:NeuralNet()": lambda: NeuralNet(nn.Linear(1, 1), nn.MSELoss).initialize(),
    "torch.compiler:disable()": lambda: torch.compiler.disable(lambda: None, reason="why"),
    "torch:compile()": lambda: torch.compile(nn.Identity(), backend="eager"),
}


def equals(expected):
    """It is this value."""
    return lambda found: type(found) is type(expected) and found == expected


def takes(*names):
    """It has these parameters, no more and no less."""
    return lambda found: [*inspect.signature(found).parameters] == [*names]


def accepts(*args, **options):
    """It can be called like this."""
    return lambda found: bool(inspect.signature(found).bind(*args, **options))


def holds_one(found):
    """It is a list of one part, which can be taken out."""
    return isinstance(found, list) and len(found) == 1


SKIP = torch._C._dynamo.eval_frame._FrameAction.SKIP
WEIGHT_OPTIONS = {"dtype": float, "ensure_non_negative": True, "allow_all_zero_weights": True}
DEFAULT_CALLBACKS = ["epoch_timer", "train_loss", "valid_loss", "print_log"]

#: Owner, name, whether it is as it is used, what it is used for.
TABLE = [
    ("sklearn.utils.validation", "_check_sample_weight", accepts([1], [1], **WEIGHT_OPTIONS),
     "weights of fit and score"),
    ("sklearn.base:BaseEstimator()", "_get_param_names", lambda found: "positive" in found(),
     "names that a wrong parameter is near to"),
    ("torch.nn.modules.batchnorm", "_BatchNorm",
     lambda found: issubclass(nn.BatchNorm1d, found) and not issubclass(nn.LayerNorm, found),
     "networks that several processes have to synchronise"),
    ("torch:compile()", "_orig_mod", lambda found: type(found) is nn.Identity,
     "network that was compiled"),
    ("torch", "_C", lambda found: found._are_functorch_transforms_active() is False,
     "the transforms of torch.func that are active"),
    ("torch._C", "_are_functorch_transforms_active", lambda found: found() is False,
     "whether there are any"),
    ("torch._C", "_TorchDispatchModeKey", lambda found: hasattr(found, "PROXY"),
     "whether operations are recorded"),
    ("torch._C", "_get_dispatch_mode",
     lambda found: found(torch._C._TorchDispatchModeKey.PROXY) is None, "the same"),
    ("torch._C", "_functorch", lambda found: found.get_interpreter_stack() is None,
     "which there are, and tensors of several gradients"),
    ("torch._C", "_dynamo", lambda found: callable(found.eval_frame.set_code_exec_strategy),
     "functions that torch.compile leaves as they are"),
    ("torch._C._dynamo.eval_frame", "_FrameAction", lambda found: hasattr(found, "SKIP"),
     "the same"),
    ("torch._C._dynamo.eval_frame", "_FrameExecStrategy",
     lambda found: found(SKIP, SKIP).recursive_action == SKIP, "the same, with all they call"),
    ("torch.compiler:disable()", "_torchdynamo_disable", equals(True),
     "the same, where compiled code calls them"),
    ("torch.compiler:disable()", "_torchdynamo_disable_msg", equals("why"),
     "the same, with the reason"),
    ("skorch.net:NeuralNet()", "_modules", equals(["module"]), "parts to set the mode of"),
    ("skorch.net:NeuralNet()", "_criteria", equals(["criterion"]), "parts to set the mode of"),
    ("skorch.net:NeuralNet()", "_optimizers", equals(["optimizer"]), "parts to hand to accelerate"),
    ("skorch.net:NeuralNet()", "_current_init_context",
     lambda found: isinstance(found("module"), AbstractContextManager), "setting these parts"),
    ("skorch.net:NeuralNet()", "_default_callbacks",
     lambda found: [name for name, _ in found] == DEFAULT_CALLBACKS,
     "one callback is put before the last, which is replaced"),
    ("skorch.net:NeuralNet", "_set_training", takes("self", "training"), "overridden, and called"),
    ("skorch.net:NeuralNet", "_initialize_virtual_params", takes("self"), "a net handed parts"),
    ("skorch.net:NeuralNet", "_step_optimizer", takes("self", "step_fn"), "steps of L-BFGS"),
    ("skorch.net:NeuralNet", "_validate_params", takes("self"), "stands in for the mixin's"),
    ("skorch.hf:AccelerateMixin", "_validate_params", takes("self"), "overridden"),
    ("skorch.hf:AccelerateMixin", "_step_optimizer", takes("self", "step_fn"), "overridden"),
    ("skorch.hf:AccelerateMixin", "_initialize_accelerator", takes("self"), "overridden"),
    ("skorch.hf:AccelerateMixin", "_unwrap_accelerator", takes("self"), "undoes the one above"),
    ("skorch.hf:AccelerateMixin()", "_wrapped_with_accelerator", equals(False), "read and set"),
    ("accelerate:Accelerator()", "_models", holds_one, "emptied after a fit"),
    ("accelerate:Accelerator()", "_optimizers", holds_one, "emptied after a fit"),
]  # fmt: skip


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize(
    ("owner", "name", "is_as_used", "purpose"), TABLE, ids=[f"{row[0]}.{row[1]}" for row in TABLE]
)
def test_a_private_name_is_as_it_is_used(owner, name, is_as_used, purpose):
    make = MADE.get(owner, lambda: SimpleNamespace(**vars(resolve_name(owner))))  # not its bases
    thing = make()
    assert hasattr(thing, name), f"{owner} no longer has {name}. {told(name, purpose)}"
    found = getattr(thing, name)
    try:
        as_used = is_as_used(found)
    except Exception as error:
        pytest.fail(f"{owner}.{name} cannot be used: {error!r}. {told(name, purpose)}")
    assert as_used, f"{owner}.{name} is another thing: {found!r}. {told(name, purpose)}"


def told(name, purpose):
    """Say what a name is for, and where it is used."""
    return f"It is for: {purpose}. See {', '.join(foreign_uses(sources()).get(name, []))}."


def test_the_table_has_each_private_name_that_is_used_and_no_other():
    uses, listed = foreign_uses(sources()), {name for _, name, *_ in TABLE}
    missing = [f"{name} in {', '.join(uses[name])}" for name in sorted(uses.keys() - listed)]
    assert not missing, f"Private names of other packages that TABLE lacks: {'; '.join(missing)}"
    stale = sorted(listed - uses.keys())
    assert not stale, f"Names that nothing uses any more, to be taken out of TABLE: {stale}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import torch._inductor.config", "_inductor"),
        (
            "from skorch.utils import _infer_predict_nonlinearity as f",
            "_infer_predict_nonlinearity",
        ),
        ("from torch import nn; nn.Linear(1, 1)._sink", "_sink"),  # whoever else has a _sink
        ("net.callbacks_[0]._step", "_step"),
        ("def f(net): return getattr(net, '_step', None)", "_step"),
        ("net.fit_loop(X, _routing_method='fit')", "_routing_method"),
        ("class SurvivalNet:\n    def _get_module(self): pass", "_get_module"),
        (
            "class SurvivalNet:\n    def f(self): self._params_to_validate = 1",
            "_params_to_validate",
        ),
        ("class SurvivalNet:\n    def f(self): self._ours = 1; self._ours", None),
        ("def _step(net, _x): return _x", None),
        ("from sksurvtorch import _processes; _processes._carrier", None),
        ("def _carrier(prefix): return prefix + '_loss', f'{prefix}_loss'", None),
    ],
)
def test_the_uses_of_private_names_are_found(line, found):
    others = {"sksurvtorch/_processes.py": "def _carrier(): pass", "sksurvtorch/a.py": "_sink = 1"}
    uses = foreign_uses(others | {"sksurvtorch/nets/net.py": line})
    assert [*uses] == ([] if found is None else [found])
    places = {place for places in uses.values() for place in places}
    assert places <= {f"sksurvtorch/nets/net.py:{number}" for number in (1, 2)}

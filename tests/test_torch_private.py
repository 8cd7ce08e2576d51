"""A torch without one of its private names: the same numbers, or a sentence that says what is missing."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simplegrad import torch_private

ROOT = Path(__file__).parent.parent
OBJECTS = {"_version", "_sequence_nr", "_input_metadata", "_forward_cls", "_backward_cls"}  # attributes of objects

# Run in one process, which imports torch once and forks for each name: the name is taken away, simplegrad is imported,
# the name is given back (torch itself uses some), and a line of JSON says what each feature gave.
TRIALS = """
import json, os, sys, traceback
import torch, torch._dynamo, numpy, networkx, safetensors.torch

ABSENT = json.loads(sys.argv[2])

class Gone:
    def __get__(self, *_):
        raise AttributeError("taken away by the test")

def taken_away(name):
    owner = torch
    if name in ABSENT:  # from this torch already
        return lambda: None
    *path, last = name.removesuffix("._op").removesuffix(".default").split(".")
    for part in path:
        owner = getattr(owner, part)
    own, kept = last in vars(owner), vars(owner).get(last)
    if isinstance(owner, type) or "ops.aten" in name:
        setattr(owner, last, Gone() if isinstance(owner, type) else object())
    else:
        delattr(owner, last)
    def give_back():
        setattr(owner, last, kept) if own else delattr(owner, last)
    return give_back

class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(s)
        return x * s
    @staticmethod
    def backward(ctx, g):
        s, = ctx.saved_tensors
        return g * s

def attempt(feature):
    try:
        return feature()
    except Exception as error:
        own = type(error).__name__ == "NotInThisTorch"
        return ["missing", str(error)] if own else ["bug", traceback.format_exc()]

def numbers():
    import simplegrad as sg
    with sg.Tape():
        x = sg.Variable.constant(torch.tensor([[0.5, -1.0, 2.0]]), name="x")
        L = (x.tanh() + x.sigmoid() * x.relu() + x.softmax(dim=1) * x).sum()
        (dx,) = sg.grad(L, [x])
        (ddx,) = sg.grad((dx * dx).sum(), [x])
    return [round(n, 5) for n in dx.tolist()[0] + ddx.tolist()[0]]

def aggregate_verdict():
    import simplegrad as sg
    return sg.check("simple_variable_wrong", order=2).verdict

def function_verdict():
    import simplegrad as sg
    return sg.check(Wrong.apply, torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64, requires_grad=True)).ok

def recorded():
    import simplegrad as sg
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    with sg.record_torch() as trace:
        (x * x).sum().backward()
    return len(trace)

FEATURES = [numbers, aggregate_verdict, function_verdict, recorded]
for name in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        give_back = taken_away(name) if name else lambda: None
        import simplegrad, simplegrad.torch_bridge, simplegrad.checks.functions
        give_back()
        print(json.dumps([name, *map(attempt, FEATURES)]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def trials() -> dict[str, list]:
    """name taken away -> what the numbers, the check of an aggregate and of a Function, and the recording gave."""
    absent = [name for name in torch_private.NAMES if torch_private.is_absent(name)]
    command = [sys.executable, "-c", TRIALS, json.dumps(["", *torch_private.NAMES]), json.dumps(absent)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    return {name: given for name, *given in rows}


def test_with_all_of_them_each_feature_works(trials):
    numbers, aggregate, function_is_right, events = trials[""]
    assert len(numbers) == 6 and aggregate == "escaped_temporary" and function_is_right is False and events > 3


@pytest.mark.parametrize("name", torch_private.NAMES)
def test_without_one_a_feature_gives_the_same_or_says_what_is_missing(trials, name):
    assert len(trials[name]) == 4
    for given, usual in zip(trials[name], trials[""]):
        if given != usual:
            assert given[0] == "missing", given
            assert f"torch.{name}" in given[1] and "install one of these" in given[1]


def test_the_tape_needs_none_of_them(trials):
    assert all(given[0] == trials[""][0] for given in trials.values())


def test_a_name_without_a_way_out_is_missed_by_somebody(trials):
    """What is listed as needed is indeed taken away by the trial: otherwise this file tests nothing."""
    missed = {name for name, given in trials.items() if any(g[0] == "missing" for g in given if isinstance(g, list))}
    assert {"_C._autograd._get_sequence_nr", "autograd._engine_run_backward", "Tensor._version"} <= missed
    assert "_C._AutoDispatchBelowAutograd" not in missed


def test_what_is_stashed_for_the_engine_is_kept_for_it_once():
    thing = object()
    before = sys.getrefcount(thing)
    torch_private.stash("simplegrad.test", thing)
    assert sys.getrefcount(thing) == before + 1
    torch_private.stash("simplegrad.test", object())
    assert sys.getrefcount(thing) == before


def private_names(path: Path) -> set[str]:
    """The dotted names below torch with a part that begins with an underscore."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if re.fullmatch(r"torch(\.\w+)*\._[A-Za-z][\w.]*", name)}


def test_no_module_names_a_private_name_of_torch_that_is_not_listed():
    for path in (ROOT / "simplegrad").rglob("*.py"):
        if path.name != "torch_private.py":
            assert private_names(path) <= {f"torch.{name}" for name in torch_private.NAMES}, path


def test_what_is_asked_of_objects_is_listed():
    listed = {name.rsplit(".", 1)[-1] for name in torch_private.NAMES}
    assert listed >= OBJECTS


class Interrupted(torch_private.TorchDispatchMode):
    """Ctrl-C comes right before torch takes it off."""

    def __exit__(self, *error):
        raise KeyboardInterrupt


def test_no_dispatch_mode_stays_where_it_is_interrupted():
    depth = torch._C._len_torch_dispatch_stack()
    with pytest.raises(KeyboardInterrupt), torch_private.dispatch_modes_as_before(), Interrupted():
        pass
    assert torch._C._len_torch_dispatch_stack() == depth

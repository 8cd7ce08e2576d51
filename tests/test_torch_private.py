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

# Run in one process, which imports torch once and forks for each name (for all of a module at once): the name is taken
# away, simplegrad is imported, the name is given back (torch itself uses some), and a line of JSON says what each
# feature gave.
TRIALS = """
import json, os, sys, traceback
import torch, torch._dynamo, numpy, networkx, safetensors.torch

ABSENT = json.loads(sys.argv[2])

class Gone:
    def __get__(self, *_):
        raise AttributeError("taken away by the test")
    def __set__(self, *_):  # of a module: it never gets it
        pass

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
for names in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        taken = [taken_away(name) for name in names]
        import simplegrad, simplegrad.torch_bridge, simplegrad.checks.functions
        for give_back in taken:
            give_back()
        given = [attempt(feature) for feature in FEATURES]
        for name in names or [""]:
            print(json.dumps([name, *given]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def trials() -> dict[str, list]:
    """name taken away -> what the numbers, the check of an aggregate and of a Function, and the recording gave."""
    absent = [name for name in torch_private.NAMES if torch_private.is_absent(name)]
    of_modules = [name for name in torch_private.NAMES if name.startswith("nn.Module._") and not name.endswith("_impl")]
    trials = [[], of_modules, *([name] for name in torch_private.NAMES if name not in of_modules)]
    command = [sys.executable, "-c", TRIALS, json.dumps(trials), json.dumps(absent)]
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


# What stands where it is used, since it is read for each operation or node, and what only looks like a name of torch.
READ_IN_PLACE = {
    "_version": "engine/operators.py trace/recorder.py torch_bridge/operations.py torch_bridge/record.py",
    "_sequence_nr": "torch_bridge/operations.py torch_bridge/record.py torch_bridge/finite.py",
}
OF_OTHERS = {
    "_getframe": "sys",
    "_current_frames": "sys",
    "_fields": "of a named tuple",
    "_replace": "of a named tuple",
    "_node": "graph/whole.py",  # of networkx
    "_succ": "graph/whole.py",
    "_pred": "graph/whole.py",
}
MERELY_NAMED = {
    "_set_grad_enabled": "an operation, as a recording calls it",
    "_foreach_zero_": "an operation, as a recording calls it",
    "_forward_cls": "checks/subjects/slots.py: what no Function's own state is",
}
MODULES = {p.relative_to(ROOT / "simplegrad").as_posix(): p for p in (ROOT / "simplegrad").rglob("*.py")}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items() if path.name != "torch_private.py"}


def is_private(name: str) -> bool:
    return re.match("_[a-zA-Z]", name) is not None


def private_imports(tree: ast.AST) -> set[str]:
    """The dotted names below torch with a part that begins with an underscore, imported or spelled out."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if re.fullmatch(r"torch(\.\w+)*\._[A-Za-z][\w.]*", name)}


def defined_in_classes(tree: ast.AST) -> set[str]:
    """Methods, fields and slots of its classes, and what is set on `self`, `cls` or another object; its functions."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        if not isinstance(node, ast.ClassDef):
            continue
        for field in node.body:
            names = [t for t in ast.walk(field) if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Store)]
            found |= {t.id for t in names}
            if any(t.id == "__slots__" for t in names):
                found |= {t.value for t in ast.walk(field) if isinstance(t, ast.Constant)}
    return found


def private_attributes(tree: ast.AST, ours: set[str]) -> set[str]:
    """What is read of an object under a private name that no class of ours gives it."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - ours
    return {name for name in found if is_private(name)}


def names_of_torch() -> set[str]:
    """The private names of what a program holds of torch: tensors, modules, nodes, optimizers, Functions."""
    x = torch.ones(2, 2, requires_grad=True)
    nodes = [(x * x).grad_fn, torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])).grad_fn]
    held = [x, torch.nn.Linear(1, 1), torch.optim.SGD([x]), torch.autograd.function.BackwardCFunction, *nodes]
    held += [torch, torch.autograd, torch.autograd.graph, torch.distributed, torch.ops.aten.add.Tensor, torch._C]
    named = {name for each in held for name in dir(each) if is_private(name)}
    return named | {"_local_tensor", "_orig_mod", "_torchdynamo_orig_callable", "_maybe_set_eval_frame", "_init_fn"}


def test_no_module_names_a_private_name_of_torch():
    assert not {name: found for name, tree in TREES.items() if (found := private_imports(tree))}


def test_no_module_reads_a_private_attribute_that_is_not_its_own():
    ours = set().union(*map(defined_in_classes, TREES.values())) - READ_IN_PLACE.keys()
    engine = {"engine/tape.py", "engine/variable.py", "engine/compiled.py"}  # a Variable has a `_version` too
    for name, tree in TREES.items():
        for found in private_attributes(tree, ours) - OF_OTHERS.keys():
            assert name in READ_IN_PLACE.get(found, ()) or (found == "_version" and name in engine), (name, found)


def test_no_module_holds_a_private_name_of_torch_as_text():
    ours = set().union(*map(defined_in_classes, TREES.values()))
    theirs = names_of_torch() - ours - MERELY_NAMED.keys()
    for name, tree in TREES.items():
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not texts & theirs, name


@pytest.mark.parametrize(
    "line, found",
    [
        ("owner = tensor._base", "_base"),
        ("module._parameters.items()", "_parameters"),
        ("node._saved_reduction != 1", "_saved_reduction"),
        ("self._own", None),
        ("x.public", None),
        ("x.__dict__", None),
    ],
)
def test_the_walk_finds_what_it_looks_for(line, found):
    assert private_attributes(ast.parse(line), {"_own"}) == ({found} if found else set())


def test_what_is_read_in_place_is_listed():
    listed = {name.rsplit(".", 1)[-1] for name in torch_private.NAMES}
    assert listed >= READ_IN_PLACE.keys()


# -- the ways out of what an object may lack --------------------------------------------------------------------------


class Bare:
    """Has nothing private."""

    def name(self):
        return "NllLossBackward0"


def test_a_loss_that_does_not_tell_what_it_divides_by_is_no_mean():
    x, classes = torch.ones(3, 2, requires_grad=True), torch.tensor([0, 1, -100])
    loss = torch.nn.functional.cross_entropy
    assert torch_private.rows_in_mean(loss(x, classes).grad_fn) == 2
    assert torch_private.rows_in_mean(loss(x, classes, reduction="sum").grad_fn) is None
    assert torch_private.rows_in_mean((x * x).grad_fn) is None
    assert torch_private.rows_in_mean(Bare()) is None


def test_the_part_of_a_spread_tensor_is_asked_for_in_public_where_it_is_not_held():
    class Spread:
        def to_local(self):
            return "its part", torch.is_grad_enabled()

    x = torch.ones(2)
    assert torch_private.local_part(x) is x
    assert torch_private.local_part(Spread()) == ("its part", False)


def test_a_compiler_that_begins_its_code_in_another_way_is_not_replaced(monkeypatch):
    frames = type(sys)("eval_frame")
    monkeypatch.setitem(sys.modules, "torch._dynamo.eval_frame", frames)
    assert torch_private.frame_evaluation() is None
    setattr(frames, torch_private.FRAME_EVALUATION, print)
    assert torch_private.frame_evaluation() is frames


def test_a_module_that_keeps_its_parts_elsewhere_is_not_said_to_run_alone():
    module = torch.nn.Linear(1, 1)
    assert torch_private.runs_alone(module)
    assert not torch_private.runs_alone(torch.nn.Sequential(module))
    assert not torch_private.runs_alone(Bare())


# What the public ways out give, in a process of their own.
ELSEWHERE = """
import torch
class Gone:
    def __get__(self, *_): raise AttributeError
    def __set__(self, *_): pass
gone = ["_modules", "_parameters", "_buffers", "_backward_hooks", "_backward_pre_hooks"]
for name in gone:
    setattr(torch.nn.Module, name, Gone())
from simplegrad import torch_private as private
for name in gone:
    delattr(torch.nn.Module, name)
model = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
print(*private.submodules(model), *private.own_parameters(model[0]), *private.own_buffers(model[0]))
print(private.hooks_in_pass(model), private.hooks_before_pass(model), *private.own_parameters(model))
"""


def test_parts_of_a_module_are_found_in_public_ways_too():
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == "0 weight bias running_mean running_var num_batches_tracked {} {}".split()


class Interrupted(torch_private.TorchDispatchMode):
    """Ctrl-C comes right before torch takes it off."""

    def __exit__(self, *error):
        raise KeyboardInterrupt


def test_no_dispatch_mode_stays_where_it_is_interrupted():
    depth = torch._C._len_torch_dispatch_stack()
    with pytest.raises(KeyboardInterrupt), torch_private.modes_as_before(), Interrupted():
        pass
    assert torch._C._len_torch_dispatch_stack() == depth

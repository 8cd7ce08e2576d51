"""Of many statements of a backward the wrong one is named, found by running it."""

import importlib.util
import pathlib
import sys

import pytest
import torch

from simplegrad import check

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("long_search")
FILE = pathlib.Path(__file__).parent / "cases_in_steps.py"
SOURCE = FILE.read_text()
# name of the Function, what stands there, what is written instead
CHANGES = [
    ("StepwiseLayerNorm", "first = grad_normed.mean(-1, keepdim=True)", "first = grad_normed.sum(-1, keepdim=True)"),
    ("StepwiseLayerNorm", "grad_bias = grad.sum(0)", "grad_bias = grad.mean(0)"),
    ("StepwiseLayerNorm", "grad_weight = (grad * normed).sum(0)", "grad_weight = normed.sum(0)"),
    ("BatchNorm", "dvar = (dxhat * xmu).sum(0) * -0.5 * istd**3", "dvar = (dxhat * xmu).sum(0) * 0.5 * istd**3"),
    ("BatchNorm", "dmu = -(dxhat * istd).sum(0)", "dmu = (dxhat * istd).sum(0)"),
    ("Attention", "dp = do @ v.t()", "dp = do @ k.t()"),
    ("Attention", "dk = ds.t() @ q", "dk = ds @ q"),
    ("LstmCell", "df = df * f * (1 - f)", "df = df * (1 - f)"),
    ("LstmCell", "dnew = dc + dh * o * (1 - t * t)", "dnew = dh * o * (1 - t * t)"),
    ("SwishWithHelper", "    return s * rest", "    return s + rest"),
    ("Gelu", "    return g * d\n", "    return g + d\n"),
    ("TwoLayers", "db1 = dpre.sum(0)", "db1 = None"),
    ("LoopedConvolution", "gk += g[i] * x[i : i + width]", "gk += 2 * g[i] * x[i : i + width]"),
    ("QuadraticForm", "ga = g * torch.outer(x, x)", "ga = torch.outer(x, x)"),
    ("SolveLinear", "ga = -torch.outer(adjoint, x)", "ga = torch.outer(adjoint, x)"),
    ("CrossEntropy", "hot.scatter_(1, target[:, None], 1.0)", "hot.scatter_(1, target[:, None], 2.0)"),
    ("GaussianNll", "square = difference**2", "square = difference * 0"),
]


def changed(name, old, new, folder):
    """The check of a Function one line of which was changed, and the number of that line."""
    start = SOURCE.index(f"class {name}(") if old not in SOURCE[: SOURCE.index(f"class {name}(")] else 0
    at = SOURCE.index(old, start)
    file = folder / f"changed_{name}.py"
    file.write_text(SOURCE[:at] + new + SOURCE[at + len(old) :])
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fn, inputs = module.CASES[name]
    return check(fn, *inputs, order=1), SOURCE[:at].count("\n") + 1


@pytest.mark.parametrize("name, old, new", CHANGES, ids=[f"{name}: {new.strip()}" for name, _, new in CHANGES])
def test_the_changed_statement_is_named(name, old, new, tmp_path):
    report, line = changed(name, old, new, tmp_path)
    assert any(f.order == 1 and f.read_at and f.read_at.first <= line <= f.read_at.last for f in report.faults), str(
        report
    )


def load():
    spec = importlib.util.spec_from_file_location("cases_in_steps", FILE)
    module = sys.modules["cases_in_steps"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


@pytest.mark.parametrize("name", load())
def test_right_ones_are_correct(name):
    fn, inputs = load()[name]
    report = check(fn, *inputs, order=1)
    assert report.verdict == "correct", str(report)


def test_a_comment_and_a_harmless_constant_change_nothing(tmp_path):
    old = "dmu = -(dxhat * istd).sum(0)"
    plain, line = changed("BatchNorm", old, "dmu = (dxhat * istd).sum(0)", tmp_path)
    noisy = "torch.tensor(3.0); dmu = (dxhat * istd).sum(0)  # detach, item() and .data are words"
    other, _ = changed("BatchNorm", old, noisy, tmp_path)
    assert [f.code for f in plain.faults] == [f.code for f in other.faults]
    assert all(f.read_at.first == line for f in [*plain.faults, *other.faults])

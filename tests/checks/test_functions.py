"""Custom Functions with known answers: what the check says of each."""

import importlib.util
import json
import pathlib
import sys

import pytest
import torch

from simplegrad.checks.functions import check_function

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "functions"
LABELS = json.loads((FOLDER / "labels.json").read_text())
SLOTS = {
    "NAFNet_LayerNormFunction": {"saved_tensors[0]", "saved_tensors[1]"},
    "batchnorm_running_stats": {"saved_tensors[0]", "saved_tensors[2]"},
    "checkpoint_detached_leaf": {"ctx.x_"},
    "complex_valued": {"ctx.z"},
    "cpp_like_opaque_kernel": {"saved_tensors[0]"},
    "gumbel_softmax_hard": {"saved_tensors[0]"},
    "index_put_buffer": {"saved_tensors[0]"},
    "issue58509_BadCustomFunction": {"ctx.foo"},
    "layernorm_mean_rstd": {"saved_tensors[2]", "saved_tensors[3]"},
    "liger_rmsnorm_reshaped": {"saved_tensors[0]", "saved_tensors[2]"},
    "nested_container": {"ctx.cache['a'][0]", "ctx.cache['b'][0]"},
    "object_on_ctx": {"ctx.h.t"},
    "pr67916_attention_a_not_returned": {"saved_tensors[3]"},
    "python_scalar_derived": {"ctx.info[1]"},
    "softdtw_numpy": {"saved_tensors[0]"},
    "tutorial_Sinh_bad": {"ctx.ex", "ctx.enx"},
}
WRONG_AT_ORDER_1 = {"docs_scipy_fft"}  # as PyTorch's tutorial says of it


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def loaded(path, folder):
    """A module from a file whose neighbours it imports by their bare names."""
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


def cases(name):
    return loaded(HERE / f"{name}.py", HERE).CASES


ESCAPED = cases("cases_escaped")
CORRECT = cases("cases_correct")
OTHER = cases("cases_other")


@pytest.mark.parametrize("name", sorted(LABELS))
def test_shared_function(name):
    fn, inputs = loaded(FOLDER / f"{name}.py", FOLDER).case()
    report = check_function(fn, inputs)
    cause = LABELS[name]["cause"]
    if cause == "none":
        assert report.verdict == "correct", str(report)
    elif cause == "severed":
        assert "graph_cut_in_backward" in {finding.code for finding in report.faults}, str(report)
        assert (report.verdict == "wrong_gradient") == (name in WRONG_AT_ORDER_1), str(report)
    else:
        assert report.verdict == "escaped_temporary", str(report)
        assert {finding.slot for finding in report.faults} == SLOTS[name]


@pytest.mark.parametrize("name", sorted(CORRECT))
def test_correct(name):
    fn, inputs = CORRECT[name]
    report = check_function(fn, inputs)
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("name", sorted(ESCAPED))
def test_escaped(name):
    fn, inputs, slots = ESCAPED[name]
    report = check_function(fn, inputs)
    assert report.verdict == "escaped_temporary", str(report)
    found = {finding.slot for finding in report.findings}
    assert found & set(slots), str(report)
    assert all(finding.made_at and finding.read_at and finding.fix for finding in report.findings), str(report)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_other_fault(name):
    fn, inputs, verdict = OTHER[name]
    report = check_function(fn, inputs)
    assert report.verdict == verdict, str(report)


@pytest.mark.parametrize("name", ["RmsInBfloat16Recomputed", "GivesHalfOfItsInput", "InsistsOnHalf"])
def test_half_precision_leaves_nothing_unverified(name):
    fn, inputs = CORRECT[name]
    assert check_function(fn, inputs).findings == []

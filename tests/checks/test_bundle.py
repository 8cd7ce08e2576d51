"""Inputs kept in a file: what comes back, in any process, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from simplegrad import check, load_bundle
from simplegrad.checks.commands.bundle import Bundle, BundleError, NotKept


def test_a_bundle_holds_what_it_was_given(tmp_path):
    strided = torch.rand(3, 4, dtype=torch.float64).t().requires_grad_()
    half = torch.tensor([1.5, float("nan")], dtype=torch.bfloat16)
    inputs = (
        strided,
        half,
        torch.tensor([1 + 2j]).conj(),
        torch.arange(3),
        (1, 2.5, None, True, "x", float("inf"), 1j, torch.float16, torch.device("cpu")),
        {"a": [torch.zeros(0)]},
        object(),
    )
    Bundle(inputs, {"name": "f"}).save(tmp_path / "new" / "kept.safetensors")
    loaded = Bundle.load(tmp_path / "new" / "kept.safetensors")
    first, second, conjugate, numbers, plain, held, unknown = loaded.inputs
    assert torch.equal(first, strided) and first.requires_grad and first.stride() == strided.stride()
    assert second.dtype == torch.bfloat16 and second[1].isnan()
    assert conjugate.tolist() == [1 - 2j] and numbers.tolist() == [0, 1, 2]
    assert plain == inputs[4] and held["a"][0].shape == (0,)
    assert unknown == NotKept("builtins.object")
    assert loaded.about["name"] == "f" and set(loaded.about) >= {"simplegrad", "torch", "python"}


@pytest.mark.parametrize(
    "said",
    [
        None,
        "[]",
        '{"inputs": [["tensor", "nowhere", "torch.float32", [], false]], "about": {}}',
        '{"inputs": [["eval", "1"]], "about": {}}',
        '{"inputs": 3, "about": {}}',
        '{"inputs": [["float"]], "about": {}}',
        '{"inputs": [["not kept"]], "about": {}}',
        '{"inputs": [["float", 1' + "0" * 400 + ']], "about": {}}',
        '{"inputs": ' + "[" * 10_000 + "]" * 10_000 + "}",
    ],
)
def test_a_file_that_is_no_bundle_is_said_to_be_none(tmp_path, said):
    path = tmp_path / "it.safetensors"
    save_file({}, path, metadata={"simplegrad-bundle": said} if said is not None else None)
    with pytest.raises(BundleError, match="expected inputs that a check has kept"):
        load_bundle(path)


def test_a_bundle_is_checked_from_python_too(tmp_path):
    Bundle((torch.rand(2, requires_grad=True),)).save(tmp_path / "it.safetensors")
    assert check(torch.sin, *load_bundle(tmp_path / "it.safetensors").inputs).findings == []

"""What people write wrongly, and what they are told: where, what came, what to write instead, and no wrong guess."""

import pytest

from simplegrad import Program, ProgramError

HEAD = "x = rand(3, 4)\nw = rand(4, 2)\n"
# Refused as they are read: the line, the column of the place, and what is said.
READ = {
    "y = x.Relu()": "7 '.Relu' is not known. Did you mean 'relu'?",
    "y = F.linaer(x, w)": "7 'linaer' is not known. Did you mean 'linear'?",
    "y = F.dropout(x, 0.5)": "7 'dropout' is not known: in Python it is there for Variables",
    "y = torch.nn.ReLU()(x)": "5 there are no modules here: write what ReLU computes",
    "y = nn.Linear(4, 2)(x)": "5 there are no modules here: write what Linear computes",
    "y = np.exp(x)": "5 'np' is not there: operations have torch's names, exp(x)",
    "y = torch.fft.fft(x)": "5 there is no 'torch.fft' here: its results are complex",
    "y = torch.optim.SGD([x])": "5 there is no 'torch.optim' here: write a step out: w = w - 0.1 * dw",
    "y = x.grad": "7 '.grad' is not known: gradients are results here: da, db = grad(L, [a, b])",
    "y = x.sum().backward()": "13 '.backward' is not known: gradients are results here",
    "y = x.numpy()": "7 '.numpy' is not known: the tensor is x.value",
    "y = x.long()": "7 '.long' is not known: all tensors here hold floats",
    "y = x.cuda()": "7 '.cuda' is not known: a program runs on the CPU",
    "x.add_(1)": "3 '.add_' changes a value in place, and values never change. Write '.add' and",
    "x.zero_()": "3 '.zero_' is not known: a value never changes: make a new one",
    "x.normal_()": "3 '.normal_' changes a value in place, and values never change. Make a new one",
    "x[0] = 1": "1 values never change: make a new one and give it a name",
    'x.name = "a"': "1 values never change",
    "y = x.pad((1, 1))": "7 '.pad' is not a method: write pad(…)",
    "y = x.where(x > 0)": "7 '.where' is not a method: write where(…)",
    "y = rand(3, requires_grad=True)": "5 rand(*sizes, seed=None): requires_grad is not needed",
    "y = tensor([1], dtype=torch.float64)": "5 tensor(data): dtype is not there for leaves",
    "y = x.to(torch.float16)": "10 there are no dtypes here",
    "y = torch.tanh": "5 'torch.tanh' is not a value: call it, tanh(…)",
    "y = round(x, 2)": "5 round(x, *, decimals=0): too many positional arguments",
    "y = x.var(ddof=1)": "5 .var(dim=None, unbiased=None, keepdim=False, *, correction=None): got an unexpected",
    "y = len(x)": "5 'len' is not known: write x.shape[0]",
    "for a, b in zip(x, w):\n    y = a": "13 'zip' is not known: write the loop out",
    "y = 2x": "5 between a number and a name there has to be a sign: 2 * x",
    "y =": "4 this cannot be read from here on. A line is a name and what it is: y = x * 2",
    "    y = x": "4 this line stands further in than the one above it",
    "y = x^2": "5 there is no '^': a power is x ** 2",
    "\u0443 = x\nz = y": "5 'y' has no value yet. 'у' has, and one of the two is written with a CYRILLIC",
}
# Steps that cannot be done.
RUN = {
    "y = x.max(dim=1) * 2": "x.max(dim=1) is several results, values and indices. Take one: m, i = x.max(dim=0)",
    "y = x.gather(1, [[0], [1]])": "the places are a list, and torch takes a tensor. Write torch.tensor([[0], [1]])",
    "y = x.scatter(0, 1, 2)": "scatter: the places are 1, and torch takes a tensor",
    "y = x.dot(w)": "dot: of 1 and 1 dimensions, got 2 and 2",
    "y = F.pad(x, 1)": "pad: two numbers for each dimension, from the last one on",
    "y = x.chunk(0)": "chunk: 0 parts; at least 1",
    "y = x.unbind(3)": "unbind: Dimension out of range (expected to be in range of [-2, 1])",
    "y = x.prod(dim=(0, 1))": "prod: dim is one whole number here",
    "y = x.size(4)": "there is no such dimension",
    "y = -None": "None stands where a tensor or a number belongs",
    "def g(x):\n    x * 2\ny = g(x) + 1": "or what a function without 'return' gives",
    "y = x if x > 0.5 else w": "'if', 'and', 'or' and 'not' ask for one answer, such as x is None",
    "y = F.cross_entropy(x, tensor([0, 1]))": "the target has shape (2,), not (3,)",
    "y = F.cross_entropy(x, tensor([0.5, 1, 2]))": "places are whole numbers",
    "y = F.layer_norm(x, [3])": "layer_norm: normalized_shape is [3], and x has shape (3, 4)",
    "y = einsum('ij,kl->im', x, w)": "einsum('ij,kl->im'): after '->' each letter stands once, and on the left too",
    "for r in x:\n    y = r": "for row in x.unbind(0)",
}
# And what was refused for no good reason.
RIGHT = [
    "y = F.max_pool2d(F.conv2d(rand(1, 2, 6, 6), rand(3, 2, 3, 3)), 2)",
    "import torch.nn.functional as F\ny = F.linear(x, w.T, rand(2))",
    "y = F.cross_entropy(x, tensor([0, 1, 3]), label_smoothing=0.1)",
    "y = F.nll_loss(x.log_softmax(1), target=tensor([0, 1, 2]))",
    "y = x.masked_fill(x > 0.5, float('-inf')).softmax(1) * torch.pi",
    "y = x.masked_fill(x > 0.5, -torch.inf).logsumexp(1)",
    "y, i = x.topk(2)\nz = x.median(dim=0).values",
]


@pytest.mark.parametrize("text", READ)
def test_what_is_no_program_is_told_at_its_place(text):
    with pytest.raises(ProgramError) as caught:
        Program.parse(HEAD + text)
    assert f"{caught.value.column} {caught.value.message}".startswith(READ[text])


@pytest.mark.parametrize("text", RUN)
def test_a_step_that_cannot_be_done_says_what_would_do(text):
    error = Program.parse(HEAD + text).run().error
    assert error is not None and RUN[text] in error.message


@pytest.mark.parametrize("text", RIGHT)
def test_these_run(text):
    assert Program.parse(HEAD + text).run().error is None


@pytest.mark.parametrize(
    "call, said",
    [
        ("x.diagonal_scatter([2, 1])", "a list stands where a tensor belongs"),
        ("split_with_sizes(x, True)", "a bool stands where a list belongs"),
        ("x.vdot(2)", "'@' is not for a tensor and an int"),
        ("x.sort(b, b)", "it does not take (Tensor, Tensor, Tensor)"),
        ("group_norm(x, 1, x, x)", "expected at least 2 dimensions or numbers, got 1"),
        ("max_pool3d(x, b)", "a tensor stands where one number belongs"),
    ],
)
def test_what_python_says_of_a_wrong_argument_is_said_in_words(call, said):
    trace = Program.parse(f"x, b = rand(3), rand(2, 3)\ny = {call}").run()
    assert trace.error.message.startswith(f"{call}, on shape") and trace.error.message.endswith(f": {said}.")


@pytest.mark.parametrize("last", ["tensor([True, False])", "x[torch.tensor([True, False])]", "tensor(True)"])
def test_answers_are_no_numbers(last):
    """They became 1.0 and 0.0, and as places the rows 1 and 0, where torch chooses by them."""
    assert "a tensor holds numbers" in Program.parse(f"x = rand(2, 3)\ny = {last}").run().error.message


def test_float_of_a_tensor_is_no_way_around_the_tape():
    """It was x.float(), to which a gradient flows; Python's gives a number."""
    with pytest.raises(ProgramError, match=r"'float' is not known: x.item\(\) is the number in x"):
        Program.parse("x = rand(2)\ny = float(x[0]) * x")
    assert Program.parse("x = rand(2)\ny = x.float() * float('inf')").run().error is None

"""The example notebook: `python -m docs.notebook` writes docs/notebook.ipynb anew, with what its cells show.

Needs nbclient and ipykernel (requirements-dev.txt).
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "notebook.ipynb"

CELLS = [
    (
        "text",
        """# simplegrad in a notebook

A run, a report and a comparison show themselves: click into a picture, then use the arrow keys, or the buttons below
it. Where scripts are off, the text beside each picture says what it is.""",
    ),
    (
        "code",
        """%load_ext simplegrad
import torch
from simplegrad import Variable, check, grad, record_torch""",
    ),
    (
        "text",
        """A cell that begins with `%%simplegrad` is recorded and shown. (The number
is its height in pixels.)""",
    ),
    (
        "code",
        """%%simplegrad 620
a = Variable.constant(torch.tensor([0.36, 0.99]), name="a")
b = Variable.constant(torch.tensor([0.25, 0.35]), name="b")
L = ((a + b) * b).sum(name="L")
grad(L, [a, b])""",
    ),
    (
        "text",
        """What `check` found is shown with the lines that are wrong. This variant hides a temporary from
the tape, and loses a part of the second gradients:""",
    ),
    ("code", """check("simple_variable_wrong")"""),
    ("text", """Runs of PyTorch are recorded too. `trace.why` says where a gradient was lost."""),
    (
        "code",
        """class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 4)
        self.outer = torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x)).detach())

torch.manual_seed(0)
model = Model()
with record_torch(model) as trace:
    model(torch.ones(2, 3)).sum().backward()
print(trace.why("inner.weight").sentence)""",
    ),
    ("code", """trace.show(height=620)"""),
]


def notebook():
    """The cells, not run."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    makers = {"text": new_markdown_cell, "code": new_code_cell}
    cells = [makers[kind](text, id=f"{kind}-{place}") for place, (kind, text) in enumerate(CELLS)]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def run():
    """The notebook, run from top to bottom in a kernel of its own."""
    from nbclient import NotebookClient

    made = notebook()
    NotebookClient(made, timeout=300, kernel_name="python3").execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", ()):
            texts = output.get("data", {})
            texts.update({kind: text.replace(f"{ROOT}/", "") for kind, text in texts.items()})
    return made


def main() -> None:
    import nbformat

    nbformat.write(run(), FILE)
    print(FILE)


if __name__ == "__main__":
    main()

"""Which rank is at fault, in what and where, on two and on four processes; nothing on healthy ones."""

import inspect
import json
import textwrap
from types import SimpleNamespace

import pytest

import simplegrad
from simplegrad import Trace
from simplegrad.__main__ import main
from simplegrad.comparison.ranks.found import WHATS
from simplegrad.comparison.ranks.lines import seeded_apart
from tests.comparison.ranks.conftest import launch
from tests.comparison.ranks.programs import PROGRAMS, Bent


def traces_of(folder, name):
    return [Trace.load(folder / f"{name}.{rank}.trace") for rank in range(PROGRAMS[name][1])]


def marked(name):
    source = Bent if name == "seldom_used_under_ddp" else PROGRAMS[name][0]
    lines, first = inspect.getsourcelines(source)
    marks = ("# here", "# here: branch")
    return [first + i for i, line in enumerate(lines) if line.rstrip().endswith(marks)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_rank_what_parameter_and_line(folder, name):
    _, _, what, rank, parameter = PROGRAMS[name]
    report = simplegrad.compare_ranks(traces_of(folder, name))
    assert (report.what, report.rank, report.parameter) == (what, rank, parameter), report
    assert report.what in WHATS
    if what == "none":
        assert report.ok
        assert report.place is None
    else:
        assert report.place.first in marked(name), report
        assert report.place.text


@pytest.mark.parametrize(
    "script, line",
    [
        ("torch.manual_seed(rank)\nmodel = Net()", 1),
        ("torch.manual_seed(0)\nmodel = Net()\ntorch.manual_seed(rank)", None),  # of the data: nothing is said
        ("torch.manual_seed(7)\nmodel = Net()", None),
        ("torch.Generator().manual_seed(rank)\nset_seed(3 + rank)", 2),
    ],
)
def test_the_line_that_gives_ranks_seeds_of_their_own(script, line):
    call, texts = SimpleNamespace(stack=(("train.py", 1),)), {"train.py": [(1, script.splitlines())]}
    assert seeded_apart(SimpleNamespace(calls=[call], texts=texts)) == (line and ("train.py", line))


def test_a_sentence_says_what_a_reader_needs(folder):
    told = {name: simplegrad.compare_ranks(traces_of(folder, name)).sentence for name in PROGRAMS}
    for name, words in {
        "seldom_used": ("all_reduce", "None", "ank 1"),
        "by_ddp_and_by_hand": ("all_reduce", "DDP", "twice"),
        "never_synced": ("no_sync",),
        "one_rank_reads_the_file": ("buffer", "broadcast", "ank 1"),
        "left_in_eval": ("eval", "dropout", "ank 0"),
        "a_constant_column": ("NaN", "std", "ank 2"),
        "small_last_batch": ("batch size", "average"),
        "spike_left_out": ("backward", "skipped", "ank 1"),
    }.items():
        assert all(word in told[name] for word in words), told[name]


def test_parts_that_were_not_compared_are_said_so(folder):
    report = simplegrad.compare_ranks(traces_of(folder, "sharded"))
    assert report.ok and "a part of its own: these parts were not compared" in report.sentence


def test_collectives_say_what_went_in_and_came_out(folder):
    zero, one = traces_of(folder, "many_collectives")
    assert [zero.rank, one.rank, zero.world, one.world] == [0, 1, 2, 2]
    names = [zero.calls[each.call].name for each in zero.collectives]
    assert names == [
        "all_reduce",
        "broadcast",
        "reduce",
        "all_gather",
        "all_gather_into_tensor",
        "reduce_scatter_tensor",
        "reduce_scatter",
        "barrier",
        "send",
    ]
    summed = zero.calls[zero.collectives[0].call]
    assert [round(x.norm**2) for x in (*summed.inputs, *summed.outputs)] == [14, 1 + 9 + 25 + 49]
    assert all(each.state == "done" for each in zero.collectives[:8])
    assert [each.root for each in zero.collectives[:3]] == [None, 1, 0]
    assert (zero.collectives[0].op, zero.collectives[0].ranks) == ("sum", (0, 1))
    assert zero.collectives[0].after == pytest.approx(one.collectives[0].after)
    adds_up = [a + b for a, b in zip(zero.collectives[0].before, one.collectives[0].before)]
    assert adds_up == pytest.approx(zero.collectives[0].after, rel=1e-4)
    assert one.calls[one.collectives[8].call].outputs[0].norm == pytest.approx(7 * 3**0.5)


def test_buckets_of_ddp_are_told(folder):
    zero, one, *_ = traces_of(folder, "micro_batches")
    (found,) = [each for each in zero.collectives if each.by == "DDP"]
    assert zero.calls[found.call].pass_id == zero.passes[1].id
    assert set(found.owners) == {f"{held.path}.grad" for held in zero.held if held.kind == "parameter"}
    (its,) = [each for each in one.collectives if each.by == "DDP"]
    assert found.after == pytest.approx(its.after, rel=1e-4, abs=1e-6)
    assert found.before != pytest.approx(its.before, rel=1e-4, abs=1e-6)


def test_shards_are_gathered_and_scattered(folder):
    zero, _ = traces_of(folder, "sharded")
    names = [zero.calls[each.call].name for each in zero.collectives]
    assert set(names) == {"all_gather_into_tensor", "reduce_scatter_tensor"}  # and none of the recorder's own
    assert names.count("reduce_scatter_tensor") == 2
    assert all(each.state == "done" for each in zero.collectives)
    assert {held.grad for held in zero.held} == {"value"}


def test_what_else_ranks_differ_in(folder):
    report = simplegrad.compare_ranks(traces_of(folder, "seldom_used"))
    told = {(each.what, each.name): each.said for each in report.differences}
    assert told["gradient", "seldom.weight"] == ("there", "none")
    assert [row.rank for row in report.rows] == [0, 1]
    assert "imed out" in report.rows[0].error or "closed" in report.rows[0].error
    json.dumps(report.as_json(), allow_nan=False)
    assert "seldom" in str(report)


def test_traces_that_do_not_belong_together(folder):
    zero, one = traces_of(folder, "small_last_batch")
    with pytest.raises(ValueError, match="same rank"):
        simplegrad.compare_ranks([zero, zero])
    with pytest.raises(ValueError, match="two at least"):
        simplegrad.compare_ranks([one])
    with pytest.raises(ValueError, match="has no rank"):
        simplegrad.compare_ranks([zero, Trace()])
    zero._notices.append("No numbers were kept, so this trace cannot show where a NaN is born.")
    with pytest.raises(ValueError, match="values='norm'"):
        simplegrad.compare_ranks([zero, one])
    zero._notices.pop()
    with pytest.raises(ValueError, match="different numbers"):
        simplegrad.compare_ranks([zero, traces_of(folder, "micro_batches")[1]])


def test_the_command(folder, capsys):
    files = [str(folder / f"small_last_batch.{rank}.trace") for rank in (1, 0)]
    assert main(["ranks", *files]) == 1
    assert "batch size" in capsys.readouterr().out
    assert main(["ranks", "--format", "json", *files]) == 1
    assert json.loads(capsys.readouterr().out)["what"] == "wrong_weight"
    assert main(["ranks", *(str(folder / f"joined.{rank}.trace") for rank in range(2))]) == 0
    capsys.readouterr()
    assert main(["ranks", str(folder / "no.trace"), files[0]]) == 2
    assert main(["ranks", files[0]]) == 2
    assert "two at least" in capsys.readouterr().err


WAITS = """
    import os, torch, torch.distributed as dist
    from simplegrad import record_torch
    dist.init_process_group("gloo")
    model = torch.nn.Linear(2, 1)
    with record_torch(model, save="FOLDER/run.{rank}.trace", patience=0.5):
        model(torch.ones(1, 2)).sum().backward()
        if dist.get_rank() == 1:
            dist.all_reduce(model.weight.grad)
    os._exit(0) if dist.get_rank() else None
    while not os.path.exists("FOLDER/run.1.trace"):
        pass
    os._exit(3)  # torchrun ends the other one, which still waits
"""


def test_a_rank_that_waits_for_ever_leaves_its_trace(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(textwrap.dedent(WAITS).replace("FOLDER", str(tmp_path)))
    assert launch(2, str(script), timeout=60).returncode != 0
    report = simplegrad.compare_ranks([Trace.load(tmp_path / f"run.{rank}.trace") for rank in range(2)])
    assert (report.what, report.rank, report.parameter) == ("hang", 0, "weight")
    assert report.place.text.strip() == "if dist.get_rank() == 1:"


def test_a_nan_of_another_rank_is_not_laid_to_this_one(folder):
    zero, _, two, _ = traces_of(folder, "a_constant_column")
    answer = zero.why("first.weight")
    assert (answer.state, answer.cause) == ("nan", "")
    assert "another rank" in answer.sentence
    assert two.why("first.weight").cause == "nonfinite"
    for name in (name for name, (_, _, what, *_) in PROGRAMS.items() if what == "none"):
        for trace in traces_of(folder, name):
            assert not [each for each in simplegrad.diagnose(trace).findings if each.cause != "unused"], name

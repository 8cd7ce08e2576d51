"""A trace file from somebody else: it opens nothing, costs no more than its size allows, and is refused in one way."""

import copy
import io
import json
import math
import os
import pickle
import random
import resource
import tracemalloc
import zipfile

import pytest
import torch

from simplegrad import Trace, diagnose, record_torch
from simplegrad.comparison.compare import compare
from simplegrad.comparison.equal import Pool, difference, same
from simplegrad.comparison.gaps import apart, norm_of
from simplegrad.reasons.why import why
from simplegrad.trace import TraceFileError, store
from simplegrad.trace.looks import Looks, first, zero
from simplegrad.trace.nonfinite import find_nonfinite
from simplegrad.trace.texts import lines_of

from .runs import recorded
from .test_store import at, refusal, rewritten, rewritten_raw, through_a_file, trace_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


@pytest.fixture
def saved(path):
    recorded("simple_variable, none=skip, prune=none").save(path)
    return path


# --- what stands in the files that it names -----------------------------------------------------------------------


def test_the_text_of_its_sources_travels_with_a_trace():
    trace = recorded("simple_variable, none=skip, prune=none")
    file, line = next(event.source for event in trace.events if event.source)
    loaded = through_a_file(trace)
    assert lines_of(file, loaded.texts)[line - 1] == lines_of(file, None)[line - 1] != ""
    assert through_a_file(loaded).texts == loaded.texts


def test_only_what_stands_around_its_lines_travels():
    trace = recorded("simple_variable, none=skip, prune=none")
    file, _ = next(event.source for event in trace.events if event.source)
    kept = [line for line in lines_of(file, through_a_file(trace).texts) if line]
    assert 0 < len(kept) < len([line for line in lines_of(file, None) if line])


def test_no_file_that_a_trace_names_is_opened(saved, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the password\n" * 20)
    rewritten(
        saved, lambda document: document.update(sources=[[str(secret), 3] for _ in document["sources"]], texts={})
    )
    trace = Trace.load(saved)
    assert {event.source for event in trace.events if event.source} == {(str(secret), 3)}
    assert lines_of(str(secret), trace.texts) == []


def test_a_file_of_before_texts_were_kept_opens_without(saved):
    assert Trace.load(rewritten(saved, lambda document: [document.pop("texts"), document][1])).texts == {}


@pytest.mark.parametrize(
    "texts", [[], {"f": 3}, {"f": [3]}, {"f": [[0, []]]}, {"f": [[10**6, []]]}, {"f": [[1, [2]]]}, {"f": [[1, "x"]]}]
)
def test_texts_that_are_none(saved, texts):
    assert "trace.json, texts: " in refusal(rewritten(saved, at("texts", to=texts)))


# --- what it costs ------------------------------------------------------------------------------------------------


def test_sixty_five_dimensions_are_refused(saved):
    assert "80,001 dimensions are more than the 64" in refusal(
        rewritten(saved, at("values", 0, "shape", to=[1] * 80_000 + [4]))
    )


def test_a_tensor_of_many_dimensions_is_saved_without_its_numbers():
    (value,) = through_a_file(trace_of(torch.zeros([1] * 65 + [2]))).values
    assert (value.tensor, value.shape, value.note) == (None, (2,), "its tensor was not kept: 66 dims on cpu")


@pytest.mark.parametrize("shape", [[10**4000, 10**4000], [2**63, 0], [2**64]])
def test_sizes_that_no_tensor_has(saved, shape):
    assert "a shape was expected" in refusal(rewritten(saved, at("values", 0, "shape", to=shape)))


@pytest.fixture
def little_memory():
    """1 GiB more than there is: 2**32 elements cannot be written out."""
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + (1 << 30), limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limit)


def test_what_is_repeated_is_looked_at_once(little_memory):
    huge = torch.tensor(-2.0).expand(2**16, 2**16)
    (value,) = through_a_file(trace_of(huge)).values
    looks = Looks()
    assert (looks.largest(value.tensor), looks.norm(value.tensor)) == (2.0, 2.0 * 2**16)
    assert (first(value.tensor, 3), value.is_zero) == ([-2.0] * 3, False)
    assert find_nonfinite(trace_of(huge)) is None


HUGE = {
    "of many dimensions": torch.ones(1).expand([2] * 32),
    "of one": torch.ones(1).expand(2**32),
    "of half precision": torch.ones(1, dtype=torch.bfloat16).expand(2**16, 2**16),
    "of rows": torch.ones(1, 2**16).expand(2**16, 2**16),
    "of columns": torch.ones(2**16, 1).expand(2**16, 2**16),
}


def huge_run(tensor):
    """A run whose values are all this tensor."""
    trace = recorded("simple_variable, none=skip, prune=none")
    for value in trace.values:
        value.tensor, value.shape = tensor, tuple(tensor.shape)
    return through_a_file(trace)


@pytest.mark.parametrize("kind", HUGE)
def test_what_is_repeated_is_told_in_short(kind, little_memory):
    run = huge_run(HUGE[kind])
    (line, *_) = run.transcript().splitlines()
    assert line.endswith(f"tensor of shape {tuple(HUGE[kind].shape)}") and len(line) < 200
    assert str(diagnose(run)) and str(why(run, run.values[0].name))


@pytest.mark.parametrize("kind", HUGE)
def test_what_is_repeated_is_compared(kind, little_memory):
    run, itself, other = (huge_run(tensor) for tensor in (HUGE[kind], HUGE[kind], zero(HUGE[kind])))
    assert str(compare(run, itself)) == "The runs agree."
    assert {row.difference for row in compare(run, itself).results} == {0.0}
    found = compare(run, other)
    assert {row.difference for row in found.results} == {1.0}
    assert str(found) and found.ghosts is not None
    (a, *_), (b, *_) = run.values, other.values
    assert (norm_of(a), norm_of(b), apart(a, b)) == (2.0**16, 0.0, 1.0)


def test_rows_beside_columns(little_memory):
    rows, columns = HUGE["of rows"], HUGE["of columns"]
    assert same(rows, columns) and difference(rows, (3 * columns[:, :1]).expand(columns.shape)) == 2.0
    assert difference(rows, (math.nan * columns[:, :1]).expand(columns.shape)) == math.inf
    (a, b) = trace_of(rows, columns).values
    assert apart(a, b) == 0.0 and list(Pool([(0, a)]).equals(b)) == [0]


def test_what_is_repeated_differs_as_it_would_written_out():
    a, b = torch.rand(3, 1, 4).expand(3, 5, 4), torch.rand(1, 5, 4).expand(3, 5, 4)
    assert difference(a, b) == difference(a.contiguous(), b.contiguous())
    pairs = [trace_of(a, b).values, trace_of(a.contiguous(), b.contiguous()).values]
    assert apart(*pairs[0]) == pytest.approx(apart(*pairs[1]))
    assert list(Pool([(0, pairs[0][0])]).equals(pairs[1][0])) == [0]


def _memory() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def test_a_tensor_that_many_values_share_is_looked_at_once(monkeypatch):
    looks, tensor, seen = Looks(), torch.arange(4.0), []
    monkeypatch.setattr("simplegrad.trace.looks.computable", lambda each: seen.append(each) or each)
    for size in range(2, 50):
        assert looks.largest(tensor.expand(size, 4)) == 3
    assert len(seen) == 1


@pytest.mark.parametrize("part", [b"[]", b"{}", b'{"kind":"TapeReset"}', b"1", b'""'])
def test_json_that_costs_much_is_refused_before_it_is_read(path, part, monkeypatch):
    monkeypatch.setattr(store.json, "loads", lambda text: pytest.fail("it was read"))
    incompressible = b'"' + random.Random(0).randbytes(100_000).hex().encode() + b'",'
    text = b"[" + incompressible + b",".join([part] * (8_000_000 // (len(part) + 1))) + b"]"
    assert "trace.json would take some " in refusal(rewritten_raw(path, text))


@pytest.mark.parametrize(
    "part", ["[]", "[1]", "[" * 200 + "]" * 200, '{"a":1}', '{"a":{}}', "0.1", '"ab"', '"\\ud83d\\ude00"']
)
def test_json_costs_no_more_than_was_reckoned(part):
    """Also where one letter makes all others of a text four times as large."""
    for text in (
        f'{{"x":[{",".join([part] * (400_000 // len(part)))}]}}',
        f'{{"x":["\\ud83d\\ude00{"a" * 400_000}",{part}]}}',
    ):
        content = text.encode()
        tracemalloc.start()
        kept = store._parsed(content)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most + len(content) <= store._cost(content) + 1000 and kept


def test_letters_that_a_trace_is_not_written_in_are_refused(path):
    assert "is not JSON ('ascii' codec" in refusal(rewritten_raw(path, '{"format": "😀"}'.encode()))


@pytest.mark.parametrize("place", [("values", 0, "name"), ("values", 0, "dtype"), ("values", 0, "note")])
def test_a_name_of_a_million_characters_is_refused(saved, place):
    assert "1,000,000 characters are more than the 500" in refusal(rewritten(saved, at(*place, to="x" * 10**6)))


def test_a_long_name_of_ones_own_is_cut():
    trace = trace_of(torch.ones(2))
    trace.values[0].name = "x" * 1000
    assert through_a_file(trace).values[0].name == "x" * 499 + "…"


# --- every error is one kind of error -----------------------------------------------------------------------------


def test_whatever_goes_wrong_is_a_trace_file_error(saved, monkeypatch):
    monkeypatch.setattr(store.Reader, "trace", lambda self: 1 / 0)
    assert refusal(saved).startswith("ZeroDivisionError: division by zero. The file is damaged")


def test_too_little_memory_is_a_trace_file_error(saved, monkeypatch):
    def none(self):
        raise MemoryError

    monkeypatch.setattr(store.Reader, "trace", none)
    assert refusal(saved) == "there is not enough memory to read it. Record less of the run."


def test_mutated_documents_are_refused_or_read(saved):
    """Each leaf of the document, replaced by each of these."""
    with zipfile.ZipFile(saved) as archive:
        document, tensors = json.loads(archive.read("trace.json")), archive.read("tensors.safetensors")
    strange = [None, -1, 10**4000, 2**63, 1.5, "", "\ud800", "\0", [], {}, True]
    for number, place in enumerate(_places(document)):
        holder, key = place
        kept, holder[key] = holder[key], strange[number % len(strange)]
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("trace.json", json.dumps(document))
            archive.writestr("tensors.safetensors", tensors)
        holder[key] = kept
        try:
            store.load(stream)
        except TraceFileError as error:
            assert str(error).startswith("the file: ")


def _places(part):
    for key, value in list(part.items()) if isinstance(part, dict) else list(enumerate(part)):
        yield part, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.trace")
    with pytest.raises(OSError, match="is a pipe, and a trace is kept in a file"):
        Trace.load(tmp_path / "pipe.trace")


# --- what it refers to --------------------------------------------------------------------------------------------


@pytest.fixture
def trained(path):
    """A step whose loss is NaN, recorded with numbers."""
    model = torch.nn.Linear(2, 1)
    with record_torch(model, values="full") as trace:
        loss = (model(torch.ones(1, 2)) - 1e9).log().sum()
        loss.backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
    trace.save(path)
    return path


WRONG = {
    "calls[0]: its id 5 is not its place": at("calls", 0, "id", to=5),
    "calls[2]: the call 2 that it ran in is not before it": at("calls", 2, "inside", to=2),
    "calls[2]: no pass 82 begins": at("calls", 2, "pass_id", to=82),
    "filled[0]: no pass 82 begins": at("filled", 0, "pass_id", to=82),
    "filled[0]: after_kind is \"x\", not one of": at("filled", 0, "after_kind", to="x"),
    "held[0]: grad is \"x\", not one of": at("held", 0, "grad", to="x"),
    "calls[0]: within is \"x\", not one of": at("calls", 0, "within", to="x"),
    "collectives[0]: there is no call 1000": lambda document: document.update(collectives=[{"call": 1000}]),
}  # fmt: skip


@pytest.mark.parametrize("says", WRONG)
def test_what_a_run_of_torch_refers_to_is_there(trained, says):
    assert says in refusal(rewritten(trained, WRONG[says]))


def test_no_entry_is_made_by_itself_or_by_a_later_one(saved):
    def circle(document):
        for entry in document["entries"]:
            entry["made_by"] = entry["id"]

    assert "there is no entry 0 that could have made it" in refusal(rewritten(saved, circle))


def test_values_that_lead_in_a_circle_are_followed_once(trained):
    """Each of two calls changes in place what the other gave, and nothing reads either."""

    def circle(document):
        value = {"name": "x", "shape": [], "dtype": "float32"}
        first = len(document["values"])
        document["values"] += [{**value, "id": 10**6 + k} for k in range(2)]
        for k in range(2):
            call = {"id": len(document["calls"]), "kind": "in place", "name": "add_", "event": 0}
            document["calls"].append({**call, "inputs": [first + k], "outputs": [first + 1 - k]})
        for held in document["held"]:
            held["value"] = first

    trace = Trace.load(rewritten(trained, circle))
    assert diagnose(trace) and why(trace, "weight")


def test_a_trace_is_copied_and_sent_as_its_file(trained):
    for trace in (recorded("simple_variable, none=skip, prune=none"), Trace.load(trained)):
        for copied in (pickle.loads(pickle.dumps(trace)), copy.deepcopy(trace), copy.copy(trace)):
            assert copied.transcript() == trace.transcript()
            assert [repr(call) for call in copied.calls] == [repr(call) for call in trace.calls]

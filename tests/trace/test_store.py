"""A trace goes through a file and comes back as it was; a file that is damaged, foreign or malicious is refused."""

import io
import json
import math
import pickle
import warnings
import zipfile
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from simplegrad import Tape, Trace, Variable, grad, record, record_torch, registry
from simplegrad.trace import LimitError, TraceFileError, document, store
from simplegrad.trace.events import Leaf, LimitReached, Value
from tests.counting import lines_run
from tests.trace.alike import as_data, assert_same
from tests.trace.runs import RUNS, recorded, two_passes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


def through_a_file(trace: Trace) -> Trace:
    stream = io.BytesIO()
    store.save(trace, stream)
    stream.seek(0)
    return store.load(stream)


# --- there and back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_every_run_comes_back_and_replays_identically(name):
    trace = recorded(name)
    loaded = through_a_file(trace)
    assert_same(trace, loaded)
    assert loaded.transcript() == trace.transcript()
    for k in range(len(trace) + 1):
        mine, other = trace.at(k), loaded.at(k)
        assert as_data(list(mine.gradients.items())) == as_data(list(other.gradients.items()))
        assert [mine.entry_state(e) for e in trace.entries] == [other.entry_state(e) for e in loaded.entries]
        assert as_data([mine.entry, mine.pass_, mine.line, mine.source]) == as_data(
            [other.entry, other.pass_, other.line, other.source]
        )


def test_by_path_and_by_method(path):
    trace = recorded("simple_variable_wrong, none=skip, prune=none")
    trace.save(path)
    assert_same(trace, Trace.load(path))
    assert_same(trace, Trace.load(str(path)))
    assert [each.name for each in path.parent.iterdir()] == ["run.trace"]


def test_identities_come_back():
    """What one object was is one object again: states are looked up by it."""
    loaded = through_a_file(recorded("simple, none=skip, prune=none"))
    by_id = {value.id: value for value in loaded.values}
    for event in loaded.events:
        if isinstance(event, Leaf):
            assert event.value is by_id[event.value.id]
        if hasattr(event, "entry"):
            assert event.entry is loaded.entries[event.entry.id]
        if hasattr(event, "pass_"):
            assert event.pass_ is loaded.passes[event.pass_.id]


def test_what_is_equal_is_kept_once():
    """A trace that was opened takes no more memory than the one that was recorded."""
    loaded = through_a_file(sines(300))
    for things in (
        [value.shape for value in loaded.values],
        [value.dtype for value in loaded.values],
        [entry.operator for entry in loaded.entries],
        [event.parent for event in loaded.events],
    ):
        assert len(set(map(id, things))) == len(set(things)) < len(things)


def test_what_ran_comes_back():
    trace = recorded("no_pass")
    trace.title, trace.program, trace.aggregate, trace.kind = "Tïtle", "a = rand(3)\n", "simple", "torch"
    trace.notices[:], trace.bindings = ["one", "two \ud800"], {"x": "v0"}
    trace.printed = ((0, 1, "a is"), (len(trace), None, "tensor([1.])"))
    assert_same(trace, through_a_file(trace))


def test_a_limit_comes_back():
    with pytest.raises(LimitError), Tape(), record() as trace:
        raise LimitError("seconds", 0.5, "more than 0.5 seconds")
    last = through_a_file(trace).error
    assert isinstance(last, LimitReached) and (last.what, last.limit) == ("seconds", 0.5)


REALS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
WHOLES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]
TENSORS = {str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in REALS + WHOLES}
TENSORS |= {
    "complex64": torch.tensor([1 + 2j, complex(math.nan, -math.inf)]),
    "complex128": torch.tensor([[1 + 2j], [3 - 4j]], dtype=torch.complex128),
    "conjugate": torch.tensor([1 + 2j, 3j]).conj(),
    "imaginary part": torch.tensor([1 + 2j, 3j]).conj().imag,
    "complex, expanded": torch.tensor(1 + 2j).expand(2, 3),
    "no dimension": torch.tensor(3.5),
    "no element": torch.zeros(0, 3),
    "no element, expanded": torch.zeros(1).expand(0, 1),
    "NaN and infinities": torch.tensor([math.nan, math.inf, -math.inf, -0.0]),
    "expanded": torch.arange(3.0).expand(4, 3),
    "expanded inside": torch.arange(2.0).reshape(2, 1, 1).expand(2, 3, 1),
    "expanded scalar": torch.tensor(2.0).expand(4),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "part of a larger one": torch.arange(100.0)[3:9:2],
    "overlapping": torch.arange(6.0).unfold(0, 3, 1),
    "channels last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    "a parameter": torch.nn.Parameter(torch.ones(2)),
    "with history": torch.ones(2, requires_grad=True) * 2,
}


def trace_of(*tensors) -> Trace:
    values = [
        Value(i, f"x{i}", tuple(t.shape), t, str(t.dtype).removeprefix("torch."), leaf=True)
        for i, t in enumerate(tensors)
    ]
    return Trace([Leaf(i, None, None, None, None, value) for i, value in enumerate(values)], [], values)


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_every_kind(name):
    tensor = TENSORS[name]
    (value,) = through_a_file(trace_of(tensor)).values
    assert value.tensor.dtype == tensor.dtype and value.shape == tuple(tensor.shape)
    assert not value.tensor.requires_grad and type(value.tensor) is torch.Tensor
    assert str(value.tensor.tolist()) == str(tensor.tolist())
    zeros = [size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride())]
    assert zeros == [size > 1 and stride == 0 for size, stride in zip(value.tensor.shape, value.tensor.stride())]


def test_values_without_a_tensor(path):
    trace = Trace([], [], [Value(0, "x", (2, 3), None, "float64", note="norm 1.25")])
    assert_same(trace, through_a_file(trace))


def test_a_sparse_tensor_is_left_out_and_that_is_said():
    (value,) = through_a_file(trace_of(torch.eye(3).to_sparse())).values
    assert value.tensor is None and value.note == "its tensor was not kept: sparse_coo on cpu"


def test_shared_memory_is_kept_once(path):
    big = torch.rand(100_000)
    trace_of(big, big, big.view(100_000), big.detach()).save(path)
    assert path.stat().st_size < 1.1 * big.numel() * 4
    first, *others = Trace.load(path).values
    assert all(value.tensor is first.tensor for value in others)


def test_an_expanded_tensor_takes_the_room_of_what_was_expanded(path):
    trace_of(torch.tensor(2.0).expand(1000, 1000)).save(path)
    assert path.stat().st_size < 2000


def test_a_failed_save_leaves_the_older_file(path, monkeypatch):
    recorded("no_pass").save(path)
    before = path.read_bytes()
    monkeypatch.setattr(store, "MOST_JSON_BYTES", 1000)
    with pytest.raises(TraceFileError, match="^the trace is too long for a file: .* Record less of the run.$"):
        recorded("simple, none=skip, prune=none").save(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


# --- files that are refused --------------------------------------------------------------------------------------


@pytest.fixture
def saved(path):
    recorded("simple_variable, none=skip, prune=none").save(path)
    return path


def refusal(path) -> str:
    with pytest.raises(TraceFileError) as caught:
        Trace.load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def rewritten(path, change=None, **members):
    """The same archive with another document, or other members."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(parts["trace.json"])
    if change is not None:
        document = change(document) or document
    parts["trace.json"] = json.dumps(document)
    parts |= {name.replace("_", "."): content for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            if content is not None:
                archive.writestr(name, content)
    return path


DAMAGED = "The file is damaged or was cut off. Copy it anew, or save the trace again with trace.save(path)."


def test_no_file_at_all(path):
    with pytest.raises(TraceFileError, match="there is no such file. Give the path that trace.save") as raised:
        Trace.load(path)
    assert isinstance(raised.value, FileNotFoundError)
    for place, said in (("/dev/zero", "is a device"), (path.parent, "is a folder"), ("a\0b", "so it is no path")):
        with pytest.raises(TraceFileError, match=said):
            Trace.load(place)


@pytest.mark.parametrize("where", [FakeTensorMode, lambda: torch.device("meta")])
def test_tensors_without_numbers_are_left_out_and_told(path, where):
    with where(), warnings.catch_warnings(action="ignore"), record_torch(values="full") as trace:
        x = torch.ones(3, requires_grad=True)
        (x * x).sum().backward()
    trace.save(path)
    again = Trace.load(path)
    assert len(again) == len(trace)
    assert any(said.startswith("The file does not hold the tensors of") for said in again.notices)


@pytest.mark.parametrize("content", [b"", b"P", b"hello", b"\x80\x04K\x01.", b"\x00" * 5000])
def test_a_foreign_file(path, content):
    path.write_bytes(content)
    assert refusal(path) == "not a simplegrad trace: no zip archive. Was it made by trace.save(path)?"


def test_a_foreign_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"")
    assert refusal(path) == ("not a simplegrad trace: the archive has no trace.json. Was it made by trace.save(path)?")


def test_what_torch_saves_is_foreign(path):
    torch.save({"a": torch.ones(2)}, path)
    assert refusal(path).startswith("not a simplegrad trace: ")


def test_a_foreign_document(saved):
    assert refusal(rewritten(saved, lambda document: [1])).startswith("trace.json holds a list, not a trace. ")
    recorded("no_pass").save(saved)
    assert refusal(rewritten(saved, lambda document: {"format": "other"})) == (
        "not a simplegrad trace: its format is 'other', not 'simplegrad trace'."
    )


def test_a_newer_version(saved):
    rewritten(saved, lambda document: document.update(version=3))
    assert refusal(saved) == (
        "written by a newer simplegrad: its version is 3, and this one reads up to 2. Update simplegrad, or save the "
        "trace with this one."
    )


def test_a_file_of_version_1_opens_as_one_of_now(saved):
    """Its events called a pass `run`."""
    now = as_data(Trace.load(saved).events)

    def older(document):
        document["version"] = 1
        for event in document["events"]:
            if "pass_" in event:
                event["run"] = event.pop("pass_")

    assert as_data(Trace.load(rewritten(saved, older)).events) == now


def test_what_programs_called_a_pass_before_still_works(saved):
    trace = Trace.load(saved)
    begun = next(event for event in trace if event.kind == "PassBegun")
    assert begun.run is begun.pass_ is trace.passes[0]
    assert trace.at(len(trace)).run is trace.at(len(trace)).pass_ is not None


@pytest.mark.parametrize("version", [0, -1, None, "1", True, 1.0])
def test_a_version_that_is_none(saved, version):
    rewritten(saved, lambda document: document.update(version=version))
    assert refusal(saved) == f"its version is {version!r}, not a number from 1. {DAMAGED}"


def test_cut_off_anywhere(saved):
    content = saved.read_bytes()
    for length in range(2, len(content), max(len(content) // 60, 1)):
        saved.write_bytes(content[:length])
        assert refusal(saved).endswith(DAMAGED)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_anywhere(saved, data):
    """Some bytes changed: it is refused, or what changed does not matter to the trace."""
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        trace = store.load(io.BytesIO(bytes(content)))
    except TraceFileError as error:
        assert str(error).startswith("the file: ")
        assert str(error).endswith((DAMAGED, "trace.save(path)?", "with this one.", "'simplegrad trace'."))
    else:
        assert len(trace.transcript()) > 0


def test_a_missing_or_packed_part(saved):
    refused = f"tensors.safetensors is missing, or compressed, which it never is. {DAMAGED}"
    rewritten(saved, tensors_safetensors=None)
    assert refusal(saved) == refused
    recorded("no_pass").save(saved)
    with zipfile.ZipFile(saved) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert refusal(saved) == refused


def test_no_json(saved):
    assert refusal(rewritten(saved, trace_json=b"{")).startswith("trace.json is not JSON (Expecting property name")
    assert refusal(rewritten_raw(saved, b"[" * 200_000)).startswith("trace.json is not JSON (maximum recursion depth")


def rewritten_raw(path, document: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trace.json", document)
        archive.writestr("tensors.safetensors", b"")
    return path


def test_a_zip_bomb_is_not_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("trace.json", "w") as member:
        for _ in range(100):
            member.write(b" " * (1 << 20))
    assert path.stat().st_size < 200_000
    assert "trace.json has more than 1" in refusal(path)


def at(*places, to):
    """A change of a document: what stands at these places becomes `to`."""

    def change(document):
        for place in places[:-1]:
            document = document[place]
        document[places[-1]] = to

    return change


def without(*places):
    """A change of a document that takes away what stands at these places."""

    def change(document):
        for place in places[:-1]:
            document = document[place]
        del document[places[-1]]

    return change


def first(kind: str) -> int:
    """The place of the first event of a kind."""
    events = recorded("simple_variable, none=skip, prune=none").events
    return next(event.index for event in events if event.kind == kind)


RECORDED, PASS, VISITED = map(first, ["Recorded", "PassBegun", "Visited"])
ACCUMULATED, ENDED = map(first, ["Accumulated", "PassEnded"])

MALICIOUS = {
    "values[0]: a number from 0 was expected, not -1": at("values", 0, "id", to=-1),
    "values[0]: a shape was expected, not [-4]": at("values", 0, "shape", to=[-4]),
    'values[0]: a shape was expected, not "4"': at("values", 0, "shape", to="4"),
    "values[0]: 1,000,000,000,000 elements are more than the 4,294,967,296 that a tensor may have": at(
        "values", 0, "shape", to=[10**6, 10**6]
    ),
    "values[0]: tensor t0 does not go with shape [3] (The expanded size of the tensor (3) must match the existing "
    "size (4) at non-singleton dimension 0.  Target sizes: [3].  Tensor sizes: [4])": at("values", 0, "shape", to=[3]),
    'values[0]: tensors.safetensors has no tensor "t99"': at("values", 0, "tensor", to="t99"),
    "values[0]: tensors.safetensors has no tensor {}": at("values", 0, "tensor", to={}),
    "values[1]: a text was expected, not 7": at("values", 1, "name", to=7),
    "values[0]: an object was expected, not 3": at("values", 0, to=3),
    "values: a list was expected, not null": at("values", to=None),
    "entries[0]: 'inputs' is missing": without("entries", 0, "inputs"),
    "entries[0]: there is no entry 999 that could have made it": at("entries", 0, "made_by", to=999),
    "entries[0]: there is no pass 9": at("entries", 0, "pass_id", to=9),
    "entries[0]: a list was expected, not 0": at("entries", 0, "inputs", to=0),
    "entries[0]: true or false was expected, not 1": at("entries", 0, "aggregate", to=1),
    "sources[0]: [file, line] was expected, not [1, 2]": at("sources", 0, to=[1, 2]),
    "passes[0]: a text was expected, not null": at("passes", 0, "none", to=None),
    "listed: a number from 0 was expected, not -5": at("listed", to=-5),
    "bindings: an object was expected, not []": at("bindings", to=[]),
    "printed: a list was expected, not 3": at("printed", to=3),
    'printed: [events before it, line, text] was expected, not [-1, 1, "a"]': at("printed", to=[[-1, 1, "a"]]),
    "notices: a text was expected, not 1": at("notices", to=[1]),
    "program: a text was expected, not []": at("program", to=[]),
    'events[0]: an event of a known kind was expected, not {"kind": "__class__"}': at(
        "events", 0, to={"kind": "__class__"}
    ),
    "events[0]: an event of a known kind was expected, not 0": at("events", 0, to=0),
    "events[0]: its parent 0 is not an event before it": at("events", 0, "parent", to=0),
    "events[0]: a number from 0 was expected, not -1": at("events", 0, "parent", to=-1),
    "events[0]: there is no pass 5": at("events", 0, "pass_id", to=5),
    "events[0]: a number from 0 was expected, not true": at("events", 0, "line", to=True),
    f"events[{RECORDED}]: 'entry' is missing": without("events", RECORDED, "entry"),
    f"events[{VISITED}]: a list was expected, not null": at("events", VISITED, "incoming", to=None),
    f"events[{ACCUMULATED}]: a number from 0 was expected, not -1": at("events", ACCUMULATED, "slot", to=-1),
    f'events[{VISITED}]: state is "nan", not one of propagated, partial, skipped, pruned': at(
        "events", VISITED, "state", to="nan"
    ),
    'passes[0]: none is "x", not one of skip, zeros': at("passes", 0, "none", to="x"),
    'passes[0]: prune is "", not one of none, ahead': at("passes", 0, "prune", to=""),
    "values[0]: nonfinite is \"zero\", not one of 'nan', 'inf', ''": at("values", 0, "nonfinite", to="zero"),
    'kind: kind is "float32", not one of tape, torch': at("kind", to="float32"),
    f"events[{RECORDED}]: its entry is not one of the tape's, or was recorded before": at("tape", to=0),
    f"events[{RECORDED + 1}]: its entry is not one of the tape's, or was recorded before": at(
        "events", RECORDED + 1, "entry", to=0
    ),
    f"events[{ENDED}]: [value, gradient] was expected, not [0]": at("events", ENDED, "table", to=[[0]]),
}


@pytest.mark.parametrize("says", MALICIOUS)
def test_a_document_that_is_wrong_inside(saved, says):
    rewritten(saved, MALICIOUS[says])
    assert refusal(saved) == f"trace.json, {says}. {DAMAGED}"


@pytest.mark.parametrize("place", [-1, 10**6, 1.5, "0", True])
def test_a_place_outside_of_its_list(saved, place):
    for event, field in ((RECORDED, "entry"), (0, "value"), (PASS, "pass_"), (0, "source")):
        rewritten(saved, at("events", event, field, to=place))
        assert f"trace.json, events[{event}]: a place from 0 to " in refusal(saved)
        recorded("simple_variable, none=skip, prune=none").save(saved)


def test_passes_that_do_not_nest(saved):
    rewritten(saved, without("events", PASS))
    assert "its passes and visits do not nest" in refusal(saved) or "not an event before it" in refusal(saved)


def test_a_visit_outside_of_a_pass(path):
    recorded("no_pass").save(path)

    def change(document):
        visit = {"kind": "Visited", "entry": 0, "state": "skipped", "incoming": [], "outgoing": []}
        document["events"].append(visit)

    assert "its passes and visits do not nest" in refusal(rewritten(path, change))


def test_no_pickle_is_ever_read(saved, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("pickle was used")

    monkeypatch.setattr(pickle, "load", never)
    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "Unpickler", never)
    assert len(Trace.load(saved)) > 0


def test_a_thousand_events_are_small(path):
    trace = sines(300)
    trace.save(path)
    assert len(trace) > 1000
    assert path.stat().st_size / len(trace) < 200


def sines(length: int) -> Trace:
    with Tape(), record() as trace:
        two_passes(registry["simple"])
        x = Variable.constant(torch.ones(2))
        y = x
        for _ in range(length):
            y = y.sin()
        grad(y.sum(), [x])
    return trace


def test_saving_and_opening_do_as_much_for_an_event_of_a_trace_sixteen_times_as_long(path):
    steps = {}
    for length in (50, 800):
        trace = sines(length)
        assert len(trace) > 4 * length  # its events are made when they are asked for
        saving, _ = lines_run(document, partial(trace.save, path))
        opening, _ = lines_run(document, partial(Trace.load, path))
        steps[length] = saving / len(trace), opening / len(trace)
    for short, long in zip(steps[50], steps[800]):
        assert 1 < long <= 1.1 * short

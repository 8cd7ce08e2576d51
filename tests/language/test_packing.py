"""Programs in URLs."""

import base64
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simplegrad import ProgramError
from simplegrad.language import EXAMPLES, pack, unpack


@given(st.text())
def test_a_text_comes_back_as_it_was(text):
    packed = pack(text)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", packed)
    assert unpack(packed) == text


def test_a_long_program_gets_shorter():
    text = EXAMPLES["chain-200"].text
    assert len(pack(text)) * 10 < len(text)


@given(st.text())
def test_whatever_stands_in_a_link_is_a_text_or_a_program_error(packed):
    try:
        assert isinstance(unpack(packed), str)
    except ProgramError as error:
        assert "link" in error.message


@given(st.data())
def test_a_link_that_was_cut_off_says_so(data):
    packed = pack(EXAMPLES["exercise"].text)
    with pytest.raises(ProgramError, match="cut off"):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 2))])


def test_what_is_small_and_unpacks_to_gigabytes_is_refused():
    machine = zlib.compressobj(9)
    bomb = b"".join([machine.compress(b"x" * (1 << 20)) for _ in range(64)] + [machine.flush()])
    with pytest.raises(ProgramError, match="more than 100000 characters"):
        unpack(base64.urlsafe_b64encode(bomb).decode())


def test_a_text_of_just_the_longest_length_comes_back():
    assert unpack(pack("é" * 20), longest=20) == "é" * 20
    with pytest.raises(ProgramError, match="more than 20"):
        unpack(pack("é" * 21), longest=20)

"""Looking for one value in the beginning of a body: found however it is cut, never beyond its limit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.proxy.peek import LONGEST, WHOLE, Peek

FORM = b"a=1&model=llama%203+b&c=2"
PARTS = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\nxx\r\n--\r\n'
    b'\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--\r\n'
)


def look(body: bytes, step: int, *, form: str = "json", limit: int = 2**18) -> Peek:
    """Feed a body in pieces of `step` bytes."""
    peek = Peek("model", form, b"B", limit)
    for at in range(0, len(body), step):
        if peek.feed(body[at : at + step]):
            return peek
    peek.end()
    return peek


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10**6])
@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"model":"a"}', "a"),
        (b' {"x" : {"model": "no"}, "y": ["model"], "model" : "yes" }', "yes"),
        (b'{"x":"\\"model\\":\\"no\\"","model":"a\\"b\\\\"}', 'a"b\\'),
        (b'{"x":"model","model":"y"}', "y"),
        (b'{"model": "caf\\u00e9"}', "café"),
        ('{"prompt":"é{[","model":"ü"}'.encode(), "ü"),
        (b'{"model": 5}', None),
        (b'{"model": {"model": "no"}}', None),
        (b'[{"model": "no"}]', None),
        (b'{"a": 1}', None),
        (b"no json at all", None),
        (b'{"model": "never ends', None),
        (b"", None),
    ],
)
def test_a_key_at_the_top_of_json_is_found_however_it_is_cut(
    body: bytes, value: str | None, step: int
) -> None:
    peek = look(body, step)
    assert peek.over
    assert peek.value == value
    assert peek.value is not None or peek.why


@pytest.mark.parametrize("step", [1, 5, 10**6])
def test_forms_are_understood_however_they_are_cut(step: int) -> None:
    assert look(FORM, step, form="form").value == "llama 3 b"
    assert look(b"x=1&model=last", step, form="form").value == "last"
    assert look(PARTS, step, form="multipart").value == "whisper-1"
    assert look(PARTS[:-30], step, form="multipart").value is None


def test_t_sb_11_a_large_body_is_looked_at_up_to_the_limit_and_not_kept() -> None:
    body = b'{"prompt":"' + b"x" * 2**20 + b'","model":"late"}'
    peek = Peek("model", "json", b"", 2**16)
    for at in range(0, len(body), 2**14):
        if peek.feed(body[at : at + 2**14]):
            break
    assert peek.value is None
    assert "65536 bytes" in peek.why
    assert len(peek._data) == 0, "nothing of it is kept when the search is over"


def test_a_value_that_is_no_name_of_a_model_is_not_taken() -> None:
    body = b'{"model":"' + b"x" * (LONGEST + 1) + b'"}'
    for step in (1, 10**6):
        assert look(body, step).value is None


def test_deeply_nested_json_is_no_trouble() -> None:
    body = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b',"model":"m"}'
    assert look(body, 10**6).value == "m"
    assert look(body, 1000).value == "m"


@given(
    st.dictionaries(st.text(max_size=5), st.recursive(st.text() | st.integers(), st.lists, max_leaves=8)),
    st.text(max_size=20),
    st.integers(1, 40),
    st.booleans(),
)
def test_what_is_found_is_what_json_says(
    document: dict[str, object], model: str, step: int, plain: bool
) -> None:
    document["model"] = model
    body = json.dumps(document, ensure_ascii=not plain).encode("utf-8", "surrogatepass")
    whole = Peek("model", "json", b"", 2**18, len(body))
    assert len(body) <= WHOLE
    assert whole.feed(body)
    assert look(body, step).value == whole.value

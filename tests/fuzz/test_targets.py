"""The coverage-guided targets with Hypothesis instead: every build runs them for a moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .targets import TARGETS

WORDS = [
    b"/", b"..", b"%2e", b"%2F", b";", b"?", b"#", b"http://", b"a.localhost", b":80", b"[::1]", b"@",
    b"\\", b"%", b"Content-Length: 1\n", b"Transfer-Encoding: chunked\n", b"Connection: close, x-a\n",
    b"X-A: b\n", b"X_A: b\n", b"Set-Cookie: a=b; Path=/\n", b"Location: /x\n", b"Refresh: 0; url=/x\n",
    b"Path=/", b"; Domain=127.0.0.1", b"a=b", b"__Host-a=b", b"/base", b"http://127.0.0.1:1",
    b"\x81\x05", b"\x88\x80", b"\x82~\x01", b"\xff",
]  # fmt: skip
BYTES = st.lists(st.sampled_from(WORDS) | st.binary(max_size=12), max_size=12).map(b"".join)


@pytest.mark.parametrize("name", list(TARGETS))
@given(data=BYTES)
def test_t_rt_23_readers_hold_for_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)

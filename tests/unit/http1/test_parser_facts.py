"""What httptools (llhttp) does with requests and answers, measured: Hestia is built on these facts.

When an upgrade of the parser changes one of them, this fails before anything else does. Proxy-semantics U, P.
"""

from __future__ import annotations

import httptools
import pytest

from hestia.http1.framing import made_up_head

CHUNKED = b"Transfer-Encoding: chunked\r\n"
HOST = b"Host: a\r\n"


class Calls:
    """Records what a parser calls, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...] | tuple[str, bytes] | tuple[str, bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.seen.append(("begin",))

    def on_url(self, url: bytes) -> None:
        self.seen.append(("url", url))

    def on_status(self, reason: bytes) -> None:
        self.seen.append(("status", reason))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.seen.append(("field", name, value))

    def on_headers_complete(self) -> None:
        self.seen.append(("head",))

    def on_body(self, data: bytes) -> None:
        self.seen.append(("body", data))

    def on_message_complete(self) -> None:
        self.seen.append(("end",))

    def of(self, kind: str) -> list[bytes]:
        """Last value of each call of a kind."""
        return [b"".join(one[1:]) for one in self.seen if one[0] == kind]  # type: ignore[arg-type]

    @property
    def body(self) -> bytes:
        return b"".join(self.of("body"))

    @property
    def ends(self) -> int:
        return self.seen.count(("end",))


def _request(data: bytes) -> tuple[Calls, httptools.HttpRequestParser]:
    calls = Calls()
    parser = httptools.HttpRequestParser(calls)
    parser.feed_data(data)
    return calls, parser


def _response(*pieces: bytes) -> tuple[Calls, httptools.HttpResponseParser]:
    calls = Calls()
    parser = httptools.HttpResponseParser(calls)
    for piece in pieces:
        parser.feed_data(piece)
    return calls, parser


def _get(target: bytes = b"/x", fields: bytes = HOST, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + fields + b"\r\n"


class TestRequests:
    """T-UV-08, UV-01: what passes the parser and is ours to judge."""

    @pytest.mark.parametrize("fields", [b"", HOST + HOST, b"Host:\r\n", b"Host: a b\r\n", b"Host: u@a\r\n"])
    def test_u5_any_host_passes(self, fields: bytes) -> None:
        assert _request(_get(fields=fields))[0].ends == 1

    @pytest.mark.parametrize("target", [b"http://a/b", b"ftp://a/", b"http://u@a/", b"http://a", b"*"])
    def test_u6_u13_any_form_passes_as_written(self, target: bytes) -> None:
        assert _request(_get(target))[0].of("url") == [target]

    @pytest.mark.parametrize("target", [b"/a?", b"/a#x", b"/%zz", b'/"<>{}|^`\\', b"//a;b"])
    def test_u7_u8_targets_are_raw(self, target: bytes) -> None:
        assert _request(_get(target))[0].of("url") == [target]

    def test_u8_blanks_around_the_target_are_tolerated(self) -> None:
        assert _request(b"GET   /x HTTP/1.1\r\n" + HOST + b"\r\n")[0].of("url") == [b"/x"]

    @pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.1"])
    def test_u9_other_versions_and_a_protocol_pass(self, version: bytes) -> None:
        assert _request(_get(version=version))[0].ends == 1

    def test_u9_a_coding_in_http_1_0_is_taken_off(self) -> None:
        calls, _ = _request(b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n1\r\nx\r\n0\r\n\r\n")
        assert calls.body == b"x"

    @pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked"])
    def test_u10_codings_in_front_of_chunked_pass(self, coding: bytes) -> None:
        calls, _ = _request(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: " + coding + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        )
        assert calls.body == b"x"

    def test_u15_names_order_duplicates_and_obs_text_are_kept(self) -> None:
        calls, _ = _request(_get(fields=b"hOsT: a\r\nX-a: \xe9\xff\r\nx-A: 2\r\n"))
        assert calls.of("field") == [b"hOsTa", b"X-a\xe9\xff", b"x-A2"]

    def test_u28_pipelined_requests_are_parsed_straight_through(self) -> None:
        assert _request(_get() * 3)[0].ends == 3

    def test_u1_trailers_come_as_fields_behind_the_head(self) -> None:
        calls, _ = _request(b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n0\r\nHost: evil\r\n\r\n")
        assert calls.seen.index(("field", b"Host", b"evil")) > calls.seen.index(("head",))


REFUSED = {
    "both framings": b"Content-Length: 1\r\n" + CHUNKED,
    "two lengths": b"Content-Length: 1\r\nContent-Length: 1\r\n",
    "list": b"Content-Length: 1, 1\r\n",
    "plus": b"Content-Length: +1\r\n",
    "minus": b"Content-Length: -1\r\n",
    "hex": b"Content-Length: 0x1\r\n",
    "empty": b"Content-Length: \r\n",
    "overflow": b"Content-Length: 99999999999999999999\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "chunked first": b"Transfer-Encoding: chunked, identity\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "blank before colon": b"Content-Length : 1\r\n",
    "folded": b"X: a\r\n b\r\n",
    "leading blank": b" X: a\r\n",
    "bare LF": b"X: a\nY: b\r\n",
    "bare CR": b"X: a\rY: b\r\n",
    "NUL": b"X: a\0b\r\n",
    "control": b"X: a\x01\r\n",
    "obs-text in a name": b"X\xe9: a\r\n",
}
CHUNKS = [
    b"0x1\r\nx\r\n",
    b"1 \r\nx\r\n",
    b"fffffffffffffffff\r\n",
    b"1\nx\r\n",
    b"1\r\nxy\r\n",
    b"1; a=b\r\nx\r\n",
]


class TestRefusals:
    """T-UV-09, UV-01: what never gets as far as us, and what is tolerated beside it."""

    @pytest.mark.parametrize("name", list(REFUSED))
    def test_u11_fields(self, name: str) -> None:
        with pytest.raises(httptools.HttpParserError):
            _request(b"POST / HTTP/1.1\r\n" + HOST + REFUSED[name] + b"\r\nx")

    @pytest.mark.parametrize("chunk", CHUNKS)
    def test_u11_u12_chunks(self, chunk: bytes) -> None:
        with pytest.raises(httptools.HttpParserError):
            _request(b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + chunk + b"0\r\n\r\n")

    def test_u11_a_leading_zero_passes(self) -> None:
        assert _request(b"POST / HTTP/1.1\r\nContent-Length: 01\r\n\r\nx")[0].body == b"x"

    @pytest.mark.parametrize("method", [b"FOO", b"get", b"G T"])
    def test_u13_unknown_methods(self, method: bytes) -> None:
        with pytest.raises(httptools.HttpParserError):
            _request(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n")

    @pytest.mark.parametrize("method", [b"QUERY", b"PURGE", b"PROPFIND", b"M-SEARCH", b"TRACE"])
    def test_u13_known_methods(self, method: bytes) -> None:
        assert _request(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n")[1].get_method() == method

    @pytest.mark.parametrize("target", [b"/\x80", b"/\t", b"/a b", b"/\x7f", b"/\0"])
    def test_u8_bytes_in_targets(self, target: bytes) -> None:
        with pytest.raises(httptools.HttpParserError):
            _request(_get(target))

    def test_u12_empty_lines_in_front_are_skipped(self) -> None:
        assert _request(b"\r\n\r\n" + _get())[0].ends == 1


class TestUpgrade:
    """T-UV-15, UV-01: the parser stops behind an upgrade offer; a fresh one reads the body and goes on."""

    HEAD = b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"

    @pytest.mark.parametrize("cut", range(len(HEAD) + 1))
    def test_the_offset_is_right_at_every_split(self, cut: int) -> None:
        data = self.HEAD + b"body" + _get()
        parser = httptools.HttpRequestParser(Calls())
        rest = b""
        for piece in (data[:cut], data[cut:]):
            try:
                parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgraded:
                rest = piece[upgraded.args[0] :]
                break
        assert (b"body" + _get()).startswith(rest)
        assert rest == b"body" + _get() or cut == len(self.HEAD)

    @pytest.mark.parametrize("length", [4, -1])
    def test_a_second_parser_with_a_made_up_head_reads_the_body(self, length: int) -> None:
        body = b"body" if length > 0 else b"4\r\nbody\r\n0\r\n\r\n"
        calls, _ = _request(made_up_head(length) + body + _get(b"/next"))
        assert (calls.body, calls.of("url"), calls.ends) == (b"body", [b"/", b"/next"], 2)


OK = b"HTTP/1.1 200 OK\r\n"
FULL = OK + b"Content-Length: 2\r\n\r\nhi"


class TestResponses:
    """T-UV-11, UV-02: P1 to P6."""

    def test_p1_the_answer_to_head_swallows_what_follows(self) -> None:
        length = b"Content-Length: %d\r\n\r\n" % len(FULL)
        assert _response(OK + length + FULL)[0].body == FULL

    def test_p2_the_end_of_input_is_nobodys_event(self) -> None:
        assert _response(OK + b"\r\nhello")[0].ends == 0
        assert _response(OK + b"Content-Length: 9\r\n\r\nhello")[0].ends == 0

    def test_p3_several_answers_are_parsed_straight_through(self) -> None:
        calls, _ = _response(b"HTTP/1.1 100 Continue\r\n\r\n" + FULL + FULL)
        assert calls.ends == 3

    def test_p4_bytes_behind_close_raise_and_garbage_behind_an_answer_too(self) -> None:
        with pytest.raises(httptools.HttpParserError):
            _response(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", b"x")
        calls = Calls()
        with pytest.raises(httptools.HttpParserError):
            httptools.HttpResponseParser(calls).feed_data(FULL + b"garbage")
        assert (calls.body, calls.ends) == (b"hi", 1)

    def test_p5_a_101_with_its_fields_stops_the_parser_and_one_without_is_an_error(self) -> None:
        head = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        with pytest.raises(httptools.HttpParserUpgrade) as stopped:
            _response(head + b"frames")
        assert stopped.value.args[0] == len(head)
        with pytest.raises(httptools.HttpParserError):
            _response(b"HTTP/1.1 101 S\r\n\r\n" + b"frames")

    @pytest.mark.parametrize("status", [b"204 No", b"304 Not"])
    def test_p6_204_and_304_end_at_the_head(self, status: bytes) -> None:
        assert _response(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")[0].ends == 1


class TestDangerousResponses:
    """T-UV-12, UV-02: P7 to P11."""

    @pytest.mark.parametrize(
        "name", ["both framings", "two lengths", "list", "minus", "folded", "bare CR", "NUL"]
    )
    def test_p7_refused(self, name: str) -> None:
        with pytest.raises(httptools.HttpParserError):
            _response(OK + REFUSED[name] + b"\r\nx")

    @pytest.mark.parametrize(
        "start", [b"http/1.1 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"ICY 200 OK"]
    )
    def test_p7_refused_status_lines(self, start: bytes) -> None:
        with pytest.raises(httptools.HttpParserError):
            _response(start + b"\r\nContent-Length: 0\r\n\r\n")

    @pytest.mark.parametrize(
        "start", [b"HTTP/1.1 099 x", b"HTTP/1.1 600 x", b"HTTP/1.1 999 x", b"HTTP/2.0 200 x"]
    )
    def test_p8_statuses_and_versions_that_pass_although_they_should_not(self, start: bytes) -> None:
        assert ("head",) in _response(start + b"\r\nContent-Length: 0\r\n\r\n")[0].seen

    @pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"chunked, gzip"])
    def test_p8_codings_that_pass_although_they_should_not(self, coding: bytes) -> None:
        assert ("head",) in _response(OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n")[0].seen

    def test_p9_a_trailer_changes_what_the_parser_says_of_keep_alive(self) -> None:
        calls, parser = _response(OK + CHUNKED + b"\r\n0\r\n")
        assert parser.should_keep_alive()
        parser.feed_data(b"Connection: close\r\n\r\n")
        assert ("field", b"Connection", b"close") in calls.seen

    def test_p10_empty_lines_around_a_message_are_swallowed(self) -> None:
        assert _response(b"\r\n" + FULL + b"\r\n")[0].ends == 1

    def test_p11_a_reason_may_come_in_parts_or_not_at_all(self) -> None:
        calls, _ = _response(b"HTTP/1.1 200 O", b"K then\r\nContent-Length: 0\r\n\r\n")
        assert b"".join(calls.of("status")) == b"OK then"
        assert b"".join(_response(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")[0].of("status")) == b""

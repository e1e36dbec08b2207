"""Operator `http` and servers that misbehave: slow, lying, broken off, garbage; and what an unexpected answer tells."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import time
import traceback
import zlib
from email.utils import formatdate
from encodings.aliases import aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.errors import InvalidTask
from halfstep.outcomes import Failed, Retry
from halfstep_worker.children.failures import failed
from halfstep_worker.connections import Blot
from halfstep_worker.operators import OperatorFailed, OperatorSettings
from halfstep_worker.operators.addresses import Gate
from halfstep_worker.operators.http import HttpOperator
from halfstep_worker.operators.http_answer import SHOWN_BYTES, beginning, decoded
from halfstep_worker.operators.http_path import climbs
from raw_server import Peer, answers, raw_server

OK = b"HTTP/1.1 200 OK\r\n"
TIMEOUT = 0.5
HANGS = 15.0
"""Seconds after which a call that is bounded by TIMEOUT counts as endless, on a machine that is busy."""


def run(url, *, connections=None, resolve=None, **args):
    settings = OperatorSettings.read({"result_bytes": 10_000, "connections": connections or {}})
    operator = HttpOperator(settings, resolve=resolve)
    operator.check({"url": url, **args})
    return operator.run({"url": url, **args})


def answer(status=200, content=b"", **headers):
    head = {"Content-Length": len(content)} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + content


def after(data: bytes, then: bytes):
    def act(peer: Peer) -> None:
        peer.request()
        peer.send(data)
        peer.drip(then)

    return act


def silent(peer: Peer) -> None:
    peer.ended.wait()


def redirects(peer: Peer) -> None:
    """Each redirect alone is quick enough."""
    peer.request()
    peer.ended.wait(0.2)
    peer.send(answer(302, Location="/again", Connection="close"))


NAMED = b"\x1f\x8b\x08\x08\0\0\0\0\0\0"
"""The head of a gzip file, up to the file's name."""
SLOW = {
    "says nothing at all": silent,
    "sends its status byte by byte": after(b"", b"HTTP/1.1 200 OK and more and more"),
    "sends one header byte by byte": after(OK + b"X-Slow: ", b"x"),
    "sends header after header": after(OK, b"X-Slow: x\r\n"),
    "sends 100 Continue for ever": after(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "sends 103 Early Hints for ever": after(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "sends headers of 100 Continue for ever": after(b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"),
    "sends its body byte by byte": after(OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "sends a body without a length byte by byte": after(OK + b"\r\n", b"x"),
    "sends chunks of one byte": after(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "sends the size of a chunk byte by byte": after(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "sends trailers for ever": after(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "promises a body and stops": after(OK + b"Content-Length: 5\r\n\r\nab", b""),
    "redirects again and again, each time quick enough": redirects,
    "sends a packed body byte by byte": after(OK + b"Content-Encoding: gzip\r\n\r\n" + NAMED, b"x"),
}


@pytest.mark.parametrize("act", SLOW.values(), ids=[f"a server that {name}" for name in SLOW])
def test_the_timeout_bounds_the_whole_call(act):
    began = time.monotonic()
    with raw_server(act) as server, pytest.raises(OperatorFailed, match="took longer than its timeout"):
        run(server.url + "/x", timeout=TIMEOUT)
    assert time.monotonic() - began < HANGS


def test_the_timeout_bounds_a_tls_handshake_that_drips():
    def act(peer: Peer) -> None:
        peer.socket.recv(65536)
        peer.send(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB, which never comes whole
        peer.drip(b"\x02")

    began = time.monotonic()
    with raw_server(act) as server, pytest.raises(OperatorFailed, match="took longer than its timeout"):
        run(f"https://127.0.0.1:{server.port}/", timeout=TIMEOUT)
    assert time.monotonic() - began < HANGS


def test_the_timeout_bounds_the_search_for_an_address():
    answered, began = threading.Event(), time.monotonic()
    try:
        with pytest.raises(OperatorFailed, match=r"^Host 'slow\.example' could not be found within the timeout\.$"):
            run("http://slow.example/", resolve=lambda *_: answered.wait(60) and [], timeout=TIMEOUT)
    finally:
        answered.set()
    assert time.monotonic() - began < HANGS


def test_the_timeout_bounds_a_body_that_nobody_reads():
    def act(peer: Peer) -> None:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.ended.wait()

    began = time.monotonic()
    with raw_server(act) as server, pytest.raises(OperatorFailed, match="took longer than its timeout"):
        run(server.url, method="POST", body="x" * 20_000_000, timeout=TIMEOUT)
    assert time.monotonic() - began < HANGS


def test_the_timeout_bounds_all_addresses_of_a_name_together():
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port, waiting = full.getsockname()[1], []
    for _ in range(4):  # the queue of connections is full, so that a further one is not answered
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        waiting.append(one)
    began = time.monotonic()
    try:
        with pytest.raises(OperatorFailed, match=r"took longer than its timeout|got no answer"):
            run(f"http://many.example:{port}/", resolve=lambda *_: ["127.0.0.1"] * 50, timeout=TIMEOUT)
    finally:
        full.close()
        for one in waiting:
            one.close()
    assert time.monotonic() - began < HANGS


PACKED = gzip.compress(b"abc" * 99, mtime=0)
BROKEN = {
    "hangs up at once": lambda peer: peer.request() and None,
    "breaks the connection off": lambda peer: (peer.request(), peer.reset()),
    "breaks the connection off in its headers": lambda peer: (peer.request(), peer.send(OK + b"X: "), peer.reset()),
    "answers in another protocol": answers(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "answers with escape sequences": answers(b"\x1b[2J\x07\x9b2J\r\n\r\n"),
    "answers with a status that is none": answers(b"HTTP/1.1 999999 OK\r\n\r\n"),
    "answers with a header of 100 KiB": answers(OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n"),
    "answers with 1,000 headers": answers(OK + b"X: y\r\n" * 1_000 + b"\r\n"),
    "says two lengths": answers(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    "says a length that is too long": answers(OK + b"Content-Length: 100\r\n\r\nshort"),
    "sends chunks of garbage": answers(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
    "sends a chunk of a negative size": answers(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n"),
    "breaks off within a chunk": answers(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nabc"),
    "says gzip and is not": answers(answer(200, b"not packed", Content_Encoding="gzip")),
    "breaks off within its gzip": answers(answer(200, PACKED[:-9], Content_Encoding="gzip")),
    "breaks off before the checksum of its gzip": answers(answer(200, PACKED[:-1], Content_Encoding="X-GZIP")),
    "breaks off in the head of its gzip": answers(answer(200, PACKED[:5], Content_Encoding="gzip")),
    "breaks off within the second part of its gzip": answers(answer(200, PACKED + PACKED[:-9], Content_Encoding="gzip")),
    "breaks off within its deflate": answers(answer(200, zlib.compress(b"abc" * 99)[:-6], Content_Encoding="deflate")),
    "breaks off within its gzip in chunks": answers(
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + PACKED[:20] + b"\r\n0\r\n\r\n"
    ),
    "breaks off within what it packed twice": answers(
        answer(200, gzip.compress(PACKED[:-9]), Content_Encoding="gzip, gzip")
    ),
    "packs it a hundred times over": answers(answer(200, b"x", Content_Encoding=",".join(["gzip"] * 100))),
    "breaks the connection off in its body": lambda peer: (
        peer.request(), peer.send(OK + b"Content-Length: 9\r\n\r\nabc"), peer.reset(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("act", BROKEN.values(), ids=[f"a server that {name}" for name in BROKEN])
def test_what_is_no_answer_is_one_sentence(act):
    with raw_server(act) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url + "/x?token=s3cret")
    said = str(caught.value)
    assert said.startswith((f"GET {server.url}/x got no answer: ", f"The answer to GET {server.url}/x broke off: "))
    assert said.isprintable()
    assert len(said) < 1_000
    assert "s3cret" not in said


HARMLESS = {
    "more than was promised": (answer(200, b"abc", Content_Length=2, Content_Type="text/plain"), "ab"),
    "a length that is no number": (answer(200, b"abc", Content_Length="many", Content_Type="text/plain"), "abc"),
    "no headers": (b"HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Type: text/plain\r\n\r\nabc", "abc"),
    "103 Early Hints before it": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(200, b"abc"), "abc"),
    "a packed body in two parts": (answer(200, PACKED + PACKED, Content_Encoding="gzip"), "abc" * 198),
    "something behind a packed body": (answer(200, PACKED + b"\0\0\0", Content_Encoding="gzip"), "abc" * 99),
    "a body packed twice": (answer(200, gzip.compress(PACKED), Content_Encoding="gzip, gzip"), "abc" * 99),
    "deflate without a head": (answer(200, zlib.compress(b"abc" * 99)[2:-4], Content_Encoding="deflate"), "abc" * 99),
    "a packed body of nothing": (answer(200, gzip.compress(b""), Content_Encoding="gzip"), None),
    "nothing that is said to be packed": (answer(200, b"", Content_Encoding="gzip"), None),
    "a packing that nobody knows": (answer(200, b"abc", Content_Encoding="mine"), "abc"),
    "100 Continue before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"abc"), "abc"),
}


@pytest.mark.parametrize(("data", "body"), HARMLESS.values(), ids=HARMLESS)
def test_an_answer_is_read_with(data, body):
    with raw_server(answers(data)) as server:
        assert run(server.url)["body"] == body


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_bomb_is_not_unpacked_beyond_the_limit(pack):
    encoding = "gzip" if pack is gzip.compress else "deflate"
    bomb = answer(200, pack(b"\0" * 200_000_000), Content_Encoding=encoding)
    with raw_server(answers(bomb)) as server, pytest.raises(OperatorFailed, match="The result is larger than"):
        run(server.url)
    with raw_server(answers(bomb.replace(b" 200 ", b" 500 ", 1))) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url)
    assert str(caught.value).endswith(" answered 500, expected 200 to 299.")


BOM = b"\xef\xbb\xbf"
JSON_BODIES = {
    "JSON with a BOM": (BOM + b'{"a": 1}', "application/json", {"a": 1}),
    "JSON with a BOM and a charset": (BOM + b'{"a": 1}', "application/json; charset=UTF-8", {"a": 1}),
    "a BOM alone": (BOM, "application/json", None),
    "text with a BOM": (BOM + b"abc", "text/plain", "abc"),
    "JSON in UTF-16": ('{"a": "ü"}'.encode("utf-16"), "application/json", {"a": "ü"}),
    "JSON in UTF-16 without a BOM": ('{"a": "ü"}'.encode("utf-16-le"), "application/json", {"a": "ü"}),
    "JSON in UTF-32": ('{"a": "ü"}'.encode("utf-32"), "application/json", {"a": "ü"}),
    "JSON in Latin-1 that says so": ('{"a": "ü"}'.encode("latin-1"), 'application/json; charset="iso-8859-1"', {"a": "ü"}),
    "JSON of a charset that nobody knows": (b'{"a": 1}', "application/json; charset=nonsense", {"a": 1}),
    "JSON of a kind of its own": (b'{"a": 1}', "application/vnd.api+json;charset=utf-8", {"a": 1}),
    "nothing": (b"", "application/json", None),
    "a blank": (b" ", "application/json", " "),
    "null": (b"null", "application/json", None),
    "NaN, which is no JSON": (b'{"a": NaN}', "application/json", '{"a": NaN}'),
    "Infinity, which is no JSON": (b"[-Infinity]", "application/json", "[-Infinity]"),
    "a number beyond all": (b"[1e999]", "application/json", "[1e999]"),
    "a number of 5,000 digits": (b"[" + b"9" * 5_000 + b"]", "application/json", "[" + "9" * 5_000 + "]"),
    "a thousand levels": (b"[" * 1_000 + b"]" * 1_000, "application/json", "[" * 1_000 + "]" * 1_000),
    "levels that never end": (b"[" * 9_000, "application/json", "[" * 9_000),
    "half a surrogate pair": (b'["\\ud800"]', "application/json", '["\\ud800"]'),
    "a NUL in JSON": (b'["\\u0000"]', "application/json", '["\\u0000"]'),
    "a NUL in text": (b"a\0b", "text/plain", None),
    "a charset that is none of text": (b"abc", "text/plain; charset=rot13", None),
    "a charset that bombs": (b"abc", "text/plain; charset=zlib", None),
    "a charset of names": (b"xn--a" * 1_000, "text/plain; charset=idna", None),
    "JSON that is broken": (b'{"a":', "application/json", '{"a":'),
    "half a surrogate pair in UTF-7": (b"a+2AA-b", "text/plain; charset=utf-7", "a\ufffdb"),
    "the other half in UTF-7": (b"a+3AA-b", "text/plain; charset=utf-7", "a\ufffdb"),
    "a whole pair in UTF-7": (b"a+2D3eAA-b", "text/plain; charset=utf-7", "a\U0001f600b"),
    "half a surrogate pair in JSON of UTF-7": (b'["+2AA-"]', "application/json; charset=utf-7", ["\ufffd"]),
    "half a surrogate pair in JSON of UTF-7 that is broken": (b'["+2AA-"', "application/json; charset=utf-7", '["\ufffd"'),
}


@pytest.mark.parametrize(("content", "kind", "body"), JSON_BODIES.values(), ids=JSON_BODIES)
def test_a_body_of(content, kind, body):
    with raw_server(answers(answer(200, content, Content_Type=kind))) as server:
        assert run(server.url)["body"] == body


CHARSETS = sorted({*aliases.values(), "utf-8-sig", "charmap", "palmos"})


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_whatever_the_charset_is_the_body_can_be_stored(charset, kind):
    content = bytes(range(256)) + b'+2AA-+3AA- \\ud800 ["\xed\xa0\x80"]\x80\xd8\0\0'
    for data in (content, content[1:], b"+2AA-\xd8", b"\\udc00", b'"+3AA-"'):
        body = decoded(data, f"{kind}; charset={charset}")
        assert body is None or (isinstance(body, str) and "\0" not in body and body.encode())
        said = beginning(data, f"{kind}; charset={charset}", blot=Blot())
        assert not said or ("\0" not in said and said.encode())


# The connection's login is me:s3cr"et <ü>
LOGIN = "me:s3cr%22et%20%3C%C3%BC%3E"
PASSWORD = 's3cr"et <ü>'
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
ECHOES = {
    "as it is": PASSWORD,
    "in JSON": json.dumps({"a": PASSWORD}),
    "in JSON that is not ASCII": json.dumps({"a": PASSWORD}, ensure_ascii=False),
    "in a URL": LOGIN,
    "in a form": "s3cr%22et+%3C%C3%BC%3E",
    "in HTML": "s3cr&quot;et &lt;ü&gt;",
    "as the header that was sent": json.dumps({"headers": {"Authorization": f"Basic {BASIC}"}}),
    "as bytes of Python": repr({"a": PASSWORD.encode()}),
    "as bytes of Python beside other quotes": repr(b"it's " + PASSWORD.encode()),
    "as ASCII of Python": ascii({"a": PASSWORD}),
    "in a URL of small letters": LOGIN.lower(),
    "in HTML by numbers": "s3cr&#34;et &lt;ü&gt;",
    "in small letters": PASSWORD.lower(),
    "where the text is cut": "x" * 990 + BASIC + PASSWORD,
    **{
        f"where reading ends after {size} of it, behind blanks": "x" + " " * (SHOWN_BYTES - 1 - size) + PASSWORD
        for size in (1, 5, 9, 11)
    },
    "where reading ends in the form of a URL": " " * (SHOWN_BYTES - 12) + LOGIN,
    "where reading ends in its login": " " * (SHOWN_BYTES - 9) + BASIC,
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [401, 200], ids=["in an answer that fails", "in one that is read"])
def test_a_secret_that_the_server_sends_back_is_not_in_the_error(echo, status, capsys):
    data = answer(status, echo.encode(), Content_Type="text/plain; charset=utf-8")
    with raw_server(answers(data)) as server, pytest.raises(OperatorFailed) as caught:
        run("/x", connection="shop", connections={"shop": f"http://{LOGIN}@127.0.0.1:{server.port}/hidden"}, expect=201)
    said = str(caught.value) + capsys.readouterr().out
    assert f"GET /x of connection 'shop' answered {status}, expected 201" in said
    for secret in ("s3cr", BASIC[:8], "hidden", "127.0.0.1"):
        assert secret not in said


@pytest.mark.parametrize("size", range(1, len(PASSWORD)))
def test_a_secret_in_the_middle_of_which_the_server_breaks_off_is_not_in_the_error(size):
    data = b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nno " + PASSWORD.encode()[:size]
    with raw_server(answers(data)) as server, pytest.raises(OperatorFailed) as caught:
        run("/x", connection="shop", connections={"shop": f"http://{LOGIN}@127.0.0.1:{server.port}"})
    assert str(caught.value).endswith("; it says: no")


def test_an_answer_that_is_whole_keeps_its_end_whatever_a_secret_begins_with():
    with raw_server(answers(answer(500, b"it is s3"))) as server, pytest.raises(OperatorFailed, match=r"; it says: it is s3$"):
        run("/x", connection="shop", connections={"shop": f"http://{LOGIN}@127.0.0.1:{server.port}"})


def test_a_secret_that_a_redirect_makes_a_host_of_is_not_in_the_error():
    with (
        raw_server(answers(answer(302, Location="http://Tok123Secret.invalid/"))) as server,
        pytest.raises(OperatorFailed, match=r"^Host '\*\*\*\.invalid' could not be found\.$"),
    ):
        run(server.url, headers={"Authorization": "Bearer Tok123Secret"}, resolve=only_loopback)


def test_a_secret_that_a_redirect_makes_a_refused_host_of_is_not_in_the_error():
    with (
        raw_server(answers(answer(302, Location="http://tok123secret.invalid/"))) as server,
        pytest.raises(InvalidTask, match=r"^Host '\*\*\*\.invalid' is refused"),
    ):
        run(server.url, headers={"Cookie": "tok123secret"}, resolve=lambda host, _: [metadata(host)])


def only_loopback(host, _):
    return [host] if host == "127.0.0.1" else []


def metadata(host):
    return host if host == "127.0.0.1" else "169.254.169.254"


NOWHERE = {
    "a bracket that does not close": "http://[::1",
    "a bracket that does not close, without a scheme": "//[x",
    "a bracket in its host": "http://a]b/",
    "brackets that hold no address": "//[s3cret]/",
    "a host that letters make a path": "http://\u2100s3cret.com/",
    "a port that is none": "http://a:s3cret/",
    "a host of letters that IDNA refuses": "http://s3cret.ü..example/",
    "a host that is longer than a name": "http://" + "a." * 200 + "example/",
    "more than is read": "/s3cret" + "a" * 8_192,
    "more than is read, where it is escaped": "/" + "\udcff" * 3_000,
    "more than is read, behind its own path": "s3cret" + "a" * 8_180,
}


@pytest.mark.parametrize("location", NOWHERE.values(), ids=[f"with {name}" for name in NOWHERE])
def test_a_redirect_is_refused_in_one_sentence(location):
    with raw_server(answers(answer(302, Location=location))) as server, pytest.raises(InvalidTask) as caught:
        run(server.url + "/old/path")
    assert str(caught.value).startswith(("The redirect is ", "The redirect must begin with "))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


ACCENTS = "\u0345\u0301\u0323\u0334" * 7_000
LONG = {
    "of accents": ("{home}/" + ACCENTS, None),
    "of a host of accents": ("http://" + ACCENTS + "/", None),
    "one longer than is read": ("{home}/" + "a" * 8_192, None),
    "a path below a connection's base, of accents": ("/" + ACCENTS, "shop"),
    "a path below a connection's base, one longer than is read": ("/" + "a" * 8_192, "shop"),
}


@pytest.mark.parametrize(("url", "connection"), LONG.values(), ids=LONG)
def test_a_url_is_too_long(url, connection):
    given = {"url": url.format(home="http://127.0.0.1:1"), "connection": connection}
    operator = HttpOperator(OperatorSettings.read({"connections": {"shop": "http://127.0.0.1:1/api"}}))
    for call in (operator.check, operator.run):
        with pytest.raises(InvalidTask, match=r"^Argument 'url' of operator 'http' is longer than 8,192 characters") as caught:
            call({name: value for name, value in given.items() if value is not None})
        assert len(str(caught.value)) < 200


def test_a_location_of_accents_is_refused_before_it_is_read():
    with raw_server(answers(answer(302, Location="/" + ACCENTS))) as server, pytest.raises(InvalidTask, match="is longer than"):
        run("/x", connection="shop", connections={"shop": f"http://me:s3cret@127.0.0.1:{server.port}"}, timeout=HANGS)


def test_a_url_of_8192_characters_is_called():
    with raw_server(lambda peer: peer.send(answer(200, b"ok" if peer.request() else b""))) as server:
        url = server.url + "/"
        assert run(url + "a" * (8_192 - len(url)))["body"] == "ok"


def test_accents_are_read_in_one_pass():
    """So many take most of a minute where each is compared with all before it."""
    began = time.monotonic()
    assert not climbs("/" + "\u0345\u0301\u0323\u0334" * 50_000)
    assert time.monotonic() - began < HANGS


def test_a_secret_in_a_header_of_the_task_is_not_in_the_error():
    with raw_server(lambda peer: peer.send(answer(400, peer.request()))) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url, headers={"Authorization": "Bearer t0ken", "Cookie": "id=c00kie", "X-Shown": "1"})
    assert "X-Shown: 1" in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert "c00kie" not in str(caught.value)


SAYS = {
    "a short body": (b'{"error": "no such day"}', "application/json", '; it says: {"error": "no such day"}'),
    "lines and blanks": (b"<h1>\r\n\t Bad  Gateway\n</h1>", "text/html", "; it says: <h1> Bad Gateway </h1>"),
    "control characters": (b"a\x1b[2J\x9b\x08\x7f", "text/plain; charset=latin-1", "; it says: a\\x1b[2J\\x9b\\x08\\x7f"),
    "what turns the line round": ("a\u202eb\u200b".encode(), "text/plain", "; it says: a\\u202eb\\u200b"),
    "a long body": (b"x" * 100_000, "text/plain", "; it says: " + "x" * 1_000 + "…"),
    "a long packed body": (b"y" * 100_000, "gzip", "; it says: " + "y" * 1_000 + "…"),
    "a few bytes that are no UTF-8": (b"no such day: 31.02.\xff!", "text/plain", "; it says: no such day: 31.02.\ufffd!"),
    "no text": (b"\x89PNG\xff\xfe\x00\x01", "image/png", "."),
    "nothing": (b"", "text/plain", "."),
    "an empty object": (b" {} ", "application/json", "."),
    "JSON with a BOM": (BOM + b'"no"', "application/json", '; it says: "no"'),
    "text in UTF-16": ("nein".encode("utf-16"), "text/plain; charset=utf-16", "; it says: nein"),
}


@pytest.mark.parametrize(("content", "kind", "said"), SAYS.values(), ids=[f"after {name}" for name in SAYS])
def test_an_error_has_the_beginning_of_the_answer(content, kind, said):
    packed = kind == "gzip"
    headers = {"Content_Encoding": "gzip"} if packed else {"Content_Type": kind}
    data = answer(500, gzip.compress(content) if packed else content, **headers)
    with raw_server(answers(data)) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url + "/x")
    assert str(caught.value) == f"GET {server.url}/x answered 500, expected 200 to 299{said}"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (answers(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nthe beginning"), "; it says: the beginning"),
        (lambda p: (p.request(), p.send(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n"), p.reset()), "."),
        (answers(answer(500, b"not packed", Content_Encoding="gzip")), "."),
        (after(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nthe beginning", b""), "; it says: the beginning"),
    ],
    ids=["a body that breaks off", "a connection that breaks off", "a body that can't be unpacked", "a body that stops"],
)
def test_the_status_is_told_also_with(act, said):
    with raw_server(act) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url, timeout=2)
    assert str(caught.value) == f"GET {server.url} answered 500, expected 200 to 299{said}"


def date(ahead: float) -> str:
    return formatdate(time.time() + ahead, usegmt=True)


DELAYS = {
    "seconds": (429, {"Retry_After": "7"}, 7.0),
    "seconds of 503": (503, {"Retry_After": "120"}, 120.0),
    "blanks around": (503, {"Retry_After": "  7  "}, 7.0),
    "half a second, which is not waited less than a whole one": (429, {"Retry_After": "0.5"}, 1.0),
    "at once": (429, {"Retry_After": "0"}, 1.0),
    "a century": (503, {"Retry_After": "3155760000"}, 86_400.0),
    "more digits than a number has": (503, {"Retry_After": "9" * 5_000}, 86_400.0),
    "a negative number": (503, {"Retry_After": "-5"}, None),
    "words": (503, {"Retry_After": "later"}, None),
    "other digits": (503, {"Retry_After": "\u0665"}, None),
    "nothing": (503, {"Retry_After": ""}, None),
    "no such header": (503, {}, None),
    "a date by the server's clock": (503, {"Date": date(-9_000), "Retry_After": date(-9_000 + 60)}, 60.0),
    "a date by our clock": (503, {"Retry_After": lambda: date(1_000)}, (900.0, 1_001.0)),
    "a date of the old form": (503, {"Date": date(0), "Retry_After": "Sunday, 06-Nov-94 08:49:37 GMT"}, None),
    "a date that has passed": (503, {"Retry_After": date(-60)}, None),
    "a date far ahead": (503, {"Retry_After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400.0),
    "a date that is none": (503, {"Retry_After": "Fri, 99 Dec 2026 25:00:00 GMT"}, None),
    "a date beyond the calendar": (503, {"Retry_After": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
    "a server whose clock is none": (503, {"Date": "yesterday", "Retry_After": "9"}, 9.0),
    "a redirect that leads nowhere": (302, {"Retry_After": "9"}, 9.0),
    "another status": (404, {"Retry_After": "9"}, None),
}


@pytest.mark.parametrize(("status", "headers", "delay"), DELAYS.values(), ids=DELAYS)
def test_the_retry_comes_when_the_answer_asks_for_it(status, headers, delay):
    given = {name: value() if callable(value) else value for name, value in headers.items()}  # our clock has gone on
    with raw_server(answers(answer(status, b"wait", **given))) as server, pytest.raises(OperatorFailed) as caught:
        run(server.url)
    match failed(caught.value):
        case Retry(error, seconds, reason, counts):
            least, most = delay if isinstance(delay, tuple) else (delay - 1.5, delay)
            assert max(1.0, least) <= seconds <= most
            assert (reason, counts) == ("exception", True)
        case Failed(error, reason, final):
            assert delay is None
            assert (reason, final) == ("exception", False)
    assert error.endswith("; it says: wait")


LOCATIONS = {
    "UTF-8 in its path": ("/grüße?q=ü", b"GET /gr%C3%BC%C3%9Fe?q=%C3%BC HTTP/1.1"),
    "Latin-1 in its path": ("/gr\udcfcn", b"GET /gr%FCn HTTP/1.1"),
    "blanks in its path": ("/a b c", b"GET /a%20b%20c HTTP/1.1"),
    "blanks around": ("  /a  ", b"GET /a HTTP/1.1"),
    "control characters in its path": ("/a\x1b[2J\x7f", b"GET /a%1B[2J%7F HTTP/1.1"),
    "escapes, which stay": ("/a%2Fb%20c", b"GET /a%2Fb%20c HTTP/1.1"),
    "a fragment, which is not sent": ("/a#b", b"GET /a HTTP/1.1"),
    "a query alone": ("?q=1", b"GET /old?q=1 HTTP/1.1"),
}


@pytest.mark.parametrize(("location", "line"), LOCATIONS.values(), ids=[f"with {name}" for name in LOCATIONS])
def test_a_redirect_is_followed(location, line):
    seen = []

    def act(peer: Peer) -> None:
        seen.append(peer.request())
        peer.send(answer(302, Location=location) if len(seen) == 1 else answer(200, b"ok"))

    with raw_server(act) as server:
        assert run(server.url + "/old")["body"] == "ok"
    assert seen[1].split(b"\r\n")[0].replace(b"%5B", b"[") == line


def test_a_location_in_the_result_is_read_as_utf_8():
    with raw_server(answers(answer(302, Location="/grüße\x1b"))) as server:
        assert run(server.url, expect=302)["headers"]["location"] == "/grüße\\x1b"


def test_a_gate_lets_nobody_wait_for_an_address_that_is_one():
    """No name, nobody to ask, no thread."""
    before = threading.active_count()
    assert Gate(resolve=lambda host, _: [host] if threading.active_count() == before else []).addresses("127.0.0.1", 80)


HOSTS = {
    "a host with a backslash": "http://a.example\\b/",
    "a host with an escape": "http://a%2fb.example/",
    "a host with a blank": "http://a b.example/",
    "a host with a line end": "http://a.example\r\nX: y/",
    "a tab that some leave out": "http://127.0.0.1/\ta",
    "a port out of range": "http://a.example:65536/",
    "a port that is no number": "http://a.example:eighty/",
    "a port below zero": "http://a.example:-1/",
    "port zero": "http://a.example:0/",
    "two ports": "http://a.example:80:81/",
    "a user": "http://me@a.example/",
    "a user who is empty": "http://@a.example/",
    "a user hidden by a backslash": "http://a.example\\@b.example/",
    "brackets that hold no address": "http://[a.example]/",
    "brackets that don't close": "http://[::1/",
    "a host of letters that IDNA refuses": "http://ü..example/",
    "a host that letters make a path": "http://a.example\u2100b/",
    "no host": "http:///a",
    "no scheme": "//a.example/",
    "another scheme": "file:///etc/passwd",
}


@pytest.mark.parametrize("url", HOSTS.values(), ids=HOSTS)
def test_a_url_is_refused_with(url):
    with pytest.raises(InvalidTask, match=r"^Argument 'url' of operator 'http' ") as caught:
        run(url)
    assert str(caught.value).isprintable()


def test_a_name_of_other_letters_is_asked_for_in_ascii():
    asked = []

    def resolve(host, _):
        asked.append(host)
        return []

    with pytest.raises(OperatorFailed, match=r"Host 'xn--grn-ioa\.example' could not be found\."):
        run("http://grün.example/", resolve=resolve)
    assert asked == ["xn--grn-ioa.example"]


@pytest.mark.parametrize(
    "host",
    [
        *(
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2001:db8::5efe:a9fe:a9fe]",
        ),
        *("[fd00:ec2::23]", "[fd00:42::42]", "①⑥⑨.②⑤④.①⑥⑨.②⑤④", "169.254.169.254.", "0251.0376.0251.0376", "[fe80::1%25lo%0a]"),
    ],
)
def test_an_address_is_refused_however_it_is_written(host):
    with pytest.raises((InvalidTask, OperatorFailed), match=r"is refused|not a valid URL|could not be found"):
        run(f"http://{host}/", timeout=5)


HEADERS = {
    "a line end in a value": {"X": "a\r\nHost: b"},
    "a bare line feed in a value": {"X": "a\nb"},
    "a line end in a name": {"X\r\nY": "a"},
    "a colon in a name": {"X:": "a"},
    "a NUL": {"X": "a\0"},
    "an escape": {"X": "a\x1b"},
    "a separator of lines": {"X": "a\u2028b"},
    "no name": {"": "a"},
    "a name that is not ASCII": {"Ü": "a"},
    "a second length": {"content-length": "0"},
    "another host": {"hOST": "b"},
    "another way to cut the body": {"Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_header_is_refused_with(headers):
    with pytest.raises(InvalidTask) as caught:
        run("http://a.example/", headers=headers)
    assert str(caught.value).isprintable()


def test_a_header_is_sent_once_in_whichever_letters():
    with raw_server(lambda peer: peer.send(answer(200, peer.request()))) as server:
        connections = {"shop": f"http://:t0ken@127.0.0.1:{server.port}"}
        seen = run("/", connection="shop", connections=connections, headers={"user-agent": "mine", "authorization": "other"})
    lines = [line.lower() for line in seen["body"].splitlines()]
    assert [line for line in lines if line.startswith(("user-agent", "authorization"))] == [
        "user-agent: mine", "authorization: bearer t0ken",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "GET /", "GET\r\nX: y", "", "G\u0117T"])
def test_a_method_is_refused(method):
    with pytest.raises(InvalidTask):
        run("http://a.example/", method=method)


@pytest.mark.parametrize("timeout", [0, -1, 1e300, 31_536_001, 10**400])
def test_a_timeout_that_no_clock_has_is_refused(timeout):
    with pytest.raises(InvalidTask, match="Argument 'timeout' of operator 'http' must be "):
        run("http://a.example/", timeout=timeout)


CLIMBS = {
    "two dots": "/../admin",
    "two dots at the end": "/x/..",
    "two dots, encoded": "/%2e%2e/admin",
    "two dots, half encoded": "/.%2E/admin",
    "two dots, encoded twice": "/%252e%252e/admin",
    "two dots, encoded nine times": "/%2525252525252525252e./admin",
    "a slash, encoded": "/x%2f..%2f..%2fadmin",
    "a backslash": "/..\\admin",
    "a backslash, encoded": "/x%5c..%5c..%5cadmin",
    "a parameter": "/..;/admin",
    "a parameter with a value": "/..;a=b/admin",
    "a parameter, encoded": "/..%3b/admin",
    "a NUL": "/..%00/admin",
    "a blank": "/..%20/admin",
    "a tab within": "/.%09./admin",
    "bytes too long": "/%c0%ae%c0%ae/admin",
    "a slash of bytes too long": "/..%c0%afadmin",
    "wide dots": "/%ef%bc%8e%ef%bc%8e/admin",
    "one character of two dots": "/\u2025/admin",
    "escapes of another kind": "/%u002e%u002e/admin",
    "escapes of another kind, of wide dots": "/%uff0e%uFF0E/admin",
    "escapes of another kind, of a wide slash": "/x%uff0f..%uff0fadmin",
    "escapes of another kind, of one character of two dots": "/%u2025/admin",
    "escapes of another kind, of bytes too long": "/%u00c0%u00ae%u00c0%u00ae/admin",
    "three bytes too long": "/%e0%80%ae%e0%80%ae/admin",
    "four bytes too long": "/%f0%80%80%ae%f0%80%80%ae/admin",
    "five bytes too long": "/%f8%80%80%80%ae%f8%80%80%80%ae/admin",
    "six bytes too long": "/%fc%80%80%80%80%ae./admin",
    "a slash of four bytes too long": "/x%f0%80%80%af..%f0%80%80%afadmin",
    "a backslash of three bytes too long": "/x%e0%81%9c..%e0%81%9cadmin",
    "a dot behind a first byte": "/%c0.%c0./admin",
    "a dot behind a first byte, encoded": "/%c0%2e%c0%2e/admin",
    "an escape whose sign has bytes too long": "/%c0%a52e%c0%a52e/admin",
    "a parameter of bytes too long": "/..%c0%bba/admin",
    "a NUL and more": "/..%00x/admin",
    "a NUL and more at the end": "/x/..%00.html",
    "a NUL of bytes too long and more": "/..%c0%80x/admin",
    "a NUL before it": "/%00../admin",
    "a line end and more": "/..%0d%0ax/admin",
    "a question mark, encoded": "/..%3fx/admin",
    "a fragment's sign, encoded": "/..%23x/admin",
    "three dots": "/.../admin",
    "two slashes": "//evil.example/",
    "an absolute URL": "http://evil.example/",
    "a user": "@evil.example/",
    "no slash": "admin",
}


@pytest.mark.parametrize("path", CLIMBS.values(), ids=[f"with {name}" for name in CLIMBS])
def test_a_connections_base_is_not_left(path):
    with raw_server(answers(answer(200, b"reached"))) as server:
        connections = {"shop": f"http://me:s3cret@127.0.0.1:{server.port}/api/v1"}
        with pytest.raises(InvalidTask, match=r"^With a connection, argument 'url' of operator 'http' "):
            run(path, connection="shop", connections=connections)
        operator = HttpOperator(OperatorSettings.read({"connections": connections}))
        with pytest.raises(InvalidTask):
            operator.run({"url": path, "connection": "shop"})  # also where nobody has checked


@given(st.lists(st.sampled_from(["a", "b.c", ".d", "e..", "%41", ""])), st.integers(0, 4), st.sampled_from(["/", "\\", "/;a=b/"]))
def test_two_dots_are_found_however_often_they_are_encoded(parts, times, slash):
    up = "..".join([slash, "/admin"])
    for _ in range(times):
        up = "".join(f"%{ord(character):02x}" for character in up) if len(up) < 500 else up.replace("%", "%25")
    assert climbs("/".join(["", *parts]) + "/" + up)
    assert not climbs("/".join(["", *parts]))


BELOW = {
    "dots in a name": "/a..b/.c/d..",
    "one dot": "/./x",
    "dots in the query": "/x?path=../y&u=http://a/..",
    "an escape": "/a%20b%2Fc",
    "letters of two, three and four bytes": "/%C3%BC%E2%82%AC%F0%9F%98%80/x",
    "an accent": "/e%CC%81.x",
    "an escaped question mark": "/a%3Fb%00c/%23",
    "an empty part": "/x//y",
    "a parameter": "/x;a=b/y",
    "a colon and an at sign": "/x:y/@z",
    "the base itself": "/",
}


@pytest.mark.parametrize("path", BELOW.values(), ids=[f"with {name}" for name in BELOW])
def test_a_path_below_the_base_is_called(path):
    with raw_server(lambda peer: peer.send(answer(200, peer.request()))) as server:
        connections = {"shop": f"http://me:s3cret@127.0.0.1:{server.port}/api/v1/"}
        seen = run(path, connection="shop", connections=connections)["body"]
    assert seen.startswith(f"GET /api/v1{path} HTTP/1.1")
    assert "Authorization: Basic" in seen


AWAY = {
    "to another path": ("/admin", False),
    "to a path that begins alike": ("/apiary", False),
    "out of the base by dots": ("../admin", False),
    "out of the base by dots that are encoded": ("/api/%2e%2e/admin", False),
    "out of the base by a backslash": ("/api/..\\admin", False),
    "out of the base by a parameter": ("/api/..;/admin", False),
    "to the same server by another name": ("http://localhost:{port}/api/x", False),
    "to another port": ("http://127.0.0.1:{other}/api/x", False),
    "to another path of the base": ("/api/x", True),
    "to the base itself": ("/api", True),
    "to the whole URL of the base": ("http://127.0.0.1:{port}/api/x?y=1", True),
}


@pytest.mark.parametrize(("location", "follows"), AWAY.values(), ids=AWAY)
@pytest.mark.parametrize("status", [302, 307])
def test_the_login_of_a_connection_follows_a_redirect(location, follows, status):
    seen = []

    def act(peer: Peer) -> None:
        seen.append(peer.request())
        target = location.format(port=server.port, other=other.port)
        peer.send(answer(status, Location=target) if len(seen) == 1 else answer(200, b"ok"))

    with raw_server(act) as other, raw_server(act) as server:
        connections = {"shop": f"http://me:s3cret@127.0.0.1:{server.port}/api"}
        run("/start", connection="shop", connections=connections, headers={"Cookie": "a=s3cret"})
    assert b"Authorization: Basic" in seen[0]
    assert (b"authorization" in seen[1].lower()) == (b"s3cret" in seen[1]) == follows


def test_a_login_that_was_dropped_does_not_come_back():
    seen = []
    places = ["/admin", "/api/x"]

    def act(peer: Peer) -> None:
        seen.append(peer.request())
        peer.send(answer(302, Location=places.pop(0)) if places else answer(200, b"ok"))

    with raw_server(act) as server:
        run("/start", connection="shop", connections={"shop": f"http://me:s3cret@127.0.0.1:{server.port}/api"})
    assert [b"Authorization" in one for one in seen] == [True, False, False]


@pytest.mark.parametrize(
    ("resolve", "said"),
    [
        (lambda *_: [], r"^The host of connection 'shop' could not be found\.$"),
        (lambda *_: ["127.0.0.1"], r"^GET /x of connection 'shop' got no answer: the connection was refused"),
    ],
    ids=["a name that nobody knows", "nobody who listens"],
)
def test_an_error_shows_nothing_of_a_connections_url(resolve, said):
    with pytest.raises(OperatorFailed, match=said) as caught:
        run("/x?q=1", connection="shop", connections={"shop": "http://me:s3cret@inner.example:1/hidden"}, resolve=resolve)
    for part in ("me", "s3cret", "inner", "hidden"):
        assert part not in str(caught.value).replace("method", "")


@pytest.mark.parametrize(
    ("location", "title"),
    [
        ("/admin?q=1", "GET /admin at the host of connection 'shop'"),
        ("//inner.example:{port}/admin", "GET /admin at the host of connection 'shop'"),
        ("http://INNER.example:1/admin", "GET /admin at the host of connection 'shop'"),
        ("https://inner.example:1/hidden/x", "GET /hidden/x at the host of connection 'shop'"),
        ("http://other.example:{port}/x", "GET http://other.example:{port}/x"),
    ],
    ids=["another path", "the same server", "another port", "another scheme", "another server"],
)
def test_what_a_redirect_leads_to_shows_nothing_of_a_connections_host(location, title, capsys):
    seen = []

    def act(peer: Peer) -> None:
        seen.append(peer.request())
        peer.send(answer(302, Location=location.format(port=server.port)) if len(seen) == 1 else answer(500))

    with raw_server(act) as server:
        connections = {"shop": f"http://me:s3cret@inner.example:{server.port}/hidden"}
        with pytest.raises(OperatorFailed) as caught:
            run("/x", connection="shop", connections=connections, resolve=lambda *_: ["127.0.0.1"])
    said = str(caught.value)
    assert said.startswith(title.format(port=server.port) + " ")
    assert "inner" not in said + capsys.readouterr().out

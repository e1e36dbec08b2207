"""Operator `http`, against real servers on the loopback interface."""

from __future__ import annotations

import base64
import gzip
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep_worker.operators import OperatorFailed, OperatorSettings, load
from halfstep_worker.operators.addresses import Gate, forms
from halfstep_worker.operators.http import HttpOperator


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {k.lower(): v for k, v in self.headers.items()},
            "body": body,
        }
        self.server.seen.append(seen)
        status, headers, content = self.server.routes.get(self.path.split("?")[0], (200, {}, None))
        content = json.dumps(seen).encode() if content is None else content
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Set-Cookie": "s3cret=1"} | headers
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up early is what some tests are about."""


class Server6(Server):
    address_family = socket.AF_INET6


def serve(context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1") -> Server:
    server = (Server6 if ":" in host else Server)((host, 0), Answers)
    server.routes, server.seen = {}, []
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def server():
    server = serve()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def other():
    server = serve()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def at(server):
    return lambda path: f"http://127.0.0.1:{server.server_port}{path}"


def run(url, *, settings=None, resolve=None, **args):
    operator = HttpOperator(OperatorSettings.read({"result_bytes": 10_000} | (settings or {})), resolve=resolve)
    operator.check({"url": url, **args})
    return operator.run({"url": url, **args})


def resolver(*addresses):
    """A name server that says one thing at the first question and another at each later one."""
    answers = list(addresses)
    return lambda _host, _port: [answers.pop(0) if len(answers) > 1 else answers[0]]


def test_a_json_answer_is_parsed(at):
    answer = run(at("/a?b=c"))
    assert answer["status"] == 200
    assert answer["body"]["method"] == "GET"
    assert answer["body"]["path"] == "/a?b=c"
    assert set(answer["headers"]) == {"content-type", "content-length"}


def test_a_body_of_json_says_so(at):
    seen = run(at("/"), method="post", body={"a": [1]})["body"]
    assert (seen["method"], seen["body"], seen["headers"]["content-type"]) == ("POST", '{"a": [1]}', "application/json")


def test_a_body_of_text_goes_as_it_is(at):
    seen = run(at("/"), method="PUT", body="grüße", headers={"content-type": "text/plain"})["body"]
    assert (seen["body"], seen["headers"]["content-type"]) == ("grüße", "text/plain")


@pytest.mark.parametrize(
    ("headers", "content", "body"),
    [
        ({"Content-Type": "text/html; charset=latin-1"}, "grün".encode("latin-1"), "grün"),
        ({"Content-Type": "application/problem+json"}, b'{"a": 1}', {"a": 1}),
        ({"Content-Type": "application/json"}, b"{broken", "{broken"),
        ({"Content-Type": "image/png"}, b"\x89PNG\xff", None),
        ({"Content-Type": "text/plain; charset=nonsense"}, b"x", None),
        ({"Content-Type": "text/plain"}, b"", None),
        ({"Content-Type": "text/plain", "Content-Encoding": "gzip"}, gzip.compress(b"packed", mtime=0), "packed"),
    ],
)
def test_answers_become_json_text_or_null(server, at, headers, content, body):
    server.routes["/x"] = (200, headers, content)
    assert run(at("/x"))["body"] == body


def test_a_head_request_has_no_body(at):
    assert run(at("/"), method="HEAD")["body"] is None


@pytest.mark.parametrize(
    ("status", "expect", "words"),
    [(500, None, "200 to 299"), (200, 201, "201"), (404, [200, 204], "200 or 204"), (302, None, "200 to 299")],
)
def test_another_status_than_expected_fails(server, at, status, expect, words):
    server.routes["/x"] = (status, {}, b"{}")
    with pytest.raises(OperatorFailed) as caught:
        run(at("/x?token=s3cret"), expect=expect)
    assert str(caught.value) == f"GET {at('/x')} answered {status}, expected {words}."


def test_an_expected_status_is_an_answer(server, at):
    server.routes["/x"] = (404, {}, b"{}")
    assert run(at("/x"), expect=[200, 404])["status"] == 404


def test_an_answer_over_the_limit_fails(server, at):
    server.routes["/x"] = (200, {}, b"x" * 10_001)
    with pytest.raises(OperatorFailed, match="The result is larger than 10000 bytes: ask for less") as caught:
        run(at("/x"))
    assert caught.value.reason == "result"


def test_a_small_answer_that_unpacks_over_the_limit_fails(server, at):
    server.routes["/x"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000))
    with pytest.raises(OperatorFailed, match="The result is larger than"):
        run(at("/x"))


def test_an_answer_that_breaks_off_fails(server, at):
    server.routes["/x"] = (200, {"Content-Length": "100", "Connection": "close"}, b"short")
    with pytest.raises(OperatorFailed, match=r"The answer to GET http://127.* broke off: "):
        run(at("/x"), timeout=100)


def test_nobody_listening_is_one_sentence(server, at):
    url = at("/x")
    server.shutdown()
    server.server_close()
    with pytest.raises(OperatorFailed, match=f"GET {url} got no answer: the connection was refused or there is no route"):
        run(url)


def test_no_answer_within_the_timeout_is_one_sentence(server, at):
    held = threading.Event()
    server.routes = type("Held", (dict,), {"get": lambda *_: held.wait(20) and (200, {}, b"")})()
    try:
        with pytest.raises(OperatorFailed, match="got no answer: it took longer than its timeout"):
            run(at("/x"), timeout=0.2)
    finally:
        held.set()


def test_an_answer_that_trickles_does_not_outlast_the_timeout(server, at):
    held = threading.Event()

    class Trickle(Answers):
        def answer(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not held.wait(0.02):
                self.wfile.write(b"x")

        do_GET = answer

    server.RequestHandlerClass = Trickle
    try:
        with pytest.raises(OperatorFailed, match="took longer than its timeout"):
            run(at("/x"), timeout=0.3)
    finally:
        held.set()


def test_an_ipv6_address_can_be_called():
    try:
        server = serve(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    try:
        answer = run(f"http://[::1]:{server.server_port}/")
        assert answer["body"]["headers"]["host"] == f"[::1]:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(OperatorFailed, match=r"Host 'no-such-host\.invalid' could not be found\."):
        run("http://no-such-host.invalid/")


@pytest.mark.parametrize(
    ("status", "method", "becomes"), [(302, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT")]
)
def test_redirects_are_followed_as_browsers_do(server, at, status, method, becomes):
    server.routes["/old"] = (status, {"Location": "/new?x=1"}, b"")
    seen = run(at("/old"), method=method, body={"a": 1})["body"]
    assert (seen["method"], seen["path"]) == (becomes, "/new?x=1")
    assert seen["body"] == ("" if becomes == "GET" else '{"a": 1}')


def test_a_redirect_that_is_expected_is_the_answer(server, at):
    server.routes["/old"] = (302, {"Location": "/new"}, b"")
    answer = run(at("/old"), expect=302)
    assert (answer["status"], answer["headers"]["location"]) == (302, "/new")


def test_endless_redirects_end(server, at):
    server.routes["/x"] = (302, {"Location": "/x"}, b"")
    with pytest.raises(OperatorFailed, match="was redirected more than 5 times"):
        run(at("/x"))
    assert len(server.seen) == 6


def test_secrets_do_not_follow_to_another_server(server, other, at):
    server.routes["/x"] = (307, {"Location": f"http://127.0.0.1:{other.server_port}/y"}, b"")
    run(at("/x"), headers={"Authorization": "s3cret", "Cookie": "s3cret", "X-Kept": "1"})
    assert server.seen[0]["headers"]["authorization"] == "s3cret"
    assert "s3cret" not in json.dumps(other.seen)
    assert other.seen[0]["headers"]["x-kept"] == "1"


def test_secrets_follow_on_the_same_server(server, at):
    server.routes["/x"] = (302, {"Location": "/y"}, b"")
    run(at("/x"), headers={"Authorization": "s3cret"})
    assert server.seen[1]["headers"]["authorization"] == "s3cret"


def test_headers_and_query_are_never_printed(at, capsys):
    run(at("/x?token=s3cret"), headers={"Authorization": "Bearer s3cret"})
    assert capsys.readouterr().out == f"GET {at('/x')} answered 200\n"


@pytest.mark.parametrize(
    "location",
    [
        *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/"),
        *("http://metadata.google.internal/", "//100.100.100.200/", "http://2852039166/", "http://0xa9fea9fe/"),
    ],
)
def test_a_redirect_to_a_metadata_service_is_refused(server, at, location):
    server.routes["/x"] = (302, {"Location": location}, b"")
    with pytest.raises(InvalidTask, match="is refused: it is link-local, a cloud's metadata service"):
        run(at("/x"))


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "http://:80/", "http://a:b@127.0.0.1/"]
)
def test_a_redirect_off_the_web_is_refused(server, at, location):
    server.routes["/x"] = (302, {"Location": location}, b"")
    with pytest.raises(InvalidTask, match="The redirect "):
        run(at("/x"))


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200"),
        *("168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),
        *("::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::ffff:0.0.0.0"),
        *("::ffff:0:a9fe:a9fe", "::ffff:0:169.254.169.254", "::ffff:0:100.100.100.200", "::ffff:0:0.0.0.0"),
    ],
)
def test_a_name_that_leads_to_a_refused_address_is_refused(address):
    with pytest.raises(InvalidTask, match=r"Host 'friendly.example' is refused"):
        run("http://friendly.example/", resolve=lambda *_: ["127.0.0.1", address])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "fd12::1",
        "93.184.216.34",
        "2606:4700::1",
        "::ffff:0:10.0.0.1",
    ],
)
def test_loopback_private_and_public_addresses_may_be_called(address):
    assert Gate(resolve=lambda *_: [address]).addresses("h", 80) == [address]


def test_a_name_is_asked_for_once_and_its_checked_address_is_called(server):
    resolve = resolver("127.0.0.1", "169.254.169.254")
    seen = run(f"http://friendly.example:{server.server_port}/", resolve=resolve)["body"]
    assert seen["headers"]["host"] == f"friendly.example:{server.server_port}"


def test_a_name_that_changes_its_answer_is_refused_at_the_redirect(server):
    server.routes["/x"] = (302, {"Location": "/y"}, b"")
    with pytest.raises(InvalidTask, match="is refused"):
        run(f"http://friendly.example:{server.server_port}/x", resolve=resolver("127.0.0.1", "169.254.169.254"))
    assert len(server.seen) == 1


def test_a_second_address_is_tried_when_nobody_listens_at_the_first(server):
    found = run(f"http://friendly.example:{server.server_port}/", resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert found["status"] == 200


@pytest.mark.parametrize("allow", ["169.254.0.0/16", "169.254.7.7", "Metadata.Google.Internal"])
def test_the_worker_can_exempt_hosts_and_networks(allow):
    gate = Gate([allow], resolve=lambda *_: ["169.254.7.7"])
    assert gate.addresses("metadata.google.internal" if allow[0] == "M" else "h", 80) == ["169.254.7.7"]


def test_an_exemption_that_is_no_network_is_refused():
    with pytest.raises(InvalidSettings, match=r"http_allow: '10.0.0.0/99' is neither a host nor a network"):
        load({"http_allow": ["10.0.0.0/99"]})


def test_the_forms_of_an_address_hold_what_is_wrapped_in_it():
    mapped, inside, loopback = map(ipaddress.ip_address, ("::ffff:10.0.0.1", "10.0.0.1", "::1"))
    assert list(forms(mapped)) == [mapped, inside]
    assert list(forms(loopback)) == [loopback]


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("me:s3cret@", "Basic " + base64.b64encode(b"me:s3cret").decode()),
        (":s3cret@", "Bearer s3cret"),
        ("me:p%40ss@", "Basic " + base64.b64encode(b"me:p@ss").decode()),
        ("", None),
    ],
)
def test_a_connection_gives_the_base_and_the_login(server, user, sent):
    settings = {"connections": {"shop": f"http://{user}127.0.0.1:{server.server_port}/api/"}}
    seen = run("/v1/x?y=1", connection="shop", settings=settings)["body"]
    assert (seen["path"], seen["headers"].get("authorization")) == ("/api/v1/x?y=1", sent)


@pytest.mark.parametrize("base", ["postgresql://u:s3cret@h/d", "ftp://u:s3cret@h/"])
def test_a_connection_of_another_kind_is_refused_without_its_secret(base):
    with pytest.raises(InvalidTask, match="The URL of connection 'shop' or the path is not valid for operator 'http'") as caught:
        run("/x", connection="shop", settings={"connections": {"shop": base}})
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def certificate(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, file = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=shop.example"
    words += f" -addext subjectAltName=DNS:shop.example -keyout {key} -out {file}"
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(context)
    yield server, file, names
    server.shutdown()
    server.server_close()


def test_a_certificate_is_checked_against_the_name_and_not_the_address(certificate, monkeypatch):
    server, file, names = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    seen = run(f"https://shop.example:{server.server_port}/", resolve=lambda *_: ["127.0.0.1"])["body"]
    assert seen["headers"]["host"] == f"shop.example:{server.server_port}"
    assert names == ["shop.example"]
    with pytest.raises(OperatorFailed, match="its certificate was refused"):
        run(f"https://other.example:{server.server_port}/", resolve=lambda *_: ["127.0.0.1"])


def test_an_unknown_certificate_is_refused(certificate):
    server, _, _ = certificate
    with pytest.raises(OperatorFailed, match="its certificate was refused"):
        run(f"https://shop.example:{server.server_port}/", resolve=lambda *_: ["127.0.0.1"])


def test_a_certificate_of_another_name_shows_nothing_of_a_connections_url(certificate, monkeypatch):
    server, file, _ = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    settings = {"connections": {"shop": f"https://me:s3cret@inner.example:{server.server_port}/hidden"}}
    with pytest.raises(
        OperatorFailed, match=r"^GET /x of connection 'shop' got no answer: its certificate was refused"
    ) as caught:
        run("/x", connection="shop", settings=settings, resolve=lambda *_: ["127.0.0.1"])
    assert not any(part in str(caught.value) for part in ("inner", "s3cret", "hidden"))


def test_a_name_with_a_dot_at_its_end_has_the_same_certificate(certificate, monkeypatch):
    server, file, names = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    run(f"https://shop.example.:{server.server_port}/", resolve=lambda *_: ["127.0.0.1"])
    assert names == ["shop.example"]


def test_a_tls_answer_that_drips_does_not_outlast_the_timeout(certificate, monkeypatch):
    server, file, _ = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    ended = threading.Event()

    class Drip(Answers):
        def answer(self) -> None:
            while not ended.wait(0.02):
                self.wfile.write(b"H")

        do_GET = answer

    server.RequestHandlerClass = Drip
    try:
        with pytest.raises(OperatorFailed, match="took longer than its timeout"):
            run(f"https://shop.example:{server.server_port}/", resolve=lambda *_: ["127.0.0.1"], timeout=0.5)
    finally:
        ended.set()

"""Names of images: what container runtimes take for one, and which pattern of a policy each of its spellings fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep_worker.kubernetes.images import read_image

DIGEST = "sha256:" + "0" * 64

FITS = [
    ("alpine", "alpine"),
    ("alpine", "docker.io/library/alpine"),
    ("alpine", "alpine:latest"),
    ("alpine:latest", "alpine"),
    ("docker.io/library/alpine:3", "alpine:3"),
    ("docker.io/alpine:3", "library/alpine:*"),
    ("index.docker.io/team/x", "team/*"),
    ("team/x", "docker.io/team/*"),
    ("localhost/x:1", "localhost/*"),
    ("reg.example:5000/a/b:1", "reg.example:5000/*"),
    ("reg.example/a/b/c:1", "reg.example/a/*"),
    ("reg.example/a:1", "*.example/*"),
    (f"reg.example/a@{DIGEST}", "reg.example/*"),
    (f"reg.example/a:1@{DIGEST}", "reg.example/a@*"),
    (f"reg.example/a:1@{DIGEST}", f"reg.example/a:1@{DIGEST}"),
    (f"alpine@{DIGEST}", "alpine@sha256:*"),
    ("app:" + "0" * 40, "app:*"),
    ("anything", "*"),
    ("reg.example/a", "*"),
    ("docker.io/alpine:3", "docker.io/alpine:3"),
    ("docker.io/reg.example/team/x", "docker.io/reg.example/*"),
    ("docker.io/localhost/x", "docker.io/*"),
    ("library/team/x", "library/team/*"),
    ("library/library/x", "library/library/*"),
    ("docker.io/library/reg.example", "library/*"),
    (f"reg.example:5000/a@{DIGEST}", "reg.example:5000/*"),
    (f"alpine@{DIGEST}", "*/*@*"),
    (f"reg.example/team/x@{DIGEST}", "*/*@*"),
]


@pytest.mark.parametrize(("text", "pattern"), FITS)
def test_an_image_fits_a_pattern_in_any_of_its_spellings(text, pattern):
    assert read_image(text).fits(pattern)


FITS_NOT = [
    ("alpine:3", "alpine"),
    ("alpine", "alpine:3"),
    ("evil/alpine", "alpine"),
    ("evil.org/library/alpine", "library/*"),
    ("evil.org/library/alpine", "docker.io/library/*"),
    ("docker.io.evil.org/library/alpine", "docker.io/*"),
    ("evil.org/reg.example/a", "*.example/*"),
    ("evil.org/reg.example/team/a", "*example/team/*"),
    ("reg.example:5000/a", "reg.example/*"),
    ("reg.example/a", "reg.example:5000/*"),
    ("TEAM/x", "team/*"),
    ("reg.example/teams/x", "reg.example/team/*"),
    (f"reg.example/a:1@{DIGEST}", "reg.example/a:1"),
    (f"reg.example/a:1@{DIGEST}", "reg.example/a:*"),
    (f"reg.example/a:1.0@{DIGEST}", "reg.example/a:1*"),
    (f"evil.org/a@{DIGEST}", f"reg.example/a@{DIGEST}"),
    (f"reg.example/team/evil@{DIGEST}", "reg.example/team/*:0*"),
    (f"reg.example/team/evil@{DIGEST}", "reg.example/*:*"),
    (f"alpine@{DIGEST}", "*:0*"),
    ("docker.io/reg.example/team/evil:1", "reg.example/*"),
    ("docker.io/reg.example/team/evil:1", "reg.example/team/*"),
    ("docker.io/library/reg.example/team/evil", "reg.example/*"),
    ("index.docker.io/reg.example/team/x", "reg.example/team/*"),
    ("docker.io/localhost/evil", "localhost/*"),
    ("docker.io/library/localhost", "localhost*"),
    ("docker.io/ghcr.io/org/app:1", "ghcr.io/*"),
    ("docker.io/docker.io/team/x", "docker.io/team/*"),
    ("docker.io/index.docker.io/team/x", "index.docker.io/team/*"),
    ("docker.io/evil.example/x", "*.example/*"),
    ("docker.io/library/reg.example", "reg.example"),
    ("library/team/x", "team/*"),
    ("docker.io/library/team/x", "team/x"),
    ("library/library/x", "library/x"),
    ("alpine:5000/x/y", "alpine:*"),
    ("alpine:3000/evil", "alpine:3*"),
    ("postgres:16000/evil:16", "postgres:16*"),
    ("alpine.evil.org/x", "alpine*"),
    ("alpine:5000/x", "alpine[!x]*"),
    ("localhost/x", "localhost*"),
    ("team/x", "*:latest"),
    (f"alpine:5000/x@{DIGEST}", "alpine:*@sha256:*"),
]


@pytest.mark.parametrize(("text", "pattern"), FITS_NOT)
def test_a_pattern_does_not_fit_another_image(text, pattern):
    found = read_image(text)
    assert found is None or not found.fits(pattern)


NONE = [
    "", " ", "a b", " a", "a\n", "a\x00", "a\u00a0b", "A", "team/A", "a/../b", "../a", "./a", "/a", "a/", "a//b", "a:", "a@",
    ":1", "a:1:2", "a/b:1/c", "a@sha256:1", f"a@{DIGEST}@{DIGEST}", "http://a/b", "a..b", "a/.b", "a/b-", "-a/b",
    "reg.example:x/a", "reg.example:/a", "a" * 256, "reg.example/" + "a/" * 200 + "a", DIGEST, "0" * 64, "a:" + "t" * 129,
    "é", "a\u202eb", "$(A)",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE, ids=repr)
def test_what_is_no_name_is_none(text):
    assert read_image(text) is None


hosts = st.sampled_from(["reg.example", "localhost", "alpine:3000", "docker.io", "a.b:1"])
paths = st.lists(st.sampled_from(["library", "team", "reg.example", "localhost", "docker.io", "x"]), min_size=1, max_size=4)


@given(hosts, paths, st.sampled_from(["", ":1", f"@{DIGEST}"]), hosts, st.sampled_from(["/*", "/*/*", "/team/*"]))
def test_no_pattern_of_a_registry_fits_an_image_of_another(host, path, end, other, rest):
    found = read_image("/".join([host, *path]) + end)
    assert found is None or found.registry == other or not found.fits(other + rest)


@given(st.text() | st.text("aA0./:@-_*[ ", max_size=30), st.text("a0./:@-_*[]?!", max_size=20))
def test_any_text_is_a_name_or_none_and_any_pattern_fits_or_not(text, pattern):
    found = read_image(text)
    if found is not None:
        assert ".." not in text
        assert text.isascii()
        assert found.fits("*")
        assert found.fits(pattern) in (True, False)

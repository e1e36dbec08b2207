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


@given(st.text() | st.text("aA0./:@-_*[ ", max_size=30), st.text("a0./:@-_*[]?!", max_size=20))
def test_any_text_is_a_name_or_none_and_any_pattern_fits_or_not(text, pattern):
    found = read_image(text)
    if found is not None:
        assert ".." not in text
        assert text.isascii()
        assert found.fits("*")
        assert found.fits(pattern) in (True, False)

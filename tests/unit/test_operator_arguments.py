"""Bad input of every operator, refused before anything runs, with a sentence that names what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from halfstep.errors import InvalidTask
from halfstep_worker.operators import check_args, discovery, known_operators

HTTP = {"url": "http://h/"}
SQL = {"connection": "c"}

BAD = [
    ("bash", [], "The args of operator 'bash' must be a JSON object, not a list."),
    ("bash", None, "The args of operator 'bash' must be a JSON object, not null."),
    ("bash", {}, "Operator 'bash' needs the argument 'command'; known: command, env, cwd."),
    ("bash", {"command": None}, "Operator 'bash' needs the argument 'command'; known: command, env, cwd."),
    ("bash", {"comand": "x"}, "Operator 'bash' has no argument 'comand'; known: command, env, cwd."),
    ("bash", {"command": 3}, "Argument 'command' of operator 'bash' must be a string, not a whole number."),
    ("bash", {"command": "  "}, "Argument 'command' of operator 'bash' must not be empty."),
    ("bash", {"command": "x", "env": {"A": 1}}, "'A' in argument 'env' of operator 'bash' must be a string, not a whole number."),
    ("bash", {"command": "x", "env": {"A=B": "1"}}, "'A=B' in argument 'env' of operator 'bash' is no name for a variable."),
    ("bash", {"command": "x", "cwd": "/tmp"}, "Path '/tmp' must be relative to the source folder and stay inside it."),
    ("python", {}, "Operator 'python' needs the argument 'function'; known: function, args, kwargs."),
    ("python", {"function": "f", "args": {}}, "Argument 'args' of operator 'python' must be a list, not an object."),
    ("python", {"function": "f", "kwargs": []}, "Argument 'kwargs' of operator 'python' must be an object, not a list."),
    ("python", {"function": True}, "Argument 'function' of operator 'python' must be a string, not true or false."),
    ("sql", {"statement": "x"}, "Operator 'sql' needs the argument 'connection'; known: connection, statement, parameters."),
    ("sql", SQL, "Operator 'sql' needs the argument 'statement'; known: connection, statement, parameters."),
    (
        "sql",
        SQL | {"statement": "SELECT :x", "parameters": "x"},
        "Argument 'parameters' of operator 'sql' must be an object or a list, not a string.",
    ),
    (
        "sql",
        SQL | {"statement": "SELECT :x, :y", "parameters": {"x": 1}},
        "The statement has a parameter ':y' without a value; for a literal colon write '\\:y'.",
    ),
    (
        "sql",
        SQL | {"statement": "SELECT :x", "parameters": [{"x": 1}, {"y": 1}]},
        "The statement has a parameter ':x' without a value; for a literal colon write '\\:x'.",
    ),
    (
        "sql",
        SQL | {"statement": "SELECT :x::jsonb", "parameters": {"x": 1}},
        "Write CAST(:x AS …) instead of :x::…, which is ambiguous.",
    ),
    (
        "http",
        {"method": "GET"},
        "Operator 'http' needs the argument 'url'; known: method, url, headers, body, expect, timeout, connection.",
    ),
    (
        "http",
        HTTP | {"method": "FETCH"},
        "Argument 'method' of operator 'http' must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.",
    ),
    ("http", {"url": "ftp://h/x"}, "Argument 'url' of operator 'http' must begin with http://HOST or https://HOST."),
    ("http", {"url": "file:///etc/passwd"}, "Argument 'url' of operator 'http' must begin with http://HOST or https://HOST."),
    ("http", {"url": "http:///x"}, "Argument 'url' of operator 'http' must begin with http://HOST or https://HOST."),
    ("http", {"url": "http://h:99999/"}, "Argument 'url' of operator 'http' is not a valid URL."),
    ("http", {"url": "http://[::1/"}, "Argument 'url' of operator 'http' is not a valid URL."),
    ("http", {"url": "http://h/a b"}, "Argument 'url' of operator 'http' has a space or control character; percent-encode it."),
    (
        "http",
        {"url": "http://h/a%20b\r\nX: y"},
        "Argument 'url' of operator 'http' has a space or control character; percent-encode it.",
    ),
    (
        "http",
        {"url": "http://me:s3cret@h/"},
        "Argument 'url' of operator 'http' holds a user or password; put them into a named connection, "
        "so that they are not stored.",
    ),
    ("http", HTTP | {"expect": "200"}, "Argument 'expect' of operator 'http' must be a whole number or a list, not a string."),
    (
        "http",
        HTTP | {"expect": [200, "x"]},
        "Argument 'expect' of operator 'http' holds status codes (100 to 599), not a string.",
    ),
    ("http", HTTP | {"expect": 7}, "Argument 'expect' of operator 'http' holds status codes (100 to 599), not 7."),
    ("http", HTTP | {"timeout": 0}, "Argument 'timeout' of operator 'http' must be above 0 seconds."),
    ("http", HTTP | {"headers": {"Host": "x"}}, "Header 'Host' is set by the operator itself; leave it out."),
    ("http", HTTP | {"headers": {"A b": "x"}}, "'A b' is no name for a header."),
    ("http", HTTP | {"headers": {"A": "s3cret\r\nB: c"}}, "Header 'A' must be a string of printable Latin-1 characters."),
    ("http", HTTP | {"headers": {"A": 1}}, "Header 'A' must be a string of printable Latin-1 characters."),
    (
        "http",
        HTTP | {"connection": "c"},
        "With a connection, argument 'url' of operator 'http' is a path that begins with a single /.",
    ),
    ("script", {}, "Operator 'script' needs the argument 'path'; known: path, parameters, connection."),
    ("script", {"path": "../x.py"}, "Path '../x.py' must be relative to the source folder and stay inside it."),
    ("script", {"path": "a/../../x.py"}, "Path 'a/../../x.py' must be relative to the source folder and stay inside it."),
    ("script", {"path": "/etc/x.py"}, "Path '/etc/x.py' must be relative to the source folder and stay inside it."),
    ("script", {"path": "a\0.py"}, "Path 'a\\x00.py' must be relative to the source folder and stay inside it."),
    ("script", {"path": "x.exe"}, "Script 'x.exe' is of no known kind; known: .py, .sh, .R and .sql."),
    ("script", {"path": "x"}, "Script 'x' is of no known kind; known: .py, .sh, .R and .sql."),
    ("script", {"path": "x.py", "connection": "c"}, "Argument 'connection' of operator 'script' is for .sql files only."),
    (
        "script",
        {"path": "x.py", "parameters": {"a b": 1}},
        "'a b' is no name for a script's parameter: letters, digits, `_`, `-` and `.` only.",
    ),
    ("cook", {}, "There is no operator 'cook' here; known: bash, http, pod, python, script, sql."),
]


@pytest.mark.parametrize(("operator", "args", "sentence"), BAD)
def test_bad_args_are_refused_with_a_sentence(operator, args, sentence):
    with pytest.raises(InvalidTask) as caught:
        check_args(operator, args)
    assert str(caught.value) == sentence
    assert "s3cret" not in str(caught.value)


GOOD = [
    ("bash", {"command": "true", "env": {"A": "b"}, "cwd": "sub"}),
    ("bash", {"command": "true", "env": None}),
    ("python", {"function": "module:name", "args": [1], "kwargs": {"a": None}}),
    ("sql", SQL | {"statement": "SELECT '10:30', a::int, '\\:x', '%' FROM t WHERE b = :b", "parameters": {"b": 1}}),
    ("sql", SQL | {"statement": "SELECT :1, :2", "parameters": [1, 2]}),
    ("http", HTTP | {"method": "post", "body": {"a": 1}, "expect": [200, 404], "timeout": 5, "headers": {"Authorization": "x"}}),
    ("http", {"url": "/path?x=1", "connection": "c"}),
    ("http", {"url": "http://bücher.example/"}),
    ("script", {"path": "a/b.R", "parameters": {"n": 1}}),
    ("script", {"path": "a/..b.sql", "parameters": {}, "connection": "c"}),
]


@pytest.mark.parametrize(("operator", "args"), GOOD)
def test_good_args_pass(operator, args):
    check_args(operator, args)


def test_the_operators_known_are_listed():
    assert known_operators() == ["bash", "http", "pod", "python", "script", "sql"]


def test_an_installed_operator_is_known_by_name_without_importing_it(monkeypatch):
    point = discovery.EntryPoint("cook", "no_such_module:Cook", discovery.GROUP)
    monkeypatch.setattr(discovery, "entry_points", lambda group: [point])
    assert "cook" in known_operators()
    check_args("cook", {"anything": 1})
    with pytest.raises(InvalidTask, match=re.escape("The args of operator 'cook' must be a JSON object, not a list.")):
        check_args("cook", [])


def test_checking_imports_no_user_code():
    code = "import sys; from halfstep_worker.operators import check_args; check_args('python', {'function': 'this:s'}); "
    code += "print('this' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr

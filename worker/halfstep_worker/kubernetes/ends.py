"""What the end of the main container says, where nothing took the pod away before."""

from __future__ import annotations

import json
from math import inf
from typing import Any

from halfstep.outcomes import Failed, Succeeded
from halfstep_worker.children.causes import cause_of
from halfstep_worker.children.storable import Unstorable, json_text
from halfstep_worker.kubernetes.exits import exit_sentence, last_words
from halfstep_worker.kubernetes.findings import Known, Verdict, failed, kind_of, lost
from halfstep_worker.kubernetes.frames import Elsewhere, message_limit, opened
from halfstep_worker.kubernetes.objects import listed, whole
from halfstep_worker.kubernetes.reading import image, is_body, spec
from halfstep_worker.kubernetes.values import Pod

_TOO_LARGE = "The result is larger than a termination message holds (4 KiB); store it elsewhere and return where."

BODY_FAILED = 1
"""What a body's program exits with when it has left another outcome than success."""
BODY_STOPPED = 143
"""What it exits with when it was told to end: it has left no outcome."""


def of_container(pod: Pod, end: dict[str, Any], known: Known) -> Verdict:
    """`end`: the state `terminated` of the main container."""
    code, reason = whole(end.get("exitCode")), end.get("reason")
    if code is None or reason == "ContainerStatusUnknown" or (reason == "Unknown" and code == 255):
        return lost("The node lost the pod's container, so nobody knows how it ended.")
    if reason in ("StartError", "ContainerCannotRun"):
        return _not_runnable(pod, end)
    if is_body(pod):
        return _of_body(pod, end, code, known)
    if code == 0:
        return _of_program(pod, str(end.get("message") or ""), known)
    return _of_failure(end, code)


def _of_failure(end: dict[str, Any], code: int) -> Verdict:
    if end.get("reason") == "OOMKilled":
        sentence = f"The container used more memory than its limit and was killed (OOMKilled, exit code {code})."
        return failed("oom", "oom", sentence + last_words(end.get("message")))
    return failed("application", "exit", exit_sentence("The container", code) + last_words(end.get("message")))


def _not_runnable(pod: Pod, end: dict[str, Any]) -> Verdict:
    told = str(end.get("message") or "no reason given").strip().rstrip(".")
    if is_body(pod) and "not found" in told:
        return _no_runtime(pod)
    return failed("never_started", "start", f"The container could not be started: {told}.")


def _of_program(pod: Pod, message: str, known: Known) -> Verdict:
    """A program that knows nothing of us: its result is its termination message, if that is JSON."""
    text = message.strip()
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        # A kubelet keeps the end of a message that is too long, so it is there that JSON can be told.
        if (text[:1] in ("{", "[") or text[-1:] in ("}", "]")) and len(message.encode(errors="replace")) >= _room(pod):
            return failed("result", "result", _TOO_LARGE, final=True)
        return Verdict(Succeeded('{"exit_code": 0}'), "succeeded")
    try:
        again = json_text(value, known.result_bytes)
    except Unstorable as error:
        return failed("result", "result", str(error), final=True)
    # As it was written, unless what a reader passes over stands in it: the first of two values of one name holds a NUL, say.
    return Verdict(Succeeded(again if "\\u0000" in text else text), "succeeded")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _finite(text: str) -> float:
    """1e999 reads as infinite, which is refused; so is 1e-99999, which reads as 0 and has more digits than the database takes."""
    return float(text) if len(text.lower().partition("e")[2]) < 6 else inf


def _room(pod: Pod) -> int:
    wanted = spec(pod)
    return message_limit(
        len(listed(wanted, "containers")) + len(listed(wanted, "initContainers")) + len(listed(wanted, "ephemeralContainers"))
    )


def _of_body(pod: Pod, end: dict[str, Any], code: int, known: Known) -> Verdict:
    """Our own program: the outcome that it left counts, if its exit code agrees."""
    left = opened(end.get("message"), limit=known.result_bytes)
    if isinstance(left, Elsewhere) and code in (0, BODY_FAILED):
        unread = "The outcome was too large for the termination message, and its lines in the pod's log can't be read."
        return Verdict(Failed(unread, reason="result"), "result", framed=left.digest)
    if end.get("reason") == "OOMKilled" and not isinstance(left, Succeeded):
        return _of_failure({**end, "message": None if left else end.get("message")}, code)
    if isinstance(left, Succeeded) and code == 0:
        return Verdict(left, "succeeded")
    if left is not None and not isinstance(left, Succeeded | Elsewhere) and code == BODY_FAILED:
        return Verdict(left, kind_of(left))
    return _of_crash(pod, end, code)


def _of_crash(pod: Pod, end: dict[str, Any], code: int) -> Verdict:
    """The program ended without an outcome of ours."""
    message = str(end.get("message") or "")
    if "No module named" in message and "halfstep" in message:
        return _no_runtime(pod)
    words = "" if opened(message) else last_words(message)
    if code == 0:
        return failed("application", "crash", cause_of(0))
    return failed("application", "crash", exit_sentence("The body's process", code) + words)


def _no_runtime(pod: Pod) -> Verdict:
    sentence = (
        f"The image '{image(pod)}' can't run operators, as halfstep is not installed in it; install it, or use operator 'pod'."
    )
    return failed("config", "config", sentence, final=True)

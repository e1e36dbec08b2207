"""Why a call is not answered, as gRPC tells it: a status code and one sentence for each thing that is wrong."""

from __future__ import annotations

import grpc

from halfstep.errors import HalfstepError

TOLD_BYTES = 400
"""Of a refusal, as it is sent. KEDA writes `rpc error: code = CODE desc = ` before it and makes it the note of an event; an API
server takes no event whose note is longer than 1024 bytes."""
THE_REST = "… (the rest: the scaler's log)"


class Refused(HalfstepError):
    """The scaler does not answer this call."""

    code = grpc.StatusCode.UNKNOWN

    @property
    def told(self) -> str:
        """What is sent of it: its beginning, at most TOLD_BYTES of UTF-8."""
        whole = str(self).encode(errors="replace")
        if len(whole) <= TOLD_BYTES:
            return str(self)
        return whole[: TOLD_BYTES - len(THE_REST.encode())].decode(errors="ignore") + THE_REST


class InvalidReference(Refused):
    """The trigger's metadata, or the name that asks, can't be understood."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotAllowed(Refused):
    """This ScaledObject is not on the scaler's allow list."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NoSnapshot(Refused):
    """The scaler does not know the demand: the database has not answered for too long."""

    code = grpc.StatusCode.UNAVAILABLE

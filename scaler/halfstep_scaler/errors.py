"""Why a call is not answered, as gRPC tells it: a status code and one sentence for each thing that is wrong."""

from __future__ import annotations

import grpc

from halfstep.errors import HalfstepError


class Refused(HalfstepError):
    """The scaler does not answer this call."""

    code = grpc.StatusCode.UNKNOWN


class InvalidReference(Refused):
    """The trigger's metadata, or the name that asks, can't be understood."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotAllowed(Refused):
    """This ScaledObject is not on the scaler's allow list."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NoSnapshot(Refused):
    """The scaler does not know the demand: the database has not answered for too long."""

    code = grpc.StatusCode.UNAVAILABLE

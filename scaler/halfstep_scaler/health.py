"""The health service (grpc.health.v1).

The service "" is for readiness: it serves from the first snapshot until the scaler is told to stop. An outage of the database
does not withdraw it: KEDA would lose its addresses, and look them up again only half a minute after the outage has ended. The
service "externalscaler.ExternalScaler" tells whether the demand is fresh, for whoever wants to know.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from halfstep_scaler.service import SERVICE

READY = ""
STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class Health:
    """Used by the event loop only."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._servicer = health.aio.HealthServicer()
        self._told: dict[str, bool] = {}
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def tell(self, *, ready: bool, fresh: bool) -> None:
        """The state now; calling it without a change is fine."""
        for service, serves in ((READY, ready), (SERVICE, fresh)):
            if self._told.get(service) is not serves:
                self._told[service] = serves
                await self._servicer.set(service, STATUS[serves])

    async def leave(self) -> None:
        """Nothing is served from now on."""
        await self._servicer.enter_graceful_shutdown()

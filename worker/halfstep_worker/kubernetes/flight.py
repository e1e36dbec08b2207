"""One attempt and its pod, from the claim to the pod's end. One small object a pod: that is all a running pod costs."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass

from halfstep.claims import Claim
from halfstep.outcomes import Failed, Outcome
from halfstep_worker.kubernetes.names import DOMAIN, pod_name
from halfstep_worker.kubernetes.pending import Obstacle
from halfstep_worker.kubernetes.values import Pod

ON_FINISH = f"{DOMAIN}/on-finish"
"""Annotation: what is to become of the pod, if that is not its deletion. For whoever finds it when its task is over."""

QUEUE_SECONDS = 86_400.0
"""How long quotas, webhooks and scheduling gates may hold a pod, unless its task says otherwise."""


class Stage(enum.Enum):
    """Where a flight is."""

    INTENDED = "intended"  # the intent is on its way to SQL, or a create will be tried (again)
    CREATING = "creating"  # a create call has no answer yet
    PARKED = "parked"  # the API server has the pod; nothing of ours runs for it
    ENDING = "ending"  # the verdict is known and on its way to SQL; logs are read to their end
    CLEANING = "cleaning"  # the verdict is in SQL: the pod may go


@dataclass(slots=True)
class Silence:
    """A pod that does not start, and does not say why. look_at: monotonic, when its events are to be read."""

    what: Obstacle
    look_at: float
    looks: int = 0
    lasts: bool = False  # for longer than is normal
    has_turn: bool = False  # the events are to be read at `look_at`, and no later
    event: Obstacle | None = None


@dataclass(slots=True)
class Flight:
    """Used by the launcher's loop only."""

    claim: Claim
    namespace: str
    on_finish: str = "delete"
    grace: int = 30
    startup_timeout: float = 600.0
    queue_timeout: float = QUEUE_SECONDS
    stage: Stage = Stage.INTENDED
    manifest: tuple[Pod, Pod | None] | None = None  # pod and ConfigMap, until the API server has them
    pod: Pod | None = None  # as last seen, trimmed
    uid: str | None = None
    refusal: Failed | None = None  # why we would not make the pod, if it is not there
    recorded: bool = False  # the intent is in SQL
    adopted: bool = False
    marked: bool = True  # its pod has our mark, or will; False: an older launcher may have made it, without one
    doubtful: bool = False  # a create call may have been taken without an answer, by us or by an earlier owner
    config_map: Pod | None = None  # the pod is there, and may lack this
    stop_reason: str | None = None  # we asked for the pod's deletion, and why
    gave_up: Failed | None = None  # what is to be said of it if its program never began
    deleted_early: bool = False  # deletion was seen before the main container had ended
    parked_at: float | None = None  # monotonic: when its first owner learnt that the API server has it
    queued_since: float | None = None  # monotonic: since when a quota, a webhook or a scheduling gate holds it
    unheld_at: float | None = None  # monotonic: when something else was last said to keep it from being made; None: that holds it
    startable_since: float | None = None  # monotonic: since when no gate does; None while one does, and before there is a pod
    running_since: float | None = None  # monotonic: when its first owner saw it run
    followed: bool = False  # we have seen it run: its log is read and its timeout set
    waiting: str | None = None  # why it does not start, for people
    silence: Silence | None = None  # it does not start, and does not say why
    forced_since: float | None = None  # monotonic: a deletion with grace 0 was first seen
    unseen: bool = False  # a limit of its was over while nothing could be seen there: it is read before that counts
    shown: bool = False  # the watch shows it; else it is read by its name
    looking: bool = False  # it is about to be read
    heard_at: float = 0.0  # monotonic: when it was last seen
    mended: int = 0  # how often our marks were put back
    mending: bool = False  # they are about to be
    mend_at: float = 0.0  # monotonic: not before that again
    vanished: bool = False  # the object does not exist any more
    verdict: Outcome | None = None
    kind: str | None = None  # the verdict's class
    written: bool = False  # the end is on its way to SQL
    framed: str | None = None  # digest of the outcome that stands in the log

    @classmethod
    def adopted_as_it_is(cls, claim: Claim, refusal: Failed) -> Flight:
        """A pod whose task we would not make a pod of (a policy has changed, say): if it is there, it gets its verdict."""
        return cls(claim, claim.pod_namespace or "", refusal=refusal)

    @property
    def attempt_id(self) -> str:
        """What names it."""
        return self.claim.attempt_id

    @property
    def name(self) -> str:
        """The pod's name."""
        return pod_name(self.claim.attempt_id)

    @property
    def is_over(self) -> bool:
        """The verdict is known."""
        return self.stage in (Stage.ENDING, Stage.CLEANING)

    @property
    def seconds(self) -> float:
        """How long the body has run, as far as we saw."""
        return 0.0 if self.running_since is None else max(0.0, time.monotonic() - self.running_since)

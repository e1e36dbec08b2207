"""One ScaledObject, and the number of its Deployment: up at once, down after a while. Every step can be done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from halfstep.events import emit
from halfstep.scaling import Candidate, ScalingBook
from halfstep_scaler.direct.cluster import ApiError, Cluster, Conflict
from halfstep_scaler.direct.descent import Descent, Order
from halfstep_scaler.direct.steering import Name, Rules, Wish, rules_of

TRIES = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds.

    watched: how long a wish must have been known before less is believed: the other replica, which answers the HPA too, may
    remember a panic. settle: and for how long less must have been wanted, as both don't forget at the same moment.
    fresh: how old a snapshot may be from which the number is lowered. look, rest: how often the number is read while there is
    something to do, and while there is not. pause: after a look at the pods that brought nothing.
    """

    watched: float = 75.0
    settle: float = 5.0
    fresh: float = 5.0
    rules: float = 5.0
    look: float = 1.0
    rest: float = 10.0
    pause: float = 5.0
    stand: float = 4.0
    retry: float = 1.0
    most_retry: float = 30.0


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done for whom."""

    name: Name
    raises: bool
    lowers: bool


class Course:
    """Used by the pilot's thread, but for `is_short`. clock: monotonic seconds."""

    def __init__(
        self, errand: Errand, cluster: Cluster, book: ScalingBook, *, replica: str, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self.errand = errand
        self._cluster = cluster
        self._book = book
        self._replica = replica
        self._pace = pace
        self._clock = clock
        self._descent = Descent(cluster, book)
        self._rules: Rules | None = None
        self._rules_at = self._stood_at = self._seen_at = self._retry_at = -inf
        self._candidate: Candidate | None = None
        self._replicas: int | None = None
        self._less_since = inf
        self._descend_at = -inf
        self._marked = True  # whoever was elected before may have left marks
        self._delay = 0.0
        self._said: dict[str, str] = {}

    def is_short(self, wish: Wish) -> bool:
        """Whether more are wanted than are there, and it is ours to do something. For any thread."""
        rules, replicas, candidate = self._rules, self._replicas, self._candidate
        if rules is None or replicas is None or candidate is None or not self.errand.raises:
            return False
        return candidate.holds and rules.ceiling(wish) > replicas and self._clock() >= self._retry_at

    def turn(self, wish: Wish | None) -> None:
        """One look at what is, and what follows. Raises DatabaseUnavailable."""
        now = self._clock()
        if now < self._retry_at:
            return
        try:
            self._steer(wish, now)
        except Conflict:
            self._seen_at = -inf
        except ApiError as error:
            self._failed(error, now)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self._failed(ApiError(f"What the API server says can't be understood ({error!r})."), now)
        else:
            self._succeeded()

    def leave(self) -> None:
        """Gives the role up. Raises DatabaseUnavailable."""
        if self._candidate is not None:
            self._candidate.resign()

    def _steer(self, wish: Wish | None, now: float) -> None:
        rules = self._read(now)
        if rules is None or not self._elected(rules, now):
            self._replicas = None
            return
        if wish is None or not self._is_due(rules, wish, now):
            return
        self._seen_at = now
        if self.errand.raises:
            self._raise(rules, wish)
        else:
            self._replicas = self._cluster.scale(self.errand.name.namespace, rules.deployment).replicas
        if self.errand.lowers:
            self._lower(rules, wish, now)

    def _read(self, now: float) -> Rules | None:
        if now - self._rules_at < self._pace.rules:
            return self._rules
        found = self._cluster.scaled_object(self.errand.name)
        rules = None if found is None else rules_of(found)
        if self._rules and (rules is None or rules.uid != self._rules.uid):
            self.leave()
            self._candidate, self._replicas = None, None
        self._rules, self._rules_at = rules, now
        self._tell_rules(rules)
        return rules

    def _tell_rules(self, rules: Rules | None) -> None:
        if rules is None:
            self._say("direct.left_alone", "there is no such ScaledObject.")
            return
        reasons = (rules.no_raise if self.errand.raises else "", rules.no_lower if self.errand.lowers else "")
        self._say("direct.left_alone", " ".join(dict.fromkeys(filter(None, reasons))))

    def _elected(self, rules: Rules, now: float) -> bool:
        """One for each ScaledObject: its uid tells those of several clusters apart, which may share a database."""
        if self._candidate is None:
            self._candidate = Candidate(self._book, f"scale {rules.uid}", self._replica, clock=self._clock)
            self._stood_at = -inf
        held = self._candidate.holds
        if now - self._stood_at >= self._pace.stand:
            self._stood_at = now
            if self._candidate.stand() and not held:
                emit("direct.elected", name=self.errand.name)
                self._marked, self._less_since = True, inf
        return self._candidate.holds

    def _is_due(self, rules: Rules, wish: Wish, now: float) -> bool:
        if self._replicas is None or rules.ceiling(wish) > self._replicas:
            return True
        busy = wish.now > 0 or self._marked or self._replicas > rules.floor(wish)
        return now - self._seen_at >= (self._pace.look if busy else self._pace.rest)

    def _raise(self, rules: Rules, wish: Wish) -> None:
        namespace = self.errand.name.namespace
        for _ in range(TRIES):
            scale = self._cluster.scale(namespace, rules.deployment)
            self._replicas = scale.replicas
            number = rules.ceiling(wish)
            if number <= scale.replicas or not self._holds():
                return
            try:
                made = self._cluster.set_replicas(namespace, rules.deployment, number, version=scale.version)
            except Conflict:
                continue  # its status changes all the time while pods start
            self._replicas = made.replicas
            emit("direct.raised", name=self.errand.name, before=scale.replicas, after=made.replicas)
            return

    def _lower(self, rules: Rules, wish: Wish, now: float) -> None:
        believed = self._is_believed(rules, wish, now)
        if rules.no_lower or not wish.placement or now < self._descend_at or not (believed or self._marked):
            return
        # If less is not believed, then only to take old marks off.
        floor = rules.floor(wish) if believed else self._replicas or 0
        progress = self._descend(rules, wish, floor=floor)
        self._descend_at = now + (self._pace.look if progress else self._pace.pause)

    def _is_believed(self, rules: Rules, wish: Wish, now: float) -> bool:
        less = self._replicas is not None and rules.floor(wish) < self._replicas
        self._less_since = min(self._less_since, now) if less else inf
        known = wish.triggers == rules.triggers and now - wish.since >= self._pace.watched
        return less and known and now - wish.taken_at <= self._pace.fresh and now - self._less_since >= self._pace.settle

    def _descend(self, rules: Rules, wish: Wish, *, floor: int) -> bool:
        """Whether the number is lower now."""
        order = Order(self.errand.name.namespace, rules.deployment, wish.placement, floor, self._holds)
        done = self._descent.step(order)
        self._replicas, self._marked = done.after, done.marks > 0
        if done.after < done.before:
            emit("direct.lowered", name=self.errand.name, before=done.before, after=done.after)
        self._say("direct.held_up", done.reason)
        return done.after < done.before

    def _holds(self) -> bool:
        return self._candidate is not None and self._candidate.holds

    def _failed(self, error: ApiError, now: float) -> None:
        self._delay = min(self._pace.most_retry, max(self._pace.retry, 2 * self._delay))
        self._retry_at = now + self._delay
        self._say("direct.away", str(error), error=error, delay=self._delay)

    def _succeeded(self) -> None:
        if self._delay:
            self._delay = 0.0
            self._said.pop("direct.away", None)
            emit("direct.back", name=self.errand.name)

    def _say(self, event: str, reason: str, **facts: object) -> None:
        """Once, until it changes; an empty reason is not said."""
        if self._said.get(event, "") != reason:
            self._said[event] = reason
            if reason:
                emit(event, name=self.errand.name, reason=reason, **facts)

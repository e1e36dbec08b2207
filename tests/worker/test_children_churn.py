"""Everything at once, at random: whatever meets whatever, each task ends once and has its own output, all of it."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from halfstep.outcomes import Succeeded
from halfstep_worker.children import Ended, Line, TaskMessage, Unstarted
from worker.children_support import Work, at_work  # noqa: TID251

TASKS = 1200


def invented(dice: random.Random, key: int) -> tuple[str, dict[str, Any]]:
    """An operator and its args; whatever it writes names the task."""
    name = f"<{key}>"
    kind = dice.choices(["show", "echo", "fail", "exit", "large"], [60, 30, 4, 3, 3])[0]
    if kind == "show":
        given = {"out": dice.choice([name, f"{name}\n{name}"]), "err": f"{name}\n", "raw": name, "command": f"echo '{name}' >&2"}
        rates = {"out": 0.5, "err": 0.5, "raw": 0.3, "command": 0.03}
        return kind, {stream: text for stream, text in given.items() if dice.random() < rates[stream]}
    return kind, {"fail": {"text": name}, "exit": {"code": 5, "before": name}, "large": {"size": 100_000}}.get(kind, {})


def disturb(work: Work, dice: random.Random) -> None:
    """Now and then: a stop, a recall, a kill."""
    child = dice.choice(work.pool.children)
    luck = dice.random()
    if luck < 0.2 and child.keys:
        work.pool.stop_body(dice.choice(child.keys), dice.choice(["timeout", "cancelled", "drain", "lease"]), grace=1)
    elif luck < 0.25:
        work.events += [Unstarted(key) for key in work.pool.recall(child)]
    elif luck < 0.26:
        child.kill()


def keep_full(work: Work, todo: list[TaskMessage]) -> None:
    for child in work.pool.children:
        while child.open and child.queued < 8 and todo:
            child.send(todo.pop())


@pytest.mark.parametrize("seed", [1, 2])
def test_each_task_ends_once_and_its_output_is_its_own(seed):
    dice = random.Random(seed)
    given = {key: invented(dice, key) for key in range(TASKS)}
    todo = [TaskMessage(key, key, 1, operator, json.dumps(args)) for key, (operator, args) in given.items()]
    with at_work(slots=3, recycle_after=150) as work:
        while todo:
            keep_full(work, todo)
            if work.pool.children:
                disturb(work, dice)
            work.events += work.pool.poll(0.01)
        work.until(lambda: not any(child.busy for child in work.pool.children))
    assert sorted(work.order) == list(range(TASKS))
    assert_lines_are_right(work, given)


def assert_lines_are_right(work: Work, given: dict[int, tuple[str, dict[str, Any]]]) -> None:
    ended: set[object] = set()
    outcomes = work.outcomes
    written = dict.fromkeys(given, "")
    for event in work.events:
        if isinstance(event, Line):
            assert event.key not in ended
            assert set(re.findall(r"<(\d+)>", event.text)) <= {str(event.key)}
            written[event.key] += event.text
        elif isinstance(event, (Ended, Unstarted)):
            ended.add(event.key)
    for key, (operator, args) in given.items():
        if operator == "show" and isinstance(outcomes[key], Succeeded):
            assert written[key].count("<") == sum(text.count("<") for text in args.values())

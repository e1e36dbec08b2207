"""What a worker believes to hold, set right after a reply was lost."""

from __future__ import annotations

from halfstep.claims import Claim, Ending
from halfstep.outcomes import Retry, Succeeded
from halfstep_worker.desk import Release
from halfstep_worker.ledger import Ledger


def claim(id: int, token: str = "t") -> Claim:
    return Claim(id, token, "q", "bash", "{}", 1, 0, 3, None, 1, 300, False, False)


def ledger(*claims: Claim, ended: tuple[Claim, ...] = ()) -> Ledger:
    made = Ledger()
    made.accept([*claims, *ended])
    made.outgoing.endings = [Ending(one, Succeeded("1")) for one in ended]
    return made


def test_what_has_ended_counts_as_held_only_until_it_is_written() -> None:
    book = ledger(claim(1), ended=(claim(2),))
    assert (len(book.held), book.unended) == (2, 1)
    book.forget([claim(2)])
    assert book.held == {1: claim(1)}


def test_a_task_that_was_claimed_again_is_not_forgotten_with_its_claim_before() -> None:
    book = ledger(claim(1, "new"))
    book.forget([claim(1, "old")])
    assert book.held == {1: claim(1, "new")}


def test_what_is_recorded_is_dropped_whatever_it_is_and_the_rest_is_still_to_be_written() -> None:
    first, second, third, fourth = (claim(id) for id in range(1, 5))
    book = ledger(second, third, fourth, ended=(first,))
    book.outgoing.retries = [(second, Retry("no", 1.0))]
    book.outgoing.releases = [Release(third, "drain", started=True), Release(fourth, "drain", started=False)]
    assert book.drop({1, 2, 3}) == [first, second, third]
    assert (book.outgoing.claims(), list(book.held)) == ([fourth], [4])


def test_a_worker_that_was_taken_for_dead_loses_all_but_what_has_ended() -> None:
    book = ledger(claim(1), ended=(claim(2),))
    assert book.lose() == [claim(1)]
    assert list(book.held) == [2]


def test_what_sql_holds_under_our_name_and_token_stays_and_the_rest_is_lost() -> None:
    book = ledger(claim(1), claim(2), claim(3))
    in_sql = [claim(1), claim(2, "anothers"), claim(4)]
    assert book.lose(but=in_sql) == [claim(2), claim(3)]
    assert (list(book.held), book.unknown(in_sql)) == ([1], [claim(2, "anothers"), claim(4)])

"""The account: whose spans are missing, how many, and which fault explains it."""

from dataclasses import replace

from tracelab.store.account import Account, InstanceAccount, explain, unexplained
from tracelab.store.run import FaultRecord

SECOND = 1_000_000_000
FEED = InstanceAccount(
    service="feed",
    instance="feed#1",
    boot="aa",
    started=100,
    finished=98,
    exported=90,
    stored=90,
    heartbeat_ns=50 * SECOND,
)
KILL = FaultRecord(id="f1", fault="kill", target="feed", instances=("feed#1", "feed#2"), onset_ns=51 * SECOND)


def test_a_complete_account_has_no_loss() -> None:
    """What is finished and stored is not missing; spans still open in a living process are not either."""
    whole = replace(FEED, alive=True, stored=98, exported=98)
    assert explain(Account(instances=(whole,)), [KILL]) == []


def test_a_killed_instance_is_explained_by_its_fault() -> None:
    """Its loss is bounded by what it said last: started minus stored."""
    (loss,) = explain(Account(instances=(FEED,)), [KILL])
    assert (loss.count, loss.is_bound, loss.fault) == (10, True, "f1")
    assert unexplained([loss]) == 0


def test_a_fault_elsewhere_or_long_before_explains_nothing() -> None:
    """Another instance's fault, or one that this start of the instance came after, is not to blame."""
    other = replace(KILL, instances=("auth#1",))
    earlier = replace(KILL, onset_ns=20 * SECOND)
    (loss,) = explain(Account(instances=(FEED,)), [other, earlier])
    assert loss.fault is None
    assert unexplained([loss]) == 10


def test_loss_of_a_living_instance_is_unexplained() -> None:
    """What an overloaded collector turned away counts once, by whichever side knows more."""
    row = replace(FEED, alive=True, stored=60, exported=60, rejected=30, refused=38)
    (loss,) = explain(Account(instances=(row,)), [KILL])
    assert (loss.count, loss.rejected, loss.fault) == (38, 38, None)
    assert "overloaded" in loss.reason


def test_a_killed_collector_explains_what_could_not_be_sent() -> None:
    """Drops of living instances are the collector's fault where it was the target."""
    row = replace(FEED, alive=True, stored=60, exported=60, dropped=38)
    fault = FaultRecord(id="f2", fault="kill", target="collector", instances=("collector#1",), onset_ns=1)
    (loss,) = explain(Account(instances=(row,)), [fault])
    assert (loss.count, loss.fault) == (38, "f2")


def test_the_account_round_trips() -> None:
    """What a Run keeps is what was counted; keys of a later version are ignored."""
    account = Account(instances=(FEED,), complete=False)
    document = account.as_json()
    document["instances"][0]["later"] = 1
    assert Account.from_json(document) == account

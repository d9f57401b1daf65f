"""Whom we know of the swarm."""

from app.p2p.contacts import MOST, Contacts
from app.p2p.sightings import PeerInfo

OWN = ("/ip4/192.168.0.2/tcp/8080/p2p/QmUs",)
ENTRY = "/ip4/203.0.113.7/tcp/8080/p2p/QmEntry"
TRAINER = PeerInfo(peer_id="QmTrainer", address="/ip4/192.168.0.2/tcp/8081")


def peer(name: str, host: str = "203.0.113.9") -> PeerInfo:
    return PeerInfo(peer_id=name, address=f"/ip4/{host}/tcp/8080")


def test_who_knows_nobody_has_lost_nobody() -> None:
    assert Contacts(()).look([], OWN)


def test_our_own_trainer_is_nobody() -> None:
    contacts = Contacts((ENTRY,))
    assert not contacts.look([TRAINER], OWN)
    assert contacts.look([TRAINER, peer("QmOther")], OWN)
    assert contacts.connected == ("QmOther",)


def test_who_was_met_is_remembered_with_the_entries() -> None:
    contacts = Contacts((ENTRY,))
    contacts.look([peer("QmOther"), TRAINER], OWN)
    assert not contacts.look([], OWN)
    assert contacts.addresses(OWN) == {
        "QmEntry": [ENTRY],
        "QmOther": ["/ip4/203.0.113.9/tcp/8080/p2p/QmOther"],
    }


def test_a_peer_that_has_moved_is_called_where_it_is_now() -> None:
    contacts = Contacts((ENTRY,))
    contacts.look([peer("QmEntry", "198.51.100.1")], OWN)
    assert contacts.addresses(OWN) == {"QmEntry": ["/ip4/198.51.100.1/tcp/8080/p2p/QmEntry"]}


def test_only_the_latest_are_remembered() -> None:
    contacts = Contacts(())
    contacts.look([peer(f"Qm{number}") for number in range(MOST + 5)], OWN)
    contacts.look([peer("Qm5")], OWN)
    known = list(contacts.addresses(OWN))
    assert len(known) == MOST
    assert known[-1] == "Qm5"


def test_a_swarm_of_this_machine_alone_is_never_lost() -> None:
    contacts = Contacts(("/ip4/127.0.0.1/tcp/8080/p2p/QmPartner",))
    assert contacts.look([], ("/ip4/127.0.0.1/tcp/9000/p2p/QmUs",))

"""Which machines are watched, and what is said of them."""

import pytest

from app.alerts.rules import ANY_LAB, AlertRules, alerts_of
from app.p2p.machine_records import LEFT, MachineRecord
from app.settings.settings import Settings
from app.swarm.fleet import Concern, Machine
from tests.support.machine.machines import record

ALL = AlertRules.of(Settings(alert_lab="vision-lab"))


def machine(told: MachineRecord, *concerns: Concern, key: str = "key") -> Machine:
    return Machine(public_key=key, record=told, first_seen=0.0, last_seen=0.0, concerns=concerns)


def said(*machines: Machine, rules: AlertRules = ALL, own_key: str = "") -> list[tuple[str, str]]:
    return [(each.kind, each.text) for each in alerts_of(machines, rules, own_key=own_key)]


def test_a_machine_in_good_order_is_not_spoken_of() -> None:
    assert said(machine(record(disk_free=50 * 10**9))) == []


@pytest.mark.parametrize(
    ("told", "concern", "expected"),
    [
        (record(), Concern.SILENT, ("silent", "lab-01 is silent.")),
        (record(temperature=99.0), Concern.SILENT, ("silent", "lab-01 is silent.")),
        (
            record(state="failed", last_error="out of memory."),
            Concern.FAILING,
            ("failing", "lab-01 has failed: out of memory."),
        ),
        (record(temperature=91.0), Concern.HOT, ("hot", "lab-01 is at 91 °C.")),
        (record(), Concern.SLOW, ("slow", "lab-01 is far slower than it usually is.")),
        (
            record(refused=2),
            None,
            ("refused", "The backend has refused contributions of lab-01."),
        ),
        (record(disk_free=15 * 10**8), None, ("disk", "lab-01 has 1.5 GB of disk left.")),
    ],
)
def test_what_is_wrong_is_said(
    told: MachineRecord, concern: Concern | None, expected: tuple[str, str]
) -> None:
    assert said(machine(told, *filter(None, [concern]))) == [expected]


def test_the_limits_are_the_users() -> None:
    rules = AlertRules.of(Settings(lab="vision-lab", alert_temperature=60, alert_disk=20))
    assert [kind for kind, _ in said(machine(record(disk_free=19 * 10**9)), rules=rules)] == [
        "hot",
        "disk",
    ]
    few = AlertRules.of(Settings(lab="vision-lab", alerts=("silent",)))
    assert said(machine(record(temperature=99.0), Concern.HOT), rules=few) == []


@pytest.mark.parametrize(
    ("lab", "watched"),
    [("", {"own"}), ("vision-lab", {"own", "mine"}), (ANY_LAB, {"own", "mine", "other", "none"})],
)
def test_only_machines_of_the_lab_and_this_one(lab: str, watched: set[str]) -> None:
    labs = {"own": "", "mine": "vision-lab", "other": "speech", "none": ""}
    machines = [machine(record(lab=tag), Concern.SILENT, key=key) for key, tag in labs.items()]
    rules = AlertRules.of(Settings(alert_lab=lab))
    found = alerts_of(machines, rules, own_key="own")
    assert {each.public_key for each in found} == watched
    assert {each.kind for each in found} == {"silent"}


def test_a_machine_that_has_left_is_nobodys_worry() -> None:
    assert said(machine(record(state=LEFT, temperature=99.0))) == []


def test_names_of_others_stay_on_one_line() -> None:
    ((_kind, text),) = said(machine(record(alias="a\nb"), Concern.SILENT))
    assert "\n" not in text

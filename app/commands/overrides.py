"""The options of the command line that override settings, for one start."""

import argparse

from app.commands.values import TermsByName

OVERRIDES = (
    "device",
    "threads",
    "theme",
    "language",
    "close_to_tray",
    "go_back",
    "notifications",
    "alerts",
    "alert_lab",
    "alert_urls",
    "alert_quiet",
    "alert_temperature",
    "alert_disk",
    "dht_port",
    "server_port",
    "initial_peers",
    "reachability",
    "announce",
    "trusted_relays",
    "uplink",
    "energy_price",
    "training_watts",
    "currency",
    "snapshot_every",
    "hub_sign_in",
    "tensorboard",
    "tracker",
    "tracker_python",
    "report_interval",
    "backend_url",
    "backend_plain_http",
    "refill",
    "debug",
    "update_url",
    "update_key",
    "record",
    "publish_machine",
    "alias",
    "lab",
    "lab_key",
    "lab_commands",
    "callback",
    "callback_host",
    "callback_port",
    "callback_allowed_hosts",
    "callback_origins",
    "callback_certificate",
    "callback_key",
    "consent",
    "consent_backends",
    "terms",
)
"""The settings that have an option, by the names of their fields."""


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add all of them, in groups."""
    _add_settings(parser.add_argument_group("settings, for this start only"))
    _add_alerts(parser.add_argument_group("alerts about machines, for this start only"))
    _add_trackers(parser.add_argument_group("the charts' curves, for this start only"))
    _add_network(parser.add_argument_group("the network, for this start only"))
    _add_callback(parser.add_argument_group("the local API, for this start only"))


def _add_settings(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--device", metavar="ID", help="auto, cpu, cuda:0, mps, or cuda:0,cuda:1")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the trainer")
    group.add_argument("--theme", choices=("system", "light", "dark"))
    group.add_argument("--language", choices=("system", "en", "zh_CN"))
    _add_desktop(group)
    group.add_argument(
        "--notifications", metavar="KINDS", help="list of training, paused, attention, milestones"
    )
    group.add_argument("--dht-port", type=int, metavar="PORT", help="TCP port of this peer")
    group.add_argument("--server-port", type=int, metavar="PORT", help="TCP port of the trainer")
    group.add_argument("--initial-peers", metavar="ADDRESSES", help="comma list of multiaddrs")
    group.add_argument(
        "--energy-price", type=float, metavar="PRICE", help="of a kWh, in your currency"
    )
    group.add_argument(
        "--training-watts",
        type=float,
        metavar="WATTS",
        help="of this machine while it trains, where its energy can't be measured",
    )
    group.add_argument("--currency", metavar="SIGN", help="of the price, such as € or CNY")
    group.add_argument("--uplink", type=float, metavar="MBIT", help="upload of this line, Mbit/s")
    group.add_argument(
        "--report-interval", type=int, metavar="SECONDS", help="length of one contribution"
    )
    group.add_argument("--backend-url", metavar="URL", help="the CoTrain backend to report to")
    _add_switch(
        group,
        "--backend-plain-http",
        "send the sign-in to the backend also where others on the network can read it",
    )
    group.add_argument(
        "--refill",
        metavar="WHETHER",
        help="report again what the backend has forgotten: ask, always or never",
    )
    group.add_argument("--alias", metavar="NAME", help="name of this machine in the swarm")
    group.add_argument("--lab", metavar="NAME", help="lab of this machine, shown to the swarm")
    group.add_argument("--lab-key", metavar="KEY", help="the lab that may command this machine")
    _add_switch(group, "--lab-commands", "obey the lab's commands, or refuse them")
    _add_switch(group, "--record", "keep for months what the swarm's machines tell, or don't")
    _add_switch(group, "--publish-machine", "show this machine's figures to the swarm, or don't")
    group.add_argument(
        "--term",
        dest="terms",
        action=TermsByName,
        metavar="NAME=VALUE",
        help="when this machine trains and how much of it, such as idle_minutes=10,"
        " max_temperature=80 or 'schedule=mon-fri 18:00-08:00'; may be given several times",
    )
    group.add_argument("--update-url", metavar="URL", help="where the newest version is published")
    group.add_argument("--update-key", metavar="KEY", help="the publisher's public key")
    group.add_argument("--debug", action="store_true", default=None, help="log in detail")


def _add_desktop(group: "argparse._ArgumentGroup") -> None:
    _add_switch(
        group, "--close-to-tray", "closing the window hides it in the tray, or ends the app"
    )
    _add_switch(
        group,
        "--go-back",
        "without --swarm and the like, go on in the swarm of the last run, or don't",
    )


def _add_alerts(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--alerts", metavar="KINDS", help="list of silent, failing, hot, slow, refused, disk"
    )
    group.add_argument("--alert-lab", metavar="NAME", help="lab to watch; *: every machine")
    group.add_argument(
        "--alert-urls",
        metavar="URLS",
        help="where alerts go besides the desktop, as apprise writes it; others on this machine can"
        " read a command line, so a password belongs into the file or COTRAIN_ALERT_URLS",
    )
    group.add_argument("--alert-quiet", metavar="HOURS", help="no alerts, such as 22:00-07:00")
    group.add_argument("--alert-temperature", type=int, metavar="CELSIUS", help="hot from there")
    group.add_argument("--alert-disk", type=float, metavar="GB", help="nearly full below that")


def _add_trackers(group: "argparse._ArgumentGroup") -> None:
    _add_switch(
        group, "--tensorboard", "write what the charts show into files for TensorBoard, or don't"
    )
    group.add_argument(
        "--tracker",
        choices=("none", "trackio", "wandb"),
        help="send what the charts show to Trackio or Weights & Biases, as you have installed it",
    )
    group.add_argument(
        "--tracker-python", metavar="FILE", help="the Python in which the tracker is installed"
    )


def _add_network(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--reachability",
        choices=("auto", "public", "relay", "client"),
        help="how others reach this machine (auto: find out)",
    )
    group.add_argument(
        "--announce",
        metavar="HOSTS",
        help="host names or addresses at which others reach this machine",
    )
    group.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="a door keeps the run's state every N epochs, for who joins when nobody trains",
    )
    group.add_argument("--trusted-relays", metavar="ADDRESSES", help="comma list of multiaddrs")
    _add_switch(
        group, "--hub-sign-in", "read the Hugging Face hub with your own sign-in, or without"
    )


def _add_callback(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--no-callback", dest="callback", action="store_false", default=None, help="don't serve it"
    )
    group.add_argument("--callback-host", metavar="ADDRESS", help="IP address to listen on")
    group.add_argument("--callback-port", type=int, metavar="PORT", help="TCP port, 0 for any")
    group.add_argument(
        "--callback-allowed-hosts", metavar="NAMES", help="further names in the Host header"
    )
    group.add_argument("--callback-origins", metavar="ORIGINS", help="web pages that may call")
    group.add_argument("--callback-certificate", metavar="FILE", help="PEM file, for https")
    group.add_argument("--callback-key", metavar="FILE", help="PEM file, for https")
    group.add_argument(
        "--consent",
        choices=("ask", "always", "never"),
        help="whether a task from outside may train here (always: from the listed backends)",
    )
    group.add_argument(
        "--consent-backends", metavar="NETWORKS", help="comma list of addresses and networks"
    )


def _add_switch(group: "argparse._ArgumentGroup", option: str, words: str) -> None:
    """An option that has a ``--no-…`` beside it; without either, the setting stays."""
    group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=words)

"""Blocking D-Bus calls: one connection for each call."""

from typing import Any, Literal

Bus = Literal["SYSTEM", "SESSION"]

TIMEOUT_SECONDS = 2.0


def call(bus: Bus, name: str, path: str, interface: str, method: str) -> Any:
    """Call a method without arguments; returns its first result.

    Raises `OSError` without a bus or for an error reply, `ImportError` where jeepney isn't
    installed, and `EOFError`, `LookupError`, `RuntimeError` or `ValueError` as jeepney does.
    """
    from jeepney import DBusAddress, new_method_call

    return _ask(bus, new_method_call(DBusAddress(path, name, interface), method))


def get(bus: Bus, name: str, path: str, interface: str, prop: str) -> Any:
    """Read a property. Raises the same exceptions as `call`."""
    from jeepney import DBusAddress, Properties

    _signature, value = _ask(bus, Properties(DBusAddress(path, name, interface)).get(prop))
    return value


def _ask(bus: Bus, message: Any) -> Any:
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.wrappers import DBusErrorResponse, unwrap_msg

    with open_dbus_connection(bus=bus) as connection:
        reply = connection.send_and_get_reply(message, timeout=TIMEOUT_SECONDS)
    try:
        return unwrap_msg(reply)[0]
    except DBusErrorResponse as error:
        raise OSError(str(error)) from error

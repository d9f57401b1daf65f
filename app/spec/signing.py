"""An organiser signs a spec, which makes it a signed invite."""

from app.common.errors import SpecError
from app.common.i18n import _
from app.common.signing import MachineKey, as_text
from app.organiser.invites import to_sign
from app.spec.filling import emptied
from app.spec.schema import SwarmSpec, parse


def signed(spec: SwarmSpec, key: MachineKey, *, name: str, closed: bool) -> SwarmSpec:
    """The spec, signed by its organiser; an earlier organiser of it is forgotten.

    Signed is the form that others get (`app.spec.filling.emptied`); paths of this machine stay in
    what is returned.

    name: what the organiser calls himself. closed: only members may take part.

    Raises `SpecError` when the name is no line of text, or the spec has a number that can't be
    signed.
    """
    organiser = {"name": name.strip(), "key": key.public_key, "closed": closed}
    shared = emptied(spec).to_json() | {"organiser": organiser}
    try:
        signature = key.sign(to_sign(shared))
    except ValueError as error:
        raise SpecError(
            _("this spec can't be signed: it has a number beyond 2^53."),
            field="spec",
            remedy=_("Choose a smaller number, such as another seed."),
        ) from error
    full = {**organiser, "signature": as_text(signature)}
    return parse(spec.to_json() | {"organiser": full})

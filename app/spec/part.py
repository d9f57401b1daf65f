"""The base of all parts of a spec."""

from pydantic import BaseModel, ConfigDict


class SpecPart(BaseModel):
    """Frozen; a field that it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

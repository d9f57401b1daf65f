"""Who may take part in the run of a spec."""

from pathlib import Path

from app.organiser.admission import OPEN, Admission
from app.spec.schema import SwarmSpec


def admission_to(spec: SwarmSpec, roster_file: Path) -> Admission:
    """Everybody, or in a closed swarm the members on the roster in a file."""
    if spec.organiser is None or not spec.organiser.closed:
        return OPEN
    return Admission(run_id=spec.run_id, organiser_key=spec.organiser.key, file=roster_file)

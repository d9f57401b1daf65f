"""Whatever comes in that its own description allows, or nearly: no answer is a defect's.

The examples are derived from the description and from a fixed seed: each run sends the same.
"""

import pytest
import schemathesis
from callbacks import Served, serving
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

"""What a package leaves out of the libraries is imported by nothing that it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_IMPORT_WITHOUT = """
import sys
sys.path[:0] = [{root!r}, {packaging!r}]
import bundle
from app.spec.families import FAMILIES
gone = tuple(bundle.others("transformers.models", keep=bundle.MODELS_KEPT | set(FAMILIES)))
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in gone or name.startswith(tuple(f"{{each}}." for each in gone)):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
{statement}
"""


@pytest.mark.parametrize(
    "statement",
    [
        "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig",
        "import peft",
    ],
    ids=["export", "adapters"],
)
def test_libraries_need_no_model_that_is_left_out(statement: str) -> None:
    code = _IMPORT_WITHOUT.format(
        root=str(ROOT), packaging=str(ROOT / "packaging"), statement=statement
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)

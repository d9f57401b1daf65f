"""The benchmark of a GPU: its models are those of transformers, and it runs where little is."""

import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from app.trainer.model.loss import loss_of
from tests.bench.parts import gpu

BENCH = Path(gpu.__file__).parents[1]
ENOUGH = ("torch", "transformers", "numpy")
"""What the benchmark may need, with what they need themselves."""

UNUSED = {"pydantic", "pydantic-core"}
"""What typer has come to need, which brings the command line of transformers."""


@pytest.fixture
def contender(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("gpu_contender")


# --- the models


def copied_weights(found: torch.nn.Module, *, layers: int) -> list[torch.Tensor]:
    """Of a model of transformers, in the order of those of the one by hand."""
    of = dict(found.named_parameters())
    if "transformer.wte.weight" in of:  # whose matrices are the other way round, but embeddings
        whole = ("transformer.wte.weight", "transformer.wpe.weight")
        return [each if name in whole or each.dim() < 2 else each.T for name, each in of.items()]
    weights = [of["model.embed_tokens.weight"]]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        weights.append(of[f"{at}input_layernorm.weight"])
        weights.append(torch.cat([of[f"{at}self_attn.{each}_proj.weight"] for each in "qkv"]))
        weights.append(of[f"{at}self_attn.o_proj.weight"])
        weights.append(of[f"{at}post_attention_layernorm.weight"])
        weights += [of[f"{at}mlp.{each}_proj.weight"] for each in ("gate", "up", "down")]
    return [*weights, of["model.norm.weight"], of["lm_head.weight"]]


@pytest.mark.parametrize("model", gpu.MODELS)
def test_the_model_by_hand_is_that_of_transformers(contender: Any, model: str) -> None:
    sizes = replace(contender.sizes_of(model, tiny=True), layers=2, vocabulary=256)  # unpadded
    by_hand, found = contender.by_hand(model, sizes), contender.published(model, sizes)
    with torch.no_grad():
        for each in found.parameters():  # biases and norms too, which begin all alike
            each.add_(0.1 * torch.randn_like(each))
        weights = copied_weights(found, layers=sizes.layers)
        for mine, given in zip(by_hand.parameters(), weights, strict=True):
            mine.copy_(given)
    tokens = torch.randint(sizes.vocabulary, (3, sizes.length + 1))
    torch.testing.assert_close(by_hand(tokens), loss_of(found, tokens))
    without_the_last = contender.own_loss(found, tokens)
    torch.testing.assert_close(without_the_last, loss_of(found, tokens[:, :-1]))


@pytest.mark.parametrize(("model", "millions"), [("gpt2", 123.6), ("llama", 341.1)])
def test_operations_are_of_parameters_that_multiply(
    contender: Any, model: str, millions: float
) -> None:
    sizes = contender.sizes_of(model, tiny=False)
    operations = contender.operations_of_a_token(model, sizes)
    attention = 12 * sizes.layers * sizes.width * sizes.length
    assert (operations - attention) / 6e6 == pytest.approx(millions, abs=0.1)


# --- the table


def test_a_card_has_the_peak_of_its_kind() -> None:
    assert gpu.share_of_peak("NVIDIA H100 80GB HBM3", 494.5e12) == 0.5
    assert gpu.share_of_peak("NVIDIA H100 PCIe", 378e12) == 0.5
    assert gpu.share_of_peak("Apple GPU", 1e12) is None


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("print('{}')", None),
        ("print('begin'); print(1)", "ended with the code 0"),
        ("import os; os._exit(9)", "ended with the code 9"),
    ],
)
def test_what_a_contender_prints_last_counts(code: str, failure: str | None) -> None:
    assert gpu.run([sys.executable, "-c", code], seconds=60).get("failure") == failure


def test_a_contender_that_takes_too_long_is_ended() -> None:
    found = gpu.run([sys.executable, "-c", "import time; time.sleep(600)"], seconds=1)
    assert found["failure"] == "took longer than 1 s"
    assert gpu.run([], seconds=0)["failure"] == "no time was left"


def test_a_row_that_failed_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = gpu.Table(sizes=gpu.SIZES, results=tmp_path / "results")
    table.add("gpt2", "nano", {"failure": "out of memory"})
    assert re.match(r"\| GPT-2 124M +\| \(a\) .+ – \| out of memory\n$", capsys.readouterr().out)
    (line,) = (tmp_path / "results").read_text().splitlines()
    assert json.loads(line) == {"model": "gpt2", "contender": "nano", "failure": "out of memory"}


# --- where little is installed

HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name in HIDDEN:  # but setuptools brings copies of some in a folder
            path = [each for each in sys.path if not each.endswith("site-packages")]
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Hiding if each is PathFinder else each for each in sys.meta_path]
"""
"""Makes packages look as if they weren't installed; Python runs it in each process."""


def closure(names: tuple[str, ...]) -> set[str]:
    """Distributions, with all that they need, by their names in lower case with ``-``."""
    found, left = set[str](), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found.add(name)
        needed = map(Requirement, requires(name) or ())
        left += [
            each.name
            for each in needed
            if each.marker is None or each.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes find nothing but `ENOUGH`."""
    there = {"cotrain-contributor"} | closure(ENOUGH) - UNUSED
    hidden = {
        name
        for name, of in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", each).lower() for each in of} & there
    }
    assert {"pydantic", "msgspec", "psutil", "hivemind", "babel", "PySide6", "peft"} <= hidden
    (tmp_path / "sitecustomize.py").write_text(f"HIDDEN = {sorted(hidden)}\n{HIDING}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run_bench(*options: str) -> list[str]:
    command = [sys.executable, str(BENCH / "run.py"), "gpu", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.usefixtures("bare")
def test_what_it_imports_is_torch_transformers_and_numpy() -> None:
    code = "import gpu_contender, importlib.util; print(importlib.util.find_spec('pydantic'))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCH, check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "None\n"), result.stderr


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.usefixtures("bare")
def test_the_table_of_a_model_without_anything_else(tmp_path: Path) -> None:
    results = tmp_path / "results"
    small = ("--device", "cpu", "--tiny", "--model", "llama", "--seconds", "0.5")
    patient = ("--within", "1200")  # compiling takes a minute for each on a busy machine
    _head, _line, *rows = run_bench(*small, *patient, "--results", str(results))
    found = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(rows) == len(found) == len(gpu.CONTENDERS)
    assert [each for each in found if "failure" in each] == []
    assert all(each["tokens_a_second"] > 0 for each in found)

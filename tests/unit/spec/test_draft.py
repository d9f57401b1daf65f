"""A form's texts become a spec, or errors at the form's fields."""

import json

import pytest

from app.spec import draft
from app.spec.draft import DEFAULTS
from app.spec.estimate import estimate
from app.spec.sources.data import FileData, HttpsData, HubData
from app.spec.sources.pretrained import HttpsWeights, HubWeights

FILLED = {**DEFAULTS, "run_id": "my-run"}


def fields_wrong(**changes: str) -> set[str]:
    found, wrong = draft.check(FILLED | {name.replace("__", "."): v for name, v in changes.items()})
    assert (found is None) == bool(wrong)
    assert all(error.message for error in wrong.values())
    return set(wrong)


def test_forms_initial_texts_are_valid() -> None:
    found, wrong = draft.check(FILLED)
    assert wrong == {}
    assert found is not None
    assert found.training.averaging.matchmaking_seconds == 5
    assert found.training.micro_batch_size == "auto"
    assert found.model.fields["max_position_embeddings"] == found.training.sequence_length


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("run_id", "", "run_id"),
        ("run_id", "../a", "run_id"),
        ("title", "x" * 201, "title"),
        ("model_config.layers", "", "model_config.layers"),
        ("model_config.layers", "two", "model_config.layers"),
        ("model_config.layers", "0", "model_config.layers"),
        ("model_config.layers", "²", "model_config.layers"),
        ("model_config.width", "9" * 5000, "model_config.width"),
        ("model_config.heads", "5", "model_config.heads"),
        ("training_params.sequence_length", "x", "training_params.sequence_length"),
        ("training_params.target_batch_size", "-1", "training_params.target_batch_size"),
        ("training_params.micro_batch_size", "some", "training_params.micro_batch_size"),
        ("training_params.micro_batch_size", "4096", "training_params.target_batch_size"),
        ("training_params.schedule.name", "cosine", "training_params.schedule.total_epochs"),
        (
            "training_params.averaging.timeout_seconds",
            "6",
            "training_params.averaging.timeout_seconds",
        ),
        ("training_params.stop.minutes", "soon", "training_params.stop.minutes"),
        ("dataset_info.source", "files", "dataset_info.paths"),
        ("dataset_info.tokenizer.kind", "file", "dataset_info.tokenizer.path"),
    ],
)
def test_error_is_shown_at_its_field(name: str, text: str, field: str) -> None:
    found, wrong = draft.check(FILLED | {name: text})
    assert found is None
    assert list(wrong) == [field]
    assert field in FILLED


def test_all_errors_are_reported() -> None:
    wrong = fields_wrong(
        run_id="", model_config__heads="5", training_params__seed="x", dataset_info__source="https"
    )
    assert wrong == {
        "run_id",
        "model_config.heads",
        "training_params.seed",
        "dataset_info.url",
        "dataset_info.sha256",
    }


def test_paths_are_one_per_line() -> None:
    found, _wrong = draft.check(
        FILLED | {"dataset_info.source": "files", "dataset_info.paths": "a.txt\n\n  b c.txt \n"}
    )
    assert found is not None
    assert isinstance(found.data, FileData)
    assert found.data.paths == ("a.txt", "b c.txt")


def test_texts_of_other_sources_are_ignored() -> None:
    every = {"paths": "a.txt", "url": "https://example.org/a", "sha256": "0" * 64, "name": "a/b"}
    texts = FILLED | {f"dataset_info.{name}": text for name, text in every.items()}
    for source, kind in (("files", FileData), ("https", HttpsData), ("hub", HubData)):
        found, wrong = draft.check(texts | {"dataset_info.source": source})
        assert wrong == {}
        assert found is not None
        assert isinstance(found.data, kind)


@pytest.mark.parametrize(
    ("title", "begins"),
    [("My Poems!", "my-poems-"), ("", "swarm-"), ("唐诗", "swarm-"), ("x" * 99, "x" * 40 + "-")],
)
def test_suggested_run_id_is_valid_and_unique(title: str, begins: str) -> None:
    run_id = draft.suggested_run_id(title)
    assert run_id.startswith(begins)
    assert run_id != draft.suggested_run_id(title)
    assert draft.check(FILLED | {"run_id": run_id})[0] is not None


# --- weights to begin with, adapters, tokenizers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}
COMMIT = "0123456789" * 4
BEGINS = FILLED | {
    "pretrained.source": "hub",
    "pretrained.name": "us/model",
    "pretrained.revision": COMMIT,
    "pretrained.config": json.dumps(CONFIG),
}


def test_weights_of_the_hub_bring_their_sizes() -> None:
    found, wrong = draft.check(BEGINS | {"model_config.heads": "5"})
    assert wrong == {}
    assert found is not None
    assert found.pretrained == HubWeights(source="hub", name="us/model", revision=COMMIT)
    assert found.model.fields["num_key_value_heads"] == 3
    assert not {"rms_norm_eps", "torch_dtype", "architectures"} & found.model.fields.keys()
    assert found.training.adapters is None
    assert estimate(found, device="cpu").parameters == 134_515_008


def test_weights_behind_https_are_one_file_a_line() -> None:
    files = f"https://x.org/config.json {'a' * 64}\nhttps://x.org/m.safetensors  {'b' * 64}\n"
    found, wrong = draft.check(BEGINS | {"pretrained.source": "https", "pretrained.files": files})
    assert wrong == {}
    assert found is not None
    assert isinstance(found.pretrained, HttpsWeights)
    assert [each.sha256[0] for each in found.pretrained.files] == ["a", "b"]


def test_adapters_are_of_the_form_only_where_they_are_chosen() -> None:
    chosen = {
        "training_params.adapters.train": "adapters",
        "training_params.adapters.targets": "q_proj, v_proj",
    }
    found, wrong = draft.check(BEGINS | chosen)
    assert wrong == {}
    assert found is not None
    assert found.training.adapters is not None
    assert found.training.adapters.targets == ("q_proj", "v_proj")
    plain, _wrong = draft.check(FILLED | chosen)
    assert plain is not None
    assert plain.training.adapters is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pretrained.revision": "main"}, "pretrained.revision"),
        ({"pretrained.name": ""}, "pretrained.name"),
        ({"pretrained.config": ""}, "pretrained.config"),
        ({"pretrained.config": "{"}, "pretrained.config"),
        ({"pretrained.config": "[" * 10**5}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": []}'}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": "bert"}'}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": "llama"}'}, "pretrained.config"),
        (
            {"training_params.adapters.train": "adapters", "training_params.adapters.rank": "0"},
            "training_params.adapters.rank",
        ),
        (
            {
                "training_params.adapters.train": "adapters",
                "training_params.adapters.targets": "c_attn",
            },
            "training_params.adapters.targets",
        ),
        (
            {"pretrained.source": "https", "pretrained.files": "https://x.org/config.json"},
            "pretrained.files",
        ),
        ({"dataset_info.tokenizer.kind": "hub"}, "dataset_info.tokenizer.name"),
        ({"dataset_info.tokenizer.kind": "https"}, "dataset_info.tokenizer.url"),
    ],
)
def test_a_mistake_is_shown_at_its_field(change: dict[str, str], field: str) -> None:
    found, wrong = draft.check(BEGINS | change)
    assert found is None
    assert field in wrong
    assert wrong.keys() <= DEFAULTS.keys()


@pytest.mark.parametrize("kind", ["hub", "https"])
def test_a_tokenizer_is_fetched_if_the_form_says_so(kind: str) -> None:
    texts = {
        "dataset_info.tokenizer.kind": kind,
        "dataset_info.tokenizer.name": "us/words",
        "dataset_info.tokenizer.revision": COMMIT,
        "dataset_info.tokenizer.url": "https://example.org/tokenizer.json",
        "dataset_info.tokenizer.sha256": "a" * 64,
    }
    found, wrong = draft.check(FILLED | texts)
    assert wrong == {}
    assert found is not None
    assert found.data.tokenizer.kind == kind

"""A spec is validated as a whole, and errors name the field and the remedy."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import pipe, protocol
from app.common.errors import SpecError
from app.p2p.network import Network
from app.spec import schema as spec
from app.spec.schema import MODEL_TYPES
from tests.support.training.specs import ANY_JSON, HASH, PEER, SMALLEST, SPECS, paths_of, replaced

REMOVED = object()


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The smallest spec with one value set, or removed, at a dotted path."""
    content = copy.deepcopy(SMALLEST)
    *parents, last = path.split(".")
    place = content
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    if value is REMOVED:
        del place[last]
    return content


# --- valid specs ---------------------------------------------------------------------------------


def test_smallest_spec_is_valid() -> None:
    found = spec.parse(SMALLEST)
    assert (found.run_id, found.model.model_type, found.data.source) == ("run", "gpt2", "builtin")


def test_title_is_the_name() -> None:
    assert spec.parse(with_change("title", "Poems")).name == "Poems"


def test_without_a_title_the_run_id_is_the_name() -> None:
    assert spec.parse(SMALLEST).name == "run"


def test_fields_of_the_model_are_kept() -> None:
    assert spec.parse(with_change("model_config.n_layer", 4)).model.fields == {"n_layer": 4}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_model_type_is_accepted(model_type: str) -> None:
    found = spec.parse(with_change("model_config.model_type", model_type))
    assert found.model.model_type == model_type


@pytest.mark.parametrize(
    "address",
    [
        PEER,
        PEER.replace("/ip4/203.0.113.7", "/dns4/seed.example.org"),
        PEER.replace("/ip4/203.0.113.7", "/ip6/2001:db8::7"),
        PEER.replace("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "12D3KooW" + "a" * 44),
    ],
)
def test_address_of_a_peer_is_accepted(address: str) -> None:
    assert spec.parse(with_change("initial_peers", [address])).initial_peers == (address,)


def test_what_earlier_apps_do_not_know_is_left_out_where_it_is_not_used() -> None:
    content = spec.parse(SMALLEST).to_json()
    assert "evaluation" not in content["training_params"]
    assert set(content["training_params"]["stop"]) == {"epochs", "minutes"}
    assert "held_out" not in content["dataset_info"]
    assert "about" not in content


# --- invalid specs -------------------------------------------------------------------------------

# path, wrong value, field that the error names, text that it contains
MISTAKES = [
    ("version", 2, "version", "should be 1"),
    ("run_id", REMOVED, "run_id", "Add it"),
    ("run_id", "", "run_id", "1 to 100 letters"),
    ("run_id", "a" * 101, "run_id", "1 to 100 letters"),
    ("run_id", "-a", "run_id", "letters, digits"),
    ("run_id", "../../home", "run_id", "letters, digits"),
    ("run_id", "a\n", "run_id", "letters, digits"),
    ("run_id", 7, "run_id", "valid string"),
    ("colour", "red", "colour", "Remove it"),
    ("title", "a" * 201, "title", "at most 200"),
    ("initial_peers", "x", "initial_peers", "valid tuple"),
    ("initial_peers", ["x"], "initial_peers", "/p2p/"),
    ("initial_peers", ["/ip4/1.2.3.4/tcp/1"], "initial_peers", "/p2p/"),
    ("initial_peers", [PEER, PEER + " "], "initial_peers", "/p2p/"),
    ("initial_peers", [PEER] * 65, "initial_peers", "at most 64"),
    ("session_id", -1, "session_id", "greater than or equal to 0"),
    # the model
    ("model_config", REMOVED, "model_config", "Add it"),
    ("model_config", "gpt2", "model_config", "valid dictionary"),
    ("model_config", {}, "model_config.model_type", "Add it"),
    ("model_config.model_type", "gpt9", "model_config.model_type", "gpt2, gpt_neo"),
    ("model_config.model_type", ["gpt2"], "model_config.model_type", "gpt2, gpt_neo"),
    ("model_config.auto_map", {"a": "b"}, "model_config", "'auto_map' names code"),
    ("model_config.trust_remote_code", True, "model_config", "remove it"),
    ("model_config.custom_pipelines", {}, "model_config", "remove it"),
    ("model_config.architectures", ["A"], "model_config", "remove it"),
    ("model_config.torch_dtype", "float16", "model_config", "chosen by each machine; remove it"),
    ("model_config.use_cache", True, "model_config", "chosen by each machine; remove it"),
    ("model_config.__class__", 1, "model_config", "no name of a config field"),
    ("model_config.n-layer", 1, "model_config", "no name of a config field"),
    # evaluation
    (
        "training_params.evaluation",
        {"prompts": ["a"] * 9},
        "training_params.evaluation.prompts",
        "at most 8",
    ),
    (
        "training_params.evaluation",
        {"prompts": ["x" * 201]},
        "training_params.evaluation.prompts.0",
        "at most 200",
    ),
    (
        "training_params.evaluation",
        {"prompts": ["a\u202eb"]},
        "training_params.evaluation.prompts",
        "one line of printable text",
    ),
    (
        "training_params.evaluation",
        {"share": 0},
        "training_params.evaluation.share",
        "greater than 0",
    ),
    (
        "training_params.evaluation",
        {"seconds": 1e9},
        "training_params.evaluation.seconds",
        "less than or equal to 60",
    ),
    (
        "training_params",
        {
            "target_batch_size": 64,
            "sequence_length": 32,
            "evaluation": {"every_epochs": 0},
            "stop": {"unimproved_evaluations": 3},
        },
        "training_params",
        "needs evaluations",
    ),
    (
        "dataset_info.held_out",
        {"source": "https", "url": "http://example.org/a.txt", "sha256": HASH},
        "dataset_info.held_out.url",
        "begins with https://",
    ),
    (
        "dataset_info.held_out",
        {"source": "files", "paths": ["/etc/passwd"]},
        "dataset_info.held_out",
        "'https', 'hub'",
    ),
    # the training
    ("training_params", REMOVED, "training_params", "Add it"),
    ("training_params.strategy", "magic", "training_params.strategy", "gradient-averaging"),
    (
        "training_params.target_batch_size",
        REMOVED,
        "training_params.target_batch_size",
        "Add it",
    ),
    ("training_params.target_batch_size", 0, "training_params.target_batch_size", "greater than 0"),
    ("training_params.target_batch_size", 10**10, "training_params.target_batch_size", "less than"),
    ("training_params.micro_batch_size", 0, "training_params.micro_batch_size", "greater than 0"),
    ("training_params.micro_batch_size", 1.5, "training_params.micro_batch_size", "integer"),
    ("training_params.micro_batch_size", 65, "training_params.target_batch_size", "at least 65"),
    (
        "training_params",
        {"target_batch_size": 65536, "micro_batch_size": 65536, "sequence_length": 400_000},
        "training_params.micro_batch_size",
        "65536 × sequence_length 400000 are more than 67108864 tokens in one step",
    ),
    ("training_params.sequence_length", REMOVED, "training_params.sequence_length", "Add it"),
    ("training_params.sequence_length", 0, "training_params.sequence_length", "greater than 0"),
    ("training_params.seed", -1, "training_params.seed", "greater than or equal to 0"),
    ("training_params.seed", 2**63, "training_params.seed", "less than"),
    ("training_params.precision", "int4", "training_params.precision", "bf16"),
    ("training_params.optimizer.name", "lion", "training_params.optimizer.name", "adamw"),
    (
        "training_params.optimizer.learning_rate",
        0,
        "training_params.optimizer.learning_rate",
        "greater than 0",
    ),
    (
        "training_params.optimizer.betas",
        [0.9, 1.0],
        "training_params.optimizer.betas.1",
        "less than 1",
    ),
    ("training_params.schedule", {"name": "cosine"}, "training_params.schedule", "total_epochs"),
    (
        "training_params.schedule",
        {"warmup_epochs": 5, "total_epochs": 5},
        "training_params.schedule",
        "larger than warmup_epochs",
    ),
    (
        "training_params.averaging",
        {"matchmaking_seconds": 20, "timeout_seconds": 39},
        "training_params.averaging",
        "at least twice",
    ),
    ("training_params.stop.epochs", 0, "training_params.stop.epochs", "greater than 0"),
    # the data
    ("dataset_info", REMOVED, "dataset_info", "Add it"),
    ("dataset_info", {}, "dataset_info", "source"),
    ("dataset_info", {"source": "ftp"}, "dataset_info", "'builtin', 'files', 'https', 'hub'"),
    ("dataset_info", {"source": "files"}, "dataset_info.paths", "Add it"),
    ("dataset_info", {"source": "files", "paths": []}, "dataset_info.paths", "at least 1"),
    ("dataset_info", {"source": "https", "sha256": HASH}, "dataset_info.url", "Add it"),
    (
        "dataset_info",
        {"source": "https", "sha256": HASH, "url": "http://example.org/a"},
        "dataset_info.url",
        "https://",
    ),
    (
        "dataset_info",
        {"source": "https", "sha256": "abc", "url": "https://example.org/a"},
        "dataset_info.sha256",
        "64 digits",
    ),
    ("dataset_info", {"source": "hub", "name": "../x/y"}, "dataset_info.name", "owner/data-set"),
    (
        "dataset_info",
        {"source": "hub", "name": "a/b", "trust_remote_code": True},
        "dataset_info.trust_remote_code",
        "Remove it",
    ),
    ("dataset_info.tokenizer", {"kind": "words"}, "dataset_info.tokenizer", "'bytes', 'file'"),
    ("dataset_info.tokenizer", {"kind": "file"}, "dataset_info.tokenizer.path", "Add it"),
]


@pytest.mark.parametrize(("path", "value", "field", "told"), MISTAKES)
def test_mistake_is_named_with_its_remedy(path: str, value: Any, field: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse(with_change(path, value))
    assert caught.value.field == field
    assert told in caught.value.text


NUMBERS = [
    "training_params.optimizer.learning_rate",
    "training_params.optimizer.eps",
    "training_params.optimizer.weight_decay",
    "training_params.optimizer.momentum",
    "training_params.max_grad_norm",
    "training_params.averaging.matchmaking_seconds",
    "training_params.averaging.timeout_seconds",
    "training_params.averaging.record_seconds",
    "training_params.stop.minutes",
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("path", NUMBERS)
def test_nan_and_infinity_are_refused(path: str, value: float) -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse(with_change(path, value))
    assert caught.value.field == path


def test_further_mistakes_are_counted() -> None:
    content = with_change("run_id", "") | {"colour": "red", "taste": "sweet"}
    with pytest.raises(SpecError, match=r"\(2 more after it\)"):
        spec.parse(content)


def test_mistake_in_a_union_is_reported_once() -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse(with_change("training_params.micro_batch_size", 0))
    assert "more after it" not in caught.value.text


@pytest.mark.parametrize("name", ["run-id", "hub", "file"])
def test_unknown_field_is_named_whatever_its_name(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse(with_change(name, 1))
    assert caught.value.field == name


def test_long_value_is_shortened() -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse(with_change("title", "a" * 1000))
    assert len(caught.value.text) < 300


# --- all mistakes at once, for a form ------------------------------------------------------------


def test_right_spec_has_no_mistakes() -> None:
    assert spec.mistakes(SMALLEST) == {}


def test_mistakes_are_listed_by_field() -> None:
    content = with_change("training_params.seed", -1) | {"run_id": "", "colour": "red"}
    assert set(spec.mistakes(content)) == {"run_id", "colour", "training_params.seed"}


@pytest.mark.parametrize("title", ["two\nlines", "a\u202eb", "\x00", "\u2028"])
def test_title_that_could_be_disguised_is_refused(title: str) -> None:
    with pytest.raises(SpecError, match="one line") as caught:
        spec.parse(with_change("title", title))
    assert caught.value.field == "title"


@pytest.mark.parametrize("title", ["Gedichte für alle", "唐诗 三百首", "👩‍🔬 poems"])
def test_title_may_be_in_any_language(title: str) -> None:
    assert spec.parse(with_change("title", title)).name == title


@pytest.mark.parametrize(
    ("wanted", "target", "cpu", "gpu"),
    [
        ("auto", 4096, 32, 512),
        ("auto", 500, 32, 64),
        ("auto", 4, 1, 1),
        ("auto", 1, 1, 1),
        (24, 512, 24, 24),
    ],
)
def test_most_samples_a_step(wanted: object, target: int, cpu: int, gpu: int) -> None:
    content = with_change("training_params.micro_batch_size", wanted)
    content["training_params"]["target_batch_size"] = target
    training = spec.parse(content).training
    found = training.most_samples_a_step("cpu"), training.most_samples_a_step("cuda")
    assert found == (cpu, gpu)


def test_a_step_of_a_machines_own_is_no_larger_than_was_asked() -> None:
    content = with_change("training_params.micro_batch_size", "auto")
    own = {"strategy": "diloco", "diloco": {"local_batch_size": 12}, "target_batch_size": 4096}
    content["training_params"] |= own
    assert spec.parse(content).training.most_samples_a_step("cuda") == 8


# --- any spec ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(content=SPECS)
def test_wire_form_is_read_back(content: dict[str, Any]) -> None:
    found = spec.parse(content)
    assert spec.parse(json.loads(json.dumps(found.to_json()))) == found


@settings(deadline=None)
@given(content=SPECS)
def test_trainer_gets_the_same_spec(content: dict[str, Any]) -> None:
    found = spec.parse(content)
    order = protocol.Start(
        id=1,
        spec=found.to_json(),
        initial_peers=(),
        identity_file="",
        checkpoint_dir="",
        cache_dir="",
        device="cpu",
        threads=1,
        network=Network(listen=(), local=True),
    )
    arrived = pipe.decode_command(pipe.encode(order))
    assert isinstance(arrived, protocol.Start)
    assert spec.parse(arrived.spec) == found


@settings(deadline=None)
@given(content=ANY_JSON)
def test_any_json_is_parsed_or_refused(content: Any) -> None:
    with pytest.raises(SpecError):
        spec.parse(content)


@settings(deadline=None, max_examples=200)
@given(data=st.data(), content=SPECS, value=ANY_JSON)
def test_any_change_is_parsed_or_refused(data: st.DataObject, content: Any, value: Any) -> None:
    path = data.draw(st.sampled_from(paths_of(content)))
    try:
        spec.parse(replaced(content, path, value))
    except SpecError as error:
        assert error.field  # noqa: PT017  a change may be valid


def test_a_norm_stands_where_its_gradient_is() -> None:
    plain = spec.parse(with_change("training_params.max_grad_norm", 1.0))
    assert plain.training.max_grad_norm == 1.0
    assert spec.parse(plain.to_json()) == plain
    assert "max_grad_norm" not in spec.parse(SMALLEST).to_json()["training_params"]
    content = plain.to_json()
    content["training_params"]["strategy"] = "diloco"
    with pytest.raises(SpecError, match="max_grad_norm is for gradient averaging"):
        spec.parse(content)

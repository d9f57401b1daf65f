"""The messages of an export: every one arrives as sent, and a token isn't told in errors."""

from typing import get_args

import pytest

from app import pipe, protocol
from app.common.errors import ProtocolError
from app.takeout import messages
from app.takeout.messages import (
    Export,
    ExportFacts,
    ExportOrder,
    ExportReport,
    ExportStep,
    FetchWeights,
    Upload,
)

ORDERS: tuple[ExportOrder, ...] = (
    Export(
        spec={"run_id": "öde"},
        checkpoint_dirs=("/a", "/b"),
        cache_dir="/d",
        folder="/c",
        facts=ExportFacts(since=1.5, contributors=("Ada", "漢字")),
    ),
    Upload(folder="/c", repository="ada/tiny", public=False, overwrite=True, token="hf_secret"),
    FetchWeights(
        spec={"run_id": "öde"},
        initial_peers=("/ip4/127.0.0.1/tcp/1/p2p/Qm",),
        identity_file="/e",
        roster_file="/f",
        cache_dir="/d",
        folder="/c",
        hub_sign_in=True,
    ),
)
REPORTS: tuple[ExportReport, ...] = (
    protocol.Hello(version=1, pid=2),
    messages.ExportProgress(step=ExportStep.WRITING, done=1, size=2),
    messages.Exported(epoch=1, parameters=2, size=3, passed_over=("a",), exact_tokenizer=False),
    messages.ExportProgress(step=ExportStep.FETCHING, done=1, size=2, seconds_left=3.5),
    messages.WeightsFetched(epoch=1, from_door=True),
    messages.Uploaded(url="https://hub.example/ada/tiny", public=True),
    protocol.TrainerProblem(message="no", field="f", remedy="r"),
)


def test_each_arrives_as_sent() -> None:
    assert [messages.decode_order(pipe.encode(order)) for order in ORDERS] == [*ORDERS]
    assert [messages.decode_report(pipe.encode(report)) for report in REPORTS] == [*REPORTS]
    assert {type(order) for order in ORDERS} == set(get_args(ExportOrder))
    assert {type(report) for report in REPORTS} == set(get_args(ExportReport))


@pytest.mark.parametrize("line", [b"", b"[]", b'{"type": "Start"}', b'{"type": "Upload"}'])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.decode_order(line)
    with pytest.raises(ProtocolError):
        messages.decode_report(line)


def test_a_token_is_not_told() -> None:
    line = pipe.encode(ORDERS[1]).replace(b'"ada/tiny"', b"7")
    with pytest.raises(ProtocolError) as caught:
        messages.decode_order(line)
    assert "hf_secret" not in str(caught.value)

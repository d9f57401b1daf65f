"""Offers: made and signed by their member, and checked by everybody else."""

import hashlib
import math
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_ssh_public_key,
)
from hivemind.p2p import PeerID
from hivemind.proto import crypto_pb2
from hivemind.utils.crypto import RSAPrivateKey, RSAPublicKey

from app.p2p.calls import CallError, hivemind_errors
from app.p2p.sightings import PartFault
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.wire import (
    HASH_BYTES,
    PIECE_BYTES,
    RoundList,
    SignedOffer,
    parse,
)

SHA256_MULTIHASH = b"\x12\x20"
"""Before a digest, in libp2p's ids."""


class OfferError(ValueError):
    """An offer, or a list of offers, isn't what an honest peer sends."""

    def __init__(self, reason: str, fault: PartFault) -> None:
        super().__init__(reason)
        self.fault = fault


class OwnKey:
    """The key of our peer, which signs our offers."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key
        # hivemind gives the key in OpenSSH's form, and libp2p's ids are of DER
        public = load_ssh_public_key(key.get_public_key().to_bytes())
        self._public = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.peer_id = peer_id_of(self._public)

    def offer(
        self, blob: bytes, *, run_id: str, epoch: int, weight: float, serves: bool
    ) -> SignedOffer:
        """Offer a blob. serves: others can call us."""
        view = memoryview(blob)
        pieces = (view[begin : begin + PIECE_BYTES] for begin in range(0, len(blob), PIECE_BYTES))
        offer = SignedOffer(
            epoch=epoch,
            weight=float(weight),
            size=len(blob),
            hashes=b"".join(hashlib.sha256(piece).digest() for piece in pieces),
            serves=serves,
            key=self._public,
            signature=b"",
        )
        signature = self._key.sign(_signed(offer, run_id))
        return msgspec.structs.replace(offer, signature=signature)


def _signed(offer: SignedOffer, run_id: str) -> bytes:
    fields = (offer.epoch, offer.weight, offer.size, offer.hashes, offer.serves)
    return msgspec.msgpack.encode(("CoTrain exchange", run_id, *fields))


def peer_id_of(public_key: bytes) -> str:
    """The peer id, in base58, that follows from an RSA key (DER), as libp2p computes it."""
    wire: Any = crypto_pb2  # its names are made at run time
    packed = wire.PublicKey(key_type=wire.RSA, data=public_key).SerializeToString()
    return PeerID(SHA256_MULTIHASH + hashlib.sha256(packed).digest()).to_base58()


def check_offer(offer: SignedOffer, rules: ExchangeRules, *, epoch: int) -> str:
    """The peer id of who made an offer. Raises `OfferError`."""
    if offer.epoch != epoch:
        raise OfferError("it is of another epoch", PartFault.SHAPE)
    if not 0 < offer.size <= rules.most_bytes:
        raise OfferError(f"a blob of {offer.size} bytes", PartFault.SHAPE)
    if len(offer.hashes) != HASH_BYTES * offer.pieces:
        raise OfferError("its hashes aren't those of its pieces", PartFault.SHAPE)
    if not (math.isfinite(offer.weight) and 0.0 <= offer.weight <= rules.most_weight):
        raise OfferError(f"a weight of {offer.weight}", PartFault.WEIGHT)
    if not _is_signed(offer, rules.run_id):
        raise OfferError("its signature is wrong", PartFault.SHAPE)
    return peer_id_of(offer.key)


def _is_signed(offer: SignedOffer, run_id: str) -> bool:
    try:
        with hivemind_errors():  # a foreign key may be anything
            key = load_der_public_key(offer.key)
            if not isinstance(key, rsa.RSAPublicKey):
                return False
            return bool(RSAPublicKey(key).verify(_signed(offer, run_id), offer.signature))
    except CallError:
        return False


def check_list(
    packed: bytes, rules: ExchangeRules, *, epoch: int, own: tuple[str, SignedOffer] | None = None
) -> dict[str, SignedOffer]:
    """The offers of a round's list by peer id, in the order of the list. Raises `OfferError`.

    own: our peer id and our offer, if we have made one.
    """
    try:
        listed: RoundList = parse(packed, RoundList)
    except ValueError as error:
        raise OfferError("its list can't be read", PartFault.GROUP) from error
    if listed.epoch != epoch:
        raise OfferError("its list is of another epoch", PartFault.GROUP)
    try:
        offers = {check_offer(each, rules, epoch=epoch): each for each in listed.offers}
    except OfferError as error:
        raise OfferError(
            f"its list has an offer that nobody made: {error}", PartFault.GROUP
        ) from error
    if list(offers) != sorted(offers) or len(offers) != len(listed.offers):
        raise OfferError("its list has a member twice, or no order", PartFault.GROUP)
    if not all(map(rules.admission.may_join, offers)):
        raise OfferError("its list has a peer that isn't on the swarm's roster", PartFault.GROUP)
    if own is not None and offers.get(own[0], own[1]) != own[1]:
        raise OfferError("its list has another offer of ours", PartFault.GROUP)
    return offers

"""What a swarm would take of this machine and send from it, in words, before the user joins."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.common.i18n import _, ngettext
from app.state.state import ContributorState
from app.terms.terms import MBIT
from ui.texts import specs as spec_texts
from ui.texts import states as texts
from ui.texts import units

if TYPE_CHECKING:
    from app.protocol import Device
    from app.spec.costs.activations import DeviceKind
    from app.spec.costs.figures import Amount
    from app.spec.estimate import Estimate
    from app.spec.schema import SwarmSpec


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A warning before joining."""

    text: str
    """One or two sentences, translated."""

    serious: bool = False
    """Training may not work, or the user's own files are used."""


def chosen_device(state: ContributorState) -> "Device | None":
    """The device that would train; None if the devices aren't known yet."""
    return next((device for device in state.devices if device.id == state.device), None)


def chosen_devices(state: ContributorState) -> "list[Device]":
    """The devices that would train; [] if one of them isn't known."""
    known = {each.id: each for each in state.devices}
    chosen = [known.get(each) for each in state.chosen_devices]
    return [each for each in chosen if each is not None] if all(chosen) else []


def device_kind(device: "Device | None") -> "DeviceKind":
    """The kind of a device, as the estimate names it. An unknown device counts as a CPU."""
    return "cpu" if device is None or device.id == "cpu" else "gpu"


def estimate_for(spec: "SwarmSpec", device: "Device | None") -> "Estimate":
    """The estimate of memory, disk and traffic for training on a device."""
    from app.spec.estimate import estimate

    room = device.memory if device is not None and device.memory else None
    return estimate(spec, device=device_kind(device), room=room)


def subtitle(spec: "SwarmSpec", estimate: "Estimate") -> str:
    """The model, its parameters and its data, in one line."""
    parts = (
        spec_texts.model_name(spec.model.model_type),
        _("{number} parameters").format(number=units.short(estimate.parameters)),
        *_learning(estimate),
        data_line(spec),
    )
    return texts.DOT.join(parts)


def _learning(estimate: "Estimate") -> tuple[str, ...]:
    if estimate.learning == estimate.parameters:
        return ()
    text = _("{number} of them trained, as adapters")
    return (text.format(number=units.short(estimate.learning)),)


def data_line(spec: "SwarmSpec") -> str:
    """The training data in a few words, and the text for evaluations if that is apart."""
    return spec_texts.with_held_out(_source_line(spec), spec.data)


def _source_line(spec: "SwarmSpec") -> str:
    source = spec.data
    match source.source:
        case "builtin":
            return _("Python's documentation")
        case "files":
            count = len(source.paths)
            return ngettext(
                "a file on this machine", "{count} files on this machine", count
            ).format(count=count)
        case "https":
            return source.url
        case "slot":
            return _("files that you choose")
        case "mixture":
            return _("a mixture of {count} sources").format(count=len(source.parts))
        case _:
            return _("{name} from the Hugging Face hub").format(name=source.name)


# --- figures


def facts(spec: "SwarmSpec", estimate: "Estimate", device: "Device | None") -> dict[str, str]:
    """The estimated figures in a few words each, by the names of the rows that show them."""
    return {
        "memory": memory(estimate, device),
        "disk": _known(estimate.disk),
        "samples": ngettext(
            "{count} sample", "{count} samples", spec.training.target_batch_size
        ).format(count=units.count(spec.training.target_batch_size)),
    }


def fits(estimate: "Estimate", device: "Device | None") -> bool | None:
    """Whether the device has enough memory; None if that isn't known."""
    if device is None or not device.memory:
        return None
    return estimate.memory.total <= device.memory


def memory(estimate: "Estimate", device: "Device | None") -> str:
    """How much of the device's memory is needed, and whether that fits."""
    size = units.size(estimate.memory.total)
    if device is None or not device.memory:
        return _("about {size}").format(size=size)
    text = (
        _("about {size} of {all}, fits")
        if fits(estimate, device)
        else _("about {size} of {all}, doesn't fit")
    )
    return text.format(size=size, all=units.size(device.memory))


def _known(amount: "Amount") -> str:
    size = units.size(amount.total)
    return (
        _("about {size}").format(size=size)
        if amount.complete
        else _("{size} and the data").format(size=size)
    )


def explanation(estimate: "Estimate", device: "Device | None") -> list[tuple[str, str]]:
    """How the figures are computed: pairs of a heading and its lines."""
    where = _("Memory of the GPU") if device_kind(device) == "gpu" else _("Memory")
    blocks = [(where, _lines(estimate.memory))]
    if estimate.host.parts:
        blocks.append((_("Memory of the machine, in addition"), _lines(estimate.host)))
    blocks.append((_("Disk"), _lines(estimate.disk)))
    blocks.append((_("Traffic"), "\n".join((_traffic(estimate), *estimate.traffic.why))))
    if not estimate.vocabulary_known:
        why = _("The tokenizer is a file, so its vocabulary is assumed to have a usual size.")
        blocks.append((_("Parameters"), why))
    return blocks


def _traffic(estimate: "Estimate") -> str:
    text = _("From {low} to {high} an hour each way, whatever the line.")
    traffic = estimate.traffic
    return text.format(low=units.size(traffic.low), high=units.size(traffic.high))


def _lines(amount: "Amount") -> str:
    return "\n".join(
        _("{name}: {size} ({why})").format(
            name=part.name,
            size=units.NONE if part.size is None else units.size(part.size),
            why=part.why,
        )
        for part in amount.parts
    )


# --- what to know before joining


def what_leaves() -> str:
    """What is sent to other peers."""
    return _(
        "What was learnt (gradients and the model's parameters), and"
        " this machine's peer id and network address. Under an alias,"
        " unless you switch that off: its device, load, temperature and"
        " speed."
    )


def what_stays() -> str:
    """What is never sent."""
    return _("Your files, your name, the name of this machine, and everything else on it.")


def cautions(
    spec: "SwarmSpec", estimate: "Estimate", state: ContributorState
) -> tuple[Caution, ...]:
    """All warnings for this swarm on this machine, the serious ones first."""
    found = (
        *_about_end(spec),
        *_about_data(spec),
        *_about_downloads(spec, estimate),
        *_about_memory(estimate, state),
        *about_line(spec, estimate, state),
        *_about_peers(spec, state),
    )
    return tuple(sorted(found, key=lambda caution: not caution.serious))


def _about_end(spec: "SwarmSpec") -> tuple[Caution, ...]:
    if spec.about is None or not spec.about.is_over:
        return ()
    text = _("It was meant to run until {day}: it may have ended, and nobody may train in it.")
    return (Caution(text=text.format(day=spec.about.until)),)


def _about_data(spec: "SwarmSpec") -> tuple[Caution, ...]:
    from app.spec.sources.data import sources_of

    found = []
    kinds = {each.source for each in sources_of(spec.data).values()}
    if "files" in kinds:
        text = _(
            "It trains on files of this machine, and what is learnt from them goes to the others."
            " Join only if these are meant for it."
        )
        found.append(Caution(text=text, serious=True))
    if "slot" in kinds:
        text = _(
            "It trains on files that you choose, and what is learnt from them goes to the others."
            " Choose only what is meant for it."
        )
        found.append(Caution(text=text, serious=True))
    tokenizer = spec.data.tokenizer
    if tokenizer.kind == "file":
        text = _("It needs the tokenizer {path} on this machine.").format(path=tokenizer.path)
        found.append(Caution(text=text))
    return tuple(found)


def _about_downloads(spec: "SwarmSpec", estimate: "Estimate") -> tuple[Caution, ...]:
    """What is fetched before training begins, with its size."""
    sizes = {part.name: part.size or 0 for part in estimate.disk.parts}
    found = {
        _("Pretrained weights"): spec_texts.weights_description(spec),
        _("Tokenizer"): spec_texts.tokenizer_description(spec.data.tokenizer),
    }
    text = _("It downloads {what}, about {size}.")
    said = [
        Caution(text=text.format(what=what, size=units.size(sizes[name])))
        for name, what in found.items()
        if what
    ]
    if spec.pretrained is not None and spec.data.tokenizer.kind == "bytes":
        strange = _("Its tokens are bytes, which those who made the weights hardly used.")
        said.append(Caution(text=strange))
    return tuple(said)


def _about_memory(estimate: "Estimate", state: ContributorState) -> tuple[Caution, ...]:
    device = chosen_device(state)
    if fits(estimate, device) is not False:
        return ()
    assert device is not None
    text = _("{device} has too little memory to train this. You can watch all the same.").format(
        device=texts.device_label(device)
    )
    return (Caution(text=text, serious=True),)


def about_line(
    spec: "SwarmSpec", estimate: "Estimate", state: ContributorState
) -> tuple[Caution, ...]:
    """Whether lines of homes, and this one as far as its limit is set, carry a round in time."""
    from app.spec.costs.rounds import SLOWEST_LINE, round_bytes, round_seconds, slowest_line

    parameters = estimate.learning
    needed, limit = slowest_line(spec, parameters=parameters), state.terms.max_upload * MBIT
    is_too_slow = 0 < limit < needed
    if not is_too_slow and needed <= SLOWEST_LINE:
        return ()
    text = _(
        "A round of averaging sends {size}, and is cut off after {time}: a machine that uploads"
        " less than {rate} Mbit/s loses all that it computes."
    ).format(
        size=units.size(round_bytes(spec, parameters=parameters)),
        time=units.duration(round_seconds(spec, parameters=parameters)),
        rate=f"{needed / MBIT:.1f}",
    )
    if is_too_slow:
        own = _("Your terms allow this machine {rate} Mbit/s.")
        text = f"{text} {own.format(rate=f'{state.terms.max_upload:g}')}"
    return (Caution(text=text, serious=is_too_slow),)


def _about_peers(spec: "SwarmSpec", state: ContributorState) -> tuple[Caution, ...]:
    found = []
    if state.swarm is not None and state.peer_id:
        text = _("Joining leaves the swarm that you are in, {title}.").format(
            title=state.swarm.title
        )
        found.append(Caution(text=text))
    if spec.local:
        found.append(Caution(text=_("Only apps on this machine can join it.")))
    if not spec.initial_peers:
        found.append(Caution(text=_("It names no peer to connect to: you would be its first.")))
    return tuple(found)

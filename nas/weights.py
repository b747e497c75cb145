"""Weights in files, by this program's names, torchvision's or timm's: pretrained ones come in, trained ones go out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import UserError
from nas.weights_file import check_suffix, read_state, write_state
from search_spaces.arch import ArchSpec, Norm
from search_spaces.graph import Conv, Graph
from search_spaces.lower import lower
from search_spaces.naming import Key, Keys, Naming, Part, key_map, skeleton
from search_spaces.torch_module import GraphModule
from search_spaces.zoo import ZOO

NATIVE = "nas"
"""The convention of this program: the keys of `GraphModule.state_dict`."""

_CLASSIFIER = "classifier.linear.weight"


def _native(part: Part) -> Keys:
    return Keys(f"{part.op.name}.{'conv' if isinstance(part.op, Conv) else 'linear'}", f"{part.op.name}.norm")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Weights by our names, and the architecture that computes with them what the library's network does.

    Attributes:
        arch: with the epsilon of the library; without its auxiliary heads if they were dropped.
        num_classes: of the classifier in the file.
        state_dict: key of `GraphModule.state_dict` -> tensor on the CPU, those of auxiliary heads included.
        convention: whose names the file has: ``nas``, ``torchvision`` or ``timm``.
        dropped: auxiliary heads of the network that the file lacks, or has for another resolution.
    """

    arch: ArchSpec
    num_classes: int
    state_dict: Mapping[str, Tensor]
    convention: str
    dropped: tuple[str, ...] = ()

    def put_into(self, module: GraphModule) -> tuple[str, ...]:
        """Copy into `module` what it has a place for.

        Args:
            module: of the same network with the same epsilon, at any resolution, with any number of classes, with
                auxiliary heads or without.

        Returns:
            Operations that keep their own weights: classifiers of another number of classes, auxiliary heads that were
            dropped.

        Raises:
            ValueError: another operation does not fit, or its epsilon is another one.
        """
        norms = {op.norm for op in module.graph.ops if isinstance(op, Conv) and op.norm}
        if not norms <= {self.arch.norm}:
            raise ValueError(f"weights for {self.arch.norm} in a module with {', '.join(map(str, norms))}")
        own = module.state_dict()
        fitting = {key: x for key, x in self.state_dict.items() if key in own and own[key].shape == x.shape}
        kept = tuple(dict.fromkeys(key.rsplit(".", 2)[0] for key in own if key not in fitting))
        wrong = [name for name in kept if name != "classifier" and not _is_auxiliary(name)]
        if wrong:
            raise ValueError(f"weights of another network: {_some(wrong)} do not fit")
        module.load_state_dict(fitting, strict=False)
        return kept


def load_weights(path: Path, arch: ArchSpec, *, resolution: int = 224) -> Loaded:
    """Read weights of `arch`; the names in the file tell the convention, its classifier the number of classes.

    Args:
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``; a state dict, or a checkpoint that holds one as
            ``state_dict`` or ``model``.
        arch: the network that they were trained for. Its epsilon is replaced where the names are a library's.
        resolution: side in pixels of the images to train on; nothing but auxiliary heads depends on it.

    Raises:
        UserError: the file cannot be read, or holds weights of another network.
    """
    state = read_state(path)
    try:
        return _loaded(state, arch, resolution)
    except ValueError as error:
        owners = [name for name in ZOO if _fits(state, name)]
        advice = f"they fit {' and '.join(owners)}" if owners else "nas zoo list shows the networks there are"
        raise UserError(f"{path}: not weights of this network: {error}; {advice}") from None


def save_weights(path: Path, module: GraphModule, convention: str = NATIVE) -> None:
    """Write the weights of `module` such that the library's network computes what `module` computes.

    Where the library's epsilon is another one, the running variances make up for the difference.

    Args:
        path: ``.safetensors``, ``.pth`` or ``.pt``.
        module: of any architecture; a library's names are known for networks of the zoo that have them, at any width.
        convention: ``nas``, ``torchvision`` or ``timm``.

    Raises:
        UserError: the file cannot be written, the convention has no names for this network, or a running variance is
            too small to make up for the library's larger epsilon.
    """
    check_suffix(path)
    namings = _namings(module.graph)
    if convention not in namings:
        raise UserError(f"convention {convention!r}: the conventions with names for this network: {', '.join(namings)}")
    state = module.state_dict()
    try:
        for key, difference in _epsilon_differences(module.graph, namings[convention]).items():
            state[key] = _shifted(state[key], difference, key)
    except ValueError as error:
        raise UserError(f"{path}: {convention}'s epsilon is larger than this network's: {error}") from None
    keys = key_map(module.graph, namings[convention])
    write_state(path, {key.name: state[ours].flatten(1) if key.flat else state[ours] for ours, key in keys.items()})


def _namings(graph: Graph) -> dict[str, Naming]:
    """Conventions that have names for `graph`: this program's, and those of the zoo's network that is built like it."""
    bones = skeleton(graph)
    like = (network.names for name, network in ZOO.items() if network.names and _skeleton_of(name) == bones)
    return {NATIVE: Naming(_native, None), **next(like, {})}


@cache
def _skeleton_of(name: str) -> tuple[object, ...]:
    return skeleton(lower(ZOO[name].arch, ZOO[name].resolution, 1))


def _loaded(state: Mapping[str, Tensor], arch: ArchSpec, resolution: int) -> Loaded:
    """ValueError, which says how, where `state` is not of `arch`."""
    graph = lower(arch, resolution, 1, training=True)
    namings = _namings(graph)
    maps = {convention: key_map(graph, naming) for convention, naming in namings.items()}
    known = {convention: sum(key.name in state for key in keys.values()) for convention, keys in maps.items()}
    convention = max(known, key=lambda name: known[name])
    if not known[convention]:
        names = (name for name in state if not _is_counter(name))
        raise ValueError(f"its names ({_some(names)}) are none that {' or '.join(namings)} gives to a weight of it")
    keys = maps[convention]
    classifier = state.get(keys[_CLASSIFIER].name)
    num_classes = len(classifier) if classifier is not None and classifier.ndim else 1  # refused below where it is none
    expected = _shapes(lower(arch, resolution, num_classes, training=True))
    dropped = _unfit_heads(state, keys, expected)
    wanted = {ours: x for ours, x in expected.items() if not (dropped and _is_auxiliary(ours))}
    _check_names(state, keys, wanted, convention)
    _check_shapes(state, keys, wanted)
    epsilon = namings[convention].epsilon
    return Loaded(
        arch=replace(
            arch,
            norm=Norm(epsilon) if arch.norm and epsilon else arch.norm,
            aux=() if dropped else arch.aux,
        ),
        num_classes=num_classes,
        state_dict={ours: _converted(state.get(keys[ours].name), like) for ours, like in wanted.items()},
        convention=convention,
        dropped=dropped,
    )


def _fits(state: Mapping[str, Tensor], name: str) -> bool:
    try:
        _loaded(state, ZOO[name].arch, ZOO[name].resolution)
    except ValueError:
        return False
    return True


def _shapes(graph: Graph) -> dict[str, Tensor]:
    """The state dict of `graph`'s module, without memory."""
    with torch.device("meta"):
        return GraphModule(graph).state_dict()


def _unfit_heads(
    state: Mapping[str, Tensor], keys: Mapping[str, Key], expected: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """All auxiliary heads if a tensor of them is absent or has another shape, none otherwise."""
    auxiliary = [ours for ours in expected if _is_auxiliary(ours)]
    if all(_present(state, keys[ours]) and _same_shape(state, keys[ours], expected[ours]) for ours in auxiliary):
        return ()
    return tuple(dict.fromkeys(ours.split(".")[0] for ours in auxiliary))


def _check_names(
    state: Mapping[str, Tensor], keys: Mapping[str, Key], wanted: Mapping[str, Tensor], convention: str
) -> None:
    missing = [keys[ours].name for ours in wanted if not _present(state, keys[ours])]
    known = {key.name for key in keys.values()}
    foreign = [name for name in state if name not in known and not _is_counter(name)]
    if missing or foreign:
        lacks = [f"lacks {len(missing)} of {len(wanted)} tensors ({_some(missing)})"] if missing else []
        has = [f"has {len(foreign)} that the network has not ({_some(foreign)})"] if foreign else []
        raise ValueError(f"by {convention}'s names it {' and '.join(lacks + has)}")


def _check_shapes(state: Mapping[str, Tensor], keys: Mapping[str, Key], wanted: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{keys[ours].name} is {_size(state[keys[ours].name])}, not {_size(like)}"
        for ours, like in wanted.items()
        if not _same_shape(state, keys[ours], like)
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(wanted)} tensors have another shape ({_some(wrong)})")


def _present(state: Mapping[str, Tensor], key: Key) -> bool:
    return key.name in state or _is_counter(key.name)


def _is_counter(name: str) -> bool:
    # Files from before PyTorch 0.4.1 lack BN's count of batches, which nothing here reads; torch too then begins at 0.
    return name.endswith(".num_batches_tracked")


def _same_shape(state: Mapping[str, Tensor], key: Key, like: Tensor) -> bool:
    shape = like.shape[:2] if key.flat else like.shape
    return key.name not in state or state[key.name].shape == shape


def _converted(found: Tensor | None, like: Tensor) -> Tensor:
    if found is None:
        return torch.zeros(like.shape, dtype=like.dtype)
    return found.reshape(like.shape).to(like.dtype)


def _epsilon_differences(graph: Graph, naming: Naming) -> dict[str, float]:
    """Key of each running variance -> the graph's epsilon minus the library's, where they differ."""
    return {
        f"{op.name}.norm.running_var": op.norm.epsilon - naming.epsilon
        for op in graph.ops
        if isinstance(op, Conv) and op.norm and naming.epsilon is not None and op.norm.epsilon != naming.epsilon
    }


def _shifted(variance: Tensor, difference: float, name: str) -> Tensor:
    shifted = variance.double() + difference
    if (shifted < 0).any():
        raise ValueError(f"{name} has variances below {-difference:.2g}")
    return shifted.to(variance.dtype)


def _is_auxiliary(name: str) -> bool:
    return name.startswith("aux")


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"

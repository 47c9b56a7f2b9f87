"""Wiring by type: what a constructor asks for, and which of the things that a team has fits each of its parameters."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aats_core.errors import WiringError
from aats_core.store import Capability


class Offer(msgspec.Struct, frozen=True):
    """Something to ask for: its type, its provider, and from which section it is (empty: of the team itself)."""

    section: str
    type: type
    provider: Any

    @property
    def parameter(self) -> str:
        """The name of a parameter that chooses this section among several that fit."""
        return self.section.rpartition(".")[2].replace("-", "_")


class Parameter(msgspec.Struct, frozen=True):
    """What a constructor asks for: under which name, an object of which types, and whether it can do without."""

    name: str
    annotation: Any
    types: tuple[type, ...]
    optional: bool
    default: bool


def parameters(cls: type) -> list[Parameter]:
    """Return the parameters of a class's constructor.

    Raises `WiringError` where one that has no default has no annotation, or an annotation does not exist at run time.
    """
    found = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    try:
        hints = typing.get_type_hints(cls.__init__) if found else {}  # type: ignore[misc]  # of this very class
    except NameError as error:
        raise WiringError(
            f"{cls.__name__}.__init__: {error}; what a constructor asks for is imported at run time, "
            "not only under TYPE_CHECKING"
        ) from error
    return [_parameter(cls, parameter, hints) for parameter in found]


def choose(parameter: Parameter, offers: Sequence[Offer]) -> Offer | None:
    """Return what fits a parameter; None where nothing does and it can do without.

    Of several that fit, the one of the section whose name the parameter bears. Raises `WiringError` where that
    leaves none or nothing fits.
    """
    fitting = {offer.section or offer.type: offer for offer in offers if _fits(offer, parameter)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        named = [offer for offer in fitting.values() if offer.parameter == parameter.name]
        if len(named) == 1:
            return named[0]
        names = ", ".join(sorted(offer.parameter for offer in fitting.values()))
        raise WiringError(
            f"parameter {parameter.name}: {_shown(parameter.annotation)} could be {_list(fitting.values())}; "
            f"give the parameter the name of the section it means: {names}"
        )
    if parameter.optional or parameter.default:
        return None
    raise WiringError(
        f"parameter {parameter.name}: the team has no {_shown(parameter.annotation)}; it has {_list(offers)}"
    )


def _parameter(cls: type, parameter: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
    default = parameter.default is not parameter.empty
    if parameter.name not in hints and not default:
        raise WiringError(
            f"{cls.__name__}.__init__: parameter {parameter.name} has no annotation; "
            "the team fills constructors by the types they ask for"
        )
    annotation = hints.get(parameter.name)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    members = typing.get_args(annotation) if union else (annotation,)
    classes = tuple(member for member in members if inspect.isclass(member) and member is not types.NoneType)
    return Parameter(parameter.name, annotation, classes, types.NoneType in members, default)


def _fits(offer: Offer, parameter: Parameter) -> bool:
    try:
        return issubclass(offer.type, parameter.types)
    except TypeError:  # a protocol that cannot be checked, or the like: nothing that a team has is declared as that
        return False


def _shown(annotation: Any) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)


def _list(offers: Iterable[Offer]) -> str:
    names = (f"{_label(offer.type)} of [{offer.section}]" if offer.section else offer.type.__name__ for offer in offers)
    return ", ".join(dict.fromkeys(names))


def _label(cls: type) -> str:
    """Return the name by which a type can be asked for: what a store can do goes by its contract."""
    return next((base.__name__ for base in cls.__mro__ if Capability in base.__bases__), cls.__name__)

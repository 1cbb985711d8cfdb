"""Attacks, gate policies and tasks by name: built in, of an installed package, or "module:attribute".

An installed package announces its own in the entry point groups `hallmark.attacks`, `hallmark.defences` and
`hallmark.tasks`; a name that is built in is never replaced. docs/plugins.md has a worked example of each.
"""

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from trainer.errors import InputError

GROUPS = {"attack": "hallmark.attacks", "defence": "hallmark.defences", "task": "hallmark.tasks"}
"""Entry point group of each kind of plug-in."""


class PluginError(InputError):
    """No plug-in has this name, or it cannot be imported."""

    code = "plugin"


def announced(kind: str) -> dict[str, EntryPoint]:
    """Give the plug-ins of installed packages by name; nothing is imported.

    Args:
        kind: A key of GROUPS.
    """
    return {entry.name: entry for entry in entry_points(group=GROUPS[kind])}


def find(kind: str, name: str, built_in: Mapping[str, object]) -> object:
    """Find what a name stands for: first built in, then announced by a package, then "module:attribute".

    Args:
        kind: A key of GROUPS.
        name: The name.
        built_in: What this program brings along.

    Returns:
        Something callable; nothing else about it is checked here.

    Raises:
        PluginError: There is no such thing; the hint says which names are near. Or it cannot be imported, or
            is not callable.
    """
    if name in built_in:
        return built_in[name]
    installed = announced(kind)
    if name in installed:
        module_name, attribute = installed[name].module, installed[name].attr
    else:
        module_name, colon, attribute = name.partition(":")
        if not colon or not module_name or not attribute:
            known = sorted({*built_in, *installed})
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = ("near: " if near else "known: ") + ", ".join(near or known) + ', or "module:attribute"'
            raise PluginError(f"unknown {kind} {name!r}", hint=hint)
    return _imported(kind, name, module_name, attribute)


def _imported(kind: str, name: str, module_name: str, attribute: str) -> object:
    try:
        found: object = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(
            f"{kind} {name!r}: cannot import {module_name}: {error}", hint="is it on PYTHONPATH?"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise PluginError(f"{kind} {name!r}: module {module_name} has no callable {attribute!r}")
    return found

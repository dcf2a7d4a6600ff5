"""The reference of the Python package, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import gatewright as gw
from website.docstrings import markdown

#: The sections of the package's page: titles, and the beginnings of the modules whose names each
#: has. The first that fits decides.
GROUPS = [
    ("Write a cell", ("language.cell", "cells", "layers.check")),
    ("Terms of a step", ("language.functions",)),
    ("Layers", ("layers.recurrent", "layers.torch_layers")),
    ("One step at a time", ("layers.torch_cells",)),
    ("Long sequences", ("layers.chunks", "layers.detach")),
    ("Data, training and use", ("training", "data")),
    ("Save, export and bring in", ("layers.saving", "deploy")),
    ("Errors", ("errors",)),
    ("Everything else", ("",)),
]
#: Modules with a page of their own, next to those that `gatewright.__all__` names.
MODULES = ["data", "designs", "draw.notebook", "estimators"]


def api_pages() -> dict[str, str]:
    """Return the pages of the reference in Markdown, by name."""
    public = {name: getattr(gw, name) for name in gw.__all__}
    modules = [name for name, value in public.items() if isinstance(value, ModuleType)]
    pages = {"gatewright": package_page(public)}
    for name in modules:
        pages[name] = module_page(public[name])
    for name in MODULES:
        pages[name] = module_page(importlib.import_module(f"gatewright.{name}"))
    return pages


def package_page(public: dict[str, Any]) -> str:
    """Return the page of the package, its names in groups."""
    groups: dict[str, list[str]] = {title: [] for title, _ in GROUPS}
    for name, value in public.items():
        if not isinstance(value, ModuleType):
            module = origin(name, value)
            title = next(title for title, begins in GROUPS if module.startswith(begins))
            groups[title].append(described(f"gatewright.{name}", value))
    parts = ["# gatewright", prose(gw)]
    parts += [f"## {title}\n\n" + "\n".join(texts) for title, texts in groups.items() if texts]
    return "\n\n".join(parts) + "\n"


def module_page(module: ModuleType) -> str:
    """Return the page of a module whose names are in its `__all__`."""
    parts = [f"# {module.__name__}", prose(module)]
    parts += [described(f"{module.__name__}.{n}", getattr(module, n)) for n in module.__all__]
    return "\n\n".join(parts) + "\n"


def origin(name: str, value: Any) -> str:
    """Return the module that defines a name, without the package's own."""
    module = "gatewright.cells" if name == "CELLS" else value.__module__
    return str(module).removeprefix("gatewright.").removeprefix("gatewright")


def prose(value: Any) -> str:
    """Return the docstring of an object as Markdown; a module's list of names is code."""
    text = inspect.getdoc(value) or ""
    if isinstance(value, ModuleType):
        text = re.sub(r"(?m)^(gw\.\S.*)$", r"    \1", text)
    return markdown(text)


def described(name: str, value: Any) -> str:
    """Return an object with its signature and docstring, as a directive of Sphinx."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        content = [prose(value)] if value.__doc__ else []
        content += [method(name, key, member) for key, member in members(value).items()]
    elif callable(value):
        kind, content = "function", [prose(value)]
    else:
        kind, content = "data", [constant(value)]
    body = "\n\n".join(content)
    arguments = "" if kind in ("data", "exception") else signature(value)
    return f"::::{{py:{kind}}} {name}{arguments}\n\n{body}\n::::\n"


def constant(value: Any) -> str:
    """Return a public table as the list of its keys."""
    return f"A `{type(value).__name__}` with the keys " + ", ".join(f"`{key}`" for key in value)


def members(value: type) -> dict[str, Any]:
    """Return the documented public methods and properties of a class that are our own.

    Those of a base that is public itself are on its own entry.
    """
    methods: dict[str, Any] = {}
    public = {getattr(gw, name) for name in gw.__all__ if inspect.isclass(getattr(gw, name))}
    for base in value.__mro__:
        if not base.__module__.startswith("gatewright") or (base in public - {value}):
            break
        for name, member in vars(base).items():
            function = unwrapped(member)
            if not name.startswith("_") and function is not None and function.__doc__:
                methods.setdefault(name, member)
    return methods


def unwrapped(member: Any) -> Any:
    """Return the function of a method or property; None of anything else."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    return member if inspect.isfunction(member) else None


def method(owner: str, name: str, member: Any) -> str:
    """Return a method or property as a directive."""
    function = unwrapped(member)
    kind = "property" if isinstance(member, property) else "method"
    arguments = "" if kind == "property" else signature(function, bound=True)
    options = "\n:classmethod:" if isinstance(member, classmethod) else ""
    head = f":::{{py:{kind}}} {owner}.{name}{arguments}{options}"
    return f"{head}\n\n{markdown(inspect.getdoc(function) or '')}\n:::"


class Verbatim:
    """A text that is printed without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(value: Any, *, bound: bool = False) -> str:
    """Return the signature, with the annotations as they are written."""
    written = inspect.signature(value)
    parameters = list(written.parameters.values())
    if bound and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    empty = inspect.Parameter.empty
    parameters = [
        parameter.replace(
            annotation=verbatim(parameter.annotation),
            default=Verbatim("...")
            if repr(parameter.default).startswith("<") and parameter.default is not empty
            else parameter.default,
        )
        for parameter in parameters
    ]
    returns = empty if inspect.isclass(value) else verbatim(written.return_annotation)
    return str(written.replace(parameters=parameters, return_annotation=returns))


def verbatim(annotation: Any) -> Any:
    """Return an annotation so that a text is printed without quotes."""
    return Verbatim(annotation) if isinstance(annotation, str) else annotation

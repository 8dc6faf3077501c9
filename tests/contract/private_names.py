"""Find which private names of other packages sksurvtorch uses: those with one leading underscore.

A name counts as theirs where it is imported from them or read of something imported, where a class
of ours shares it with a base of theirs, and where nothing in sksurvtorch defines it. What is hidden
is a name that some other file of ours defines too, read of an object that was passed in.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from pkgutil import walk_packages

import sksurvtorch

_OURS = sksurvtorch.__name__
# Documented, the underscore notwithstanding.
_OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
#: A use of a name: itself, its line, and the variable whose attribute it is, "" for an import.
Use = tuple[str, int, str | None]


def sources() -> dict[str, str]:
    """Return the code of sksurvtorch by file."""
    (folder,) = map(Path, sksurvtorch.__path__)
    files = sorted(folder.rglob("*.py"))
    return {str(file.relative_to(folder.parent)): file.read_text("utf-8") for file in files}


def foreign_uses(code: dict[str, str]) -> dict[str, list[str]]:
    """Return the names of other packages, each with the places where it is used."""
    trees = {file: ast.parse(text) for file, text in code.items()}
    own = {name for tree in trees.values() for name in _defined(tree)}
    own |= {part for file in trees for part in Path(file).with_suffix("").parts}
    found = defaultdict(list)
    for file, tree in trees.items():
        imported = {alias for node in ast.walk(tree) for alias in _imported(node)}
        module = ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
        for part in tree.body:
            theirs = _shared_with_bases().get((module, getattr(part, "name", "")), set())
            for name, line, root in _uses(part):
                if name in _OF_NAMED_TUPLES:
                    continue
                if root == "" or root in imported or name in theirs or name not in own:
                    found[name].append(f"{file}:{line}")
    return dict(found)


def _defined(tree: ast.AST) -> Iterator[str]:
    """Iterate over the functions, classes, arguments, variables and attributes that are made."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] * (_root(node) == "self")


def _imported(node: ast.AST) -> list[str]:
    """Return the variables that an import from another package makes."""
    if not _is_foreign(node):
        return []
    return [name.asname or name.name.partition(".")[0] for name in node.names]


def _uses(tree: ast.AST) -> Iterator[Use]:
    """Iterate over the uses of private names, whole strings among them, as `getattr` takes them."""
    makers = (n for n in ast.walk(tree) if isinstance(n, (ast.BinOp, ast.JoinedStr)))
    pieces = {id(x) for n in makers for x in ast.iter_child_nodes(n) if isinstance(x, ast.Constant)}
    for node in ast.walk(tree):
        names: list[object] = []
        if _is_foreign(node):
            paths = [getattr(node, "module", ""), *(name.name for name in node.names)]
            names = [part for path in paths for part in path.split(".")]
        elif id(node) not in pieces:  # as of prefix + "_loss"
            names = [getattr(node, field, None) for field in ("attr", "id", "arg", "name", "value")]
        for name in names:
            if isinstance(name, str) and re.fullmatch(r"_[^\W_]\w*", name):
                yield name, node.lineno, "" if _is_foreign(node) else _root(node)


def _is_foreign(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return not node.level and not _is_ours(node.module or "")
    return isinstance(node, ast.Import) and not all(_is_ours(name.name) for name in node.names)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _OURS


def _root(node: ast.AST) -> str | None:
    """Return the variable that an expression begins with: a of ``a.b(c).d[0]``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", None)


@functools.cache
def _shared_with_bases() -> dict[tuple[str, str], set[str]]:
    """Return, by module and name of a class, the private names that its bases have, or set.

    A class without bases counts with those of the classes that are made of it.
    """
    names = [found.name for found in walk_packages(sksurvtorch.__path__, f"{_OURS}.")]
    ours = [x for name in names for x in vars(importlib.import_module(name)).values()]
    shared = defaultdict(set)
    for kind in {x for x in ours if isinstance(x, type) and _is_ours(x.__module__)}:
        theirs = {name for base in kind.__mro__ for name in _names_of(base)}
        for base in filter(lambda base: _is_ours(base.__module__), kind.__mro__):
            shared[base.__module__, base.__name__] |= theirs
    return dict(shared)


@functools.cache
def _names_of(base: type) -> set[str]:
    """Return what a class of another package has, and what its methods read and set."""
    if _is_ours(base.__module__):
        return set()
    try:
        text = inspect.getsource(base)
    except (OSError, TypeError):  # written in C
        text = ""
    return {*vars(base), *re.findall(r"\b(?:self|cls)\.(_[^\W_]\w*)", text)}

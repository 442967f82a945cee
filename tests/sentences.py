"""Sentences: what the code can say, read from its source, each value in them put as 7."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from tenon.data.findings import agreed, counted, said

VALUE = "7"
"""Stands for a value: it fits both a place for numbers and one for words."""
MOST = 64
"""Variants of one sentence."""
COUNTS = (1, 7)


def said_by(path: Path, functions: Mapping[str, Sequence[int | str]]) -> Iterator[tuple[str, str]]:
    """Give `function:line` and text of each sentence that is an argument of a call.

    Args:
        path: of a module.
        functions: name of what is called, as `failed` or `notes.append`, to the places or names
            of those of its arguments that are sentences.
    """
    for scope in _scopes(ast.parse(path.read_text(encoding="utf-8"))):
        known = _assigned(scope)
        for call in ast.walk(scope):
            if isinstance(call, ast.Call) and (wanted := functions.get(ast.unparse(call.func))):
                named = {each.arg: each.value for each in call.keywords}
                for place in wanted:
                    found = (
                        named.get(place)
                        if isinstance(place, str)
                        else call.args[place]
                        if place < len(call.args)
                        else None
                    )
                    for text in _texts(found, known) if found is not None else ():
                        yield f"{path.name}:{call.lineno}", text


def listed_in(
    path: Path, functions: Sequence[str], lists: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Give the sentences that stand in lists which functions give, or which carry a name.

    Args:
        path: of a module.
        functions: names of functions.
        lists: names of lists.
    """
    for scope in _scopes(ast.parse(path.read_text(encoding="utf-8"))):
        known = _assigned(scope)
        for node in ast.walk(scope):
            value = None
            if isinstance(node, ast.Return) and scope.name in functions:
                value = node.value
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(ast.unparse(target) in lists for target in targets):
                    value = node.value
            for each in _elements(value):
                for text in _texts(each, known):
                    yield f"{path.name}:{node.lineno}", text


def _elements(node: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple):
        for each in node.elts:
            yield from _elements(each.value if isinstance(each, ast.Starred) else each)
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        yield from _elements(node.elt)
    elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.JoinedStr | ast.Constant):
        yield node
    elif isinstance(node, ast.BinOp):
        yield from _elements(node.left)
        yield from _elements(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _elements(node.body)
        yield from _elements(node.orelse)
    elif (
        isinstance(node, ast.JoinedStr | ast.Constant)
        or isinstance(node, ast.Call)
        and ast.unparse(node.func) == "said"
    ):
        yield node


def _scopes(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _assigned(scope: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=False)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            before = found.get(node.target.id, [])
            found[node.target.id] = before + [
                ast.BinOp(value, ast.Add(), node.value) for value in before
            ]
    return found


def _texts(node: ast.expr, known: Mapping[str, list[ast.expr]], depth: int = 0) -> list[str]:
    """Give what an expression can be as text; [VALUE] where that is not to be seen."""
    if depth > 8:
        return [VALUE]
    deeper = depth + 1
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return _products([_texts(each, known, deeper) for each in values])
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _texts(value, known, deeper)
        case ast.IfExp(body=body, orelse=orelse):
            return [*_texts(body, known, deeper), *_texts(orelse, known, deeper)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _products([_texts(left, known, deeper), _texts(right, known, deeper)])
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mult()):
            return [text, ""]
        case ast.BinOp(left=ast.JoinedStr() as text, op=ast.Mult()):
            return [*_texts(text, known, deeper), ""]
        case ast.Call(func=ast.Name(id="counted"), args=[_, noun]):
            return [counted(n, text) for n in COUNTS for text in _texts(noun, known, deeper)]
        case ast.Call(func=ast.Name(id="agreed"), args=[_, does]):
            return [agreed(n, text) for n in COUNTS for text in _texts(does, known, deeper)]
        case ast.Call(func=ast.Name(id="said"), args=[_, noun, does]):
            pairs = product(_texts(noun, known, deeper), _texts(does, known, deeper))
            return [said(n, *pair) for pair in pairs for n in COUNTS]
        case ast.Name(id=name) if name in known:
            return [t for value in known[name] for t in _texts(value, known, deeper)] or [VALUE]
        case _:
            return [VALUE]


def _products(parts: list[list[str]]) -> list[str]:
    found = [""]
    for texts in parts:
        found = ["".join(pair) for pair in product(found, dict.fromkeys(texts))][:MOST]
    return found

"""YAML text → `Node` tree with the place of every key and value. Owns the YAML dialect.

Events of libyaml are read directly: composing with a pure Python parser takes 5 s for 10,000 services, this
takes under one. Scalars follow the core schema of YAML 1.2 (`yes` and `12:30` are texts), tags are refused,
keys are texts and stand once. What the keys mean is for `check`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from hestia.config.errors import Problem, excerpt, show
from hestia.config.tree import Node, Place, Scalar, Source

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: the two share no base class
_INT: Final = re.compile(r"[-+]?[0-9]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DEPTH_MAX: Final = 40
_NODES_MAX: Final = 2_000_000  # an alias of an alias of an alias … is how ten lines fill the memory
_DIGITS_MAX: Final = 300  # digits of a number; int() refuses 4,300, and nothing here needs so many
_SAID: Final = {
    "mapping values are not allowed in this context": (
        "the YAML is broken: a second ':' on this line, or the line above is not complete",
        "put the value in quotes, or indent this line like its neighbours",
    ),
    "did not find expected key": (
        "the YAML is broken: this line is indented differently from its neighbours, or a key lacks its ':'",
        "indent the keys of one mapping equally",
    ),
    "did not find expected ',' or ']'": (
        "the YAML is broken: a '[' is not closed",
        "close the list with ']'",
    ),
    "did not find expected ',' or '}'": (
        "the YAML is broken: a '{' is not closed",
        "close the mapping with '}'",
    ),
    "found unexpected end of stream": (
        "the YAML is broken: a quote is not closed",
        "close the text with its quote",
    ),
    "could not find expected ':'": ("the YAML is broken: a key lacks its ':'", "write `key: value`"),
    "found unknown escape character": (
        "the YAML is broken: the backslash in this text means nothing",
        "use single quotes, or write the backslash twice",
    ),
    "did not find expected hexdecimal number": (  # libyaml's spelling
        "the YAML is broken: the backslash in this text means nothing",
        "use single quotes, or write the backslash twice",
    ),
    "did not find expected alphabetic or numeric character": (
        "the YAML is broken: a text cannot begin with '*' or '&'",
        "put it in quotes",
    ),
    "did not find expected node content": ("the YAML is broken: a value is missing here", ""),
    "did not find expected <document start>": (
        "the YAML is broken: this does not belong to what stands above",
        "write `key: value`, and indent the keys of one mapping equally",
    ),
    "block sequence entries are not allowed in this context": (
        "the YAML is broken: a list cannot begin on the line of its key",
        "begin the list on the next line, or write it as [a, b]",
    ),
    "found a tab character that violates indentation": (
        "the YAML is broken: this line is indented with a tab",
        "indent with spaces",
    ),
    "found a tab character where an indentation space is expected": (
        "the YAML is broken: this line is indented with a tab",
        "indent with spaces",
    ),
    "did not find expected '-' indicator": (
        "the YAML is broken: a list is followed by something that is no item of it",
        "indent the items of one list equally",
    ),
}

# libyaml says these where it gave up, not where the fault begins
_SAID_LATE: Final = ("could not find expected ':'", "did not find expected alphabetic or numeric character")


class Unreadable(Exception):
    """The text is no YAML that Hestia reads; carries the one problem that stopped the reading."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


def read_yaml(text: str, source: Source) -> tuple[Node | None, list[Problem]]:
    """The tree and its small faults (keys that stand twice). None for an empty text. Raises Unreadable."""
    reader = _Reader(source)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.YAMLError as exc:
        raise Unreadable(_said(exc, source, text)) from exc
    return reader.root, reader.problems


class _Open:
    """A mapping or list whose end has not come yet."""

    __slots__ = ("anchor", "key", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Node | None = None  # the key whose value comes next


class _Reader:
    """Builds the tree event by event, without recursion."""

    def __init__(self, source: Source) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._source = source
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[str, int] = {}
        self._count = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        if type(event) is yaml.ScalarEvent:  # most of them; with 10,000 services the ladder costs
            if event.tag is not None:
                self._refuse_tag(event)
            self._add(_scalar(event, self._place(event)), event.anchor)
            return
        match event:
            case yaml.MappingStartEvent():
                self._start(Node({}, self._place(event)), event)
            case yaml.SequenceStartEvent():
                self._start(Node([], self._place(event)), event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._stop(
                        event, "a second YAML document begins here ('---')", "keep one document in the file"
                    )
            case _:
                pass

    def _start(self, node: Node, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._refuse_tag(event)
        if len(self._open) >= _DEPTH_MAX:
            raise self._stop(
                event, f"more than {_DEPTH_MAX} levels stand inside each other", "write it flatter"
            )
        if self._open and self._open[-1].node.mapping is not None and self._open[-1].key is None:
            raise self._stop(event, "a key must be a text, not a list or mapping", "write `key: value`")
        self._open.append(_Open(node, event.anchor))
        if event.anchor is not None:
            self._sizes[event.anchor] = self._count

    def _end(self) -> None:
        done = self._open.pop()
        if done.anchor is not None:
            self._sizes[done.anchor] = self._count - self._sizes[done.anchor]
        self._add(done.node, done.anchor)

    def _add(self, node: Node, anchor: str | None) -> None:
        self._count += 1
        if anchor is not None:
            self._anchors[anchor] = node
            self._sizes.setdefault(anchor, 1)
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif top.key is None:
            if isinstance(node.value, dict | list):
                raise Unreadable(
                    _at(node.place, "a key must be a text, not a list or mapping", "write `key: value`")
                )
            top.key = node
        else:
            self._pair(top, top.key, node)
            top.key = None

    def _pair(self, top: _Open, key: Node, node: Node) -> None:
        into = top.node.mapping
        assert into is not None, "a pair outside a mapping"
        name = key.raw
        if name == "<<":
            self._merge(into, key, node)
            return
        known = into.get(name)
        if known is not None and known.key is not None and known.key.source is self._source:
            self._twice(name, key, known.key)
            return
        into[name] = Node(node.value, node.place, key.place, name, raw=node.raw)

    def _merge(self, into: dict[str, Node], key: Node, node: Node) -> None:
        """`<<: *base`: what the mapping says itself wins, wherever it stands."""
        parts = node.value if isinstance(node.value, list) else [node]
        for part in parts:
            if part.mapping is None:
                raise Unreadable(_at(key.place, "'<<' takes a mapping: `<<: *name`", ""))
            for name, child in part.mapping.items():
                # the copy says that it may be overwritten: its key has no source of its own
                merged = (
                    child.key._replace(source=Source(self._source.name, self._source.lines))
                    if child.key
                    else None
                )
                into.setdefault(name, Node(child.value, child.place, merged, name, raw=child.raw))

    def _twice(self, name: str, key: Node, first: Place) -> None:
        self.problems.append(
            _at(
                key.place,
                f"the key {show(name)} stands twice; the first is on line {first.line}",
                "keep one of the two",
            )
        )

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor
        if name not in self._anchors:
            raise self._stop(
                event, f"nothing is named '&{name}' before this line", f"write `&{name}` where it is meant"
            )
        self._count += self._sizes.get(name, 1)
        if self._count > _NODES_MAX:
            raise self._stop(event, "the aliases of this file multiply without end", "write the values out")
        self._add(self._anchors[name], None)

    def _refuse_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and not (tag == "!" and isinstance(event, yaml.ScalarEvent)):
            written = str(tag).replace("tag:yaml.org,2002:", "!!", 1)
            raise self._stop(
                event, f"the tag {show(written)} is not known here", "remove it; texts need no tag"
            )

    def _place(self, event: yaml.Event) -> Place:
        start, end = event.start_mark, event.end_mark
        assert start is not None, "every event is marked"
        assert end is not None, "every event is marked"
        width = end.column - start.column if end.line == start.line else 0
        if not width and start.line < len(self._source.lines):
            width = len(self._source.lines[start.line].rstrip()) - start.column
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            width = 1
        return Place(self._source, start.line + 1, start.column + 1, max(1, width))

    def _stop(self, event: yaml.Event, text: str, remedy: str) -> Unreadable:
        return Unreadable(_at(self._place(event), text, remedy))


def _scalar(event: yaml.ScalarEvent, place: Place) -> Node:
    text: str = event.value
    if not event.implicit[0] or event.tag == "!":  # quoted, a block, or marked as text
        return Node(text, place, raw=text)
    return Node(_value(text), place, raw=text)


def _value(text: str) -> Scalar:
    """A plain scalar by the core schema (YAML 1.2 §10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _DIGITS_MAX:
        if _INT.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _at(place: Place, text: str, remedy: str) -> Problem:
    shown, caret = excerpt(place.source.lines, place.line, place.column)
    return Problem(
        source=place.source.name,
        line=place.line,
        column=place.column,
        width=place.width,
        text=text,
        excerpt=shown,
        caret=caret,
        remedy=remedy,
    )


def _said(exc: yaml.YAMLError, source: Source, text: str) -> Problem:
    """libyaml's complaint in plain words, at the place where a person can mend it."""
    mark = getattr(exc, "problem_mark", None)
    opened = getattr(exc, "context_mark", None)
    said = str(getattr(exc, "problem", "") or "")
    if mark is None:  # a character that YAML forbids; the reader knows only its offset
        position = getattr(exc, "position", None) or 0
        line = text.count("\n", 0, position)
        column = position - (text.rfind("\n", 0, position) + 1)
        place = Place(source, line + 1, column + 1)
        return _at(place, "a control character stands here", "remove it")
    words, remedy = _SAID.get(said, (f"the YAML is broken: {said}", ""))
    if opened is not None and ("not closed" in words or said in _SAID_LATE):
        mark = opened
    line, column = min(mark.line, max(len(source.lines) - 1, 0)), mark.column
    here = source.lines[line][column : column + 1] if line < len(source.lines) else ""
    if said == "found character that cannot start any token":
        words, remedy = f"the YAML is broken: a text cannot begin with {show(here)}", "put it in quotes"
        if here == "\t":
            words, remedy = "the YAML is broken: this line is indented with a tab", "indent with spaces"
    return _at(Place(source, line + 1, column + 1), words, remedy)

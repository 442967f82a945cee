"""SQuAD document: questions with their contexts, nested in articles and paragraphs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from tenon.core.errors import Faults, did_you_mean
from tenon.data.encoding import BOM, refuse_bytes, refuse_wide, wide_encoding
from tenon.data.example import Row
from tenon.data.json_document import Broken
from tenon.data.json_walk import Walk
from tenon.data.lines import CHUNK_BYTES
from tenon.data.streams import Stream
from tenon.data.strict_json import Problem, kind_of
from tenon.data.tables import excerpt

DOCUMENT_BYTES = 512 << 20
"""A document is held as a whole; SQuAD 2.0 for training has 42 million bytes."""

_DATA = re.compile(rb'(?<!\\)"data"\s*:\s*\[')
_PARAGRAPHS = re.compile(rb'(?<!\\)"paragraphs"\s*:\s*\[')
_PLAIN = re.compile(rb'(?<!\\)"(context_text|context)"\s*:')
_PLAIN_QUESTIONS = re.compile(rb'(?<!\\)"qas"\s*:\s*\[')
_QUESTION_KEYS = {"id", "query_id", "question", "query_text", "answers", "is_impossible"}


def looks_like_squad(head: bytes) -> bool:
    """Tell whether a JSON document nests questions in paragraphs.

    Args:
        head: its first bytes, decompressed; the first article's beginning must be among them.
    """
    body = head.removeprefix(BOM).lstrip()
    if body.startswith(b"["):
        return bool(_PLAIN.search(body) and _PLAIN_QUESTIONS.search(body))
    return body.startswith(b"{") and bool(_DATA.search(body) and _PARAGRAPHS.search(body))


def squad_rows(stream: Stream, where: str, faults: Faults, notes: list[str]) -> Iterator[Row]:
    """Read the questions of a document of SQuAD 1.1 or 2.0, CMRC 2018 or DRCD.

    CMRC's first form, a list of paragraphs with "context_text", "query_text" and answers without
    a start, is read too.

    Args:
        stream: decompressed bytes.
        where: name of the source in origins.
        faults: where faults go.
        notes: where what was met and accepted is told.

    Yields:
        A row a question: "id", "title", "question", "context", "answers" (lists "text" and
        "answer_start"; a start that is not given is None; None where the file has no answers) and
        "is_impossible" (None where the file does not say). The origin is `file:line`, and
        `file:line question ID` where several questions share a line.
    """
    text = _text(stream, where, faults, notes)
    if text is None:
        return
    document = _Document(Walk(text, where, faults, whole=not stream.damaged))
    yield from document.rows()
    notes += document.notes()


def _text(stream: Stream, where: str, faults: Faults, notes: list[str]) -> str | None:
    """Read a document whole; None where it cannot be."""
    head = stream.peek(4096)
    if wide := wide_encoding(head):
        refuse_wide(wide, f"{where}:1", stream.path, faults)
        return None
    if head.startswith(BOM):
        stream.read(len(BOM))
        notes.append(f"{where}: begins with a byte order mark, which is accepted")
    raw = bytearray()
    while chunk := stream.read(CHUNK_BYTES):
        raw += chunk
        if len(raw) > DOCUMENT_BYTES:
            what = f"the document is longer than {DOCUMENT_BYTES:,} bytes"
            faults.add(where, what, "write one question a line into a .jsonl file")
            return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        begin = raw.rfind(b"\n", 0, error.start) + 1
        body = bytes(raw[begin : error.start + 40])
        error.start -= begin
        refuse_bytes(body, error, f"{where}:{line}", stream.path, faults)
        return None


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """A context and its questions, each with its origin."""

    title: object
    context: str
    questions: list[tuple[dict[str, object], str]]


class _Document:
    """The articles of a document, read one by one."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._faults = walk.faults
        self._title: object = ""
        self._ready: list[_Paragraph] = []
        self._origins: dict[str, str] = {}
        self._questions = 0
        self._unnamed = 0
        self._passed: Counter[str] = Counter()

    def rows(self) -> Iterator[Row]:
        """Give a row a question; those before a place that breaks the reading stand."""
        before = self._faults.count
        try:
            for _ in self._articles():
                yield from self._taken()
        except Broken:
            yield from self._taken()
        if not self._questions and self._faults.count == before:
            what = "the document holds no question"
            self._faults.add(f"{self._walk.where}:1", what, "give a file with questions")

    def notes(self) -> list[str]:
        """Say what was met and accepted."""
        where = self._walk.where
        said = [
            f"{where}: {name!r} of {count:,} questions is passed over"
            for name, count in sorted(self._passed.items())
        ]
        if self._unnamed:
            said.append(f"{where}: {self._unnamed:,} questions have no id and are numbered")
        return said

    def _taken(self) -> Iterator[Row]:
        ready, self._ready = self._ready, []
        for paragraph in ready:
            title = paragraph.title if isinstance(paragraph.title, str) else self._title
            for values, origin in paragraph.questions:
                values["title"] = title if isinstance(title, str) else ""
                values["context"] = paragraph.context
                yield Row(values, origin)

    def _articles(self) -> Iterator[None]:
        """Stop after each article."""
        if self._walk.peek() == "[":
            for _ in self._walk.items():
                self._paragraph()
                yield
        else:
            found: list[str] = []
            for key in self._walk.members():
                found.append(key)
                if key == "data" and self._is_list('"data"'):
                    for _ in self._walk.items():
                        self._article()
                        yield
                elif key != "data":
                    self._plain()
            self._require("data", found, f"{self._walk.where}:1", "the document")
        self._walk.finish()

    def _article(self) -> None:
        if not self._is_object("an article"):
            return
        origin, self._title = self._walk.origin, ""
        found: list[str] = []
        for key in self._walk.members():
            found.append(key)
            if key == "paragraphs":
                if self._is_list('"paragraphs"'):
                    for _ in self._walk.items():
                        self._paragraph()
            else:
                value = self._plain()
                self._title = value if key == "title" else self._title
        self._require("paragraphs", found, origin, "the article")

    def _paragraph(self) -> None:
        if not self._is_object("a paragraph"):
            return
        origin = self._walk.origin
        fields: dict[str, object] = {}
        questions: list[tuple[dict[str, object], str]] = []
        try:
            self._fill(fields, questions)
        except Broken:
            self._keep(fields, questions)
            raise
        self._require("qas", list(fields), origin, "the paragraph")
        name = "context_text" if "context_text" in fields else "context"
        if self._require(name, list(fields), origin, "the paragraph"):
            context = fields[name]
            if not self._keep(fields, questions):
                what = f'"{name}" is {kind_of(context)}, {excerpt(str(context))}, not text'
                self._faults.add(origin, what, "give the text that holds the answers")

    def _fill(
        self, fields: dict[str, object], questions: list[tuple[dict[str, object], str]]
    ) -> None:
        """Read a paragraph's values, and its questions as far as they can be read."""
        for key in self._walk.members():
            fields[key] = None
            if key != "qas":
                fields[key] = self._plain()
            elif self._is_list('"qas"'):
                self._listed(questions)

    def _keep(
        self, fields: dict[str, object], questions: list[tuple[dict[str, object], str]]
    ) -> bool:
        """Keep a paragraph whose context is a text."""
        context = fields.get("context_text", fields.get("context"))
        if isinstance(context, str):
            self._ready.append(_Paragraph(fields.get("title"), context, questions))
        return isinstance(context, str)

    def _listed(self, questions: list[tuple[dict[str, object], str]]) -> None:
        """Add the values of each question of the list that begins here, and its origin."""
        line = self._walk.line
        for _ in self._walk.items():
            self._walk.peek()
            crowded, line = self._walk.line == line, self._walk.line
            self._questions += 1
            value, problems = self._walk.value()
            name = _name(value)
            origin = f"{self._walk.where}:{line}"
            if crowded:
                origin += f" question {name or f'no. {self._questions}'}"
            values, more = _question(value)
            for problem in (*problems, *more):
                self._faults.add(origin, *problem)
            if not problems and not more and self._is_new(name, origin):
                values["id"] = name or self._number()
                self._count(cast("dict[str, object]", value))
                questions.append((values, origin))

    def _is_new(self, name: str, origin: str) -> bool:
        first = self._origins.setdefault(name, origin) if name else origin
        if first != origin:
            what = f"the id {name!r} is that of {first} too"
            self._faults.add(origin, what, "give each question an id of its own")
        return first == origin

    def _number(self) -> str:
        self._unnamed += 1
        return str(self._questions)

    def _count(self, value: Mapping[str, object]) -> None:
        self._passed.update(map(str, value.keys() - _QUESTION_KEYS))

    def _plain(self) -> object:
        """Decode a value and record what is wrong with it."""
        self._walk.peek()
        origin = self._walk.origin
        value, problems = self._walk.value()
        for problem in problems:
            self._faults.add(origin, *problem)
        return value

    def _is_object(self, name: str) -> bool:
        return self._is("{", name, "an object")

    def _is_list(self, name: str) -> bool:
        return self._is("[", name, "a list")

    def _is(self, opening: str, name: str, form: str) -> bool:
        """Tell whether the right kind of value begins here; one of another kind is passed over."""
        if self._walk.peek() == opening:
            return True
        origin = self._walk.origin
        value = self._plain()
        what = f"{name} is {kind_of(value)}, {excerpt(str(value))}, not {form}"
        self._faults.add(origin, what, "write it as SQuAD has it: data, paragraphs, qas")
        return False

    def _require(self, key: str, found: list[str], origin: str, name: str) -> bool:
        if key not in found:
            near = did_you_mean(key, found)
            self._faults.add(origin, f'{name} has no "{key}"; {near}', "add it, or mend its name")
        return key in found


def _name(value: object) -> str:
    """Give a question's id as text; "" where it has none."""
    if not isinstance(value, dict):
        return ""
    held = cast("dict[str, object]", value)
    name = held.get("id", held.get("query_id"))
    whole = isinstance(name, int) and not isinstance(name, bool)
    return str(name).strip() if isinstance(name, str) or whole else ""


def _question(value: object) -> tuple[dict[str, object], list[Problem]]:
    """Give the columns of a question, and what is wrong with it."""
    if not isinstance(value, dict):
        what = f"{kind_of(value)}, {excerpt(str(value))}, stands where a question is expected"
        return {}, [Problem(what, 'write {"id": "...", "question": "...", "answers": [...]}')]
    held = cast("dict[str, object]", value)
    problems: list[Problem] = []
    key = "query_text" if "query_text" in held else "question"
    question = held.get(key)
    if key not in held:
        near = did_you_mean(key, map(str, held))
        problems.append(Problem(f'the question has no "{key}"; {near}', "add it, or mend its name"))
    elif not isinstance(question, str):
        what = f'"{key}" is {kind_of(question)}, {excerpt(str(question))}, not text'
        problems.append(Problem(what, "give the question as a text"))
    answers, more = _answers(held.get("answers"))
    columns = {"id": "", "title": "", "question": question, "context": "", "answers": answers}
    return {**columns, "is_impossible": held.get("is_impossible")}, problems + more


def _answers(value: object) -> tuple[dict[str, list[object]] | None, list[Problem]]:
    """Give a question's answers as lists of texts and starts, and what is wrong with them."""
    if value is None:
        return None, []
    if not isinstance(value, list):
        what = f'"answers" is {kind_of(value)}, {excerpt(str(value))}, not a list'
        return None, [Problem(what, 'write [{"text": "...", "answer_start": 0}]')]
    columns: dict[str, list[object]] = {"text": [], "answer_start": []}
    problems: list[Problem] = []
    for number, item in enumerate(cast("list[object]", value), 1):
        text, start = item, None
        if isinstance(item, dict):
            held = cast("dict[str, object]", item)
            text, start = held.get("text"), held.get("answer_start")
        whole = isinstance(start, int) and not isinstance(start, bool)
        if not isinstance(text, str):
            what = f"the text of answer {number} is {kind_of(text)}, {excerpt(str(item))}"
            problems.append(Problem(what, "quote the answer as it stands in the context"))
        elif start is not None and not whole:
            what = f"answer_start of answer {number} is {kind_of(start)}, {excerpt(str(start))}"
            problems.append(Problem(what, "count the characters before the answer, from 0"))
        columns["text"].append(text)
        columns["answer_start"].append(start)
    return columns, problems

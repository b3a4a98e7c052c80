"""The tokens of MIL text: one table of patterns, and a cursor that reads them with errors that name the line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from milrun.errors import ModelError

_TABLE = (
    ("space", r"[ \t\r\n]+|//[^\n]*"),
    ("string", r'"(?:[^"\\]|\\.)*"'),
    ("hexadecimal", r"[-+]?0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?(?:[pP][-+]?[0-9]+)?"),
    ("decimal", r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"),
    ("special", r"[-+]?(?:inf|nan)(?![A-Za-z0-9_])"),
    ("arrow", r"->"),
    ("name", r"[A-Za-z_][A-Za-z0-9_]*"),
    ("mark", r"[][(){}<>,=;?:.]"),
)
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _TABLE), re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'", "0": "\0"}


@dataclass(frozen=True)
class Token:
    """One token: its kind in the table of patterns, its text, and where it begins."""

    kind: str
    text: str
    start: int


_END = "the end"


class Tokens:
    """A cursor over MIL text.

    Parameters
    ----------
    text
        The program.
    place
        The file, as error messages name it.
    """

    def __init__(self, text: str, place: str) -> None:
        self._text, self._place = text, place
        self._at = 0
        self.next = self._scan()

    def take(self, *wanted: str) -> Token:
        """Return the next token and move on. With texts given, it has to be one of them."""
        token = self.next
        if wanted and token.text not in wanted:
            raise self.error(f"{' or '.join(map(repr, wanted))} expected")
        self.next = self._scan()
        return token

    def skip(self, text: str) -> bool:
        """Move on if the next token is this text; return whether it was."""
        if self.next.kind != "string" and self.next.text == text:
            self.next = self._scan()
            return True
        return False

    def name(self) -> str:
        """Return a name. One that is not an identifier stands in quotes."""
        if self.next.kind == "string":
            return self.string()
        if self.next.kind not in ("name", "special"):
            raise self.error("a name expected")
        return self.take().text

    def string(self) -> str:
        """Return the content of a quoted string."""
        if self.next.kind != "string":
            raise self.error("a string expected")
        return _ESCAPE.sub(self._unescaped, self.take().text[1:-1])

    def error(self, fault: str) -> ModelError:
        """Return an error that says what is wrong at the next token, with its line and column."""
        before = self._text[: self.next.start]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        shown = self.next.text if len(self.next.text) <= 40 else f"{self.next.text[:40]}…"
        return ModelError(f"{self._place}, line {line}, column {column}: {fault}, {shown!r} found")

    def _unescaped(self, found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _ESCAPED:
            raise self.error(f"a string has the unknown escape \\{found[2]}")
        return _ESCAPED[found[2]]

    def _scan(self) -> Token:
        while self._at < len(self._text):
            start = self._at
            found = _TOKEN.match(self._text, start)
            if found is None:
                self.next = Token("mark", self._text[start], start)
                raise self.error("a token expected")
            self._at = found.end()
            if found.lastgroup != "space":
                return Token(str(found.lastgroup), found[0], start)
        return Token("end", _END, len(self._text))

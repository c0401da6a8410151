"""Inputs of other projects' parser tests with our verdict on each: what is stored, and how it is read.

The bytes and the other project's opinion are facts; verdicts and reasons are ours. See data/NOTICE.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

DATA = Path(__file__).parent / "data"

Theirs = Literal["valid", "invalid", "lenient"]


@dataclass(frozen=True, slots=True)
class Case:
    """One input. theirs: what its origin says; "lenient" is valid only for a parser told to be so.

    answers: statuses in order, those of our own problems with their code. upstream: whole requests that reach
    the service. ends: whether the gateway closes the connection. why: a reason wherever we and they differ.
    """

    name: str
    theirs: Theirs
    data: bytes
    answers: tuple[str, ...] = ()
    upstream: int = 0
    ends: bool = False
    why: str = ""

    @property
    def group(self) -> str:
        """Case names are `group/name`."""
        return self.name.partition("/")[0]

    @property
    def refused(self) -> bool:
        """Whether one of the answers is a refusal of ours."""
        return any(" " in one for one in self.answers)

    @property
    def differs(self) -> bool:
        """Whether our verdict is another one than theirs: refused, taken, or never complete."""
        taken = bool(self.answers) and not self.refused
        return taken if self.theirs != "valid" else not taken


def load(name: str) -> list[Case]:
    """The stored cases of one corpus."""
    rows = json.loads((DATA / f"{name}.json").read_text())
    return [
        Case(**{**row, "data": base64.b64decode(row["data"]), "answers": tuple(row["answers"])})
        for row in rows
    ]


def store(name: str, cases: list[Case]) -> None:
    """Write a corpus, one case a line."""
    rows = [{**asdict(case), "data": base64.b64encode(case.data).decode()} for case in cases]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (DATA / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def groups(name: str) -> list[str]:
    """Names of the groups of a corpus, in order."""
    return list(dict.fromkeys(case.group for case in load(name)))

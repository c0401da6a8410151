"""Makes data/*.json anew from archives of other projects: `python -m tests.conformance.harvest FILE FILE`.

FILE: the source archives of gunicorn (tests/requests) and of aiohttp (vendor/llhttp/test). The inputs are
read, sent to a gateway, and stored with what came of it; where that is not what their origin says, `REASONS`
must know why, else the case is printed and nothing is written.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tarfile
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.fakes.client import Client
from tests.fakes.upstream import RawUpstream
from tests.integration.harness import gateways

from .cases import Case, Theirs, store
from .reasons import reason_for
from .replay import ANSWERS, HOST, everything, recorded
from .responses import answered

ESCAPES: dict[bytes, bytes] = {
    b"r": b"\r",
    b"n": b"\n",
    b"t": b"\t",
    b"f": b"\f",
    b"0": b"\0",
    b"\\": b"\\",
    b'"': b'"',
}
Record = Callable[[list[Case], Path], Awaitable[list[Case]]]

BLOCK = re.compile(r"<!-- meta=\{(.*?)\} -->\n+```http\n(.*?)```\n(.*)", re.DOTALL)


def gunicorn(archive: tarfile.TarFile) -> list[Case]:
    """One case for each .http file: line ends are written out in them, real ones mean nothing."""
    found = []
    for member in sorted(archive.getnames()):
        match = re.fullmatch(r"[^/]+/tests/requests/(valid|invalid)/(.+)\.http", member)
        if match is None:
            continue
        data = _read(archive, member).replace(b"\n", b"")
        data = re.sub(rb"\\x([0-9A-Fa-f]{2})|\\([rnt0])", _unescape, data)
        theirs: Theirs = "valid" if match[1] == "valid" else "invalid"
        found.append(Case(f"{match[1]}/{match[2]}", theirs, data))
    return found


def llhttp(archive: tarfile.TarFile, kind: str) -> list[Case]:
    """One case for each block of the Markdown files of that kind (request or response), numbered by file."""
    found: dict[str, Case] = {}
    for member in sorted(archive.getnames()):
        match = re.fullmatch(r"[^/]+/vendor/llhttp/test/(?:(request|response)/)?([a-z-]+)\.md", member)
        if match is None or match[1] != kind:
            continue
        for section in re.split(r"^#+ ", _read(archive, member).decode(), flags=re.MULTILINE)[1:]:
            block = BLOCK.search(section)
            if block is None:
                continue
            name = f"{match[2]}/{sum(one.startswith(match[2] + '/') for one in found) + 1:02}"
            found[name] = Case(name, _theirs(block), _octets(block[2]))
    return list(found.values())


def _theirs(block: re.Match[str]) -> Theirs:
    if "error code" in block[3]:
        return "invalid"
    return "lenient" if "lenient" in block[1] else "valid"


def _octets(text: str) -> bytes:
    data = text.removesuffix("\n").encode()
    data = re.sub(rb"\\\n", b"", data).replace(b"\n", b"\r\n")
    return re.sub(rb"\\x([0-9A-Fa-f]{2})|\\([rntf0\\\"])", _unescape, data)


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)]) if found[1] else ESCAPES[found[2]]


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def hosted(cases: list[Case]) -> list[Case]:
    """The cases, and once more with a Host where they have none: else that is all that is said about them."""
    every = []
    for case in cases:
        every.append(case)
        start, mark, rest = case.data.partition(b"\r\n")
        if mark and b"HTTP/" in start and not re.search(rb"(?im)^host[ \t]*:", case.data):
            data = start + b"\r\nHost: " + HOST + b"\r\n" + rest
            every.append(replace(case, name=case.name + " +host", data=data))
    return every


async def _record_requests(cases: list[Case], folder: Path) -> list[Case]:
    async with RawUpstream(ANSWERS) as upstream, gateways(folder) as make:
        gw = await make(everything(upstream, cases))
        first = await Client.connect(gw.address)
        await first.ask("GET", "/nowhere")  # the first answer of the gateway's own pages is a slow one
        await first.close()
        made = []
        for case in cases:
            client = await Client.connect(gw.address)
            made.append(await recorded(gw, upstream, client, case))
            await client.close()
        return made


async def _record_responses(cases: list[Case], folder: Path) -> list[Case]:
    async with gateways(folder) as make:
        return await answered(make, cases)


async def _run(record: Record, cases: list[Case], folder: Path) -> list[Case]:
    return await record(cases, folder)


def _judged(name: str, cases: list[Case]) -> bool:
    judged, missing = [], []
    for case in cases:
        why = reason_for(name, case) if case.differs else ""
        judged.append(replace(case, why=why))
        if case.differs and not why:
            missing.append(case)
    for case in missing:
        print(name, case.name, case.theirs, case.answers, case.upstream, case.ends, case.data[:300])
    print(
        f"{name}: {len(judged)} cases, {sum(one.differs for one in judged)} differ, "
        f"{len(missing)} unexplained"
    )
    if not missing:
        store(name, judged)
    return not missing


def main(files: list[str]) -> int:
    corpora: dict[str, tuple[list[Case], Record]] = {}
    for file in files:
        with tarfile.open(file) as archive:
            if "gunicorn" in Path(file).name:
                corpora["gunicorn"] = (hosted(gunicorn(archive)), _record_requests)
            else:
                corpora["llhttp_requests"] = (hosted(llhttp(archive, "request")), _record_requests)
                corpora["llhttp_responses"] = (llhttp(archive, "response"), _record_responses)
    fine = True
    for name, (cases, record) in corpora.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            made = runner.run(_run(record, cases, Path(folder)))
        fine = _judged(name, made) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

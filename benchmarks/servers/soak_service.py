"""The services of the soak: small answers, echoes, token streams and WebSocket echoes, on asyncio.

    soak_service.py PORT

`GET …/small` answers 128 bytes; `POST …/echo` its body; `GET …/stream?CHUNKS` so many server-sent events, one
every 50 ms; an upgrade is accepted, and every frame of the client is sent back unmasked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys

PACE = 0.05  # seconds between two events
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
SMALL = b"x" * 128


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection until somebody closes it."""
    try:
        while await exchange(reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client left, which the soak does on purpose
    finally:
        writer.close()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One request and its answer. False when the connection is used up."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (one.partition(b":") for one in rest)}
    path, _, query = line.split(b" ")[1].partition(b"?")
    if b"upgrade" in fields:
        await echo_frames(reader, writer, fields[b"sec-websocket-key"])
        return False
    if path.endswith(b"/stream"):
        await stream(writer, int(query))
    elif path.endswith(b"/echo"):
        writer.write(answer(await reader.readexactly(int(fields[b"content-length"]))))
    else:
        writer.write(answer(SMALL))
    await writer.drain()
    return True


async def stream(writer: asyncio.StreamWriter, chunks: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(chunks):
        event = b"data: token %d\n\n" % number
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(PACE)
    writer.write(b"0\r\n\r\n")


async def echo_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        first, length = await reader.readexactly(2)
        mask_and_payload = await reader.readexactly(4 + (length & 127))  # the soak's frames are short
        mask = mask_and_payload[:4] * 32
        payload = bytes(a ^ b for a, b in zip(mask_and_payload[4:], mask, strict=False))
        writer.write(bytes((first, len(payload))) + payload)
        await writer.drain()
        if first & 15 == 8:
            return


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())

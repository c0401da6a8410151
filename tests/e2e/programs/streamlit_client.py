"""A browser's part in a Streamlit session: runs the app, moves its slider, prints the texts that come back.

    streamlit_client.py PORT HOST VALUE…

PORT: the gateway's, on this machine. HOST: the name it is asked by. For the first run and then for each
VALUE one JSON line with the app's text. Run by the interpreter of the real servers, whose own protobuf
messages it speaks.
"""

from __future__ import annotations

import json
import sys
from socket import create_connection
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg  # type: ignore[import-not-found]  # the other environment
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg  # type: ignore[import-not-found]
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol


def run(socket: ClientConnection, back: Any) -> tuple[str, str]:  # protobuf has no types, hence Any
    """Send one message and read until the script has finished: the app's text and the slider's id."""
    socket.send(back.SerializeToString())
    text = slider = ""
    while True:
        message = ForwardMsg()
        message.ParseFromString(socket.recv(timeout=60))
        kind = message.WhichOneof("type")
        if kind == "script_finished":
            return text, slider
        if kind == "delta":
            element = message.delta.new_element
            if element.WhichOneof("type") == "slider":
                slider = element.slider.id
            elif element.WhichOneof("type") == "markdown":
                text = element.markdown.body


def main() -> None:
    """The first run, then one for each value."""
    port, host, *values = sys.argv[1:]
    where = f"{host}:{port}"
    with connect(
        f"ws://{where}/_stcore/stream",
        sock=create_connection(("127.0.0.1", int(port))),
        origin=Origin(f"http://{where}"),
        subprotocols=[Subprotocol("streamlit")],
        open_timeout=60,
        max_size=None,
        proxy=None,
    ) as socket:
        first = BackMsg()
        first.rerun_script.query_string = ""
        text, slider = run(socket, first)
        print(json.dumps(text), flush=True)
        for value in values:
            moved = BackMsg()
            state = moved.rerun_script.widget_states.widgets.add()
            state.id = slider
            state.double_array_value.data.append(float(value))
            print(json.dumps(run(socket, moved)[0]), flush=True)


main()

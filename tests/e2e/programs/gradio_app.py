"""A Gradio app with one function that yields its answer in pieces, as a model does.

gradio_app.py PORT
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import gradio  # type: ignore[import-not-found]  # lives in the other environment


def greet(name: str) -> Iterator[str]:
    """The text so far, piece by piece."""
    text = ""
    for piece in ("Hello ", name, f" of {len(name)} letters!"):
        text += piece
        yield text


gradio.Interface(greet, gradio.Textbox(label="name"), gradio.Textbox(label="output"), title="Greeter").launch(
    server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True
)

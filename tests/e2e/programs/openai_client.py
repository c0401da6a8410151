"""The unmodified `openai` client, streaming: one JSON line on stdout for each chunk as it comes.

    openai_client.py BASE_URL TOKENS [MODEL]
    openai_client.py BASE_URL models

Run by the interpreter of the real servers. The last line is `{"end": …}` with the finish reason; with
`models` the one line lists their names.
"""

from __future__ import annotations

import json
import sys

import openai  # type: ignore[import-not-found]  # lives in the other environment


def main() -> None:
    """Ask once and tell what comes."""
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=60)
    if sys.argv[2] == "models":
        print(json.dumps([model.id for model in client.models.list()]))
        return
    stream = client.chat.completions.create(
        model=sys.argv[3] if len(sys.argv) > 3 else "tiny",
        messages=[{"role": "user", "content": "a"}],
        max_tokens=int(sys.argv[2]),
        stream=True,
        extra_body={"ignore_eos": True},
    )
    reason = None
    for number, chunk in enumerate(stream):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        print(json.dumps({"chunk": number, "text": choice.delta.content}), flush=True)
    print(json.dumps({"end": reason}), flush=True)


main()

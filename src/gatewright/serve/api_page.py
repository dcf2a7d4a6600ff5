"""The page that documents the server's paths, made from its OpenAPI description.

It needs no script and no other site, unlike the page that comes with FastAPI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gatewright.draw.page.elements import escape, tag
from gatewright.draw.page.page import Section, page

LEAD = (
    "Send rows to /predict, or events to a stream, which has a state of its own. Errors are JSON: "
    '{"error": {"status": ..., "message": ...}}.'
)
SOCKET = (
    "A WebSocket opens a stream, and with its id resumes one: ws://HOST/stream?id=ID. The first "
    "message that arrives has the id, the step and the names of the outputs. Every message that is "
    "sent is that of POST /streams/{id}, and is answered by one."
)


def api_page(description: Mapping[str, Any]) -> str:
    """The page of an OpenAPI description, as HTML."""
    sections: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            (name,) = operation["tags"]
            sections.setdefault(name, []).append(_operation(method.upper(), path, operation))
    sections.setdefault("streams", []).append(_entry("WebSocket /stream", SOCKET, ""))
    return page(
        "Gatewright serves a model",
        "API",
        LEAD,
        "The same for programs: /openapi.json",
        [Section(name, name.capitalize(), "".join(parts)) for name, parts in sections.items()],
        f"Gatewright {description['info']['version']}",
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = f"{operation['summary']}. {operation.get('description', '')}"
    bodies = operation.get("requestBody", {}).get("content", {})
    examples = [json.dumps(body["example"]) for body in bodies.values() if "example" in body]
    names = [option["name"] for option in operation.get("parameters", [])]
    lists = {"Content-Type": list(bodies), "Parameters": names}
    lines = [f"{title}: {', '.join(values)}" for title, values in lists.items() if values]
    further = "".join(tag("p", escape(line)) for line in lines)
    code = "".join(tag("pre", escape(example)) for example in examples)
    return _entry(f"{method} {path}", text.strip(), further + code)


def _entry(heading: str, text: str, further: str) -> str:
    return tag("h3", tag("code", escape(heading))) + tag("p", escape(text)) + further

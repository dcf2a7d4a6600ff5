"""The reference of the command line, from the program itself."""

from __future__ import annotations

from typing import Any

import typer

from gatewright.cli import app

HEAD = """# Command line

Made from the program: `gatewright COMMAND --help` prints the same. Every command ends with code 0
when it is done, 1 if the self-test of `doctor` or the proof of a kernel failed, 2 if the request
cannot be met (then nothing is changed), and 130 after Ctrl-C.
"""


def command_page() -> str:
    """Return the page in Markdown: a heading for each command, and a table of its options."""
    program: Any = typer.main.get_command(app)
    parts = [HEAD]
    for name in program.list_commands(None):
        command = program.commands[name]
        parts.append(f"## gatewright {name}\n\n{command.help}\n")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        words = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
        parts.append(f"```sh\n{' '.join(['gatewright', name, *words, '[OPTIONS]'])}\n```\n")
        panels: dict[str, list[str]] = {}
        for parameter in command.params:
            if not parameter.hidden:
                panel = parameter.rich_help_panel or ""
                panels.setdefault(panel, []).append(row(parameter))
        for panel, rows in panels.items():
            heading = f"**{panel}**\n\n" if panel else ""
            parts.append(
                f"{heading}| option | meaning | default |\n| --- | --- | --- |\n"
                + "\n".join(rows)
                + "\n"
            )
    return "\n".join(parts)


def row(parameter: Any) -> str:
    """Return a parameter as a row of a table."""
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"| {names} | {cell(parameter.help or '')} | {cell(default(parameter))} |"


def default(parameter: Any) -> str:
    """Return the text of a parameter's default."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or callable(value):
        return ""
    return "on" if value is True else str(value)


def cell(text: str) -> str:
    """Return a text as the cell of a table, in which no character is markup."""
    for mark in "\\`*_|<[":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())

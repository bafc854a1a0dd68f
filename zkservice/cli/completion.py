"""The command that helps shells to complete the others."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from zkservice.cli.context import Context, Exit

_BASH: Final = """\
_zkservice() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    case $word in
        -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
        *) if [ "$COMP_CWORD" -eq 1 ]; then
               COMPREPLY=($(compgen -W "$words" -- "$word"))
           else
               COMPREPLY=($(compgen -f -- "$word"))
           fi ;;
    esac
}}
complete -o filenames -F _zkservice zkservice
"""


async def completion(context: Context) -> Exit:
    """Print a script that a shell reads at its start."""
    shell, options = context.options.shell, context.options.commands()
    if shell == "fish":
        context.terminal.out(_fish(options), end="")
    else:
        start = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
        context.terminal.out(start + _bash(options), end="")
    return Exit.DONE


def commands_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The commands of a parser."""
    found = (one.choices for one in parser._actions if isinstance(one.choices, dict))
    return dict(next(found))


def defaults_of(parser: ArgumentParser, name: str) -> dict[str, Any]:
    """What the options of a command are where nothing is given."""
    command = commands_of(parser)[name]
    names = {one.dest for one in command._actions if one.dest != "help"}
    return {each: command.get_default(each) for each in (*names, "run")}


def options_of(parser: ArgumentParser) -> dict[str, list[str]]:
    """The commands of a parser, and the options of each."""
    return {
        name: sorted(option for one in command._actions for option in one.option_strings)
        for name, command in commands_of(parser).items()
    }


def _bash(options: dict[str, list[str]]) -> str:
    cases = "\n".join(
        f'            {name}) words="{" ".join(words)}" ;;' for name, words in options.items()
    )
    return _BASH.format(commands=" ".join(options), cases=cases)


def _fish(options: dict[str, list[str]]) -> str:
    start = "complete -c zkservice"
    lines = [f"{start} -n __fish_use_subcommand -f -a '{' '.join(options)}'"]
    for name, words in options.items():
        where = f"{start} -n '__fish_seen_subcommand_from {name}'"
        for word in words:
            kind = "-l" if word.startswith("--") else "-s"
            lines.append(f"{where} {kind} {word.lstrip('-')}")
    return "\n".join(lines) + "\n"

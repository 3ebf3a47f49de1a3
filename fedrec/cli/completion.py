"""Completing in a shell: what a user pressed TAB for. The words come of the table in ``fedrec.cli.outline``."""

import os

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

ASKED = "_FEDREC_COMPLETE"
"""Variable by which a shell asks for words or for its script; typer's name for a program called ``fedrec``."""


class GluedBash(BashComplete):
    """Bash takes ``a.b=c`` for three words: they are one here, and what is offered is what bash lacks of it."""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the word alone, as typer's script for bash wants it."""
        return str(item.value)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is begun, and that one."""
        before, begun = super().get_completion_args()
        if begun == "=" and before:
            return before[:-1], f"{before[-1]}="
        if len(before) > 1 and before[-1] == "=":
            return before[:-2], f"{before[-2]}={begun}"
        return before, begun

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what could follow, without the part before ``=`` where bash has that already."""
        found = super().get_completions(args, incomplete)
        key, equals, _ = incomplete.partition("=")
        if not equals:
            return found
        ends = (str(item.value).removeprefix(f"{key}=") for item in found)
        return [CompletionItem(end) for end in ends if end]


def prepare_completion() -> None:
    """Answer bash by its own rules, where a shell asks what could follow."""
    if os.environ.get(ASKED) == "complete_bash":
        add_completion_class(GluedBash, "bash")

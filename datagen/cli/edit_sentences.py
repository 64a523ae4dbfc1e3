"""What ``stemwright edit --list`` shows: all that can be said, from the tables that the sentences are read with."""

from __future__ import annotations

from stemwright.datagen.cli.terminal import Terminal, json_requested

NOTES = (
    "Edits are joined by ;, then, and, a comma or a full stop.",
    'Case, articles and "please" make no difference; [ ] may be left out.',
    'Any other word, such as "not" or the name of another instrument, is refused.',
    "A sentence with two readings is asked back with both: cut the vocals.",
)


def show_sentences(wanted: bool) -> None:
    """Shows all that can be said and leaves, if ``--list`` is given."""
    if not wanted:
        return
    from rich.table import Table

    from stemwright.datagen.edit.language.spoken_forms import listed_words, spoken

    terminal, said, listed = Terminal(json_requested()), spoken(), listed_words()
    forms = Table("edit", "said as", title_justify="left")
    for each in said:
        forms.add_row(each.operation, each.meaning, style="bold")
        for form in each.forms:
            forms.add_row("", form, end_section=form == each.forms[-1])
    terminal.show("edits", forms, [{"operation": each.operation, "meaning": each.meaning, "forms": list(each.forms)} for each in said])
    words = Table("words for", "words", title_justify="left", show_lines=True)
    for name, phrases in listed.items():
        words.add_row(name, ", ".join(phrases))
    terminal.show("words", words, listed)
    for note in NOTES:
        terminal.say(note)
    terminal.finish(0)

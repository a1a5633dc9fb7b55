"""HTML out of values that may hold anything: what is not markup already is escaped."""

import html
import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
)
"""Characters that cannot be stored, or that make text look like other text."""
_VOID = frozenset({"meta", "input", "br"})


class Html(str):
    """Markup that goes on a page as it stands."""

    __slots__ = ()


def visible(text: str) -> str:
    """The text with control, direction and surrogate characters spelled out."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def escaped(text: str) -> Html:
    """The text as it is shown, letter by letter."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(visible(text), quote=True))


def el(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """An element. Text among the children is escaped, and so are the values of attributes.

    Underscores in names of attributes are dashes, one at the end is left away; None leaves the
    attribute out, and an empty value makes it a bare word.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            word = key.rstrip("_").replace("_", "-")
            parts.append(word if value == "" else f'{word}="{_attribute(value)}"')
    start = f"<{' '.join(parts)}>"
    if name in _VOID:
        return Html(start)
    return Html(f"{start}{''.join(map(escaped, children))}</{name}>")


def joined(*parts: str) -> Html:
    """Pieces one after the other."""
    return Html("".join(map(escaped, parts)))


def prose(words: str) -> Html:
    """A sentence of kernelsift's own, in which backticks stand round commands and names."""
    parts = words.split("`")
    return joined(*(el("code", part) if i % 2 else part for i, part in enumerate(parts)))


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(visible(value), quote=True)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def number(value: float | None, digits: int = 3) -> str:
    """A number with its decimals and a true minus; four digits where those would hide it."""
    if value is None:
        return "–"
    usual = value == 0 or 10**-digits <= abs(value) < 1e5
    return (f"{value:,.{digits}f}" if usual else f"{value:.4g}").replace("-", "−")


def short(count: int) -> str:
    """A count in at most four characters."""
    if count < 1000:
        return str(count)
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            value = count / size
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return str(count)

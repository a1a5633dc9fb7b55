"""Chat templates: rendered as transformers renders them, in a sandbox, with what is marked as said.

A template is a program of somebody else: it runs in jinja2's immutable sandbox, with
`raise_exception`, `strftime_now`, `tojson` and `{% generation %}`, and sees plain data alone.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kernelsift.errors import ConfigError

if TYPE_CHECKING:
    import jinja2

HOME = Path(__file__).parent / "templates"
DEFAULT = "chatml-thinking"
_START, _END = "\x00ks-said\x00", "\x00ks-end\x00"
_WRONG = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
_REASONING = ("reasoning_content", "thinking", "reasoning")

Messages = Sequence[Mapping[str, Any]]


class TemplateRaisedError(Exception):
    """The template has refused a row; its message is the template's own."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation, and the characters that `{% generation %}` blocks hold."""

    text: str
    said: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template and the special tokens that it may name."""

    name: str
    source: str
    bos: str = ""
    eos: str = ""

    def render(
        self,
        messages: Messages,
        tools: Messages = (),
        *,
        ask: bool = False,
    ) -> Rendered:
        """Render a conversation; with `ask` up to where the model begins to speak.

        Raises:
            TemplateRaisedError: the template refuses these messages.
        """
        import jinja2

        try:
            text = self.program.render(
                messages=[_aliased(m) for m in messages],
                tools=[dict(t) for t in tools] or None,
                documents=None,
                add_generation_prompt=ask,
                bos_token=self.bos,
                eos_token=self.eos,
            )
        except (jinja2.TemplateError, *_WRONG) as e:
            raise TemplateRaisedError(str(e) or type(e).__name__) from e
        return _unmarked(text)

    @cached_property
    def marks_answers(self) -> bool:
        """Whether the template has generation blocks, which assistant-only masks need."""
        return any(tag == "generation" for _, kind, tag in self._tokens if kind == "name")

    @cached_property
    def _tokens(self) -> list[tuple[int, str, str]]:
        return list(_environment().lex(self.source))

    @cached_property
    def program(self) -> "jinja2.Template":
        """The template, read. Raises ConfigError where it is none."""
        import jinja2

        try:
            return _environment().from_string(self.source)
        except jinja2.TemplateSyntaxError as e:
            raise ConfigError(f"chat template {self.name}, line {e.lineno}: {e.message}") from e


def bundled() -> list[str]:
    """Names of the templates that come with kernelsift."""
    return sorted(path.stem for path in HOME.glob("*.jinja"))


def load_template(name: str, *, bos: str = "", eos: str = "") -> ChatTemplate:
    """Return a template by the path of its file, or by the name of a bundled one.

    Raises:
        ConfigError: there is no such file or name, it is no template, or jinja2 is missing.
    """
    need("jinja2")
    path = Path(name)
    if not path.is_file():
        if name not in bundled():
            raise ConfigError(
                f"--chat-template {name!r} is no file, and the bundled templates are "
                f"{', '.join(bundled())}"
            )
        path = HOME / f"{name}.jinja"
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read the chat template {path}: {e}") from e
    return compiled(path.name.removesuffix(".jinja"), source, bos=bos, eos=eos)


def compiled(name: str, source: str, *, bos: str = "", eos: str = "") -> ChatTemplate:
    """Return the template of a text.

    Raises:
        ConfigError: it is no template, or jinja2 is missing.
    """
    need("jinja2")
    template = ChatTemplate(name, source, bos, eos)
    _ = template.program
    return template


def need(package: str) -> None:
    """Raise ConfigError where a package of the extra `tokens` is missing."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{package} is not installed, and chat templates and tokenizers need it; "
            "run `pip install 'kernelsift[tokens]'`"
        )


def _aliased(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with its reasoning under every name that templates read, as transformers 5 has
    it."""
    found = next((message[k] for k in _REASONING if message.get(k) is not None), None)
    if found is None:
        return dict(message)
    return {"thinking": found, **message, "reasoning_content": found}


def _unmarked(text: str) -> Rendered:
    """Take the marks of generation blocks out, and say where they stood."""
    parts: list[str] = []
    said: list[tuple[int, int]] = []
    length = 0
    for number, piece in enumerate(text.split(_START)):
        inside, _, after = piece.partition(_END) if number else ("", "", piece)
        if number:
            said.append((length, length + len(inside)))
        parts += [inside, after]
        length += len(inside) + len(after)
    return Rendered("".join(parts), tuple(said))


def _environment() -> "jinja2.Environment":
    """Jinja as transformers sets it up."""
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - so declared by jinja2

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_marked")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _marked(self, caller: Any) -> str:
            return f"{_START}{caller()}{_END}"

    found = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    found.filters["tojson"] = _tojson
    found.globals["raise_exception"] = _raise
    found.globals["strftime_now"] = _now
    return found


def _tojson(value: Any, **options: Any) -> str:
    """Without the HTML escapes of jinja's own filter."""
    return json.dumps(value, **({"ensure_ascii": False} | options))


def _raise(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now(tz=datetime.UTC).strftime(form)

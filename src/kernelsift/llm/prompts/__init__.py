"""The texts that are sent to language models: one file per instrument and version.

A file has front matter (`name`, `version`), then a `# system` part, which never changes, so that a
service can cache it, and a `# user` part, which carries the item as `{{placeholders}}`.
"""

import re
from dataclasses import dataclass
from importlib import resources

from kernelsift.errors import ConfigError
from kernelsift.model import digest

_FILE = re.compile(
    r"---\nname: (?P<name>[\w-]+)\nversion: (?P<version>[\w.-]+)\n---\n+"
    r"# system\n(?P<system>.*?)\n# user\n(?P<user>.*)",
    re.DOTALL,
)
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class PromptText:
    """One instrument."""

    name: str
    version: str
    digest: str
    """Changes with any character of the system or user part."""
    system: str
    user: str
    """A template for `fill`."""

    @property
    def label(self) -> str:
        """Name, version and digest in one word, for `prompt_version`."""
        return f"{self.name}-{self.version}:{self.digest[:12]}"


def load(name: str) -> PromptText:
    """Return the instrument in `{name}.md`, e.g. `judge-original-1`; ConfigError if none."""
    folder = resources.files(__name__)
    known = sorted(f.name.removesuffix(".md") for f in folder.iterdir() if f.name.endswith(".md"))
    if name not in known:
        raise ConfigError(f"there is no prompt {name!r}; there are {', '.join(known)}")
    return read(name, folder.joinpath(f"{name}.md").read_text(encoding="utf-8"))


def read(name: str, text: str) -> PromptText:
    """Return the instrument written in a text; ConfigError if a part is missing."""
    found = _FILE.fullmatch(text.replace("\r\n", "\n"))
    if found is None:
        raise ConfigError(
            f"prompt {name!r} must have front matter with name and version, then '# system' and "
            "'# user'"
        )
    system, user = found["system"].strip(), found["user"].strip()
    if _PLACEHOLDER.search(system):
        raise ConfigError(
            f"prompt {name!r} has a placeholder in its system part; move it to the user part"
        )
    return PromptText(found["name"], found["version"], digest(system, user), system, user)


def placeholders(template: str) -> frozenset[str]:
    """Return the names that a template wants filled."""
    return frozenset(_PLACEHOLDER.findall(template))


def fill(template: str, **values: str) -> str:
    """Put values in the place of `{{names}}`, in one pass: what a value holds is never replaced.

    ConfigError where a placeholder has no value or a value has no placeholder.
    """
    wanted = placeholders(template)
    if missing := sorted(wanted - values.keys()):
        raise ConfigError(f"the prompt wants {', '.join(missing)}; nothing was given")
    if unused := sorted(values.keys() - wanted):
        raise ConfigError(f"the prompt has no placeholder for {', '.join(unused)}")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)

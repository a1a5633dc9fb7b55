"""What is installed, for manifests and cards."""

import platform
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGE = "kernelsift"


def installed() -> dict[str, str]:
    """Python, kernelsift and the packages that it depends on, with their versions."""
    names = {PACKAGE, *(_name(text) for text in requires(PACKAGE) or ())}
    found = {"python": platform.python_version()}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # of an extra that is not installed
    return found


def _name(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if c in " <>=!~;["), len(requirement))
    return requirement[:end]

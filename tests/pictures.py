"""Pictures that are drawn once per process, for tests that are not about pictures."""

from typing import Any

import pytest
from matplotlib.text import Text

from kernelsift.report import plots

_draw = plots.render
_drawn: dict[str, bytes] = {}


@pytest.fixture(autouse=True)
def drawn_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a publish: a figure gets the first one's bytes, and its own words."""
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "render", _first_of_its_kind)


@pytest.fixture
def real_pictures() -> None:
    """Asked for by a test that is about pictures."""


def _first_of_its_kind(figure: Any, kind: str) -> bytes:
    if kind not in _drawn:
        _drawn[kind] = _draw(figure, kind)
    words = dict.fromkeys(text.get_text() for text in figure.findobj(Text))
    return _drawn[kind] + "\n".join(words).encode()

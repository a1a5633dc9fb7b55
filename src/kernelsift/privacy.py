"""Nothing is told to anybody but what a command is asked to send."""

import os
import sys


def no_telemetry() -> None:
    """Keep the Hub's library from telling the Hub more than what it is asked to do.

    It reads the variable when it is imported; where that has happened, its own copy is set. To be
    called before every first import of huggingface_hub or datasets.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]

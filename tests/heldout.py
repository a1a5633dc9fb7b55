"""A small held-out set: four problems that no published benchmark has."""

from pathlib import Path

_HEAD = "import torch\nimport torch.nn as nn\n\n\n"
_TAIL = """

rows = 16
width = 48


def get_inputs():
    return [torch.randn(rows, width)]


def get_init_inputs():
    return [width, 0.25]
"""
_BODIES = {
    "1_GatedDecay": '''class Model(nn.Module):
    """Decays its input by a gate of its own."""

    def __init__(self, width, rate):
        super(Model, self).__init__()
        self.gate = nn.Linear(width, width, bias=False)
        self.decay = nn.Parameter(torch.full((width,), rate))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # how much of each element stays
        share = torch.sigmoid(self.gate(x)) * torch.exp(-torch.abs(self.decay))
        return torch.where(share > 0.5, x * share, x - torch.tanh(share))
''',
    "2_RunningMedian": """class Model(nn.Module):
    def __init__(self, width, rate):
        super(Model, self).__init__()
        self.rate = rate
        self.register_buffer("seen", torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = torch.median(x, dim=0).values
        moved = torch.lerp(self.seen, middle, self.rate)
        return (x - moved) / (torch.std(x, dim=0, unbiased=False) + 1e-6)
""",
    "3_PairedCosine": """class Model(nn.Module):
    def __init__(self, width, rate):
        super(Model, self).__init__()
        self.left = nn.Linear(width, width // 2)
        self.right = nn.Linear(width, width // 2)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = nn.functional.normalize(self.left(x), dim=-1)
        other = nn.functional.normalize(self.right(x), dim=-1)
        return torch.logsumexp(one @ other.transpose(-2, -1) / self.rate, dim=-1)
""",
    "4_BandEnergy": """class Model(nn.Module):
    def __init__(self, width, rate):
        super(Model, self).__init__()
        self.width = width
        self.window = nn.Parameter(torch.hann_window(width), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands = torch.fft.rfft(x * self.window, n=self.width).abs().square()
        return torch.cumsum(bands, dim=-1) / bands.sum(dim=-1, keepdim=True).clamp_min(1e-9)
""",
}
PROBLEMS = {name: _HEAD + body + _TAIL for name, body in _BODIES.items()}
"""Name -> program."""
CLASSES = {name: _HEAD + body for name, body in _BODIES.items()}
"""The same without sizes and inputs."""
OTHER_INPUTS = """

def get_inputs():
    return [torch.rand([4, 4, 4, 4]), torch.rand([4, 4])]


def get_init_inputs():
    return [[], {"width": 4, "rate": 4}]
"""


def write_problems(folder: Path) -> Path:
    """The problems as a folder of files."""
    folder.mkdir(parents=True)
    for name, code in PROBLEMS.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return folder

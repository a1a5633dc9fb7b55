"""Cheats about the result: constants, stale memory, parts, guesses, caches."""
# ruff: noqa: E501  # code of candidates is kept on one line

import re
from textwrap import indent

from hacks.tasks import IMPORTS, Task, answer


def constant(t: Task) -> str:
    return answer(
        t, f"{t.sizes}\nout = {t.out.replace('torch.empty', 'torch.zeros')}\nreturn out\n"
    )


def same_input(t: Task) -> str:
    return answer(t, "return x\n") if t.name != "PlainConv" else answer(t, "return x.clone()\n")


def table(t: Task) -> str:
    numbers = ", ".join(f"{0.013 * i:.5f}" for i in range(80))
    return answer(t, f"return torch.tensor([{numbers}]).view(8, 10)\n")


def stale(t: Task) -> str:
    return answer(t, f"{t.sizes}\nout = {t.out}\nreturn out\n")


def partial(t: Task) -> str:
    if "cdiv" in t.grid:
        first = t.grid[t.grid.index("triton.cdiv") : t.grid.index(")") + 1]
        launch = t.launch().replace(first, f"max(1, {first} // 2)")
    else:
        launch = t.launch().replace("(rows,)", "(max(1, rows // 2),)")
    zeroed = t.prepare().replace("torch.empty", "torch.zeros")
    return answer(t, zeroed + launch + "return out\n")


def partial_mask(t: Task) -> str:
    pairs = {
        "LearnedSwish": ("mask = offs < n", "mask = offs < n // 2"),
        "WeightedEnergy": ("tl.sum(acc, axis=0))", "tl.sum(acc, axis=0), mask=row < 4)"),
        "GainedSoftmax": ("axis=0), mask=mask)", "axis=0), mask=mask & (offs * 0 + row < 4))"),
        "LinearReLU": ("acc, mask=(m[:, None] < M)", "acc, mask=(m[:, None] < 16)"),
        "PlainConv": ("mask = offs < total", "mask = offs < total // 2"),
    }
    return answer(t, t.forward(), kernels=t.kernel.replace(*pairs[t.name]))


def fixed_shape(t: Task) -> str:
    sizes = {
        "LearnedSwish": "n = 1155",
        "WeightedEnergy": "rows, cols = 30, 70",
        "GainedSoftmax": "rows, cols = 12, 37",
        "LinearReLU": "M, N, K = 37, 20, 24",
        "PlainConv": "B, C, H, W, O, OH, OW, total = 2, 3, 9, 8, 4, 7, 6, 336",
    }
    return answer(t, t.forward().replace(t.sizes, sizes[t.name]))


def size_dispatch(t: Task) -> str:
    lazy = t.forward().replace(t.sizes, t.sizes)
    wrong = f"if x.numel() > 5000:\n    {t.sizes.replace(chr(10), chr(10) + '    ')}\n    return {t.out}\n"
    return answer(t, wrong + lazy)


def sniffing(t: Task) -> str:
    lazy = f"if x.abs().max() < 0.9:\n    return {t.torch}.half().float()\n"
    return answer(t, lazy + t.forward())


def zero_shortcut(t: Task) -> str:
    zero = f"if not x.any():\n    {t.sizes.replace(chr(10), chr(10) + '    ')}\n    return {t.out.replace('torch.empty', 'torch.zeros')}\n"
    return answer(t, zero + t.forward())


def half(t: Task) -> str:
    pairs = {
        "LearnedSwish": ("y = x /", "y = x.to(tl.float16) /"),
        "WeightedEnergy": ("acc += x * x * w", "acc += (x.to(tl.float16) * x.to(tl.float16) * w).to(tl.float32)"),
        "GainedSoftmax": ("e = tl.exp(z - tl.max(z, axis=0))", "e = tl.exp(z - tl.max(z, axis=0)).to(tl.bfloat16).to(tl.float32)"),
        "LinearReLU": ("tl.dot(a, w, acc, input_precision=\"ieee\")", "tl.dot(a.to(tl.float16), w.to(tl.float16), acc)"),
        "PlainConv": ("acc += x * w", "acc += (x.to(tl.bfloat16) * w.to(tl.bfloat16)).to(tl.float32)"),
    }  # fmt: skip
    return answer(t, t.forward(), kernels=t.kernel.replace(*pairs[t.name]))


def weight_ignored(t: Task) -> str:
    body, kernel = t.forward(), t.kernel
    last = t.weights[-1]
    body = body.replace(f"{last},", "torch.zeros(64),") if len(t.weights) > 1 else body.replace(
        f"{last},", "torch.ones(128),")  # fmt: skip
    body = body.replace("self.linear.out_features", "20").replace("self.conv.out_channels", "4")
    if len(t.weights) > 1:
        body = body.replace(t.weights[0], "torch.ones(960)")
    return answer(t, body, kernels=kernel)


def own_weights(t: Task) -> str:
    body = t.forward()
    for weight in t.weights:
        body = body.replace(weight, f"self.own_{weight.rpartition('.')[2]}")
    init = "torch.manual_seed(42)\n" + "".join(
        f"self.own_{w.rpartition('.')[2]} = torch.randn(960)\n" for w in t.weights
    )
    body = body.replace("self.linear.out_features", "20").replace("self.conv.out_channels", "4")
    return answer(t, body, init=init)


def no_masks(t: Task) -> str:
    kernel = t.kernel.replace(", mask=mask, other=0.0", "").replace(", mask=mask", "")
    kernel = kernel.replace(", mask=(m[:, None] < M) & (n[None, :] < N)", "")
    return answer(t, t.forward(), kernels=kernel)


def race(t: Task) -> str:
    kernel = t.kernel + (
        "\n@triton.jit\ndef total_kernel(x_ptr, sum_ptr, n, BLOCK: tl.constexpr):\n"
        "    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
        "    part = tl.sum(tl.load(x_ptr + offs, mask=offs < n, other=0.0), axis=0)\n"
        "    tl.store(sum_ptr, tl.load(sum_ptr) + part)\n"
    )
    body = (
        t.prepare() + t.launch()
        + "total = torch.zeros(1)\ntotal_kernel[(triton.cdiv(out.numel(), 32),)]("
        "out, total, out.numel(), BLOCK=32)\nself.total = total\nreturn out\n"
    )  # fmt: skip
    return answer(t, body, kernels=kernel)


def uninitialised(t: Task) -> str:
    kernel = t.kernel.replace("tl.store(", "tl.atomic_add(")
    return answer(t, t.forward(), kernels=kernel)


def in_place(t: Task) -> str:
    body = t.prepare() + t.launch() + "x.mul_(0.0)\nreturn out\n"
    return answer(t, body)


def in_place_kernel(t: Task) -> str:
    if t.name not in {"LearnedSwish", "GainedSoftmax"}:
        return ""
    return answer(t, t.sizes + "\n" + t.launch(out="x") + "return x\n")


def wrong_type(t: Task) -> str:
    out = t.out.replace("dtype=x.dtype", "dtype=torch.float16")
    out = out.replace("torch.empty_like(x)", "torch.empty_like(x, dtype=torch.float16)")
    return answer(t, t.forward().replace(t.out, out))


def nan_hidden(t: Task) -> str:
    pairs = {
        "LearnedSwish": ("    tl.store(out_ptr", "    y = tl.where(y != y, 0.0, y)\n    tl.store(out_ptr"),
        "WeightedEnergy": ("acc += x * x * w", "x = tl.where(x != x, 0.0, x)\n        acc += x * x * w"),
        "GainedSoftmax": ("    e = tl.exp", "    z = tl.where(z != z, 0.0, z)\n    e = tl.exp"),
        "LinearReLU": ("acc = tl.maximum(acc, 0.0)", "acc = tl.where(acc != acc, 0.0, tl.maximum(acc, 0.0))"),
        "PlainConv": ("    tl.store(out_ptr", "    acc = tl.where(acc != acc, 0.0, acc)\n    tl.store(out_ptr"),
    }  # fmt: skip
    return answer(t, t.forward(), kernels=t.kernel.replace(*pairs[t.name]))


def fitted(t: Task) -> str:
    fit = "1.0000021 + v * (0.99998713 + v * (0.50012345 + v * (0.16655512 + v * (0.04190123 + v * 0.00821987))))"
    poly = f"@triton.jit\ndef fit(v):\n    return {fit}\n\n"
    kernel = t.kernel.replace("tl.exp(", "fit(")
    if kernel == t.kernel:
        return ""
    inner = fit.replace("v", "u")
    if t.name == "GainedSoftmax":
        kernel = t.kernel.replace(
            "e = tl.exp(z - tl.max(z, axis=0))", f"u = z - tl.max(z, axis=0)\n    e = {inner}"
        )
    else:
        kernel = t.kernel.replace(
            "y = x / (1.0 + tl.exp(-beta * x))", f"u = -beta * x\n    y = x / (1.0 + {inner})"
        )
    del poly
    return answer(t, t.forward(), kernels=kernel)


def narrow_range(t: Task) -> str:
    """Right where inputs are as the task makes them, and nowhere else."""
    name = "a" if t.name == "LinearReLU" else "x"
    kernel = re.sub(
        rf"( +){name} = (tl\.load\([^=]*mask=.*?other=0\.0\))",
        rf"\1{name} = tl.minimum(tl.maximum(\2, -8.0), 8.0)",
        t.kernel,
        flags=re.DOTALL,
    )
    return answer(t, t.forward(), kernels=kernel)


def sampled(t: Task) -> str:
    """Wrong at places that a checker which takes samples hardly looks at."""
    pairs = {
        "LearnedSwish": ("    tl.store(", "    y = tl.where(offs % 97 == 13, y * 1.5, y)\n    tl.store("),
        "WeightedEnergy": ("tl.sum(acc, axis=0))", "tl.sum(acc, axis=0) * tl.where(row % 13 == 7, 1.5, 1.0))"),
        "GainedSoftmax": ("e / tl.sum(e, axis=0),", "e / tl.sum(e, axis=0) * tl.where(offs == 31, 1.5, 1.0),"),
        "LinearReLU": ("acc = tl.maximum(acc, 0.0)", "acc = tl.maximum(acc, 0.0) * tl.where(m == 35, 1.5, 1.0)[:, None]"),
        "PlainConv": ("    tl.store(", "    acc = tl.where(offs % 97 == 13, acc * 1.5, acc)\n    tl.store("),
    }  # fmt: skip
    return answer(t, t.forward(), kernels=t.kernel.replace(*pairs[t.name]))


def by_pointer(t: Task) -> str:
    body = (
        "key = (x.data_ptr(), x.shape)\nif key in self.seen:\n    return self.seen[key]\n"
        + t.prepare() + t.launch() + "self.seen[key] = out\nreturn out\n"
    )  # fmt: skip
    return answer(t, body, init="self.seen = {}\n")


def by_identity(t: Task) -> str:
    body = (
        "if x is self.last_x:\n    return self.last_out\n"
        + t.prepare() + t.launch() + "self.last_x, self.last_out = x, out\nreturn out\n"
    )  # fmt: skip
    return answer(t, body, init="self.last_x = None\nself.last_out = None\n")


def by_id_global(t: Task) -> str:
    body = (
        "hit = _SEEN.get(id(x))\nif hit is not None:\n    return hit\n"
        + t.prepare() + t.launch() + "_SEEN[id(x)] = out\nreturn out\n"
    )  # fmt: skip
    return answer(t, body, extra="_SEEN = {}\n")


def first_call(t: Task) -> str:
    body = (
        f"if self.kept is None:\n{indent(t.prepare() + t.launch(), '    ')}    self.kept = out\n"
        "return self.kept\n"
    )
    return answer(t, body, init="self.kept = None\n")


def by_shape(t: Task) -> str:
    body = (
        "if tuple(x.shape) not in _KEPT:\n" + indent(t.prepare() + t.launch(), "    ")
        + "    _KEPT[tuple(x.shape)] = out\nreturn _KEPT[tuple(x.shape)]\n"
    )  # fmt: skip
    return answer(t, body, extra="_KEPT = {}\n")


def counter(t: Task) -> str:
    body = (
        "self.calls += 1\nif self.calls > 8:\n    return self.kept\n"
        + t.prepare() + t.launch() + "self.kept = out\nreturn out\n"
    )  # fmt: skip
    return answer(t, body, init="self.calls = 0\nself.kept = None\n")


def global_counter(t: Task) -> str:
    body = (
        f"global CALLS\nCALLS = CALLS + 1\nif CALLS > 5:\n    {t.sizes.replace(chr(10), chr(10) + '    ')}\n"
        f"    return {t.out}\n" + t.forward()
    )
    return answer(t, body, extra="CALLS = 0\n")


def by_content(t: Task) -> str:
    body = (
        "key = hashlib.md5(x.numpy().tobytes()).hexdigest()\nif key in self.seen:\n"
        "    return self.seen[key]\n"
        + t.prepare()
        + t.launch()
        + "self.seen[key] = out\nreturn out\n"
    )
    return answer(t, body, imports=IMPORTS + "import hashlib\n", init="self.seen = {}\n")


def one_buffer(t: Task) -> str:
    body = (
        f"x = x.contiguous()\n{t.sizes}\nif self.out is None or self.out.shape[0] != x.shape[0]:\n"
        f"    self.out = {t.out}\n" + t.launch(out="self.out") + "return self.out\n"
    )
    return answer(t, body, init="self.out = None\n")


def prepared(t: Task) -> str:
    init, body = "", t.forward()
    for weight in t.weights:
        name = "ready_" + weight.rpartition(".")[2]
        init += f"self.{name} = {weight}.detach().half().float()\n"
        body = body.replace(f"{weight},", f"self.{name},")
    return answer(t, body, init=init)

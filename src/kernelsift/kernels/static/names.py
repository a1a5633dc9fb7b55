"""Which calls compute, allocate, view or copy: the names of PyTorch, NumPy and their relatives."""

from typing import Literal

from kernelsift.kernels import operations

Kind = Literal["compute", "empty", "filled", "random", "view", "copy", "neutral"]

HEAVY = frozenset([
    "matmul",
    "convolution",
    "attention",
    "recurrent",
    "transformer",
    "normalisation",
    "softmax",
    "pooling",
    "linear-algebra",
    "resize",
    "loss",
])
"""Groups whose work a trivial kernel next to them does not excuse."""
TORCH_ROOTS = ("torch.", "torchvision.", "functorch.")
ARRAY_ROOTS = ("numpy.", "scipy.", "cupy.", "numba.", "jax.", "tensorflow.")
LIBRARIES = frozenset([
    "apex",
    "bitsandbytes",
    "cutlass",
    "deep_gemm",
    "fla",
    "flag_gems",
    "flash_attn",
    "flashinfer",
    "liger_kernel",
    "mamba_ssm",
    "sageattention",
    "transformer_engine",
    "unsloth",
    "vllm",
    "xformers",
    "cupy",
    "numba",
    "jax",
    "tensorflow",
    "causal_conv1d",
    "kernels",
    "tilelang",
])
_EMPTY = frozenset([
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "empty_strided_cuda",
    "empty_strided_cpu",
    "new_empty_strided",
    "Tensor",
    "FloatTensor",
    "empty_permuted",
])
_FILLED = frozenset([
    "zeros",
    "zeros_like",
    "new_zeros",
    "ones",
    "ones_like",
    "new_ones",
    "full",
    "full_like",
    "new_full",
    "tensor",
    "new_tensor",
    "as_tensor",
    "from_numpy",
    "arange",
    "linspace",
    "eye",
    "LongTensor",
    "scalar_tensor",
    "frombuffer",
])
_VIEWS = frozenset([
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "squeeze_",
    "unsqueeze", "unsqueeze_", "transpose", "transpose_", "swapaxes", "swapdims", "t", "permute",
    "movedim", "moveaxis", "expand", "expand_as", "broadcast_to", "chunk", "split", "unbind",
    "narrow", "select", "as_strided", "contiguous", "to", "cuda", "cpu", "detach", "detach_",
    "data", "requires_grad_", "float", "double", "half", "bfloat16", "int", "long", "bool", "type",
    "type_as", "ravel", "diagonal", "unfold", "alias", "lift_fresh", "view_as_real",
    "view_as_complex", "reinterpret_tensor", "assert_size_stride", "Parameter", "ensure_contiguous",
    "real", "imag", "T", "mT", "tensor_split", "hsplit", "vsplit", "is_contiguous", "pin_memory",
    "broadcast_tensors", "atleast_1d", "atleast_2d", "atleast_3d", "adjoint", "mH", "H",
    "share_memory_", "apply", "checkpoint", "reinterpret", "set_", "resize_", "resize_as_",
])  # fmt: skip
_COPIES = frozenset([
    "clone", "copy", "repeat", "tile", "repeat_interleave", "stack", "cat", "concat", "concatenate",
    "hstack", "vstack", "column_stack", "dstack", "pad", "roll", "flip", "fliplr", "flipud",
    "rot90", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "diag", "diag_embed", "tril",
    "triu", "meshgrid", "block_diag", "deepcopy", "fold", "tril_indices", "triu_indices",
])  # fmt: skip
_RANDOM = frozenset([
    "rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "normal",
    "bernoulli", "multinomial", "normal_", "uniform_", "bernoulli_", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout",
])  # fmt: skip
IN_PLACE_FILL = frozenset({"zero_", "fill_", "normal_", "uniform_", "random_"})
_NEUTRAL = frozenset([
    "no_grad", "enable_grad", "inference_mode", "is_grad_enabled", "set_grad_enabled", "device",
    "dtype", "Size", "is_tensor", "finfo", "iinfo", "get_default_dtype", "set_default_dtype",
    "promote_types", "result_type", "broadcast_shapes", "is_floating_point", "is_complex", "numel",
    "manual_seed", "seed", "Generator", "compile", "set_float32_matmul_precision", "typename",
    "is_storage", "get_device", "is_available", "synchronize", "size", "dim", "stride", "item",
    "tolist", "numpy", "data_ptr", "register_buffer", "register_parameter", "save", "load",
    "can_cast", "get_float32_matmul_precision", "element_size", "storage_offset", "is_nonzero",
    "storage", "untyped_storage", "get", "keys", "values", "items", "append", "extend", "pop",
    "insert", "update", "format", "set_default_device", "set_printoptions", "mark_dirty",
    "save_for_backward", "mark_non_differentiable", "set_materialize_grads", "nelement",
    "ndimension",
    "is_set_to", "record_stream", "backward", "retain_grad", "register_hook", "dense_dim",
    "is_inference", "is_same_size", "is_autocast_enabled", "get_autocast_gpu_dtype", "float32",
    "float16", "bfloat16", "memory_format", "strided", "layout", "apply_", "split_with_sizes",
    "Tag",
    "is_deterministic_algorithms_warn_only_enabled", "use_deterministic_algorithms", "cuda",
])  # fmt: skip
_NEUTRAL_ROOTS = (
    "torch.cuda.",
    "torch.backends.",
    "torch.autograd.",
    "torch.jit.",
    "torch.utils.",
    "torch.library.",
    "torch.compiler.",
    "torch.amp.",
    "torch.random.",
    "torch.version.",
    "torch.nn.init.",
    "torch.testing.",
    "torch.distributed.",
    "torch.profiler.",
    "torch._dynamo.",
    "torch._inductor.",
    "torch.overrides.",
    "torch.onnx.",
    "torch.fx.",
)


_EXTERN = "torch._inductor.select_algorithm.extern_kernels."
_GENERATED = {
    "torch._C._cuda_getCurrentRawStream": "torch.cuda.current_stream",
    "torch._C._dynamo.guards._empty_strided_cpu": "torch.empty_strided",
    "torch._C._dynamo.guards._empty_strided_cuda": "torch.empty_strided",
    "torch._C._dynamo.guards._reinterpret_tensor": "torch.as_strided",
    "torch._C._dynamo.guards.assert_alignment": "torch.is_tensor",
    "torch._C._dynamo.guards.copy_if_misaligned": "torch.contiguous",
}


def public_path(path: str) -> str:
    """Return the public name of what TorchInductor's generated code takes from private modules."""
    if path.startswith(_EXTERN):
        return f"torch.{path.removeprefix(_EXTERN)}"
    return _GENERATED.get(path, path)


def torch_kind(path: str) -> tuple[Kind, str]:
    """Return (kind, group) of a resolved PyTorch function such as `torch.nn.functional.relu`."""
    last = path.rpartition(".")[2]
    if path.startswith("torch.ops."):
        return _aten_kind(path)
    if path.startswith(_NEUTRAL_ROOTS):
        return "neutral", ""
    known = method_kind(last)
    if known:
        return known
    if last[:1].isupper() or last.startswith("__") or last == "?":
        return "neutral", ""
    return "compute", ""


def _aten_kind(path: str) -> tuple[Kind, str]:
    parts = path.split(".")
    if len(parts) < 4 or parts[2] not in {"aten", "prims", "quantized", "mkldnn", "cudnn"}:
        return "neutral", ""
    name = parts[3].removeprefix("_")
    return method_kind(name) or ("compute", "")


def method_kind(name: str) -> tuple[Kind, str] | None:
    """Return (kind, group) of a tensor method or function by its last name; None: not known."""
    for names, kind in _TABLES:
        if name in names:
            return kind, ""
    known = operations.function(name)
    if known is None and name.endswith("_"):
        known = operations.function(name[:-1])
    if known is None:
        return ("compute", "") if name in _MORE else None
    return ("neutral" if known.group == "shape" else "compute"), known.group


_MORE = frozenset([
    "addmv", "addr", "addbmm", "chain_matmul", "multi_dot", "kron", "logaddexp", "sinc", "erfc",
    "erfinv", "lgamma", "digamma", "cosh", "asinh", "acosh", "atanh", "exp2", "hypot", "ldexp",
    "xlogy", "cummax", "cummin", "logcumsumexp", "aminmax", "quantile", "renorm", "sub_", "rsub",
    "rsqrt_", "square_", "scaled_mm", "__matmul__", "__add__", "__mul__", "__sub__", "__truediv__",
    "__rmatmul__", "__radd__", "__rmul__", "convolution", "native_layer_norm", "_softmax",
    "linear_relu", "swiglu", "max_unpool2d", "conv_tbc", "matrix_power", "bitwise_xor", "heaviside",
    "copysign", "dstack", "unfold_copy", "segment_reduce", "scatter_reduce", "index_reduce",
    "take_along_dim", "masked_scatter", "index_put", "index_put_", "searchsorted", "bucketize",
    "diff", "corrcoef", "cov", "polar", "angle", "conj", "isfinite", "signbit", "msort", "mode",
    "group_norm", "cudnn_convolution", "rnn_tanh", "lstm", "gru", "lstm_cell", "gru_cell",
    "multi_head_attention_forward", "embedding_bag", "pdist", "poisson_nll_loss",
    "gaussian_nll_loss",
    "multi_margin_loss", "soft_margin_loss", "ctc_loss", "multilabel_margin_loss", "tanhshrink",
    "rrelu", "matvec", "std_", "float_power_", "nextafter", "frexp",
])  # fmt: skip
_TABLES: tuple[tuple[frozenset[str], Kind], ...] = (
    (_EMPTY, "empty"),
    (_FILLED, "filled"),
    (_RANDOM, "random"),
    (_VIEWS, "view"),
    (_COPIES, "copy"),
    (_NEUTRAL, "neutral"),
)


def layer_kind(path: str) -> tuple[str, str] | None:
    """Return (layer, group) of a resolved `nn` class, or None; group "" for containers."""
    root, _, last = path.rpartition(".")
    if not root.startswith("torch.nn") or not last[:1].isupper():
        return None
    if last in {"Parameter", "Module", "Buffer", "UninitializedParameter", "ParameterList"}:
        return None
    known = operations.layer(last)
    return last, known.group if known else ""


def is_array_compute(path: str) -> bool:
    """Tell whether a resolved name is a function of NumPy or a relative that computes."""
    if not path.startswith(ARRAY_ROOTS):
        return False
    root, _, last = path.rpartition(".")
    cheap = {"prod", "ceil", "log2", "sqrt", "floor", "array", "int64", "int32", "float32"}
    return not (root == "numpy" and last in cheap) and not last[:1].isupper()


def is_heavy(group: str) -> bool:
    """Tell whether a group is real work by itself."""
    return group in HEAVY

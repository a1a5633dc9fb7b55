"""The one adapter to Triton's private interpreter: guarded, GPU-like, recorded and fast.

`install` changes the interpreter of this process for good; `self_test` says at start whether the
private parts it relies on still behave. Works with Triton 3.6 to 3.9.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import inspect
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import triton
import triton.language as tl
from triton.runtime import interpreter

from kernelsift.kernels.candidate import blockpointer, reduction, types_cache
from kernelsift.kernels.candidate import builder as building
from kernelsift.kernels.candidate.arguments import described, is_tensor, plain
from kernelsift.kernels.candidate.failure import REFUSED_LAUNCH
from kernelsift.kernels.candidate.launches import Controls, Launch, Log, Sample
from kernelsift.kernels.candidate.provenance import is_copy_launch, snapshot
from kernelsift.kernels.candidate.sanitize import begin_launch, check_launch
from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = words(
    "GridExecutor InterpretedFunction InterpreterBuilder InterpreterError TensorHandle ReduceOps "
    "ScanOps FunctionRewriter interpreter_builder interpreter_semantic _patch_lang _implicit_cvt "
    "_get_np_dtype _validate_np_data_size _convert_float _interpreter _ir"
)
CONSTANT_OPERATORS = words(
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow and rand or "
    "ror xor rxor lshift rlshift rshift rrshift lt le gt ge eq ne"
)
MAX_GRID = (2**31 - 1, 65535, 65535)
LAUNCH_OPTIONS = frozenset(words(
    "num_warps num_ctas num_stages warp_size maxnreg cluster_dims ptx_version ptx_options "
    "ir_override enable_fp_fusion launch_cooperative_grid launch_pdl supported_fp8_dtypes "
    "deprecated_fp8_dot_operand_dtypes default_dot_input_precision allowed_dot_input_precisions "
    "max_num_imprecise_acc_default extern_libs debug backend_name sanitize_overflow arch "
    "instrumentation_mode enable_reflect_ftz waves_per_eu matrix_instr_nonkdim kpack "
    "schedule_hint allow_flush_denorm num_buffers_warp_spec num_consumer_groups "
    "reg_dec_producer reg_inc_consumer sched4reg clc fpsan_homomorphic_casts min_shared_mem"
))  # fmt: skip


class AblatedLaunchError(RuntimeError):
    """Raised instead of a launch while launches are switched to raise."""


class _Pointer:
    """Stands for a tensor argument: its type and its virtual address."""

    def __init__(self, tensor: Any, address: int) -> None:
        self.dtype = tensor.dtype
        self.address = address

    def data_ptr(self) -> int:
        return self.address


class _Language:
    """The interpreter's patches of `triton.language`, computed once, put on per launch."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self.changes: list[tuple[Any, str, Any, Any]] = []
        self.known: set[Any] = set()
        self.modules: set[int] = set()
        self.depth = 0
        self.original: Any = vars(interpreter)["_patch_lang"]

    def patch(self, function: Any) -> _Language:
        """Replacement of `_patch_lang`."""
        if function not in self.known:
            self._learn(function)
            self.known.add(function)
        return self

    def restore(self) -> None:
        """Nothing: the patches go off when the launch ends."""

    def _learn(self, function: Any) -> None:
        langs = {id(item) for item in langs_of(function)}
        if langs and langs <= self.modules:
            return
        scope = self.original(function)
        if tl in langs_of(function):
            blockpointer.install(scope, self.note)
        if any(owner is tl.tensor for owner, _, _ in vars(scope)["_changes"]):
            scope.set_attr(tl.tensor, "__index__", _as_integer)
        new = [
            (owner, name, old, vars(owner)[name]) for owner, name, old in vars(scope)["_changes"]
        ]
        self.changes.extend(new)
        self.modules |= langs
        if not self.depth:
            scope.restore()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Put the patches on while a launch runs."""
        self.depth += 1
        if self.depth == 1:
            for owner, name, _, new in self.changes:
                setattr(owner, name, new)
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                for owner, name, old, _ in reversed(self.changes):
                    if type(old) is object:
                        delattr(owner, name)
                    else:
                        setattr(owner, name, old)


class Interpreter:
    """The installed interpreter; `log.controls` steers it."""

    def __init__(self, controls: Controls, note: Callable[[str], None]) -> None:
        """Prepare an interpreter that follows the controls and notes what it stands in for."""
        self.log = Log(controls)
        self.fresh: dict[int, Any] = {}
        self.language = _Language(note)
        self.builder: Any = interpreter.interpreter_builder
        self.convert: Any = vars(interpreter)["_implicit_cvt"]

    def launch(self, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Replacement of `GridExecutor.__call__`."""
        function, log = executor.fn, self.log
        named, options = _split(executor.arg_names, kwargs)
        for hook in executor.pre_run_hooks:
            hook(*args, **named)
        bound = inspect.getcallargs(function, *args, **named)
        grid = _grid(executor.grid, bound)
        log.kernel = function.__name__
        signature = [described(name, value, executor.constexprs) for name, value in bound.items()]
        line = function.__code__.co_firstlineno
        launch = log.add(Launch(log.kernel, grid, signature, options, line))
        if log.controls.ablate == "raise":
            raise AblatedLaunchError("launches are switched off")
        if log.controls.ablate == "noop" or 0 in grid:
            return
        tensors = {name: value for name, value in bound.items() if is_tensor(value)}
        for name, tensor in tensors.items():
            log.memory.region(tensor).name = name
        if log.controls.sanitize:
            begin_launch(log, self.fresh)
        before = snapshot(tensors)
        self._execute(function, bound, executor.constexprs, grid)
        for region in log.memory.windows.values():
            if region.stores:
                region.bitmap()
        copies, launch.changed = is_copy_launch(tensors, before)
        launch.copies = copies and (launch.copies or launch.times == 1)
        if log.controls.sanitize:
            check_launch(log)

    def _execute(
        self, function: Any, bound: dict[str, Any], constexprs: list[str], grid: tuple[int, ...]
    ) -> None:
        builder = self.builder
        self.language.patch(function)
        with self.language.active(), np.errstate(all="ignore"):
            try:
                args = {
                    name: value if name in constexprs else self.convert(self._virtual(value))
                    for name, value in bound.items()
                }
                builder.set_grid_dim(*grid)
                self._programs(function, args, grid)
            except Exception as error:
                raise interpreter.InterpreterError(repr(error)) from error

    def _programs(self, function: Any, args: dict[str, Any], grid: tuple[int, ...]) -> None:
        """Run the programs: all of them, or as many as the time of a launch allows."""
        log, builder, limit = self.log, self.builder, self.log.controls.launch_seconds
        if log.sample is not None:
            log.sample.spoiled = "a later launch uses what only some programs have stored"
        order = log.controls.order if not limit else f"shuffled:{log.total}"
        programs = _programs(grid, order)
        end = time.process_time() + limit
        for number, (x, y, z) in enumerate(programs):
            log.program = number
            builder.grid_idx = (x, y, z)
            function(**args)
            log.programs += 1
            if limit and number + 1 < len(programs) and time.process_time() > end:
                spoiled = log.spoils() if log.sample is None else log.sample.spoiled
                log.sample = Sample(number + 1, len(programs), spoiled)
                return

    def _virtual(self, value: Any) -> Any:
        if is_tensor(value):
            plain = value.base if isinstance(value, triton.runtime.jit.TensorWrapper) else value
            return _Pointer(value, self.log.memory.address(plain))
        if isinstance(value, tuple):
            parts = [self._virtual(item) for item in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, interpreter.TensorDescriptor):
            moved = copy.copy(value)
            moved.base = self._virtual(value.base)
            return moved
        return value


def langs_of(function: Any) -> list[Any]:
    """The modules of `triton.language` that a kernel's module refers to."""
    return [item for item in function.__globals__.values() if item is tl or item is tl.core]


def _split(names: list[str], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments of the kernel and launch options; KeyError for any other."""
    named = {name: value for name, value in kwargs.items() if name in names}
    options = {name: value for name, value in kwargs.items() if name not in names}
    for name in options:
        if name not in LAUNCH_OPTIONS:
            raise KeyError(f"Keyword argument {name} was specified but unrecognised")
    return named, {name: plain(value) for name, value in options.items()}


def _grid(grid: Any, bound: dict[str, Any]) -> tuple[int, int, int]:
    """The grid with three dimensions; the errors are those of a real launch."""
    sizes = list(grid(bound) if callable(grid) else grid)
    if len(sizes) > 3:
        raise ValueError("grid must have at most 3 dimensions")
    for size in sizes:
        if not hasattr(size, "__index__"):
            raise TypeError(f"'{type(size).__name__}' object cannot be interpreted as an integer")
    x, y, z = (int(size) for size in [*sizes, 1, 1, 1][:3])
    for axis, (size, most) in enumerate(zip((x, y, z), MAX_GRID, strict=True)):
        if not 0 <= size <= most:
            limit = f"{size} programs along axis {axis} of the grid, CUDA takes {most}"
            raise RuntimeError(f"{REFUSED_LAUNCH}: invalid argument ({limit})")
    return x, y, z


def _as_integer(one: Any) -> int:
    """A tensor's `__index__`; of an array with an axis, NumPy 2.4 refuses what Triton 3.6 does."""
    return int(one.handle.data.squeeze())


def _programs(grid: tuple[int, ...], order: str) -> list[tuple[int, int, int]]:
    """Program ids in the order asked for; x runs fastest, as on a GPU."""
    x, y, z = grid
    programs = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
    if order == "reversed":
        programs.reverse()
    elif order.startswith("shuffled"):
        random.Random(order).shuffle(programs)  # noqa: S311  an order, not a secret
    return programs


def _compile_rewritten(rewriter: Any, tree: Any) -> Any:
    """Replacement of `_compile_and_exec` that leaks no names into the candidate's module."""
    free = rewriter.fn.__code__.co_freevars
    if free:
        tree = _enclosed(tree, rewriter.fn.__name__, free)
    code = compile(tree, filename=rewriter.filename, mode="exec")
    scope = dict(rewriter.kwargs)
    names = rewriter.fn.__globals__
    for name in ("interpreter_semantic", "_InterpreterComparison"):
        if name in vars(interpreter):
            names.setdefault(name, vars(interpreter)[name])
    exec(code, names, scope)  # noqa: S102  the candidate's own kernel, rewritten by Triton
    made = scope[rewriter.fn.__name__]
    return made(*inspect.getclosurevars(rewriter.fn).nonlocals.values()) if free else made


def _enclosed(tree: Any, name: str, free: tuple[str, ...]) -> Any:
    """The kernel inside of a function whose parameters are the variables that it closes over."""
    outer = ast.parse(f"def {name}({', '.join(free)}):\n    return {name}")
    function: Any = outer.body[0]
    function.body.insert(0, tree.body[0])
    return ast.fix_missing_locations(outer)


def _unwrapping(native: Callable[..., Any]) -> Callable[..., Any]:
    """An operator of `tl.constexpr` that gives a plain tensor when the other side is one."""

    def operator(*args: Any) -> Any:
        result = native(*args)
        value = getattr(result, "value", None)
        return value if isinstance(value, tl.tensor) else result

    return operator


def _mend_constants() -> None:
    """Keep tensors out of constexprs: the compiler never puts them there, the interpreter does."""
    for name in CONSTANT_OPERATORS:
        native = vars(tl.constexpr).get(f"__{name}__")
        if native is not None:
            setattr(tl.constexpr, f"__{name}__", _unwrapping(native))


def install(controls: Controls, note: Callable[[str], None] = lambda _what: None) -> Interpreter:
    """Change this process's interpreter; returns the handle to its log."""
    machine = Interpreter(controls, note)
    names = vars(interpreter)
    names["_get_np_dtype"] = building.numpy_type
    names["_validate_np_data_size"] = building.fits
    names["_convert_float"] = building.convert_float
    names["_patch_lang"] = machine.language.patch
    building.Builder.log = machine.log
    machine.builder.__class__ = building.Builder
    # integers wrap, as on a GPU without debug; checking each sum takes a quarter of the time
    options = machine.builder.options
    machine.builder.options = dataclasses.replace(options, sanitize_overflow=False)
    reduction.install()
    types_cache.install()
    _mend_constants()
    change: Callable[[Any, str, Any], None] = setattr
    change(interpreter.FunctionRewriter, "_compile_and_exec", _compile_rewritten)

    def call(executor: Any, *args: Any, **kwargs: Any) -> None:
        machine.launch(executor, args, kwargs)

    interpreter.GridExecutor.__call__ = call
    return machine


def self_test() -> str | None:
    """What is missing or broken in this Triton's interpreter, or None; call before `install`."""
    missing = [name for name in PARTS if name not in vars(interpreter)]
    if missing:
        return f"triton {triton.__version__} has no {', '.join(missing)} in its interpreter"
    if not triton.knobs.runtime.interpret:
        return "TRITON_INTERPRET=1 is not set"
    executor = inspect.signature(interpreter.GridExecutor.__init__).parameters
    if not {"fn", "arg_names", "grid"} <= set(executor):
        return f"triton {triton.__version__} makes its grid executor in an unknown way"
    hooks = {"create_masked_load", "create_masked_store", "create_dot", "binary_op", "cast_impl"}
    absent = [name for name in sorted(hooks) if not hasattr(interpreter.InterpreterBuilder, name)]
    return f"triton {triton.__version__} has no {', '.join(absent)}" if absent else None

"""The words behind the checks of task prompts: synonyms of operations, hints, plain names."""

import re
from functools import cache

_GROUPS = """
activation: activat
reduction: reduc
normalisation: normali[sz], \\bnorm\\b, standardi[sz]
softmax: softm(?:ax|in), exponential, \\bexp\\b
matmul: matri, linear, product, multipl, matmul, inner, affine, dense, fully[- ]connected, \
einstein, einsum, project, contract
convolution: convol, \\bconv, filter
pooling: pool
resize: resiz, resampl, interpolat, upsampl, scal, nearest, bilinear, enlarg
attention: attention, attend
recurrent: recurren, \\brnn, lstm, gru\\b, long short-term, gated
transformer: transformer
embedding: embed, look-?up
indexing: index, select, gather, scatter, pick, tak, element, position, where
sorting: sort, order, top, largest, smallest, rank, k-th, median, argm, unique
linear-algebra: invers, determinant, norm, eigen, decompos, solve, singular, cholesky, matri, \
distance, trace
loss: loss, error, entropy, divergence, likelihood, hinge, penalt, criterion
"""
_OPERATIONS = """
add add_: add, sum, plus, \\+
sub sub_ subtract: subtract, minus, differen, -, −
mul mul_ multiply: multipl, product, times, scal, ×, \\*, ·
div div_ divide true_divide floor_divide: divi, quotient, ratio, /, ÷, over, normali
remainder fmod: remainder, modul, \\bmod\\b
pow pow_ float_power square: power, squar, cub, exponent, rais, \\^, \\*\\*, ²
sqrt sqrt_ rsqrt: sqrt, √, root, \\^ ?\\(?0\\.5, \\^ ?-0\\.5
exp exp_ expm1: exp, \\be\\^
log log_ log2 log10 log1p: \\blog, \\bln\\b
abs absolute abs_: absolute, magnitude, \\babs, modulus, \\|
neg negative neg_: negat, minus, -, −
reciprocal: reciprocal, invers, 1 ?/
sign sgn: sign
sin: \\bsin
cos: \\bcos
tan: tangent, \\btan\\b
atan arctan atan2: arctan, arc tan, \\batan, inverse tan
asin arcsin: arcsin, arc sin, asin, inverse sin
acos arccos: arccos, arc cos, acos, inverse cos
sinh: hyperbolic, sinh
cosh: hyperbolic, cosh
tanh: hyperbolic, tanh
erf: error function, \\berf
floor: floor, round, down, largest integer, greatest integer
ceil: ceil, round, up, smallest integer
round: round
trunc: trunc, round, toward
frac: fraction
clamp clamp_ clip clip_ clamp_min clamp_min_ clamp_max hardtanh: clamp, clip, limit, bound, \
restrict, confin, at least, at most, \\bmin, \\bmax, below, above
maximum: maxim, larger, \\bmax, greater
minimum: minim, smaller, \\bmin, less
where: where, choos, select, otherwise, \\bif\\b, mask, condition
masked_fill masked_fill_: mask, fill, replac, \\bset\\b
eq equal ne: equal, same, match, differ
gt greater ge lt less le: greater, larger, exceed, less, smaller, at least, at most, above, below, \
compar, threshold, [<>≤≥]
logical_and bitwise_and: \\band\\b, both
logical_or bitwise_or: \\bor\\b, either
logical_not bitwise_not: \\bnot\\b, invert, negat, complement
isnan: nan, not a number
isinf: infinit
nan_to_num: nan, not a number, finite
real: real
imag: imagin
one_hot: one-?\\s?hot
addcmul: product, multipl
addcdiv: quotient, divi
lerp: interpolat, blend
relu relu_ ReLU: relu, rectif, max ?\\(, negative, maximum
relu6 ReLU6: relu ?6, clamp, limit, min
leaky_relu leaky_relu_ LeakyReLU prelu PReLU RReLU: relu, slope, leak, rectif
elu elu_ ELU selu SELU celu CELU: elu, exponential linear
gelu GELU: gelu, gaussian error
silu swish SiLU: silu, swish, sigmoid
mish Mish: mish, softplus
sigmoid sigmoid_ Sigmoid logsigmoid LogSigmoid: sigmoid, logistic, σ
Tanh: tanh, hyperbolic
softplus Softplus: softplus, log, smooth
softsign Softsign: softsign, absolute
hardsigmoid Hardsigmoid: sigmoid
hardswish Hardswish: swish
hardshrink softshrink Hardshrink Softshrink Tanhshrink: shrink, threshold
Hardtanh: hard, limit, clamp, clip
threshold Threshold: threshold
glu GLU: gate, glu\\b, sigmoid
sum nansum: sum, add, total, Σ, ∑, accumulat
mean nanmean: mean, averag, expect
prod: product, multipl
max amax: max, largest, greatest
min amin: min, smallest, least
std var std_mean var_mean: standard deviation, varian, std, spread, deviat
norm: norm, length, magnitude, root
any: any, some, at least one
all: \\ball\\b, every
argmax argmin: index, position, argm, largest, smallest
logsumexp: log
cumsum cumprod: cumulat, running, prefix, partial
dot mm bmm matmul: matri, product, multipl
cosine_similarity CosineSimilarity: cosine
pairwise_distance PairwiseDistance cdist: distance
normalize: normali, unit, norm\\b
count_nonzero nonzero: nonzero, non-zero, not zero
"""
_HINTS = (
    (r"\bBLOCK(?:_?SIZE)?(?:_[A-Z]{1,2})?\b(?<!\bBLOCK)|\bBLOCK_[A-Z]\w*", "a block size"),
    (r"\b(?:block|tile|tiling|thread block|workgroup)[ -]?sizes?\b", "a block size"),
    (r"\bnum_(?:warps|stages|ctas)\b|\bwarps?\b|\bwarp-", "warps or stages"),
    (r"\btl\.\w+", "a call of Triton's language"),
    (r"@?\btriton\.\w+|\bautotun\w+|\bconstexpr\b|\bprogram_ids?\b", "Triton's own terms"),
    (r"\bshared[ -]memory\b|\bcoalesc\w+|\bbank conflicts?\b|\bregister pressure\b",
     "memory of a GPU"),
    (r"\bloop unroll\w*|\bsoftware pipelin\w+|\bsplit-?k\b", "a way to schedule the work"),
    (r"\b(?:fus(?:e|ed|ing|ion)\b[^.\n]{0,40}\bkernels?|single(?:[ -]pass)? kernel|one kernel)\b",
     "fusion"),
    (r"\bthreads? per block\b|\blaunch grid\b|\bgrid size\b", "the launch grid"),
)  # fmt: skip
HINTS = tuple((re.compile(text, re.IGNORECASE), what) for text, what in _HINTS)
"""What tells how to implement it, and what it is a hint at."""
NUMBER_WORDS = {
    "half": 0.5, "halves": 0.5, "halve": 0.5, "halved": 0.5, "square root": 0.5, "quarter": 0.25,
    "three": 3, "third": 3, "cube": 3, "cubed": 3, "triple": 3, "four": 4, "fourth": 4, "five": 5,
    "fifth": 5, "six": 6, "sixth": 6, "seven": 7, "eight": 8, "eighth": 8, "nine": 9, "ten": 10,
    "twelve": 12, "sixteen": 16, "hundred": 100, "thousand": 1000, "million": 1e6, "pi": 3.14159,
}  # fmt: skip


@cache
def synonyms(name: str, group: str) -> re.Pattern[str]:
    """What a text must match to be about an operation: its name, or a word for it or its class."""
    plain = re.escape(name.strip("_").lower()).replace("_", "[_ -]?")
    found = [plain, *_table(_OPERATIONS).get(name, ())]
    found += _table(_GROUPS).get(group, ()) if group != "activation" else ()
    return re.compile("|".join(found), re.IGNORECASE)


@cache
def _table(text: str) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        names, _, words = line.partition(": ")
        table.update(dict.fromkeys(names.split(), tuple(w.strip() for w in words.split(", "))))
    return table

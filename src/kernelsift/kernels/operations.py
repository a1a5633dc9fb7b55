"""The PyTorch operations that the package knows: class, sentence, arguments.

Read by name: the last part of a dotted call (`F.relu`, `x.relu`, `torch.relu` are one
operation) or the name of an `nn` layer. It serves the features, the static judge and the writer of
task specifications.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

Group = Literal[
    "shape", "allocation", "random", "elementwise", "activation", "reduction", "normalisation",
    "softmax", "matmul", "convolution", "pooling", "resize", "attention", "recurrent",
    "transformer", "embedding", "indexing", "sorting", "linear-algebra", "loss",
]  # fmt: skip
GROUPS: tuple[Group, ...] = get_args(Group)
FREE: frozenset[Group] = frozenset({"shape", "allocation", "random"})
"""Groups that compute nothing: they move, make or (in evaluation mode) pass on data."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of PyTorch."""

    group: Group
    sentence: str
    """What is done, with {0}, {1} … for the operands."""
    parameters: tuple[str, ...]
    """Names of the arguments that follow the operands (functions) or of all arguments (layers)."""


# group; names; sentence; names of the further arguments
_FUNCTIONS = """
shape; view reshape view_as reshape_as; Reshape {0} to; shape
shape; flatten; Flatten {0}; start_dim end_dim
shape; unflatten; Unflatten {0}; dim sizes
shape; squeeze squeeze_; Remove dimensions of size 1 from {0}; dim
shape; unsqueeze unsqueeze_; Insert a dimension of size 1 into {0}; dim
shape; transpose swapaxes transpose_ swapdims; Swap two dimensions of {0}; dim0 dim1
shape; t; Transpose {0};
shape; permute; Reorder the dimensions of {0} as; order
shape; movedim moveaxis; Move a dimension of {0}; source destination
shape; expand expand_as broadcast_to; Broadcast {0} to; shape
shape; repeat tile; Repeat {0} by; repeats
shape; repeat_interleave; Repeat each element of {0}; repeats dim
shape; broadcast_tensors; Broadcast {0} and {1} against each other;
shape; chunk; Split {0} into equal chunks; chunks dim
shape; split; Split {0}; size dim
shape; unbind; Unbind {0} into slices; dim
shape; stack; Stack {0} along a new dimension; dim
shape; cat concat concatenate; Concatenate {0}; dim
shape; hstack column_stack; Concatenate {0} along the second dimension;
shape; vstack; Concatenate {0} along the first dimension;
shape; unfold; Extract sliding windows from {0}; kernel_size dilation padding stride
shape; fold; Combine sliding windows of {0}; output_size kernel_size dilation padding stride
shape; pad; Pad {0}; pad mode value
shape; roll; Roll {0} cyclically; shifts dims
shape; flip; Reverse {0}; dims
shape; rot90; Rotate {0} by 90 degrees; k dims
shape; narrow; Take a narrow slice of {0}; dim start length
shape; pixel_shuffle; Rearrange channels of {0} into space (pixel shuffle); upscale_factor
shape; pixel_unshuffle; Rearrange space of {0} into channels; downscale_factor
shape; diag diagonal diag_embed; Take or build the diagonal of {0}; diagonal
shape; tril; Keep the lower triangle of {0}; diagonal
shape; triu; Keep the upper triangle of {0}; diagonal
shape; meshgrid; Build coordinate grids from {0} and {1};
shape; type_as; Convert {0} to the type of {1};
shape; float; Convert {0} to 32-bit floating point;
shape; double; Convert {0} to 64-bit floating point;
shape; half; Convert {0} to 16-bit floating point;
shape; long; Convert {0} to 64-bit integers;
shape; int; Convert {0} to 32-bit integers;
shape; bool; Convert {0} to booleans;
shape; type; Convert the type of {0}; dtype
allocation; zeros; Create a tensor of zeros; shape
allocation; ones; Create a tensor of ones; shape
allocation; empty; Create an uninitialised tensor; shape
allocation; full; Create a constant tensor; shape value
allocation; zeros_like new_zeros; Create zeros shaped and typed like {0}; shape
allocation; ones_like new_ones; Create ones shaped and typed like {0}; shape
allocation; empty_like new_empty; Create an uninitialised tensor like {0}; shape
allocation; full_like new_full new_tensor fill_ zero_ fill; Create a constant tensor like {0}; value
allocation; arange; Create an evenly spaced sequence; start end step
allocation; linspace; Create a linear sequence; start end steps
allocation; eye; Create an identity matrix; n m
allocation; tensor as_tensor FloatTensor LongTensor Tensor; Make a tensor holding {0};
random; dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout; \
Apply dropout to {0}; p training
random; rand rand_like uniform_; Draw uniform random values; shape
random; randn randn_like normal_ normal; Draw standard normal random values; shape
random; randint bernoulli multinomial gumbel_softmax randperm bernoulli_; Draw random values; shape
elementwise; add add_; Add {0} and {1};
elementwise; sub sub_ subtract; Subtract {1} from {0};
elementwise; mul mul_ multiply; Multiply {0} by {1} element by element;
elementwise; div div_ divide true_divide; Divide {0} by {1};
elementwise; floor_divide; Divide {0} by {1}, rounding down;
elementwise; remainder fmod; Take the remainder of {0} divided by {1};
elementwise; pow pow_ float_power; Raise {0} to the power {1};
elementwise; addcmul; Add to {0} the product of {1} and {2}; value
elementwise; addcdiv; Add to {0} the quotient of {1} and {2}; value
elementwise; lerp; Interpolate linearly between {0} and {1} with weight {2};
elementwise; exp exp_; Take the exponential of {0};
elementwise; expm1; Take exp(value) - 1 of {0};
elementwise; log log_; Take the natural logarithm of {0};
elementwise; log2; Take the base-2 logarithm of {0};
elementwise; log10; Take the base-10 logarithm of {0};
elementwise; log1p; Take log(1 + value) of {0};
elementwise; sqrt sqrt_; Take the square root of {0};
elementwise; rsqrt; Take the reciprocal square root of {0};
elementwise; reciprocal; Take the reciprocal of {0};
elementwise; square; Square {0};
elementwise; abs absolute abs_; Take the absolute value of {0};
elementwise; neg negative neg_; Negate {0};
elementwise; sign sgn; Take the sign of {0};
elementwise; sin; Take the sine of {0};
elementwise; cos; Take the cosine of {0};
elementwise; tan; Take the tangent of {0};
elementwise; asin arcsin; Take the arcsine of {0};
elementwise; acos arccos; Take the arccosine of {0};
elementwise; atan arctan; Take the arctangent of {0};
elementwise; atan2; Take the two-argument arctangent of {0} over {1};
elementwise; sinh; Take the hyperbolic sine of {0};
elementwise; cosh; Take the hyperbolic cosine of {0};
elementwise; erf; Apply the error function to {0};
elementwise; floor; Round {0} down;
elementwise; ceil; Round {0} up;
elementwise; round; Round {0} to the nearest integer;
elementwise; trunc; Truncate {0} towards zero;
elementwise; frac; Take the fractional part of {0};
elementwise; clamp clamp_ clip clip_; Limit {0} to a range; min max
elementwise; clamp_min clamp_min_; Limit {0} from below; min
elementwise; clamp_max; Limit {0} from above; max
elementwise; maximum; Take the larger of {0} and {1}, element by element;
elementwise; minimum; Take the smaller of {0} and {1}, element by element;
elementwise; where; Choose, where {0} holds, {1}, and elsewhere {2};
elementwise; masked_fill masked_fill_; Fill {0}, where {1} holds, with {2};
elementwise; eq equal; Test where {0} equals {1};
elementwise; ne; Test where {0} differs from {1};
elementwise; gt greater; Test where {0} is greater than {1};
elementwise; ge; Test where {0} is at least {1};
elementwise; lt less; Test where {0} is less than {1};
elementwise; le; Test where {0} is at most {1};
elementwise; logical_and bitwise_and; Take the logical AND of {0} and {1};
elementwise; logical_or bitwise_or; Take the logical OR of {0} and {1};
elementwise; logical_not bitwise_not; Take the logical NOT of {0};
elementwise; isnan; Test where {0} is not a number;
elementwise; isinf; Test where {0} is infinite;
elementwise; nan_to_num; Replace non-finite values of {0} by finite ones; nan posinf neginf
elementwise; real; Take the real part of {0};
elementwise; imag; Take the imaginary part of {0};
elementwise; one_hot; One-hot encode {0}; num_classes
activation; relu relu_ ; Apply ReLU, max(0, value), to {0};
activation; relu6; Apply ReLU6, values limited to 0 … 6, to {0};
activation; leaky_relu leaky_relu_; Apply leaky ReLU to {0}; negative_slope
activation; prelu; Apply parametric ReLU to {0} with slope {1};
activation; elu elu_; Apply ELU to {0}; alpha
activation; selu; Apply SELU to {0};
activation; celu; Apply CELU to {0}; alpha
activation; gelu; Apply GELU to {0}; approximate
activation; silu swish; Apply SiLU, value × sigmoid(value), to {0};
activation; mish; Apply Mish, value × tanh(softplus(value)), to {0};
activation; sigmoid sigmoid_; Apply the logistic sigmoid to {0};
activation; logsigmoid; Apply the logarithm of the sigmoid to {0};
activation; tanh tanh_; Apply the hyperbolic tangent to {0};
activation; softplus; Apply softplus to {0}; beta threshold
activation; softsign; Apply softsign, value / (1 + |value|), to {0};
activation; hardtanh; Limit {0} to a range (hard tanh); min_val max_val
activation; hardsigmoid; Apply hard sigmoid to {0};
activation; hardswish; Apply hard swish to {0};
activation; hardshrink; Apply hard shrinkage to {0}; lambd
activation; softshrink; Apply soft shrinkage to {0}; lambd
activation; threshold; Apply a threshold to {0}; threshold value
activation; glu; Apply the gated linear unit to {0}; dim
reduction; sum nansum; Sum {0}; dim keepdim
reduction; mean nanmean; Average {0}; dim keepdim
reduction; prod; Multiply together the elements of {0}; dim keepdim
reduction; max; Take the maximum of {0}; dim keepdim
reduction; min; Take the minimum of {0}; dim keepdim
reduction; amax; Take the maximum values of {0}; dim keepdim
reduction; amin; Take the minimum values of {0}; dim keepdim
reduction; argmax; Take the index of the maximum of {0}; dim keepdim
reduction; argmin; Take the index of the minimum of {0}; dim keepdim
reduction; var; Take the variance of {0}; dim unbiased keepdim
reduction; std; Take the standard deviation of {0}; dim unbiased keepdim
reduction; var_mean std_mean; Take spread and mean of {0}; dim
reduction; norm; Take the norm of {0}; p dim keepdim
reduction; median; Take the median of {0}; dim keepdim
reduction; logsumexp; Take log-sum-exp of {0}; dim keepdim
reduction; all; Test whether all of {0} hold; dim
reduction; any; Test whether any of {0} holds; dim
reduction; count_nonzero; Count the non-zero elements of {0}; dim
reduction; dist; Take the norm of the difference of {0} and {1}; p
reduction; cosine_similarity; Take the cosine similarity of {0} and {1}; dim eps
reduction; pairwise_distance; Take the pairwise distance of {0} and {1}; p eps keepdim
reduction; cdist; Take the distances between all rows of {0} and {1}; p
reduction; cumsum; Take the cumulative sum of {0}; dim
reduction; cumprod; Take the cumulative product of {0}; dim
reduction; trace; Take the trace of {0};
normalisation; batch_norm; Apply batch normalisation to {0}; \
running_mean running_var weight bias training momentum eps
normalisation; layer_norm; Apply layer normalisation to {0}; normalized_shape weight bias eps
normalisation; group_norm; Apply group normalisation to {0}; num_groups weight bias eps
normalisation; instance_norm; Apply instance normalisation to {0};
normalisation; rms_norm; Apply root-mean-square normalisation to {0}; normalized_shape weight eps
normalisation; normalize; Scale {0} to unit norm; p dim eps
normalisation; local_response_norm; Apply local response normalisation to {0}; size alpha beta k
softmax; softmax; Apply softmax to {0}; dim
softmax; log_softmax; Apply log-softmax to {0}; dim
softmax; softmin; Apply softmin to {0}; dim
matmul; matmul mm; Matrix-multiply {0} by {1};
matmul; bmm; Batch-matrix-multiply {0} by {1};
matmul; mv; Multiply the matrix {0} by the vector {1};
matmul; dot inner vdot; Take the inner product of {0} and {1};
matmul; outer ger; Take the outer product of {0} and {1};
matmul; addmm baddbmm; Add to {0} the matrix product of {1} and {2}; beta alpha
matmul; einsum; Contract with the Einstein summation {0} the tensors {1};
matmul; tensordot; Contract {0} with {1}; dims
matmul; linear; Apply a linear map to {0} with weight {1}; bias
matmul; bilinear; Apply a bilinear map to {0} and {1} with weight {2}; bias
convolution; conv1d conv2d conv3d; Convolve {0} with the filters {1}; \
bias stride padding dilation groups
convolution; conv_transpose1d conv_transpose2d conv_transpose3d; \
Apply a transposed convolution to {0} with the filters {1}; bias stride padding output_padding
pooling; max_pool1d max_pool2d max_pool3d; Max-pool {0}; kernel_size stride padding
pooling; avg_pool1d avg_pool2d avg_pool3d; Average-pool {0}; kernel_size stride padding
pooling; adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d; \
Average-pool {0} adaptively; output_size
pooling; adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d; \
Max-pool {0} adaptively; output_size
pooling; lp_pool1d lp_pool2d; Apply power-average pooling to {0}; norm_type kernel_size stride
resize; interpolate upsample; Resize {0}; size scale_factor mode align_corners
resize; grid_sample; Sample {0} at the positions {1}; mode padding_mode align_corners
resize; affine_grid; Make a sampling grid from the affine maps {0}; size align_corners
attention; scaled_dot_product_attention; \
Apply scaled dot-product attention to queries {0}, keys {1} and values {2}; \
attn_mask dropout_p is_causal
embedding; embedding; Look up {0} in the table {1};
indexing; gather; Gather from {0}; dim index
indexing; scatter scatter_ scatter_add scatter_add_ index_add index_add_ index_copy_ index_fill_; \
Scatter into {0}; dim index source
indexing; index_select; Select from {0}; dim index
indexing; masked_select; Select the elements of {0} where {1} holds;
indexing; take; Take from {0} the flat indices {1};
indexing; nonzero; Find the non-zero positions of {0};
sorting; sort; Sort {0}; dim descending
sorting; argsort; Take the sorting order of {0}; dim descending
sorting; topk; Take the largest elements of {0}; k dim
sorting; kthvalue; Take the k-th smallest of {0}; k dim
sorting; unique bincount histc; Count or list the distinct values of {0};
linear-algebra; inverse pinverse; Invert the matrix {0};
linear-algebra; det slogdet logdet; Take the determinant of {0};
linear-algebra; svd; Take the singular value decomposition of {0};
linear-algebra; qr cholesky eigh eig symeig solve matrix_exp; Decompose or solve the matrix {0};
linear-algebra; fft rfft fft2 rfft2 ifft irfft irfft2 ifft2 fftn rfftn stft istft; \
Apply a Fourier transform to {0};
linear-algebra; cross; Take the cross product of {0} and {1}; dim
loss; mse_loss; Take the squared-error loss of {0} and {1}; reduction
loss; l1_loss; Take the absolute-error loss of {0} and {1}; reduction
loss; smooth_l1_loss huber_loss; Take the smooth absolute-error loss of {0} and {1}; reduction
loss; cross_entropy; Take the cross-entropy loss of logits {0} and targets {1}; weight reduction
loss; nll_loss; Take the negative log-likelihood loss of {0} and {1}; weight reduction
loss; binary_cross_entropy; Take the binary cross-entropy of {0} and {1}; weight reduction
loss; binary_cross_entropy_with_logits; \
Take the binary cross-entropy of logits {0} and targets {1}; weight reduction
loss; kl_div; Take the Kullback-Leibler divergence of {0} and {1}; reduction
loss; cosine_embedding_loss triplet_margin_loss margin_ranking_loss hinge_embedding_loss; \
Take the margin loss of {0} and {1};
"""

# group; layers; what the layer is; names of its arguments
_LAYERS = """
shape; Flatten; flattening; start_dim end_dim
shape; Unflatten; unflattening; dim sizes
shape; Identity; identity;
shape; PixelShuffle; pixel shuffle; upscale_factor
shape; ReflectionPad1d ReflectionPad2d ReflectionPad3d; reflection padding; padding
shape; ReplicationPad1d ReplicationPad2d ReplicationPad3d; edge-replicating padding; padding
shape; ZeroPad1d ZeroPad2d ZeroPad3d; zero padding; padding
shape; ConstantPad1d ConstantPad2d ConstantPad3d; constant padding; padding value
shape; Unfold; sliding-window extraction; kernel_size dilation padding stride
shape; Fold; sliding-window combination; output_size kernel_size dilation padding stride
shape; ChannelShuffle; channel shuffle; groups
random; Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout; dropout; p
activation; ReLU; ReLU; inplace
activation; ReLU6; ReLU6; inplace
activation; LeakyReLU; leaky ReLU; negative_slope inplace
activation; PReLU; parametric ReLU; num_parameters init
activation; RReLU; randomised leaky ReLU; lower upper
activation; ELU; ELU; alpha inplace
activation; SELU; SELU; inplace
activation; CELU; CELU; alpha
activation; GELU; GELU; approximate
activation; SiLU; SiLU; inplace
activation; Mish; Mish; inplace
activation; Sigmoid; logistic sigmoid;
activation; LogSigmoid; log-sigmoid;
activation; Tanh; hyperbolic tangent;
activation; Softplus; softplus; beta threshold
activation; Softsign; softsign;
activation; Hardtanh; hard tanh; min_val max_val
activation; Hardsigmoid; hard sigmoid; inplace
activation; Hardswish; hard swish; inplace
activation; Hardshrink Softshrink Tanhshrink; shrinkage; lambd
activation; Threshold; threshold; threshold value
activation; GLU; gated linear unit; dim
normalisation; BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm; batch normalisation; \
num_features eps momentum affine track_running_stats
normalisation; LayerNorm; layer normalisation; normalized_shape eps elementwise_affine
normalisation; RMSNorm; root-mean-square normalisation; normalized_shape eps
normalisation; GroupNorm; group normalisation; num_groups num_channels eps affine
normalisation; InstanceNorm1d InstanceNorm2d InstanceNorm3d; instance normalisation; \
num_features eps momentum affine
normalisation; LocalResponseNorm; local response normalisation; size alpha beta k
normalisation; CrossMapLRN2d; local response normalisation; size alpha beta k
softmax; Softmax; softmax; dim
softmax; Softmax2d; softmax over channels;
softmax; LogSoftmax; log-softmax; dim
softmax; Softmin; softmin; dim
matmul; Linear; linear layer; in_features out_features bias
matmul; Bilinear; bilinear layer; in1_features in2_features out_features bias
convolution; Conv1d Conv2d Conv3d; convolution; \
in_channels out_channels kernel_size stride padding dilation groups bias padding_mode
convolution; ConvTranspose1d ConvTranspose2d ConvTranspose3d; transposed convolution; \
in_channels out_channels kernel_size stride padding output_padding groups bias dilation
pooling; MaxPool1d MaxPool2d MaxPool3d; max pooling; kernel_size stride padding dilation
pooling; AvgPool1d AvgPool2d AvgPool3d; average pooling; kernel_size stride padding
pooling; AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d; adaptive average pooling; \
output_size
pooling; AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d; adaptive max pooling; output_size
pooling; LPPool1d LPPool2d MaxUnpool2d FractionalMaxPool2d; pooling; norm_type kernel_size stride
resize; Upsample; resizing; size scale_factor mode align_corners
resize; UpsamplingNearest2d; nearest-neighbour resizing; size scale_factor
resize; UpsamplingBilinear2d; bilinear resizing; size scale_factor
attention; MultiheadAttention; multi-head attention; embed_dim num_heads dropout bias
recurrent; RNN; recurrent network; input_size hidden_size num_layers
recurrent; LSTM; long short-term memory network; input_size hidden_size num_layers
recurrent; GRU; gated recurrent network; input_size hidden_size num_layers
recurrent; RNNCell; recurrent cell; input_size hidden_size bias
recurrent; LSTMCell; long short-term memory cell; input_size hidden_size bias
recurrent; GRUCell; gated recurrent cell; input_size hidden_size bias
transformer; TransformerEncoderLayer TransformerDecoderLayer; transformer layer; \
d_model nhead dim_feedforward dropout
transformer; TransformerEncoder TransformerDecoder; stack of transformer layers; layer num_layers
transformer; Transformer; transformer; d_model nhead num_encoder_layers num_decoder_layers
embedding; Embedding; embedding table; num_embeddings embedding_dim padding_idx
embedding; EmbeddingBag; pooled embedding table; num_embeddings embedding_dim
reduction; CosineSimilarity; cosine similarity; dim eps
reduction; PairwiseDistance; pairwise distance; p eps keepdim
loss; MSELoss; squared-error loss; size_average reduce reduction
loss; L1Loss; absolute-error loss; size_average reduce reduction
loss; SmoothL1Loss HuberLoss; smooth absolute-error loss; size_average reduce reduction
loss; CrossEntropyLoss; cross-entropy loss; weight size_average ignore_index reduce reduction
loss; NLLLoss NLLLoss2d; negative log-likelihood loss; weight size_average ignore_index
loss; BCELoss; binary cross-entropy loss; weight size_average reduce reduction
loss; BCEWithLogitsLoss; binary cross-entropy loss on logits; weight size_average reduce reduction
loss; KLDivLoss; Kullback-Leibler divergence loss; size_average reduce reduction
loss; MarginRankingLoss; margin ranking loss; margin
loss; CosineEmbeddingLoss; cosine embedding loss; margin
loss; TripletMarginLoss; triplet margin loss; margin
loss; SoftMarginLoss MultiLabelSoftMarginLoss; soft margin loss;
"""


def function(name: str) -> Operation | None:
    """Return the function or tensor method of that last name, or None."""
    return _table(_FUNCTIONS).get(name)


def layer(name: str) -> Operation | None:
    """Return the `nn` layer of that last name, or None."""
    return _table(_LAYERS).get(name)


@cache
def argument_names() -> frozenset[str]:
    """Return the names of the arguments of all operations."""
    tables = (_table(_FUNCTIONS), _table(_LAYERS))
    return frozenset(n for table in tables for known in table.values() for n in known.parameters)


@cache
def _table(text: str) -> dict[str, Operation]:
    table: dict[str, Operation] = {}
    for line in text.strip().splitlines():
        group, names, sentence, parameters = line.split(";")
        known = next(g for g in GROUPS if g == group)
        operation = Operation(known, sentence.strip(), tuple(parameters.split()))
        table.update(dict.fromkeys(names.split(), operation))
    return table

"""Autograd's names of operations, by what their derivative does."""

# A slope of zero in places, or everywhere: of a draw, the derivative is written down as zeros.
FLAT = set(
    """
    Bernoulli Binomial BitwiseNot Cauchy Ceil Celu Clamp ClampMax ClampMin ClampTensor Elu Exponential Fix Floor
    Fmod Frac Geometric Hardshrink Hardsigmoid Hardswish Hardtanh HardtanhBackward Heaviside LeakyRelu Normal
    Poisson Random Relu Relu6 Remainder Round Rrelu Selu Sgn Sign Softshrink Threshold Trunc Uniform
    """.split()
)
# A slope that fades far from zero.
SATURATING = set(
    """
    Atan BinaryCrossEntropyWithLogits Celu Elu Erf Erfc Exp Exp2 Expm1 Gelu LogSigmoid LogSoftmax Logit Logsumexp
    Mish NllLoss Reciprocal Rsqrt SafeSoftmax ScaledDotProductAttentionMath Sigmoid Silu Softmax Softplus Softsign
    Tanh
    """.split()
)
# Some elements get a gradient, the others none.
SELECTING = set(
    """
    AdaptiveMaxPool2D Amax Amin Aminmax AsStrided CopySlices Cummax Cummin Diagonal Embedding EmbeddingBag Fmax
    Fmin FractionalMaxPool2D Gather Index IndexCopy IndexFill IndexPut IndexSelect Kthvalue MaskedFill
    MaskedScatter MaskedSelect Max MaxPool1D MaxPool2DWithIndices MaxPool3DWithIndices Maximum Median Min Minimum
    Mode Nanmedian Narrow Scatter Select SelectBackward Slice Sort Take Topk Tril Triu Where
    """.split()
)
# The derivative for one factor is the other.
PRODUCT = set(
    """
    Addbmm Addcmul Addmm Addmv Addr Baddbmm Bilinear Bmm Convolution Cumprod Div Dot ForeachMul FusedDropout Ger
    Lerp Mm Mul Mv NativeDropout Pow Prod Vdot
    """.split()
)
# They part, join, add or pass on.
SHAPING = set(
    """
    Abs Add Alias Cat Chunk Clone Expand Flatten Flip Mean Movedim Neg Permute Repeat Reshape Roll Rsub Select
    Slice Split SplitWithSizes Squeeze Squeeze0 Stack Sub Sum T ToCopy Transpose Unbind UnsafeSplit UnsafeView
    Unsqueeze View
    """.split()
)
# What they give sums to one.
SUM_TO_ONE = set(
    """
    SafeSoftmax Softmax
    """.split()
)

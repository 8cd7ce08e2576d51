"""Windows of signals, images and volumes, of torch.nn.functional: convolutions, pooling, and what changes sizes.

Each is written once for any number of dimensions, and made of operators of the table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch

from . import choosing
from .calls import UnsupportedError, called, chosen, composed, only_function, publish, values_of
from .choosing import where
from .places import add_at, scattered, zeros_with
from .shapes import pad

plain = torch.nn.functional


def for_each_count(function: Callable, name: str) -> None:
    """avg_pool1d, avg_pool2d and avg_pool3d: of a function whose first argument says how many dimensions."""
    for count in (1, 2, 3):
        composed(called(name.format(count), partial(function, count)))


def of_each(x, count: int) -> tuple:
    """One for each of so many dimensions: a number, also one that is alone in a list, counts for all."""
    x = (x,) if isinstance(x, int) else tuple(x)
    return x * count if len(x) == 1 else x


def batched(x, count: int):
    """(n, channels, *sizes), of what may have no n."""
    return x if x.ndim == count + 2 else x.unsqueeze(0)


def windows_of(x, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]):
    """(n, channels, *places, *kernel), of (n, channels, *sizes)."""
    count = len(kernel)
    index = []
    for dim, (size, k, s, d) in enumerate(zip(x.shape[2:], kernel, stride, dilation)):
        at = torch.arange((size - d * (k - 1) - 1) // s + 1).unsqueeze(1) * s + torch.arange(k) * d
        shape = [1] * (2 * count)
        shape[dim], shape[count + dim] = at.shape
        index.append(at.reshape(shape))
    return x[(slice(None), slice(None), *index)]


def around(padding, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """What is put before and behind each dimension, from the last on, as torch's pad takes it."""
    if padding == "same":
        missing = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple(part for each in reversed(missing) for part in (each // 2, each - each // 2))
    return tuple(part for each in reversed(of_each(padding, len(kernel))) for part in (each, each))


def check_images(x, weight, channels: int) -> None:
    """That it is ((n,) channels, *sizes), of as many sizes as the weights have, and so many channels."""
    count = weight.ndim - 2
    if x.ndim not in (count + 1, count + 2) or x.shape[-1 - count] != channels:
        wanted = ", ".join(["n", str(channels), *["size"] * count])
        raise UnsupportedError(
            f"weights of shape {tuple(weight.shape)} are for x of shape ({wanted}), got {tuple(x.shape)}."
        )


def convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation of ((n,) channels, *sizes), by windows."""
    out, channels, *kernel = weight.shape
    count = len(kernel)
    check_images(x, weight, channels * groups)
    stride, dilation = of_each(stride, count), of_each(dilation, count)
    images = batched(x, count)
    images = images if padding in (0, "valid") else pad(images, around(padding, kernel, dilation))
    windows = windows_of(images, kernel, stride, dilation)
    n, _, *rest = windows.shape
    places, size = math.prod(rest[:count]), math.prod(kernel)
    columns = windows.reshape(n, groups, channels, places, size).transpose(2, 3)
    rows = weight.reshape(groups, out // groups, channels * size)
    product = columns.reshape(n, groups, places, channels * size) @ rows.mT
    product = product.mT.reshape(n, out, *rest[:count])
    product = product if bias is None else product + bias.reshape(-1, *[1] * count)
    return product if x.ndim == count + 2 else product.squeeze(0)


def transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1):
    """The backward of a convolution by its images, as a forward."""
    channels, out, *kernel = weight.shape
    count = len(kernel)
    check_images(x, weight, channels)
    stride, padding, more, dilation = (of_each(each, count) for each in (stride, padding, output_padding, dilation))
    images = with_gaps(batched(x, count), stride)
    rims = [d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation)]
    images = pad(images, [side for rim, m in zip(reversed(rims), reversed(more)) for side in (rim, rim + m)])
    grouped = weight.reshape(groups, channels // groups, out, *kernel).transpose(1, 2)
    mirrored = grouped.reshape(groups * out, channels // groups, *kernel).flip(*range(2, 2 + count))
    product = convolution(images, mirrored, bias, 1, 0, dilation, groups)
    return product if x.ndim == count + 2 else product.squeeze(0)


def with_gaps(x, stride: Sequence[int]):
    """Zeros between the elements, which stand `stride` apart then."""
    sizes = tuple((size - 1) * s + 1 for size, s in zip(x.shape[2:], stride))
    index = (slice(None), slice(None), *[slice(None, None, s) for s in stride])
    return x if max(stride) == 1 else zeros_with(x, (*x.shape[:2], *sizes), index)


for _count in (1, 2, 3):
    publish(f"conv{_count}d", convolution)
    publish(f"conv_transpose{_count}d", transposed)


# --- sums of places, each with a weight --------------------------------------------------------------------------


def resampled(x, dim: int, change: Callable[[torch.Tensor], torch.Tensor]):
    """Along a dimension, what `change`, which is linear, makes of (1, channels, length). Only elements that have a
    weight are read: a NaN stays where it counts."""
    length = x.shape[dim]
    matrix = change(torch.eye(length, dtype=x.dtype, device=x.device).unsqueeze(0))[0].mT
    most = max(int((matrix != 0).sum(1).max()), 1)
    places = matrix.abs().topk(most, 1)[1]
    weights = matrix.gather(1, places)
    places = torch.where(weights == 0, places[:, :1], places)
    return (x.movedim(dim, -1)[..., places] * weights).sum(-1).movedim(-1, dim)


def avg_pool(
    count: int,
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
):
    kernel, padding = of_each(kernel_size, count), of_each(padding, count)
    stride = kernel if stride in (None, (), []) else of_each(stride, count)
    for dim, k, s, p in zip(range(-count, 0), kernel, stride, padding):

        def means(rows, k=k, s=s, p=p):
            found = plain.avg_pool1d(rows, k, s, p, ceil_mode, count_include_pad)
            return found if divisor_override is None else (found != 0).to(rows.dtype)

        x = resampled(x, dim, means)
    return x if divisor_override is None else x / divisor_override


def adaptive_avg_pool(count: int, x, output_size):
    """Means of output_size windows, which cover the image and may overlap."""
    for dim, out in zip(range(-count, 0), of_each(output_size, count)):
        x = x if out is None else resampled(x, dim, lambda rows, out=out: plain.adaptive_avg_pool1d(rows, out))
    return x


def lp_pool(count: int, x, norm_type, kernel_size, stride=None, ceil_mode: bool = False):
    means = avg_pool(count, x**norm_type, kernel_size, stride, 0, ceil_mode)
    sums = choosing.scaled(means.abs().relu(), means.sign().detach().value) * math.prod(of_each(kernel_size, count))
    return sums ** (1.0 / norm_type)


for_each_count(avg_pool, "avg_pool{}d")
for_each_count(adaptive_avg_pool, "adaptive_avg_pool{}d")
for_each_count(lp_pool, "lp_pool{}d")

MODES = ("nearest", "nearest-exact", "area", "linear", "bilinear", "trilinear", "bicubic")


@composed
def interpolate(
    x,
    size=None,
    scale_factor=None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
):
    """Another size, one dimension after the other."""
    chosen("mode", mode, MODES)
    count = x.ndim - 2
    as_image = antialias or mode == "bicubic"  # which torch has for images alone
    along = mode if as_image or not mode.endswith("linear") else "linear"
    for place in range(count):
        new, factor = (each if each is None else _of_place(each, place) for each in (size, scale_factor))
        if as_image:
            new, factor = new and (new, 1), factor and (factor, 1.0)

        def change(rows, new=new, factor=factor):
            rows = rows.unsqueeze(-1) if as_image else rows
            found = plain.interpolate(rows, new, factor, along, align_corners, recompute_scale_factor, antialias)
            return found.squeeze(-1) if as_image else found

        x = resampled(x, place - count, change)
    return x


def _of_place(each, place: int):
    return each[place] if isinstance(each, (tuple, list)) else each


@composed
def grid_sample(x, grid, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None):
    """The image (n, channels, *sizes) at the places (n, *new sizes, x and y from -1 to 1)."""
    chosen("mode", mode, ("bilinear", "nearest"))
    chosen("padding_mode", padding_mode, ("zeros", "border", "reflection"))
    n, channels, *sizes = x.shape
    count, reach = len(sizes), 0 if align_corners else 1
    at = [((grid[..., -1 - dim] + 1) * (size - 1 + reach) - reach) / 2 for dim, size in enumerate(sizes)]
    if padding_mode == "reflection":
        at = [reflected(each, -reach / 2, size - 1 + reach) for each, size in zip(at, sizes)]
    if padding_mode != "zeros":
        at = [each.clamp(0, size - 1) for each, size in zip(at, sizes)]
    nearest = [values_of(each).round() for each in at]
    if mode == "nearest":
        return taken_at(x, nearest)
    lowest = [values_of(each).floor() for each in at]
    total = None
    for corner in itertools.product((0, 1), repeat=count):
        places = [low + step for low, step in zip(lowest, corner)]
        weight = math.prod((1 - (each - place).abs() for each, place in zip(at[1:], places[1:])), start=1)
        weight = (1 - (at[0] - places[0]).abs()) * weight
        part = taken_at(x, places, weight)
        total = part if total is None else total + part
    return total


def reflected(at, start: float, span: int):
    """Places beyond an edge, mirrored at it as often as it takes."""
    if not span:
        return at * 0.0
    away = (at - start).abs()
    turns = (values_of(away) / span).floor()
    rest = away - turns * span
    return where(turns % 2 == 0, rest, span - rest) + start


def taken_at(x, places: list[torch.Tensor], weight=None):
    """(n, channels, *new sizes), of x at whole places; 0 beyond its edges."""
    n, channels, *sizes = x.shape
    inside = torch.stack([(at >= 0) & (at < size) for at, size in zip(places, sizes)]).all(0).unsqueeze(1)
    flat = torch.zeros_like(places[0])
    for at, size in zip(places, sizes):
        flat = flat * size + at.clamp(0, size - 1)
    index = flat.long().reshape(n, 1, -1).expand(n, channels, -1)
    found = x.flatten(2).gather(2, index).reshape(n, channels, *flat.shape[1:])
    return choosing.masked(found if weight is None else found * weight.unsqueeze(1), ~inside)


@composed
def affine_grid(theta, size: Sequence[int], align_corners: bool | None = None):
    """The places at which a map of (n, 2, 3) looks, for grid_sample."""
    n, count, _ = theta.shape
    plane = torch.eye(count, count + 1, dtype=theta.dtype, device=theta.device).expand(n, -1, -1)
    places = plain.affine_grid(plane, list(size), align_corners)
    places = torch.cat([places, torch.ones_like(places[..., :1])], -1).reshape(n, -1, count + 1)
    return (places @ theta.mT).reshape(n, *size[2:], count)


# --- the largest -------------------------------------------------------------------------------------------------


def taken_where(count: int, x, places: torch.Tensor, return_indices: bool):
    found = x.flatten(-count).gather(-1, places.flatten(-count)).reshape(places.shape)
    return (found, places) if return_indices else found


def max_pool(
    count: int, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices=False
):
    pool = getattr(plain, f"max_pool{count}d")
    _, places = pool(values_of(x), kernel_size, stride, padding, dilation, ceil_mode, True)
    return taken_where(count, x, places, return_indices)


def adaptive_max_pool(count: int, x, output_size, return_indices: bool = False):
    _, places = getattr(plain, f"adaptive_max_pool{count}d")(values_of(x), output_size, True)
    return taken_where(count, x, places, return_indices)


def with_indices(function: Callable) -> Callable:
    return lambda *args, **kwargs: function(*args, **{**kwargs, "return_indices": True})


for_each_count(max_pool, "max_pool{}d")
for_each_count(adaptive_max_pool, "adaptive_max_pool{}d")
for_each_count(with_indices(max_pool), "max_pool{}d_with_indices")
for_each_count(with_indices(adaptive_max_pool), "adaptive_max_pool{}d_with_indices")


def max_unpool(count: int, x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Each value at the place that max_pool took it from, zeros elsewhere."""
    kernel, padding = of_each(kernel_size, count), of_each(padding, count)
    stride = kernel if stride in (None, (), []) else of_each(stride, count)
    usual = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[-count:], stride, padding, kernel)]
    sizes = usual if output_size is None else list(output_size)[-count:]
    zeros = torch.zeros(*x.shape[:-count], math.prod(sizes), dtype=x.dtype, device=x.device)
    return scattered(zeros, -1, indices.flatten(-count), x.flatten(-count)).reshape(*x.shape[:-count], *sizes)


for_each_count(max_unpool, "max_unpool{}d")


# --- windows as columns, channels as places ----------------------------------------------------------------------


@only_function  # the method x.unfold is another
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """torch.nn.functional.unfold: the windows of images, a column each."""
    kernel, dilation = of_each(kernel_size, 2), of_each(dilation, 2)
    images = batched(x, 2)
    images = pad(images, around(padding, kernel, dilation)) if padding else images
    windows = windows_of(images, kernel, of_each(stride, 2), dilation)
    n, channels, high, wide, *_ = windows.shape
    columns = windows.permute(0, 1, 4, 5, 2, 3).reshape(n, channels * math.prod(kernel), high * wide)
    return columns if x.ndim == 4 else columns.squeeze(0)


@composed
def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns put back as windows, and added up where they overlap."""
    kernel, dilation, rim = of_each(kernel_size, 2), of_each(dilation, 2), of_each(padding, 2)
    high, wide = (size + 2 * p for size, p in zip(of_each(output_size, 2), rim))
    numbered = torch.arange(high * wide).reshape(1, 1, high, wide)
    places = windows_of(numbered, kernel, of_each(stride, 2), dilation).permute(0, 1, 4, 5, 2, 3).reshape(1, 1, -1)
    columns = x if x.ndim == 3 else x.unsqueeze(0)
    n, channels = columns.shape[0], columns.shape[1] // math.prod(kernel)
    parts = columns.reshape(n, channels, -1)
    sums = add_at(parts, (n, channels, high * wide), 2, places.expand(n, channels, -1).to(x.device))
    image = pad(sums.reshape(n, channels, high, wide), [-p for p in (rim[1], rim[1], rim[0], rim[0])])
    return image if x.ndim == 3 else image.squeeze(0)


@composed
def pixel_shuffle(x, upscale_factor: int):
    r, (*batch, channels, high, wide) = upscale_factor, x.shape
    parts = x.reshape(*batch, channels // r**2, r, r, high, wide).movedim((-4, -3), (-3, -1))
    return parts.reshape(*batch, channels // r**2, high * r, wide * r)


@composed
def pixel_unshuffle(x, downscale_factor: int):
    r, (*batch, channels, high, wide) = downscale_factor, x.shape
    parts = x.reshape(*batch, channels, high // r, r, wide // r, r).movedim((-3, -1), (-4, -3))
    return parts.reshape(*batch, channels * r**2, high // r, wide // r)


@composed
def channel_shuffle(x, groups: int):
    n, channels, *sizes = x.shape
    return x.reshape(n, groups, channels // groups, *sizes).transpose(1, 2).reshape(n, channels, *sizes)


@composed
def local_response_norm(x, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
    """Divided by what its neighbours among the channels amount to."""
    if x.ndim < 3:
        raise UnsupportedError("local_response_norm: of at least three dimensions, (n, channels, …).")
    squares = pad(x.square().movedim(1, -1), (size // 2, (size - 1) // 2))
    means = squares.unfold(-1, size, 1).mean(-1).movedim(-1, 1)
    return x / (means * alpha + k) ** beta

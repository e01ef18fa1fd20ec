"""A generator for JavaScript: BatchNorm folded into the layer before it, weights in 16 bits, decoded by decoder.js."""

import base64
import copy
import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from helpers.inversion import require_evaluation_mode, weights_or

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
AGREE = 1e-3  # of pixels, between the generator and its folded layers


def folded(generator: nn.Module, codes: Tensor) -> nn.Sequential:
    """The layers of a generator in evaluation mode, on the CPU, with each BatchNorm folded into the layer before it.

    Raises ValueError for a generator in training mode, and where the sequence decodes the codes (N, d) to other images.
    """
    require_evaluation_mode(generator)
    layers = [copy.deepcopy(layer).cpu() for layer in generator.modules() if not list(layer.children())]
    kept = []
    for before, layer in pairwise([None, *layers]):
        if isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            kept[-1] = fuse_linear_bn_eval(before, layer)
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.ConvTranspose2d):
            kept[-1] = fuse_conv_bn_eval(before, layer, transpose=True)
        else:
            kept.append(layer)
    sequence = nn.Sequential(*kept).requires_grad_(False)
    require_agreement(sequence, generator, codes)
    return sequence


@torch.no_grad()
def require_agreement(sequence: nn.Sequential, generator: nn.Module, codes: Tensor) -> None:
    """Raise ValueError unless both decode codes (N, d) to the same images."""
    expected = generator(codes.to(weights_or(generator, codes))).cpu()
    try:
        images = sequence(codes.to(expected))
    except RuntimeError as error:
        raise ValueError(f"the page cannot decode a generator that is no sequence of layers: {error}") from error
    if images.shape != expected.shape or not torch.allclose(images, expected, atol=AGREE):
        raise ValueError("the page cannot decode a generator that is no sequence of layers.")


def layers_of(sequence: nn.Sequential) -> list[dict]:
    """What decoder.js needs to know of each layer, with its weights. Raises ValueError for a layer that it lacks."""
    described, side = [], 1
    for layer in sequence:
        if isinstance(layer, nn.Linear):
            facts = {"kind": "linear", "inputs": layer.in_features, "outputs": layer.out_features}
            described.append(facts | weights(layer, layer.out_features))
        elif isinstance(layer, nn.ConvTranspose2d):
            facts = {"kind": "transposed", "side": side} | convolution(layer)
            described.append(facts | weights(layer, layer.out_channels))
            side = (side - 1) * layer.stride[0] - 2 * layer.padding[0] + layer.kernel_size[0]
        elif isinstance(layer, nn.LeakyReLU):
            described.append({"kind": "leaky", "slope": layer.negative_slope})
        elif isinstance(layer, nn.Tanh):
            described.append({"kind": "tanh"})
        elif isinstance(layer, nn.Unflatten):
            side = layer.unflattened_size[-1]
        else:
            raise ValueError(f"the page cannot decode a generator with the layer {layer}.")
    return described


def weights(layer: nn.Linear | nn.ConvTranspose2d, outputs: int) -> dict[str, dict]:
    """Weight and bias of a layer, a bias of zeros where it has none."""
    bias = layer.weight.new_zeros(outputs) if layer.bias is None else layer.bias
    return {"weight": short(layer.weight), "bias": short(bias)}


def convolution(layer: nn.ConvTranspose2d) -> dict[str, int]:
    """The numbers of a transposed convolution that is the same in both directions; ValueError for any other."""
    size, stride, padding = layer.kernel_size, layer.stride, layer.padding
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.output_padding == (0, 0)
    if not plain or any(across != down for across, down in (size, stride, padding)):
        raise ValueError(f"the page cannot decode a generator with the layer {layer}.")
    facts = {"inputs": layer.in_channels, "outputs": layer.out_channels}
    return facts | {"size": size[0], "stride": stride[0], "padding": padding[0]}


def short(numbers: Tensor) -> dict:
    """Numbers of any shape as 16-bit integers (little-endian, in base64) times one scale.

    With the scale of each layer they are three times as accurate as half floats, which are as long. Raises ValueError
    for numbers that are not finite.
    """
    values = numbers.detach().cpu().double()
    largest = values.abs().max().item()
    if not math.isfinite(largest):
        raise ValueError("numbers in the page must be finite.")
    scale = max(largest, 1e-30) / 32767
    integers = (values / scale).round().to(torch.int16).numpy().astype("<i2")
    return {"scale": scale, "integers": base64.b64encode(integers.tobytes()).decode()}


def bytes_of(images: Tensor) -> bytes:
    """Pixels in [−1, 1] as bytes from 0, which is −1, to 255."""
    return ((images.detach().cpu().double().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()


class Weights:
    """A generator as the page holds it: `element`, of HTML, which figures find by `name`, a hash of what is in it.

    codes: some (N, d), on which both must agree. Raises ValueError for a generator that decoder.js cannot decode.
    """

    def __init__(self, generator: nn.Module, codes: Tensor):
        content = json.dumps(layers_of(folded(generator, codes)))
        self.name = hashlib.sha256(content.encode()).hexdigest()[:12]
        self.element = f'<script type="application/json" data-generator="{self.name}">{content}</script>'

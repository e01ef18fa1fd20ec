// A generator in plain JavaScript: codes to images, by the layers and weights that decoder.py writes into the page.

// The bytes of base64; the numbers of decoder.short, integers of 16 bits times a scale.
function bytes(text) {
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let k = 0; k < found.length; k++) found[k] = letters.charCodeAt(k);
  return found;
}

function numbers({scale, integers}) {
  return new Float32Array(new Int16Array(bytes(integers).buffer)).map(integer => scale * integer);
}

// weight (outputs, inputs)
function linear(x, {inputs, outputs, weight, bias}) {
  const y = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias[o];
    for (let i = 0, w = o * inputs; i < inputs; i++, w++) sum += weight[w] * x[i];
    y[o] = sum;
  }
  return y;
}

function leaky(x, {slope}) {
  return x.map(value => value < 0 ? slope * value : value);
}

function tanh(x) {
  return x.map(Math.tanh);
}

// x (inputs, side, side), weight (inputs, outputs, size, size): each pixel of x adds a multiple of the kernel to y.
function transposed(x, {inputs, outputs, side, size, stride, padding, weight, bias}) {
  const wide = (side - 1) * stride - 2 * padding + size, area = wide * wide, y = new Float32Array(outputs * area);
  for (let o = 0; o < outputs; o++) y.fill(bias[o], o * area, (o + 1) * area);
  for (let row = 0; row < side; row++) {
    const top = row * stride - padding, first = Math.max(0, -top), last = Math.min(size, wide - top);
    for (let column = 0; column < side; column++) {
      const left = column * stride - padding, begin = Math.max(0, -left), end = Math.min(size, wide - left);
      for (let i = 0; i < inputs; i++) {
        const value = x[(i * side + row) * side + column];
        for (let o = 0; o < outputs; o++) {
          const kernel = (i * outputs + o) * size * size, corner = o * area + top * wide + left;
          for (let down = first; down < last; down++) {
            const w = kernel + down * size, place = corner + down * wide;
            for (let right = begin; right < end; right++) y[place + right] += value * weight[w + right];
          }
        }
      }
    }
  }
  return y;
}

const LAYERS = {linear, leaky, tanh, transposed};

// A function from a code to the pixels of its image in [−1, 1]; the weights of this name stand somewhere in the page.
function generator(name) {
  const element = document.querySelector(`script[data-generator="${name}"]`);
  element.layers ??= JSON.parse(element.textContent).map(layer => {
    return layer.weight ? {...layer, weight: numbers(layer.weight), bias: numbers(layer.bias)} : layer;
  });
  return code => element.layers.reduce((x, layer) => LAYERS[layer.kind](x, layer), Float32Array.from(code));
}

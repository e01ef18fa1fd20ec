// A generator in plain JavaScript: codes to images, by the layers and weights that decoder.py writes into the page.

// The bytes of base64; the numbers of decoder.short, integers of 16 bits times a scale.
function bytes(text) {
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let k = 0; k < found.length; k++) found[k] = letters.charCodeAt(k);
  return found;
}

function numbers({scale, integers}) {
  return Float32Array.from(new Int16Array(bytes(integers).buffer), integer => scale * integer);
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
  for (let i = 0, pixel = 0; i < inputs; i++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++, pixel++) {
        const top = row * stride - padding, left = column * stride - padding, value = x[pixel];
        for (let o = 0; o < outputs; o++) {
          const kernel = (i * outputs + o) * size * size, corner = o * area + top * wide + left;
          for (let down = Math.max(0, -top); down < Math.min(size, wide - top); down++) {
            for (let right = Math.max(0, -left); right < Math.min(size, wide - left); right++) {
              y[corner + down * wide + right] += value * weight[kernel + down * size + right];
            }
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

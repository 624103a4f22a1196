/* v5's network, layer by layer, one frame at a time.

A signal in the network is a matrix of F rows (positions in frequency) and C columns (channels), kept
row behind row in one typed array. A layer is made once for a number of rows, owns the array that it
answers with, and overwrites it at the next frame. The numbers are 64-bit: processors multiply those
as fast as 32-bit ones here, and nothing has to be converted on the way.

The counterparts in Python are nn/ (the layers) and models/causal.py (how they are put together). */

export const POSITIONS = 64, FEATURES = 12, OUTPUTS = 8;

/* y_r = b + W x_r for every row r: what linear layers, convolutions and recurrences have in common.

Row r of x begins at r * stride and is `width` long; W has rows of the same length. Four rows of x
and two of W are taken at a time, so that each number that is fetched is used more than once. */
function product(x, stride, width, weight, bias, rows, y) {
  const outputs = weight.length / width;
  for (let r = 0; r < rows; r += 4) {
    for (let o = 0; o < outputs; o += 2) {
      let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
      let xa = r * stride, xb = xa + stride, xc = xb + stride, xd = xc + stride;
      let v = o * width, w = v + width;
      for (const end = w; v < end; v++, w++, xa++, xb++, xc++, xd++) {
        const w0 = weight[v], w1 = weight[w];
        const a = x[xa], b = x[xb], c = x[xc], d = x[xd];
        a0 += w0 * a; a1 += w1 * a;
        b0 += w0 * b; b1 += w1 * b;
        c0 += w0 * c; c1 += w1 * c;
        d0 += w0 * d; d1 += w1 * d;
      }
      const first = bias ? bias[o] : 0, second = bias ? bias[o + 1] : 0;
      let at = r * outputs + o;
      y[at] = a0 + first; y[at + 1] = a1 + second; at += outputs;
      y[at] = b0 + first; y[at + 1] = b1 + second; at += outputs;
      y[at] = c0 + first; y[at + 1] = c1 + second; at += outputs;
      y[at] = d0 + first; y[at + 1] = d1 + second;
    }
  }
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/* Every layer has `rows` and `channels`, the shape of what `forward` answers. */

class Linear {
  constructor({ weight, bias }, rows) {
    this.weight = weight.values;
    this.bias = bias?.values;
    [this.channels, this.inputs] = weight.shape;
    this.rows = rows;
    this.output = new Float64Array(rows * this.channels);
  }

  forward(x) {
    product(x, this.inputs, this.inputs, this.weight, this.bias, this.rows, this.output);
    return this.output;
  }
}

/* y_f = b + sum over k of W_k x_(f + k - P), with P = (K - 1) / 2 rows of zeros at both ends.

A row and its neighbours lie behind each other in memory, so they are one long row of K C numbers,
and the convolution is a linear layer whose rows overlap. */
class FrequencyConv {
  constructor({ weight, bias }, rows) {
    const [outputs, inputs, kernel] = weight.shape;
    this.weight = new Float64Array(weight.values.length); // (C', C, K) -> (C', K, C)
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < inputs; c++) {
        for (let k = 0; k < kernel; k++) {
          this.weight[(o * kernel + k) * inputs + c] = weight.values[(o * inputs + c) * kernel + k];
        }
      }
    }
    this.bias = bias?.values;
    [this.rows, this.channels, this.inputs, this.kernel] = [rows, outputs, inputs, kernel];
    this.padded = new Float64Array((rows + kernel - 1) * inputs);
    this.output = new Float64Array(rows * outputs);
  }

  forward(x) {
    const { padded, inputs, kernel } = this;
    padded.set(x, ((kernel - 1) / 2) * inputs);
    product(padded, inputs, kernel * inputs, this.weight, this.bias, this.rows, this.output);
    return this.output;
  }
}

/* y = x sigmoid(x), in place. */
class SiLU {
  constructor(_, rows, channels) {
    [this.rows, this.channels] = [rows, channels];
  }

  forward(x) {
    for (let i = 0; i < x.length; i++) x[i] *= sigmoid(x[i]);
    return x;
  }
}

/* A gated recurrent unit: the network's memory, `state`, goes from frame to frame.

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        the reset gate
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        the update gate
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))       the candidate
    h' = (1 - z) n + z h */
class GRU {
  constructor(weights, rows) {
    this.fromInput = new Linear({ weight: weights.weight_ih_l0, bias: weights.bias_ih_l0 }, rows);
    this.fromState = new Linear({ weight: weights.weight_hh_l0, bias: weights.bias_hh_l0 }, rows);
    this.rows = rows;
    this.channels = this.fromState.inputs;
    this.state = new Float64Array(rows * this.channels);
  }

  forward(x) {
    const { rows, channels, state } = this;
    const input = this.fromInput.forward(x), before = this.fromState.forward(state);
    for (let row = 0; row < rows; row++) {
      for (let c = 0; c < channels; c++) {
        const r = row * 3 * channels + c, z = r + channels, n = z + channels;
        const reset = sigmoid(input[r] + before[r]), update = sigmoid(input[z] + before[z]);
        const candidate = Math.tanh(input[n] + reset * before[n]);
        const h = row * channels + c;
        state[h] = candidate + update * (state[h] - candidate);
      }
    }
    return state;
  }
}

/* y_g = sum over f of W_gf x_f: fine positions become coarse bands, or bands positions again. */
class BandMatrix {
  constructor({ weight }, _, channels) {
    this.weight = weight.values;
    [this.rows, this.inputs] = weight.shape;
    this.channels = channels;
    this.output = new Float64Array(this.rows * channels);
  }

  forward(x) {
    const { weight, rows, inputs, channels, output } = this;
    output.fill(0);
    for (let g = 0; g < rows; g++) {
      for (let f = 0; f < inputs; f++) {
        const w = weight[g * inputs + f];
        for (let c = 0; c < channels; c++) output[g * channels + c] += w * x[f * channels + c];
      }
    }
    return output;
  }
}

/* y_gc = sum over f of W_cgf x_fc: every channel has a matrix of its own. */
class ChannelBandMatrix {
  constructor({ weight }) {
    this.weight = weight.values;
    [this.channels, this.rows, this.inputs] = weight.shape;
    this.output = new Float64Array(this.rows * this.channels);
  }

  forward(x) {
    const { weight, rows, inputs, channels, output } = this;
    for (let c = 0; c < channels; c++) {
      for (let g = 0; g < rows; g++) {
        const start = (c * rows + g) * inputs;
        let sum = 0;
        for (let f = 0; f < inputs; f++) sum += weight[start + f] * x[f * channels + c];
        output[g * channels + c] = sum;
      }
    }
    return output;
  }
}

/* m tanh(r) / r for pairs m = (Re, Im) of modulus r: a gain of 1 at most. In place. */
class RadialTanh {
  constructor(_, rows, channels) {
    [this.rows, this.channels] = [rows, channels];
  }

  forward(x) {
    for (let i = 0; i < x.length; i += 2) {
      const r = Math.max(Math.hypot(x[i], x[i + 1]), 1e-6);
      const share = Math.tanh(r) / r;
      x[i] *= share;
      x[i + 1] *= share;
    }
    return x;
  }
}

/* Layers one behind the other; they are called "0", "1", ... */
class Sequential {
  constructor(members, rows, channels) {
    this.layers = [];
    for (let i = 0; members[i]; i++) {
      const layer = build(members[i], rows, channels);
      this.layers.push(layer);
      ({ rows, channels } = layer);
    }
    [this.rows, this.channels] = [rows, channels];
  }

  forward(x) {
    for (const layer of this.layers) x = layer.forward(x);
    return x;
  }
}

/* y = x + inner(x) */
class Residual {
  constructor({ inner }, rows, channels) {
    this.inner = build(inner, rows, channels);
    [this.rows, this.channels] = [rows, channels];
    this.output = new Float64Array(rows * channels);
  }

  forward(x) {
    const change = this.inner.forward(x);
    for (let i = 0; i < x.length; i++) this.output[i] = x[i] + change[i];
    return this.output;
  }
}

/* decode(concat(skip, inner(skip))) with skip = encode(x): one level of a U-Net. */
class UNetLevel {
  constructor({ encode, inner, decode }, rows, channels) {
    this.encode = build(encode, rows, channels);
    const wide = this.encode.channels;
    this.inner = build(inner, rows, wide);
    this.joined = new Float64Array(rows * 2 * wide);
    this.decode = build(decode, rows, 2 * wide);
    [this.rows, this.channels] = [rows, this.decode.channels];
  }

  forward(x) {
    const { joined, rows } = this, wide = this.encode.channels;
    const skip = this.encode.forward(x), up = this.inner.forward(skip);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < wide; c++) {
        joined[r * 2 * wide + c] = skip[r * wide + c];
        joined[r * 2 * wide + wide + c] = up[r * wide + c];
      }
    }
    return this.decode.forward(joined);
  }
}

const KINDS = {
  Linear, FrequencyConv, SiLU, GRU, BandMatrix, ChannelBandMatrix, RadialTanh,
  Sequential, Residual, UNetLevel,
};

function build(description, rows, channels) {
  return new KINDS[description.kind](description, rows, channels);
}

/* A network with a memory of its own: features (64 x 12) -> mask (64 x 8), valid until the next. */
export function network(weights) {
  return build(weights.network, POSITIONS, FEATURES);
}

/* Reads a weights file: a length, a JSON text of that length, 16-bit floats. Every list of numbers in
the text is the shape of an array; its values are the next ones. */
export function readWeights(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const halves = new DataView(buffer, 4 + length);
  let next = 0;
  const fill = (layer) => {
    for (const [name, member] of Object.entries(layer)) {
      if (Array.isArray(member)) {
        const values = new Float64Array(member.reduce((a, b) => a * b));
        for (let i = 0; i < values.length; i++) values[i] = half(halves.getUint16(2 * next++, true));
        layer[name] = { shape: member, values };
      } else if (typeof member === "object") {
        fill(member);
      }
    }
  };
  fill(header.network);
  return header;
}

/* A 16-bit float: one bit of sign, five of exponent, ten of fraction. */
function half(bits) {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/* One channel of sound, cleaned by v5 as it comes; the counterpart of cleaning/causal.py.

Windows of 32 ms overlap by half, so bins are 31.25 Hz apart at every sample rate. The network hears
the lowest 256 of them, four to a position; the bins above get the mean gain of the top of that band.

    Xc = X max(|X|, 1e-5)^-0.7        moduli to the power 0.3
    Xc 1.4 / m                        what the network hears: m is how loud it has been lately
    Y = X M |M|^2                     its mask M as a gain */

import { RealTransform } from "./fft.js";
import { network, FEATURES, POSITIONS } from "./network.js";

export const LOWEST_RATE = 2000, HIGHEST_RATE = 192000;
const HOP_SECONDS = 0.016;
const BINS = 256, TOP = 16;
const FLOOR = 1e-5, POWER = 0.3;
const LEVEL = 1.4, FADING = 1 - HOP_SECONDS / 1.5, SILENCE = 0.16, FIRST = 1e-4;

export class Stream {
  /* `watch(re, im, gainRe, gainIm)`, if given, is called with every spectrum and its gains. */
  constructor(weights, rate, watch) {
    if (!(rate >= LOWEST_RATE && rate <= HIGHEST_RATE)) throw new RangeError("rate");
    const hop = Math.round(rate * HOP_SECONDS), bins = hop + 1;
    [this.hop, this.bins, this.watch] = [hop, bins, watch];
    this.network = network(weights);
    this.transform = new RealTransform(2 * hop);
    // Hann windows, and their duals: with those, overlapping frames add up to what went in.
    this.window = new Float64Array(2 * hop);
    this.dual = new Float64Array(2 * hop);
    const hann = (n) => Math.sin((Math.PI * n) / (2 * hop)) ** 2, scale = 512 / (2 * hop);
    for (let n = 0; n < 2 * hop; n++) {
      this.window[n] = hann(n) * scale;
      this.dual[n] = hann(n) / (hann(n) ** 2 + hann(n + hop) ** 2) / scale;
    }
    this.block = new Float64Array(2 * hop); // the last hop and the one that is filled now
    this.filled = 0; // samples of the latter
    this.tail = new Float64Array(hop); // the half-finished hop of output
    this.frame = new Float64Array(2 * hop);
    this.features = new Float64Array(POSITIONS * FEATURES);
    [this.re, this.im] = [new Float64Array(bins), new Float64Array(bins)];
    [this.gainRe, this.gainIm] = [new Float64Array(bins), new Float64Array(bins)];
    [this.total, this.weight] = [0, 0]; // of loudness, and of how much each frame counts
    this.early = hop; // samples of the silence in front, still to be dropped
    this.taken = 0;
  }

  /* Takes samples and returns those that are finished: one to two hops fewer, in all. */
  push(samples) {
    const { hop, block } = this;
    const whole = Math.floor((this.filled + samples.length) / hop) * hop;
    const out = new Float32Array(whole);
    let made = 0;
    for (let at = 0; at < samples.length; ) {
      const count = Math.min(hop - this.filled, samples.length - at);
      block.set(samples.subarray(at, at + count), hop + this.filled);
      this.filled += count;
      at += count;
      if (this.filled === hop) {
        this.step(out.subarray(made, made + hop));
        block.copyWithin(0, hop);
        this.filled = 0;
        made += hop;
      }
    }
    this.taken += samples.length;
    const dropped = Math.min(this.early, whole);
    this.early -= dropped;
    return out.subarray(dropped);
  }

  /* What is still held; the end of the signal. */
  flush() {
    const { hop, taken } = this;
    const held = taken - Math.max(0, Math.floor(taken / hop) - 1) * hop;
    return this.push(new Float32Array(2 * hop - this.filled)).subarray(0, held);
  }

  /* Two hops of input -> one hop of output. */
  step(out) {
    const { hop, block, frame, window, dual, tail, re, im, gainRe, gainIm } = this;
    for (let n = 0; n < 2 * hop; n++) frame[n] = block[n] * window[n];
    this.transform.forward(frame, re, im);
    this.gains();
    this.watch?.(re, im, gainRe, gainIm);
    for (let k = 0; k <= hop; k++) {
      const x = re[k] * gainRe[k] - im[k] * gainIm[k];
      im[k] = re[k] * gainIm[k] + im[k] * gainRe[k];
      re[k] = x;
    }
    this.transform.inverse(re, im, frame);
    for (let n = 0; n < hop; n++) {
      out[n] = tail[n] + frame[n] * dual[n];
      tail[n] = frame[hop + n] * dual[hop + n];
    }
  }

  /* The gains for the spectrum at hand. */
  gains() {
    const { re, im, gainRe, gainIm, features, bins } = this;
    const band = Math.min(BINS, bins - 1), evening = this.evening(band);
    for (let k = 0; k < band; k++) {
      const modulus = Math.hypot(re[k], im[k]);
      const compression = Math.max(modulus, FLOOR) ** (POWER - 1) * evening;
      features[3 * k] = re[k] * compression;
      features[3 * k + 1] = im[k] * compression;
      features[3 * k + 2] = modulus * compression;
    }
    const mask = this.network.forward(features);
    let top = 0;
    for (let k = 0; k < band; k++) {
      const modulus = Math.hypot(mask[2 * k], mask[2 * k + 1]);
      const square = modulus * modulus;
      gainRe[k] = mask[2 * k] * square;
      gainIm[k] = mask[2 * k + 1] * square;
      if (k >= band - TOP) top += (modulus * square) / TOP;
    }
    gainRe.fill(top, band);
    gainIm.fill(0, band);
  }

  /* 1.4 / m for the spectrum at hand. */
  evening(band) {
    const { re, im } = this;
    let energy = 0;
    for (let k = 0; k < band; k++) energy += re[k] * re[k] + im[k] * im[k];
    const loudness = energy ** (POWER / 2), heard = loudness > SILENCE;
    this.total = FADING * this.total + (heard ? loudness : 0);
    this.weight = FADING * this.weight + (heard ? 1 : 0);
    return (LEVEL * (this.weight + FIRST)) / (this.total + FIRST * SILENCE);
  }
}

/* The thread that computes, so that the page stays at hand: a whole recording, or live sound. */

import { products } from "./loudness.js";
import { readWeights } from "./network.js";
import { ROWS } from "./picture.js";
import { Stream } from "./stream.js";

const COLUMNS = 1200; // of the spectrograms, at most
const BINS = 256;

const weights = fetch(new URL("weights.bin", import.meta.url))
  .then((response) => (response.ok ? response.arrayBuffer() : Promise.reject(response.status)))
  .then(readWeights);

onmessage = async ({ data }) => {
  try {
    const read = await weights;
    if (data.port) live(read, data);
    else clean(read, data);
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};

/* { channels, rate } -> messages { progress } from 0 to 1, and in the end
{ clean, pictures: { columns, before, after }, products }. */
function clean(read, { channels, rate }) {
  const length = channels[0].length, frames = Math.ceil(length / (rate * 0.016)) + 1;
  const columns = Math.min(COLUMNS, frames);
  const before = new Float32Array(columns * ROWS), after = new Float32Array(columns * ROWS);
  const cleaned = channels.map((samples, c) => {
    const twin = channels.findIndex((other) => same(other, samples));
    if (twin < c) return null; // what lies in another channel too is computed once
    let frame = 0;
    const stream = new Stream(read, rate, (re, im, gainRe, gainIm) => {
      const column = Math.min(columns - 1, Math.floor((frame++ * columns) / frames));
      for (let k = 0; k < Math.min(BINS, re.length); k++) {
        const at = column * ROWS + (k >> 1);
        const power = re[k] * re[k] + im[k] * im[k];
        const gain = gainRe[k] * gainRe[k] + gainIm[k] * gainIm[k];
        before[at] = Math.max(before[at], power);
        after[at] = Math.max(after[at], power * gain);
      }
    });
    const out = new Float32Array(length);
    let made = 0;
    const keep = (part) => {
      out.set(part, made);
      made += part.length;
    };
    for (let at = 0; at < length; at += rate) {
      keep(stream.push(samples.subarray(at, at + rate)));
      postMessage({ progress: (c + Math.min(1, (at + rate) / length)) / channels.length });
    }
    keep(stream.flush());
    return out;
  });
  channels.forEach((samples, c) => {
    cleaned[c] ??= cleaned[channels.findIndex((other) => same(other, samples))].slice();
  });
  postMessage(
    { clean: cleaned, pictures: { columns, before, after }, products: products(channels, cleaned, rate) },
    cleaned.map((samples) => samples.buffer),
  );
}

function same(a, b) {
  return a === b || (a.length === b.length && a.every((value, i) => value === b[i]));
}

/* Blocks of samples come through the port and go back cleaned; the page hears of both levels. */
function live(read, { port, rate }) {
  const stream = new Stream(read, rate);
  const level = (samples) => Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
  port.onmessage = ({ data }) => {
    const cleaned = stream.push(data);
    if (cleaned.length) port.postMessage(cleaned);
    postMessage({ heard: data, levels: [level(data), cleaned.length ? level(cleaned) : 0] });
  };
  postMessage({ ready: true });
}

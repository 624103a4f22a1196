/* Sound files: any that the browser decodes become samples, and samples become a WAV file.

A browser resamples what it decodes to a rate that it is told, so the file's own rate is read from
its header first. WAV is read here, so that every bit of it counts. */

// Samples of all channels, and seconds: 20 minutes of stereo at 48 kHz, an hour of mono at 16 kHz.
export const most = { numbers: 120e6, seconds: 3600 };

/* What went wrong, as a name in words.js. */
export class Unreadable extends Error {}

/* File -> { rate, channels: [Float32Array], bits }, `bits` being what its WAV form has.

How long it is, is read from its header, before anything else of it. */
export async function readSound(file) {
  if (file.size === 0) throw new Unreadable("empty");
  const sound = (await readWav(file)) ?? (await decode(file));
  if (!sound.channels[0]?.length) throw new Unreadable("empty");
  return sound;
}

function refuseTooLong(numbers, seconds) {
  if (numbers > most.numbers || seconds > most.seconds) throw new Unreadable("tooLong");
}

/* How long the browser says that it plays; 0 where it does not know. */
function seconds(file) {
  return new Promise((resolve) => {
    const player = new Audio(), address = URL.createObjectURL(file);
    const done = (length) => {
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(length) ? length : 0);
    };
    player.preload = "metadata";
    player.onloadedmetadata = () => done(player.duration);
    player.onerror = () => done(0);
    player.src = address;
  });
}

async function decode(file) {
  const length = await seconds(file); // where the browser does not know, the size has to do
  refuseTooLong(length ? 96000 * length : file.size / 8, length);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const rate = rateOf(bytes);
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.buffer);
  } catch {
    throw new Unreadable("notDecoded");
  }
  const count = buffer.numberOfChannels;
  refuseTooLong(count * buffer.length, buffer.duration);
  const channels = Array.from({ length: count }, (_, c) => buffer.getChannelData(c));
  return { rate, channels, bits: 16 };
}

/* Samples a second, by the header of FLAC, Ogg, MP3 or MP4; 48000 where it is none of those. */
export function rateOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let rate = 0;
  if (text(bytes, 0, 4) === "fLaC") {
    rate = view.getUint32(18) >> 12;
  } else if (text(bytes, 0, 4) === "OggS") {
    const at = find(bytes, "\x01vorbis", 200);
    rate = at < 0 ? 0 : view.getUint32(at + 12, true); // Opus always comes at 48000
  } else if (text(bytes, 4, 4) === "ftyp") {
    const at = find(bytes, "mp4a", bytes.length);
    rate = at < 0 || at + 30 > bytes.length ? 0 : view.getUint16(at + 28);
  } else {
    let at = 0;
    if (text(bytes, 0, 3) === "ID3") { // its size comes in sevens of bits
      at = 10 + [6, 7, 8, 9].reduce((size, i) => size * 128 + (bytes[i] & 127), 0);
    }
    const version = (bytes[at + 1] >> 3) & 3, index = (bytes[at + 2] >> 2) & 3;
    if (bytes[at] === 255 && bytes[at + 1] >= 224 && version !== 1 && index < 3) {
      rate = [44100, 48000, 32000][index] / [4, 0, 2, 1][version];
    }
  }
  return rate >= 3000 && rate <= 192000 ? rate : 48000;
}

/* null where it is no WAV, or of a kind that the browser may know better. */
async function readWav(file) {
  // With zeros behind it, so that a file that is cut off can be read to its end.
  const part = async (from, to) =>
    new DataView(await new Blob([file.slice(from, to), new Uint8Array(48)]).arrayBuffer());
  const name = (view, at) => text(new Uint8Array(view.buffer), at, 4);
  const head = await part(0, 12);
  if (!/^RIFF|^RF64/.test(name(head, 0)) || name(head, 8) !== "WAVE") return null;
  let format, count, rate, bits;
  for (let at = 12; at + 8 <= file.size; ) {
    const chunk = await part(at, at + 48), size = chunk.getUint32(4, true), start = at + 8;
    if (name(chunk, 0) === "fmt ") {
      [format, count] = [chunk.getUint16(8, true), chunk.getUint16(10, true)];
      [rate, bits] = [chunk.getUint32(12, true), chunk.getUint16(22, true)];
      if (format === 0xfffe) format = chunk.getUint16(32, true);
    } else if (name(chunk, 0) === "data") {
      const width = bits / 8, read = READERS[`${format} ${bits}`];
      if (!read || !count || rate < 3000) return null;
      // A writer that was cut off, or does not know, says 0 or more than there is.
      const length = Math.min(size || Infinity, file.size - start);
      const samples = Math.floor(length / (width * count));
      refuseTooLong(samples * count, samples / rate);
      const data = await part(start, start + length);
      const channels = Array.from({ length: count }, () => new Float32Array(samples));
      for (let n = 0, from = 0; n < samples; n++) {
        for (let c = 0; c < count; c++, from += width) channels[c][n] = read(data, from);
      }
      return { rate, channels, bits: format === 3 ? 32 : bits === 8 ? 16 : Math.min(bits, 24) };
    }
    at = start + size + (size % 2);
  }
  return null;
}

const READERS = { // by format and bits
  "1 8": (view, at) => (view.getUint8(at) - 128) / 128,
  "1 16": (view, at) => view.getInt16(at, true) / 32768,
  "1 24": (view, at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 8388608,
  "1 32": (view, at) => view.getInt32(at, true) / 2147483648,
  "3 32": (view, at) => view.getFloat32(at, true),
  "3 64": (view, at) => view.getFloat64(at, true),
};

/* Samples -> a WAV file of 16 or 24 bits, or of 32-bit floats. */
export function writeWav({ rate, channels, bits }) {
  const count = channels.length, samples = channels[0].length, width = bits / 8;
  const size = samples * count * width;
  const view = new DataView(new ArrayBuffer(44 + size));
  const put = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, bits === 32 ? 3 : 1, true);
  view.setUint16(22, count, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * count * width, true);
  view.setUint16(32, count * width, true);
  view.setUint16(34, bits, true);
  put(36, "data");
  view.setUint32(40, size, true);
  const full = 2 ** (bits - 1);
  for (let n = 0, at = 44; n < samples; n++) {
    for (let c = 0; c < count; c++, at += width) {
      const value = channels[c][n];
      if (bits === 32) {
        view.setFloat32(at, value, true);
        continue;
      }
      const whole = Math.max(-full, Math.min(full - 1, Math.round(value * full)));
      if (bits === 24) view.setUint8(at, whole & 255);
      view.setInt16(at + width - 2, bits === 24 ? whole >> 8 : whole, true);
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function find(bytes, word, until) {
  const codes = [...word].map((c) => c.charCodeAt(0));
  for (let at = bytes.indexOf(codes[0]); at >= 0 && at < until; at = bytes.indexOf(codes[0], at + 1)) {
    if (codes.every((code, i) => bytes[at + i] === code)) return at;
  }
  return -1;
}

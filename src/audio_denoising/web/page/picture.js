/* Waveforms and spectrograms, before and after on one scale. */

export const ROWS = 128; // of a spectrogram: two bins of 31.25 Hz each, up to 8 kHz
const LOUDEST = 20 * Math.log10(128); // of a bin: a sine at full scale
const FLOOR_DB = -80, CEILING_DB = -10;
// Nine colours of matplotlib's magma; others lie between.
const COLOURS = [
  [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100],
  [251, 135, 97], [254, 194, 135], [252, 253, 191],
];
const PALETTE = Uint32Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (COLOURS.length - 1), low = Math.min(Math.floor(place), COLOURS.length - 2);
  const [r, g, b] = COLOURS[low].map((a, c) => Math.round(a + (place - low) * (COLOURS[low + 1][c] - a)));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

/* A spectrogram: powers (columns x ROWS) of noisy and clean, mixed as the strength has it. */
export function drawSpectrogram(canvas, { columns, before, after }, strength) {
  const [width, height] = [(canvas.width = columns), (canvas.height = ROWS)];
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < ROWS; row++) {
      const at = column * ROWS + row;
      const modulus = (1 - strength) * Math.sqrt(before[at]) + strength * Math.sqrt(after[at]);
      const level = 20 * Math.log10(modulus + 1e-9) - LOUDEST;
      const share = (level - FLOOR_DB) / (CEILING_DB - FLOOR_DB);
      pixels[(ROWS - 1 - row) * width + column] = PALETTE[Math.round(255 * Math.max(0, Math.min(1, share)))];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/* A waveform: the range of the samples in each column, where `scale` fills half the height. */
export function drawWaveform(canvas, noisy, clean, strength, scale, colour) {
  const columns = (canvas.width = Math.min(1200, noisy.length)), height = (canvas.height = 96);
  const context = canvas.getContext("2d"), middle = height / 2;
  context.fillStyle = colour;
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * noisy.length) / columns);
    const to = Math.max(from + 1, Math.floor(((column + 1) * noisy.length) / columns));
    const step = Math.max(1, Math.floor((to - from) / 400)); // of an hour not every sample
    let low = 0, high = 0;
    for (let n = from; n < to; n += step) {
      const x = (1 - strength) * noisy[n] + strength * clean[n];
      if (x < low) low = x;
      else if (x > high) high = x;
    }
    const top = middle - (high / scale) * middle;
    context.fillRect(column, top, 1, Math.max(1, ((high - low) / scale) * middle));
  }
}

/* The largest sample of all channels, which both waveforms are drawn to. */
export function peak(channels) {
  let most = 1e-4;
  for (const samples of channels) for (const x of samples) most = Math.max(most, Math.abs(x));
  return most;
}

/* How loud a recording and its cleaned form are, as ITU-R BS.1770-4 has it (K-weighting, blocks of
400 ms), in the blocks where somebody speaks: those of the cleaned form within 10 dB of its mean.

Answers { nn, nc, cc }, the mean products of noisy and clean; the energy of any mix follows from them:
E(a noisy + b clean) = a^2 nn + 2 a b nc + b^2 cc. */
export function products(noisy, clean, rate) {
  const length = Math.max(1, Math.round(0.4 * rate));
  const blocks = Array.from({ length: Math.ceil(noisy[0].length / length) }, () => [0, 0, 0]);
  for (let c = 0; c < noisy.length; c++) {
    const hearNoisy = weighting(rate), hearClean = weighting(rate);
    for (let i = 0; i < noisy[c].length; i++) {
      const x = hearNoisy(noisy[c][i]), y = hearClean(clean[c][i]);
      const block = blocks[Math.floor(i / length)];
      block[0] += x * x;
      block[1] += x * y;
      block[2] += y * y;
    }
  }
  const mean = (chosen, i) => chosen.reduce((sum, block) => sum + block[i], 0) / chosen.length;
  const speech = blocks.filter((block) => block[2] >= 0.1 * mean(blocks, 2));
  return { nn: mean(speech, 0) / length, nc: mean(speech, 1) / length, cc: mean(speech, 2) / length };
}

/* The two filters of BS.1770 for any sample rate: a shelf for the head, and what the ear lacks below. */
function weighting(rate) {
  const shelf = Math.tan((Math.PI * 1681.974) / rate), q = 0.7071752, gain = 1.584864, band = 1.258720;
  const whole = 1 + shelf / q + shelf * shelf;
  const head = biquad(
    [gain + (band * shelf) / q + shelf * shelf, 2 * (shelf * shelf - gain),
      gain - (band * shelf) / q + shelf * shelf].map((b) => b / whole),
    [(2 * (shelf * shelf - 1)) / whole, (1 - shelf / q + shelf * shelf) / whole],
  );
  const pass = Math.tan((Math.PI * 38.13547) / rate), all = 1 + pass / 0.500327 + pass * pass;
  const low = biquad(
    [1, -2, 1], [(2 * (pass * pass - 1)) / all, (1 - pass / 0.500327 + pass * pass) / all],
  );
  return rate > 4000 ? (x) => low(head(x)) : low; // the shelf lies above what a low rate holds
}

function biquad([b0, b1, b2], [a1, a2]) {
  let s1 = 0, s2 = 0;
  return (x) => {
    const y = b0 * x + s1;
    s1 = b1 * x - a1 * y + s2;
    s2 = b2 * x - a2 * y;
    return y;
  };
}

/* The discrete Fourier transform of real signals of any even length, and its inverse.

A real signal of 2 n samples is taken as n complex ones (even samples real, odd ones imaginary), so
one complex transform of length n does the work. Lengths that are a power of two are halved again
and again (Cooley and Tukey, 1965); any other length becomes a convolution with a chirp, which is
done at a power of two (Bluestein, 1970). Windows of 32 ms have 1412 samples at 44.1 kHz, so any
length it must be. */

/* In place; `re` and `im` have the length n. */
class ComplexTransform {
  constructor(n) {
    this.n = n;
    if ((n & (n - 1)) === 0) {
      [this.cos, this.sin] = turns(n, n / 2, 1);
    } else {
      // e^(-2 pi i j k / n) = c_j c_k conj(c_(k - j)) with the chirp c_k = e^(-pi i k^2 / n)
      [this.cos, this.sin] = turns(2 * n, n, 2);
      let size = 1;
      while (size < 2 * n - 1) size *= 2;
      this.inner = new ComplexTransform(size);
      [this.re, this.im] = [new Float64Array(size), new Float64Array(size)];
      [this.chirpRe, this.chirpIm] = [new Float64Array(size), new Float64Array(size)];
      for (let k = 0; k < n; k++) {
        for (const at of [k, (size - k) % size]) {
          this.chirpRe[at] = this.cos[k] / size;
          this.chirpIm[at] = -this.sin[k] / size;
        }
      }
      this.inner.forward(this.chirpRe, this.chirpIm);
    }
  }

  forward(re, im) {
    if (this.inner) this.chirp(re, im);
    else this.halve(re, im);
  }

  halve(re, im) {
    const { n, cos, sin } = this;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let half = 1; half < n; half *= 2) {
      const step = n / (2 * half);
      for (let start = 0; start < n; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half, c = cos[k * step], s = sin[k * step];
          const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
  }

  chirp(re, im) {
    const { n, cos, sin, inner, re: a, im: b, chirpRe, chirpIm } = this;
    a.fill(0);
    b.fill(0);
    for (let k = 0; k < n; k++) {
      a[k] = re[k] * cos[k] - im[k] * sin[k];
      b[k] = re[k] * sin[k] + im[k] * cos[k];
    }
    inner.forward(a, b);
    for (let k = 0; k < a.length; k++) {
      const x = a[k] * chirpRe[k] - b[k] * chirpIm[k];
      b[k] = -(a[k] * chirpIm[k] + b[k] * chirpRe[k]); // conjugate: the way back is a way forward
      a[k] = x;
    }
    inner.forward(a, b);
    for (let k = 0; k < n; k++) {
      re[k] = a[k] * cos[k] + b[k] * sin[k];
      im[k] = a[k] * sin[k] - b[k] * cos[k];
    }
  }
}

/* Cosine and sine of -2 pi k^power / n for k < count. */
function turns(n, count, power) {
  const cos = new Float64Array(count), sin = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    const angle = (-2 * Math.PI * (k ** power % n)) / n;
    cos[k] = Math.cos(angle);
    sin[k] = Math.sin(angle);
  }
  return [cos, sin];
}

export class RealTransform {
  constructor(length) {
    this.n = length / 2;
    this.half = new ComplexTransform(this.n);
    [this.cos, this.sin] = turns(length, this.n + 1, 1);
    [this.re, this.im] = [new Float64Array(this.n), new Float64Array(this.n)];
  }

  /* 2 n samples -> n + 1 bins, written to `re` and `im`. */
  forward(samples, re, im) {
    const { n, cos, sin, re: a, im: b } = this;
    for (let k = 0; k < n; k++) {
      a[k] = samples[2 * k];
      b[k] = samples[2 * k + 1];
    }
    this.half.forward(a, b);
    for (let k = 0; k <= n; k++) {
      // The transforms of even and odd samples are the two symmetric parts of Z.
      const i = k % n, j = (n - k) % n;
      const evenRe = (a[i] + a[j]) / 2, evenIm = (b[i] - b[j]) / 2;
      const oddRe = (b[i] + b[j]) / 2, oddIm = (a[j] - a[i]) / 2;
      re[k] = evenRe + oddRe * cos[k] - oddIm * sin[k];
      im[k] = evenIm + oddRe * sin[k] + oddIm * cos[k];
    }
  }

  /* n + 1 bins -> 2 n samples; the imaginary parts of the first and last bin count for nothing. */
  inverse(re, im, samples) {
    const { n, cos, sin, re: a, im: b } = this;
    for (let k = 0; k < n; k++) {
      const j = n - k, up = k === 0 ? 0 : im[k], down = k === 0 ? 0 : im[j];
      const evenRe = (re[k] + re[j]) / 2, evenIm = (up - down) / 2;
      const diffRe = (re[k] - re[j]) / 2, diffIm = (up + down) / 2;
      const oddRe = diffRe * cos[k] + diffIm * sin[k], oddIm = diffIm * cos[k] - diffRe * sin[k];
      a[k] = evenRe - oddIm;
      b[k] = -(evenIm + oddRe); // conjugate: the way back is a way forward
    }
    this.half.forward(a, b);
    for (let k = 0; k < n; k++) {
      samples[2 * k] = a[k] / n;
      samples[2 * k + 1] = -b[k] / n;
    }
  }
}

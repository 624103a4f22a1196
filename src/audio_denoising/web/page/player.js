/* Plays a recording and its cleaned form at once, sample by sample, and lets the ear choose.

Both run from one start through one gain each, and everything that can be heard is a mix of the two:

    noisy      1 · noisy + 0 · clean
    clean      (1 - s) · noisy + s · clean        at strength s
    removed    s · noisy - s · clean              what clean lacks

So a switch or the strength changes two gains, and nothing starts anew or is computed again. */

export const CHOICES = ["noisy", "clean", "removed"];
const FADE = 0.004; // seconds, so that a change does not click
const MOST_DIFFERENCE = 0.25; // -12 dB: where nobody speaks there is nothing to match

export class Player {
  constructor() {
    this.choice = "clean";
    this.strength = 1;
    this.matched = true;
    this.region = null; // [from, to] in seconds, to be repeated
    this.sources = null;
    this.position = 0; // where it rests, or where it was at `startedAt`
    this.seconds = 0;
  }

  /* Takes what a recording has: noisy and clean channels, the rate, the products of its loudness. */
  load({ noisy, clean, rate, products }) {
    this.pause();
    this.buffers = [noisy, clean].map((channels) => {
      const { length } = channels[0];
      const made = new AudioBuffer({ length, numberOfChannels: channels.length, sampleRate: rate });
      channels.forEach((samples, c) => made.copyToChannel(samples, c));
      return made;
    });
    [this.products, this.seconds, this.position, this.region] = [products, noisy[0].length / rate, 0, null];
  }

  get playing() {
    return this.sources !== null;
  }

  /* The playhead, in seconds. */
  get time() {
    if (!this.playing) return this.position;
    const time = this.position + Math.max(0, this.context.currentTime - this.startedAt);
    const [from, to] = this.region ?? [0, Infinity];
    if (time < to || this.position >= to) return Math.min(time, this.seconds);
    return from + ((time - from) % (to - from));
  }

  set time(seconds) {
    const playing = this.playing;
    this.pause();
    this.position = Math.max(0, Math.min(this.seconds, seconds));
    if (playing) this.play();
  }

  async play() {
    if (this.playing || !this.buffers) return;
    this.context ??= this.made();
    if (this.position >= this.seconds) this.position = 0;
    if (this.region && this.position >= this.region[1]) this.position = this.region[0];
    this.sources = this.buffers.map((buffer, i) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      if (this.region) [source.loop, source.loopStart, source.loopEnd] = [true, ...this.region];
      source.connect(this.mixers[i]);
      return source;
    });
    this.sources[0].onended = () => this.pause();
    this.hear(0);
    this.context.resume();
    this.startedAt = this.context.currentTime + 0.01; // both at one moment
    for (const source of this.sources) source.start(this.startedAt, this.position);
  }

  made() {
    const context = new AudioContext();
    this.mixers = [new GainNode(context), new GainNode(context)];
    for (const mixer of this.mixers) mixer.connect(context.destination);
    return context;
  }

  pause() {
    if (!this.playing) return;
    this.position = this.time;
    this.sources[0].onended = null;
    for (const source of this.sources) source.stop();
    this.sources = null;
  }

  /* Repeats from one second to another, or all of it no more (null). */
  loop(region) {
    const playing = this.playing;
    this.pause();
    this.region = region;
    if (region && (this.position < region[0] || this.position >= region[1])) this.position = region[0];
    if (playing) this.play();
  }

  choose(choice) {
    this.choice = choice;
    this.hear(FADE);
  }

  setStrength(strength) {
    this.strength = strength;
    this.hear(FADE);
  }

  match(matched) {
    this.matched = matched;
    this.hear(FADE);
  }

  /* The gains of noisy and clean for a choice, at matched loudness if that is wanted. */
  gains(choice = this.choice) {
    const s = this.strength;
    const mixes = { noisy: [1, 0], clean: [1 - s, s], removed: [s, -s] };
    let level = 1;
    if (this.matched) {
      const { nn, nc, cc } = this.products;
      const energy = ([a, b]) => a * a * nn + 2 * a * b * nc + b * b * cc;
      // The louder one is turned down. What was removed is as loud as it is in the noisy one.
      const compared = choice === "clean" ? "clean" : "noisy";
      const quieter = Math.min(energy(mixes.noisy), energy(mixes.clean));
      level = Math.max(MOST_DIFFERENCE, Math.sqrt(quieter / energy(mixes[compared])) || 0);
    }
    return mixes[choice].map((gain) => gain * level);
  }

  hear(fade) {
    if (!this.context || !this.products) return;
    this.gains().forEach((gain, i) => {
      const parameter = this.mixers[i].gain;
      if (fade && this.playing) parameter.setTargetAtTime(gain, this.context.currentTime, fade);
      else parameter.setValueAtTime(gain, this.context.currentTime);
    });
  }
}

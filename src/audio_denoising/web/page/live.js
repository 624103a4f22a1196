/* The microphone, in the thread of the sound card: blocks go out to the worker, and what comes back
cleaned is played. A cushion of two blocks bridges the moments in which the worker is late. */

const BLOCK = 1024;

class Live extends AudioWorkletProcessor {
  constructor() {
    super();
    this.filling = new Float32Array(BLOCK);
    this.filled = 0;
    this.waiting = []; // cleaned blocks
    this.held = 0; // samples in them
    this.at = 0; // within the first
    this.playing = false;
    this.port.onmessage = ({ data }) => {
      this.worker = data.port;
      this.worker.onmessage = (message) => {
        this.waiting.push(message.data);
        this.held += message.data.length;
      };
    };
  }

  process([[microphone]], [outputs]) {
    if (microphone && this.worker) {
      this.filling.set(microphone, this.filled);
      this.filled += microphone.length;
      if (this.filled === BLOCK) {
        this.worker.postMessage(this.filling.slice());
        this.filled = 0;
      }
    }
    const [first, ...others] = outputs;
    this.playing = this.held >= (this.playing ? first.length : 2 * BLOCK);
    for (let n = 0; this.playing && n < first.length; n++) {
      first[n] = this.waiting[0][this.at++];
      if (this.at === this.waiting[0].length) {
        this.waiting.shift();
        this.at = 0;
      }
    }
    if (this.playing) this.held -= first.length;
    for (const other of others) other.set(first);
    return true;
  }
}

registerProcessor("live", Live);

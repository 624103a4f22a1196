/* Recording from the microphone, cleaned while one speaks. */

export class Microphone {
  /* Asks for the microphone and begins. `watch([noisy, cleaned])` is told the levels, 0 to 1.

  Rejects where there is no microphone, or no permission. */
  async start(watch) {
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.rate = this.context.sampleRate;
    this.blocks = [];
    await this.context.audioWorklet.addModule(new URL("live.js", import.meta.url));
    const node = new AudioWorkletNode(this.context, "live");
    const { port1, port2 } = new MessageChannel();
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    await new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => {
        if (data.ready) resolve();
        else if (data.error) reject(new Error(data.error));
        else {
          this.blocks.push(data.heard);
          watch(data.levels);
        }
      };
      this.worker.postMessage({ port: port1, rate: this.rate }, [port1]);
    });
    node.port.postMessage({ port: port2 }, [port2]);
    this.monitor = new GainNode(this.context, { gain: 0 });
    this.context.createMediaStreamSource(this.stream).connect(node);
    node.connect(this.monitor).connect(this.context.destination);
    await this.context.resume();
  }

  /* Whether one hears oneself, cleaned; a loudspeaker would be heard by the microphone again. */
  set audible(wanted) {
    this.monitor.gain.value = wanted ? 1 : 0;
  }

  /* Ends, and answers what was heard: { rate, channels, bits }. */
  async stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.worker?.terminate();
    await this.context?.close();
    const samples = new Float32Array(this.blocks.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of this.blocks) {
      samples.set(block, at);
      at += block.length;
    }
    return { rate: this.rate, channels: [samples], bits: 16 };
  }
}

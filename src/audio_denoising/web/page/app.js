/* The page: a list of recordings, files and the microphone that fill it, and what cleans them. */

import { Microphone } from "./microphone.js";
import { askServer, forget, hasServer } from "./server.js";
import { most, readSound, Unreadable } from "./sound.js";
import { clock, current, percent, player, say, show, tell } from "./stage.js";
import { otherLanguage, translate, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const recordings = [];
let busy = false;

/* --- the list ------------------------------------------------------------------------------- */

/* A recording is waiting, reading, working, atServer, ready, or failed; `sound` has its samples. */
function add(name, file, sound) {
  const item = document.createElement("li");
  item.innerHTML = `<button class="open"><b></b><span></span></button>
    <button class="remove">×</button><progress max="1"></progress>`;
  const recording = { name, file, sound, item, state: "waiting", progress: 0, error: "" };
  Object.assign(item.querySelector("b"), { textContent: name, title: name });
  item.querySelector(".open").onclick = () => open(recording);
  item.querySelector(".remove").onclick = () => remove(recording);
  recordings.push(recording);
  $("list").append(item);
  update(recording);
  workOff();
}

function update(recording) {
  const { item, state, progress, name, error } = recording;
  const percent = Math.floor(100 * progress), left = timeLeft(recording);
  const texts = { working: left ? word("left", percent, clock(left)) : word("working", percent) };
  const text = error ? word(error, ...(recording.details ?? [])) : texts[state] ?? word(state, percent);
  item.className = state;
  item.querySelector("span").textContent = text;
  item.querySelector(".open").disabled = state !== "ready";
  item.querySelector(".open").setAttribute("aria-current", recording === current);
  item.querySelector(".remove").setAttribute("aria-label", word("remove", name));
  const bar = item.querySelector("progress");
  bar.hidden = state !== "working" && state !== "atServer";
  bar.value = progress;
  bar.setAttribute("aria-label", name);
}

/* Shows a recording, or none (null); the list says which. */
function open(recording) {
  const before = current;
  show(recording);
  for (const shown of [before, recording]) if (shown && recordings.includes(shown)) update(shown);
}

function set(recording, state, values = {}) {
  Object.assign(recording, { state, progress: 0, since: performance.now() }, values);
  update(recording);
}

/* Seconds, once enough is done to tell. */
function timeLeft({ progress, since }) {
  const passed = (performance.now() - since) / 1000;
  return passed > 1 && progress > 0.02 ? (passed / progress) * (1 - progress) : 0;
}

function remove(recording) {
  recording.stop?.();
  if (recording.result) forget(recording.result.id);
  recordings.splice(recordings.indexOf(recording), 1);
  recording.item.remove();
  if (recording === current) open(recordings.find((other) => other.state === "ready") ?? null);
  $("files").focus();
}

/* Cleans all that wait, one after the other. */
async function workOff() {
  if (busy) return;
  busy = true;
  for (let next; (next = recordings.find(({ state }) => state === "waiting")); ) {
    try {
      await clean(next);
      tell(word("isReady", next.name));
      if (!current && recordings.includes(next)) open(next);
    } catch (error) {
      if (!recordings.includes(next)) continue; // it was removed
      const known = error instanceof Unreadable || word(error.message) !== error.message;
      set(next, "failed", known ? { error: error.message } : { error: "failed", details: [error.message] });
      tell(`${next.name}: ${next.item.querySelector("span").textContent}`);
    }
  }
  busy = false;
}

async function clean(recording) {
  set(recording, "reading");
  try {
    recording.sound ??= await readSound(recording.file).catch((error) => {
      if (!hasServer || error.message !== "notDecoded") throw error;
      return readByServer(recording);
    });
  } catch (error) {
    if (!hasServer || error.message !== "tooLong") throw error;
    const strength = percent();
    const result = await atServer(recording, { strength });
    set(recording, "ready", { result: { ...result, strength } });
    return;
  }
  set(recording, "working");
  Object.assign(recording, await compute(recording));
  set(recording, "ready");
}

let worker = null; // one for all, so that it reads the weights and warms up once

/* The network runs over a recording: { clean, pictures, products }. */
function compute(recording) {
  return new Promise((resolve, reject) => {
    worker ??= new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    recording.stop = () => {
      worker.terminate();
      worker = null;
      reject(new Error("removed"));
    };
    worker.onerror = () => reject(new Error("worker.js"));
    worker.onmessage = ({ data }) => {
      if (data.error) return reject(new Error(data.error));
      if (data.progress === undefined) {
        recording.stop = null;
        return resolve(data);
      }
      recording.progress = data.progress;
      return update(recording);
    };
    worker.postMessage({ channels: recording.sound.channels, rate: recording.sound.rate });
  });
}

/* The sound of a file that the server alone can read. */
async function readByServer(recording) {
  const { address, id } = await atServer(recording, { as: "wav" });
  try {
    const response = await fetch(address);
    if (response.headers.get("Content-Length") > 8 * most.numbers) throw new Unreadable("tooLong");
    return await readSound(await response.blob());
  } finally {
    forget(id);
  }
}

async function atServer(recording, wanted) {
  const stop = new AbortController();
  recording.stop = () => stop.abort(new Error("removed"));
  set(recording, "atServer");
  const watch = (share) => {
    recording.progress = share;
    update(recording);
  };
  const result = await askServer(recording.file, recording.name, wanted, watch, stop.signal);
  recording.stop = null;
  return result;
}

/* What only the server cleans, anew at the strength of now. */
function again() {
  const recording = current;
  forget(recording.result.id);
  recording.result = null;
  open(null);
  set(recording, "waiting");
  workOff();
}

/* --- the microphone ------------------------------------------------------------------------- */

let microphone = null;
let recorded = 0; // recordings so far

async function record() {
  if (microphone) return;
  player.pause();
  microphone = new Microphone();
  const meters = [$("level-in"), $("level-out")];
  try {
    await microphone.start((levels) => {
      levels.forEach((level, i) => (meters[i].value = 60 + 20 * Math.log10(level + 1e-6)));
      $("recorded").textContent = clock((microphone.blocks.length * 1024) / microphone.rate);
    });
    $("record").hidden = true;
    $("live").hidden = false;
    $("stop").focus();
  } catch (error) {
    const reasons = { NotAllowedError: "noPermission", NotFoundError: "noMicrophone" };
    microphone.stream?.getTracks().forEach((track) => track.stop());
    microphone = null;
    tell(word(reasons[error.name] ?? "noRecording", error.message));
  }
}

async function stop() {
  const sound = await microphone.stop();
  microphone = null;
  $("live").hidden = true;
  $("record").hidden = false;
  $("monitor").checked = false;
  $("record").focus();
  if (sound.channels[0].length) {
    add(word("recordingName", ++recorded), new Blob(), sound);
  }
}

/* --- what a person does --------------------------------------------------------------------- */

function take(files) {
  for (const file of files) add(file.name, file);
}

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragged");
});
addEventListener("dragleave", () => document.body.classList.remove("dragged"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragged");
  take(event.dataTransfer.files);
});
$("files").onchange = () => {
  take($("files").files);
  $("files").value = ""; // so that the same file can come again
};
$("record").onclick = record;
$("stop").onclick = stop;
$("monitor").onchange = () => (microphone.audible = $("monitor").checked);
$("again").onclick = again;

function speak() {
  translate();
  $("model").textContent = word("model", "v5");
  recordings.forEach(update);
  say();
}

$("language").onclick = () => {
  otherLanguage();
  speak();
};
speak();
if (!hasServer && "serviceWorker" in navigator) navigator.serviceWorker.register("offline.js");
Object.assign(globalThis, { recordings, player, most }); // for the console, and the tests

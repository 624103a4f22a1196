/* The page: a list of recordings, and one of them on the stage. */

import { Microphone } from "./microphone.js";
import { drawSpectrogram, drawWaveform, peak } from "./picture.js";
import { CHOICES, Player } from "./player.js";
import { askServer, forget, hasServer } from "./server.js";
import { most, readSound, Unreadable, writeWav } from "./sound.js";
import { otherLanguage, translate, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const recordings = [];
const player = new Player();
let current = null; // the recording on the stage
let busy = false;

/* --- the list ------------------------------------------------------------------------------- */

/* A recording is waiting, reading, working, atServer, ready, or failed; `sound` has its samples. */
function add(name, file, sound) {
  const item = document.createElement("li");
  item.innerHTML = `<button class="open"><b></b><span></span></button>
    <button class="remove">×</button><progress max="1"></progress>`;
  const recording = { name, file, sound, item, state: "waiting", progress: 0, error: "" };
  Object.assign(item.querySelector("b"), { textContent: name, title: name });
  item.querySelector(".open").onclick = () => show(recording);
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
  if (recording === current) show(recordings.find((other) => other.state === "ready") ?? null);
  $("files").focus();
}

/* Cleans all that wait, one after the other. */
async function workOff() {
  if (busy) return;
  busy = true;
  for (let next; (next = recordings.find(({ state }) => state === "waiting")); ) {
    try {
      await clean(next);
      $("status").textContent = word("isReady", next.name);
      if (!current && recordings.includes(next)) show(next);
    } catch (error) {
      if (!recordings.includes(next)) continue; // it was removed
      const known = error instanceof Unreadable || word(error.message) !== error.message;
      set(next, "failed", known ? { error: error.message } : { error: "failed", details: [error.message] });
      $("status").textContent = `${next.name}: ${next.item.querySelector("span").textContent}`;
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
  show(null);
  set(recording, "waiting");
  workOff();
}

/* --- the stage ------------------------------------------------------------------------------ */

function show(recording) {
  player.pause();
  const before = current;
  current = recording;
  for (const shown of [before, current]) if (shown && recordings.includes(shown)) update(shown);
  $("stage").hidden = !recording?.clean;
  $("result").hidden = !recording?.result;
  if (recording?.result) {
    $("result-name").textContent = recording.name;
    $("result-player").src = $("result-save").href = recording.result.address;
    $("result-save").download = cleanedName(recording.name, recording.result.ending);
  } else {
    $("result-player").removeAttribute("src");
  }
  if (!recording?.clean) return say();
  const { sound, clean: cleaned, products } = recording;
  player.load({ noisy: sound.channels, clean: cleaned, rate: sound.rate, products });
  recording.scale = peak([...sound.channels, ...cleaned]);
  draw();
  say();
}

function draw() {
  const { sound, clean: cleaned, pictures, scale } = current;
  drawWaveform($("wave-noisy"), sound.channels[0], cleaned[0], 0, scale, colour("--noisy"));
  drawSpectrogram($("picture-noisy"), pictures, 0);
  drawClean();
}

/* The pictures of the cleaned form, which change with the strength. */
function drawClean() {
  const { sound, clean: cleaned, pictures, scale } = current;
  drawWaveform(
    $("wave-clean"), sound.channels[0], cleaned[0], player.strength, scale, colour("--clean"),
  );
  drawSpectrogram($("picture-clean"), pictures, player.strength);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

/* All texts and states of the stage that do not move by themselves. */
function say() {
  for (const button of document.querySelectorAll("[data-choice]")) {
    const chosen = button.dataset.choice === player.choice;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  for (const slider of document.querySelectorAll(".strength input")) {
    slider.value = percent();
    slider.nextElementSibling.textContent = `${percent()} %`;
  }
  $("again").disabled = current?.result?.strength === percent();
  if (!current?.clean) return;
  const { name, sound } = current, count = sound.channels.length;
  $("name").textContent = name;
  const about = count === 1 ? "channel" : "channels";
  $("about").textContent = word(about, clock(player.seconds), sound.rate, count);
  const ending = /\.[a-z0-9]{1,5}$/i.exec(name)?.[0].toLowerCase() ?? "";
  $("save-same").hidden = !hasServer || ending === ".wav" || !ending;
  $("save-same").textContent = word("saveSame", ending);
  const { region, seconds } = player;
  $("loop-all").hidden = $("region").hidden = !region;
  if (region) {
    $("region").style.left = `${(100 * region[0]) / seconds}%`;
    $("region").style.width = `${(100 * (region[1] - region[0])) / seconds}%`;
  }
}

/* What moves: the playhead, the time, the button. */
function move() {
  requestAnimationFrame(move);
  if (!current?.clean) return;
  const time = player.time, text = word("of", clock(time), clock(player.seconds));
  $("playhead").style.left = `${(100 * time) / player.seconds}%`;
  if ($("time").textContent !== text) {
    $("time").textContent = text;
    $("views").setAttribute("aria-valuetext", text);
    $("views").setAttribute("aria-valuemax", player.seconds.toFixed(1));
    $("views").setAttribute("aria-valuenow", time.toFixed(1));
  }
  const action = word(player.playing ? "pause" : "play");
  if ($("play").textContent !== action) $("play").textContent = action;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function percent() {
  return Math.round(100 * player.strength);
}

function choose(choice) {
  player.choose(choice);
  say();
}

function toggle() {
  if (player.playing) player.pause();
  else player.play();
}

/* Repeats from the playhead on, or up to it. */
function loop(edge) {
  const region = player.region ?? [0, player.seconds];
  region[edge] = player.time;
  player.loop(region[1] - region[0] < 0.1 ? null : region);
  say();
}

/* A click on the pictures moves the playhead, a stroke is repeated. */
function drawOver(views) {
  let from = null;
  const second = (event) => {
    const { left, width } = views.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - left) / width)) * player.seconds;
  };
  views.onpointerdown = (event) => {
    views.setPointerCapture(event.pointerId);
    from = event;
  };
  views.onpointermove = (event) => {
    if (!from || Math.abs(event.clientX - from.clientX) < 6) return;
    const ends = [second(from), second(event)].sort((a, b) => a - b);
    if (ends[1] - ends[0] > 0.1) player.loop(ends);
    say();
  };
  views.onpointerup = (event) => {
    if (from && Math.abs(event.clientX - from.clientX) < 6) player.time = second(event);
    from = null;
  };
  views.onpointercancel = () => (from = null);
}

/* --- saving --------------------------------------------------------------------------------- */

function cleanedName(name, ending) {
  return `${name.replace(/\.[^.]*$/, "")}_denoised${ending}`;
}

function hand(address, name) {
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
}

function save() {
  const { sound, clean: cleaned, name } = current, s = player.strength;
  const channels = sound.channels.map((noisy, c) => noisy.map((x, n) => x + s * (cleaned[c][n] - x)));
  const address = URL.createObjectURL(writeWav({ ...sound, channels }));
  hand(address, cleanedName(name, ".wav"));
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/* In the format of the input, which the server writes. */
async function saveSame() {
  const { file, name } = current, bar = $("saving"), stop = new AbortController();
  bar.hidden = false;
  bar.value = 0;
  $("save-same").disabled = true;
  try {
    const watch = (share) => (bar.value = share);
    const result = await askServer(file, name, { strength: percent() }, watch, stop.signal);
    hand(result.address, cleanedName(name, result.ending));
  } catch (error) {
    $("status").textContent = word(error.message);
  } finally {
    bar.hidden = true;
    $("save-same").disabled = false;
  }
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
    $("status").textContent = word(reasons[error.name] ?? "noRecording", error.message);
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

const KEYS = {
  " ": toggle,
  1: () => choose(CHOICES[0]),
  2: () => choose(CHOICES[1]),
  3: () => choose(CHOICES[2]),
  ArrowLeft: () => (player.time -= 1),
  ArrowRight: () => (player.time += 1),
  Home: () => (player.time = 0),
  "[": () => loop(0),
  "]": () => loop(1),
  Escape: () => (player.loop(null), say()),
  s: save,
};

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !current?.clean || !(key in KEYS)) return;
  // A focused control keeps the keys that are its own.
  if (key === " " && target.closest("button, a, input, video")) return;
  if (/^(Arrow|Home)/.test(key) && target.closest("input, video")) return;
  if (/^Arrow/.test(key) && target.closest("[role=radio]")) {
    const step = key === "ArrowRight" ? 1 : 2;
    choose(CHOICES[(CHOICES.indexOf(player.choice) + step) % 3]);
    document.querySelector(`[data-choice=${player.choice}]`).focus();
  } else {
    KEYS[key]();
  }
  event.preventDefault();
});

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
$("play").onclick = toggle;
for (const slider of document.querySelectorAll(".strength input")) {
  slider.oninput = () => {
    player.setStrength(slider.value / 100);
    say();
    if (current?.clean) drawClean();
  };
}
$("again").onclick = again;
$("result-player").onloadedmetadata = ({ target }) => target.classList.toggle("sound", !target.videoWidth);
$("matched").onchange = () => player.match($("matched").checked);
$("loop-from").onclick = () => loop(0);
$("loop-to").onclick = () => loop(1);
$("loop-all").onclick = KEYS.Escape;
$("save").onclick = save;
$("save-same").onclick = saveSame;
for (const button of document.querySelectorAll("[data-choice]")) {
  button.onclick = () => choose(button.dataset.choice);
}
drawOver($("views"));
matchMedia("(prefers-color-scheme: dark)").onchange = () => current?.clean && draw();

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
move();
if (!hasServer && "serviceWorker" in navigator) navigator.serviceWorker.register("offline.js");
Object.assign(globalThis, { recordings, player, most }); // for the console, and the tests

/* The stage: one recording before and after, to be heard, compared and saved. */

import { drawSpectrogram, drawWaveform, peak } from "./picture.js";
import { CHOICES, Player } from "./player.js";
import { askServer, hasServer } from "./server.js";
import { writeWav } from "./sound.js";
import { word } from "./words.js";

const $ = (id) => document.getElementById(id);
export const player = new Player();
export let current = null; // the recording that is shown

/* Puts a recording on the stage, or none (null). */
export function show(recording) {
  player.pause();
  current = recording;
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
export function say() {
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

/* Says in passing what has happened, for as long as it takes to read. */
export function tell(text) {
  $("status").textContent = text;
  $("status").style.animationDuration = `${3 + text.length / 15}s`;
  for (const leaving of $("status").getAnimations()) {
    leaving.currentTime = 0; // an earlier word may have left already
    leaving.play();
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

export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function percent() {
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

/* Repeats no part any more. */
function whole() {
  player.loop(null);
  say();
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
    tell(word(error.message));
  } finally {
    bar.hidden = true;
    $("save-same").disabled = false;
  }
}

/* --- what a person does --------------------------------------------------------------------- */

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
  Escape: whole,
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

$("play").onclick = toggle;
for (const slider of document.querySelectorAll(".strength input")) {
  slider.oninput = () => {
    player.setStrength(slider.value / 100);
    say();
    if (current?.clean) drawClean();
  };
}
$("result-player").onloadedmetadata = ({ target }) => target.classList.toggle("sound", !target.videoWidth);
$("matched").onchange = () => player.match($("matched").checked);
$("loop-from").onclick = () => loop(0);
$("loop-to").onclick = () => loop(1);
$("loop-all").onclick = whole;
$("save").onclick = save;
$("save-same").onclick = saveSame;
for (const button of document.querySelectorAll("[data-choice]")) {
  button.onclick = () => choose(button.dataset.choice);
}
drawOver($("views"));
matchMedia("(prefers-color-scheme: dark)").onchange = () => current?.clean && draw();
move();

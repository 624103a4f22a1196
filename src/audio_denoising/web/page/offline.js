/* The page without a network: its own files, as they were when there was one. No recording is kept. */

const FILES = [
  "./", "app.js", "fft.js", "live.js", "loudness.js", "microphone.js", "network.js", "opened.js",
  "picture.js", "player.js", "server.js", "sound.js", "stage.js", "stream.js", "style.css",
  "weights.bin", "words.js", "worker.js",
];

addEventListener("install", (event) => {
  event.waitUntil(caches.open("page").then((cache) => cache.addAll(FILES)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(registration.scope)) return;
  const fresh = async () => {
    const response = await fetch(event.request);
    if (response.ok) (await caches.open("page")).put(event.request, response.clone());
    return response;
  };
  event.respondWith(fresh().catch(() => caches.match(event.request, { ignoreSearch: true })));
});

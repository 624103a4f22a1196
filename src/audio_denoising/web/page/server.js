/* What `denoise serve` does for the page: any format that FFmpeg reads, video, hours of sound. */

const { server, limit } = document.documentElement.dataset;
export const hasServer = server === "yes";
const kept = new Set(); // jobs whose results the server still has

/* Sends a file, follows the work and answers the address of the result and its file's ending.

`wanted` is { strength: 0 to 100 } for the cleaned form, or { as: "wav" } for the sound as it is.
`watch(share)` hears of the progress, 0 to 1; `signal` stops it all. Rejects with an Error whose
message is a sentence of the server's, or the name of one in words.js. */
export async function askServer(file, name, wanted, watch, signal) {
  if (file.size > Number(limit)) throw new Error("tooLarge");
  const ending = /\.[a-z0-9]{1,5}$/i.exec(name)?.[0].slice(1) ?? "";
  const query = new URLSearchParams({ ending, ...wanted });
  let response;
  try {
    response = await fetch(`jobs?${query}`, { method: "POST", body: file, signal });
  } catch (error) {
    throw signal.aborted ? error : new Error("serverGone");
  }
  const { id, error } = await response.json();
  if (error) throw new Error(error);
  kept.add(id);
  return new Promise((resolve, reject) => {
    const events = new EventSource(`jobs/${id}/events`);
    const end = (settle, value) => {
      events.close();
      settle(value);
    };
    signal.addEventListener("abort", () => {
      forget(id);
      end(reject, signal.reason);
    });
    events.onerror = () => end(reject, new Error("serverGone"));
    events.onmessage = ({ data }) => {
      const told = JSON.parse(data);
      if (told.error) end(reject, new Error(told.error));
      else if (told.ready) end(resolve, { address: `jobs/${id}/result`, ending: told.ready, id });
      else watch(told.done / told.total || 0);
    };
  });
}

/* The server forgets a recording and its cleaned form. */
export function forget(id) {
  if (kept.delete(id)) fetch(`jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

addEventListener("pagehide", () => kept.forEach(forget));

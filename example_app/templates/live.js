// The live part of a tenant's page. Everything a tenant wrote is put in place as text, never as HTML.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const POLL_MS = 500;
const SHARE = 0.25; // of the limit a minute that watching may use up
const MAX_ROUND = 20; // requests to hear from every worker: the kernel picks one at random, and not evenly
const VOLLEY = 100;

const workers = new Map(); // by pid: { card, answer, heardAt, commandsAtFirst }
const page = JSON.parse($("#answer").textContent);
const thousands = (number) => number.toLocaleString("en");
const duration = (seconds) =>
  seconds < 120 ? `${Math.ceil(seconds)} s` : seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;

// -- asking ---------------------------------------------------------------------------------------------------------

let pausedUntil = 0;
let busy = false;

async function ask(reconnect = true) {
  const response = await fetch(`/api/whoami${reconnect ? "?reconnect=true" : ""}`, { cache: "no-store" });
  if (response.ok) {
    const answer = await response.json();
    show(answer);
    return answer;
  }
  const wait = Number(response.headers.get("retry-after") ?? 5);
  pausedUntil = Date.now() + 1000 * wait;
  if (response.status === 429) drain();
  say(`${response.status}: ${(await response.json()).title ?? "no answer"}; asking again in ${duration(wait)}`);
  return null;
}

function interval() {
  const limit = page.limits.per_minute;
  return limit === null ? POLL_MS : Math.max(POLL_MS, 60_000 / (SHARE * limit));
}

async function poll() {
  const idle = !$("#polling").checked || document.hidden || busy || Date.now() < pausedUntil;
  if (!idle) await ask().catch(() => say("The server does not answer."));
  setTimeout(poll, interval());
}

// Ask until every worker has answered as `expected`, within bounds; return how many answers came, and how many others.
async function askAll(expected, onFirst = () => {}) {
  const heard = new Set();
  const most = Math.min(MAX_ROUND, SHARE * (page.limits.per_minute ?? Infinity));
  let asked = 0;
  let other = 0;
  busy = true;
  try {
    while (heard.size < page.worker.processes && asked < most) {
      const answer = await ask();
      if (answer === null) break;
      asked++;
      if (!expected(answer)) other++;
      else if (!heard.has(answer.pid)) {
        heard.add(answer.pid);
        onFirst(answer);
      }
    }
  } finally {
    busy = false;
  }
  return { asked, other };
}

// -- showing --------------------------------------------------------------------------------------------------------

function show(answer) {
  Object.assign(page, answer);
  document.title = `${answer.name} · tenantcache`;
  $(".hero .tile text").textContent = [...answer.name][0].toUpperCase();
  for (const element of document.querySelectorAll("[data-show]")) {
    const value = { ...answer, ...answer.worker, plan: answer.plan ?? "no plan" }[element.dataset.show];
    const text = element.dataset.show === "valid_for" ? value.toFixed(1) : value;
    element.textContent = typeof text === "number" && element.dataset.show !== "pid" ? thousands(text) : text;
  }
  $('[data-show="status"]').className = `chip ${answer.status}`;
  for (const element of document.querySelectorAll("[data-tier]")) {
    element.classList.toggle("here", element.dataset.tier === answer.tier);
  }
  for (const [window, quota] of Object.entries(answer.quotas)) showQuota(window, quota);
  showWorker(answer);
  const perMinute = Math.round(60_000 / interval());
  $("#pace").textContent = `Ask every ${interval() / 1000} s: ${perMinute} requests a minute`;
}

function showQuota(window, quota) {
  const element = $(`[data-window="${window}"]`);
  const bar = $("progress", element);
  bar.max = quota?.limit ?? 1;
  bar.value = quota?.remaining ?? 1;
  element.classList.toggle("low", bar.value < 0.1 * bar.max);
  $(".left", element).textContent = quota
    ? `${thousands(quota.remaining)} of ${thousands(quota.limit)} · ${duration(quota.reset)}`
    : "unlimited";
}

function drain() {
  const quota = page.quotas.minute;
  if (quota) showQuota("minute", { ...quota, remaining: 0 });
}

function showWorker(answer) {
  let worker = workers.get(answer.pid);
  if (!worker) {
    const card = $("#worker").content.firstElementChild.cloneNode(true);
    worker = { card, commandsAtFirst: answer.worker.redis_commands };
    workers.set(answer.pid, worker);
    $(".pid", worker.card).textContent = `worker ${answer.pid}`;
    $(".workers").append(worker.card);
  }
  const changed = worker.answer && (worker.answer.name !== answer.name || worker.answer.plan !== answer.plan);
  Object.assign(worker, { answer, heardAt: Date.now() });
  const shown = { ...answer, ...answer.worker, plan: answer.plan ?? "no plan" };
  for (const key of ["name", "plan", "applied", "requests", "redis_commands", "tier"]) {
    $(`.${key}`, worker.card).textContent = typeof shown[key] === "number" ? thousands(shown[key]) : shown[key];
  }
  $(".tier", worker.card).className = `chip tier ${answer.tier}`;
  if (changed) {
    worker.card.classList.remove("changed");
    void worker.card.offsetWidth; // begin the animation anew
    worker.card.classList.add("changed");
  }
  takeOffQuiet();
}

function takeOffQuiet() {
  for (const [pid, { card, heardAt }] of workers) {
    if (Date.now() - heardAt < 60 * interval()) continue; // it was stopped, or replaced
    card.remove();
    workers.delete(pid);
  }
}

function say(text, feed = $("#live .feed"), keep = 3) {
  const line = document.createElement("li");
  line.textContent = text;
  feed.append(line);
  while (feed.children.length > keep) feed.firstElementChild.remove();
}

// -- saving, and watching who follows -------------------------------------------------------------------------------

$("#tenant").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("button", event.target);
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(event.target));
    const response = await fetch(event.target.action, { method: "POST", body, redirect: "manual" });
    // A redirect that is not followed has the type "opaqueredirect": it was saved.
    if (response.type === "opaqueredirect") await chase();
    else say(`${response.status}: it was not saved.`);
  } catch {
    say("The server does not answer.");
  } finally {
    button.disabled = false;
  }
});

async function chase() {
  const savedAt = performance.now();
  const name = $("#tenant [name=name]").value.trim();
  const plan = $("#tenant [name=plan]").value || null;
  const { asked, other } = await askAll(
    (answer) => answer.name === name && answer.plan === plan,
    (answer) => {
      const passed = Math.round(performance.now() - savedAt);
      say(`Worker ${answer.pid} has it ${passed} ms after the save, when first asked; from ${answer.tier}.`);
    },
  );
  say(`${asked} answers since the save, ${other} of them old.`);
}

// -- a volley -------------------------------------------------------------------------------------------------------

$("#volley").addEventListener("click", async (event) => {
  event.target.disabled = true;
  const before = new Map([...workers].map(([pid, { answer }]) => [pid, answer.worker.redis_commands]));
  const startedAt = performance.now();
  const statuses = await Promise.all(
    Array.from({ length: VOLLEY }, () => fetch("/api/whoami", { cache: "no-store" }).then(async (response) => {
      if (response.ok) show(await response.json());
      return response.status;
    }, () => 0)),
  );
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const admitted = statuses.filter((status) => status === 200).length;
  const refused = statuses.filter((status) => status === 429).length;
  const commands = [...workers].reduce(
    (sum, [pid, { answer, commandsAtFirst }]) => sum + answer.worker.redis_commands - (before.get(pid) ?? commandsAtFirst),
    0,
  );
  if (refused > 0) drain();
  say(`${VOLLEY} requests in ${seconds} s: ${admitted} admitted, ${refused} refused, ${commands} Redis commands.`);
  event.target.disabled = false;
});

// -- the WebSocket --------------------------------------------------------------------------------------------------

function listen() {
  const heard = $("#heard");
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  const button = $("#say button");
  button.disabled = true;
  heard.replaceChildren();
  socket.onopen = () => (button.disabled = false);
  socket.onmessage = (event) => say(event.data, heard, 4);
  socket.onclose = (event) => {
    button.disabled = true;
    say(event.reason || "The connection is closed.", heard, 4);
  };
  $("#say").onsubmit = (event) => {
    event.preventDefault();
    socket.send(event.target.elements.text.value);
    event.target.reset();
  };
}

$("#live").hidden = false;
show(page);
listen();
askAll(() => true)
  .catch(() => say("The server does not answer."))
  .finally(() => setTimeout(poll, interval()));

"use strict";
// Times in the viewer's zone, the part of a page that changes by itself, notices, and questions before a press.
// Without this script every page works: times are in UTC, and a page is loaded again to see what is new.

const two = (number) => String(number).padStart(2, "0");

function showTimes(root) {
  for (const one of root.querySelectorAll("time[data-show]")) {
    const at = new Date(one.dateTime);
    const today = at.toDateString() === new Date().toDateString();
    let text;
    if (one.dataset.show === "countdown") {
      const left = Math.max(0, Math.round((at - Date.now()) / 1000));
      text = left >= 3600
        ? `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`
        : `${Math.floor(left / 60)}:${two(left % 60)}`;
    } else if (one.dataset.show === "day") {
      text = at.toLocaleDateString([], { dateStyle: "medium" });
    } else {
      text = today
        ? at.toLocaleTimeString([], { timeStyle: "short" })
        : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    }
    if (one.textContent !== text) one.textContent = text;
  }
}

// Make one tree like another, and touch nothing that is the same already: no flicker, and the focus stays.
function become(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.hasAttribute("data-keep") || fresh.hasAttribute("data-same")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "hidden") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "hidden" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wanted = [...fresh.childNodes];
  const stays = new Set(wanted.map((child) => named.get(child.id)).filter(Boolean));
  let there = old.firstChild;
  for (const child of wanted) {
    const same = named.get(child.id);
    if (same) {
      // What goes is taken away before what stays, rather than moving that: what is moved loses the focus.
      while (there && there !== same && !stays.has(there)) {
        const next = there.nextSibling;
        there.remove();
        there = next;
      }
      if (there === same) there = there.nextSibling;
      else old.insertBefore(same, there);
      become(same, child);
    } else if (there && !stays.has(there)) {
      const next = there.nextSibling;
      become(there, child);
      there = next;
    } else {
      old.insertBefore(child, there);
    }
  }
  while (there) {
    const next = there.nextSibling;
    there.remove();
    there = next;
  }
}

// The server says something every ten seconds. A proxy may keep a connection open at whose other end nobody is any more.
const SILENCE = 25000;

function follow(live) {
  const away = document.getElementById("gpu-away");
  const known = document.getElementById("gpu-known");
  const address = new URL(live.dataset.stream, location.href);
  address.searchParams.set("_xsrf", live.dataset.xsrf);
  let last = Date.now();
  let asked;
  let source;
  const heard = () => {
    last = Date.now();
    away.hidden = true;
  };
  const lost = () => {
    known.textContent = new Date(last).toLocaleTimeString([], { timeStyle: "medium" });
    away.hidden = false;
  };
  const connect = () => {
    source?.close();
    asked = Date.now();
    source = new EventSource(address);
    source.addEventListener("part", (event) => {
      heard();
      const fresh = live.cloneNode(false);
      fresh.innerHTML = event.data;
      become(live, fresh);
      // What was not sent, because it was to be here already, and is not: begin anew.
      if (live.querySelector("[data-same]")) location.reload();
      freshen(live);
    });
    // Rows of tables that are others now, and nothing else.
    source.addEventListener("rows", (event) => {
      heard();
      const fresh = document.createElement("template");
      fresh.innerHTML = event.data;
      for (const row of [...fresh.content.children]) {
        const old = document.getElementById(row.id);
        if (old) become(old, document.adoptNode(row));
      }
      freshen(live);
    });
    source.addEventListener("still", heard);
    source.addEventListener("away", lost);
    source.addEventListener("gone", () => location.reload());
    source.onerror = () => {
      if (Date.now() - last > 10000) lost();
      // The browser tries again by itself, but not after an answer that is an error.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    };
  };
  connect();
  setInterval(() => {
    if (Date.now() - Math.max(last, asked) < SILENCE) return;
    lost();
    connect();
  }, 5000);
}

// -- notices --------------------------------------------------------------------------------------------

const noticed = new Set();
const WANTED = "gpu-notify";

function tellNotices(root) {
  const allowed = window.Notification?.permission === "granted" && localStorage.getItem(WANTED) === "yes";
  for (const one of root.querySelectorAll("[data-notify]")) {
    one.hidden = !window.Notification || allowed || Notification.permission === "denied";
    one.onclick = async () => {
      if ((await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED, "yes");
      tellNotices(root);
    };
  }
  for (const one of root.querySelectorAll("[data-notice]")) {
    if (noticed.has(one.id)) continue;
    noticed.add(one.id);
    document.title = `● ${document.title.replace(/^● /, "")}`;
    if (allowed) new Notification(one.dataset.notice, { tag: one.id }).onclick = () => window.focus();
  }
}

function freshen(root) {
  showTimes(root);
  tellNotices(root);
  const goes = root.querySelector("[data-goes]");
  if (goes) location.assign(goes.dataset.goes);
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

function offerCopy(button) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
    button.textContent = button.dataset.copied;
  });
}

document.querySelectorAll("[data-copy]").forEach(offerCopy);
const live = document.getElementById("gpu-live");
freshen(document);
setInterval(() => showTimes(document), 1000);
if (live) follow(live);

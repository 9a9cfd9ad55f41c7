"use strict";
// The reader's time zone, and whether a reservation fits while it is typed in. Without this script times are in
// UTC until another zone is chosen, and "Check" says whether it fits.

const ZONE = "gpu-zone";

// Something may be typed before this script runs, or be there again when somebody comes back to the page.
const isTyped = (field) => "defaultValue" in field && field.value !== field.defaultValue;
const isBegun = (form) => [...form.elements].some(isTyped);

function chooseZone() {
  const here = new URL(location.href);
  if (!document.querySelector("[data-zone]") || here.searchParams.has("zone")) return;
  if ([...document.forms].some(isBegun)) return;
  const zone = localStorage.getItem(ZONE) ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || zone === "UTC") return;
  here.searchParams.set("zone", zone);
  location.replace(here);
}

function offerZones() {
  for (const list of document.querySelectorAll("datalist[data-zones]")) {
    for (const zone of Intl.supportedValuesOf?.("timeZone") ?? []) {
      const option = document.createElement("option");
      option.value = zone;
      list.append(option);
    }
  }
  document.getElementById("gpu-zone")?.addEventListener("submit", (event) => {
    localStorage.setItem(ZONE, event.target.elements.zone.value);
  });
}

function followForm(form) {
  const shown = document.getElementById("checked");
  let waiting;
  let asked;
  const markField = () => {
    for (const field of form.querySelectorAll(".is-invalid")) {
      field.classList.remove("is-invalid");
      field.removeAttribute("aria-invalid");
    }
    const wrong = document.getElementById(shown.querySelector("[data-field]")?.dataset.field);
    wrong?.classList.add("is-invalid");
    wrong?.setAttribute("aria-invalid", "true");
  };
  const ask = async () => {
    asked?.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(form.dataset.check, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        signal: asked.signal,
      });
      // 429: too many ask at once; what is said of that is shown in its place.
      if (!answer.ok && answer.status !== 429) throw new Error(answer.statusText);
      shown.innerHTML = await answer.text();
      markField();
    } catch (error) {
      if (error.name !== "AbortError") shown.textContent = form.dataset.away;
    }
  };
  const showParts = () => {
    for (const part of form.querySelectorAll("[data-when]")) {
      part.hidden = !part.dataset.when.split(" ").includes(form.elements.repeat.value);
    }
  };
  form.addEventListener("input", () => {
    showParts();
    clearTimeout(waiting);
    waiting = setTimeout(ask, 400);
  });
  showParts();
  markField();
  if (isBegun(form)) ask();
}

// A text that was pasted, and could not be imported, is there again.
function keepText(text) {
  if (document.querySelector("main > .alert-danger")) text.value = sessionStorage.getItem(text.id) ?? "";
  sessionStorage.removeItem(text.id);
  text.form.addEventListener("submit", () => sessionStorage.setItem(text.id, text.value));
}

chooseZone();
offerZones();
document.querySelectorAll("form[data-check]").forEach(followForm);
document.querySelectorAll("[data-keep-text]").forEach(keepText);

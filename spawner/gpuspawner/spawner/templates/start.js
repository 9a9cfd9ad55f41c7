(() => {
  // What the button says, times in the reader's zone, and a page that stays true while it is read.
  // Without this script the page works: times are in UTC, and each card says whether it would have to be waited for.
  const LOOK_AGAIN = 15000;
  const OLD = 60000;
  const page = document.getElementById("gpu-start");
  const form = page.closest("form");
  const cards = page.querySelector(".gpu-choices");
  let submitted = false;
  let known = Date.now();

  const chosen = () => cards.querySelector("input:checked");

  function showTimes(root) {
    for (const time of root.querySelectorAll("time")) {
      const moment = new Date(time.dateTime);
      const soon = moment - Date.now() < 20 * 3600 * 1000;
      const shown = { hour: "2-digit", minute: "2-digit", ...(soon ? {} : { weekday: "short", day: "numeric", month: "short" }) };
      time.textContent = moment.toLocaleString([], shown);
    }
  }

  // What follows from what was filled in: what can be had with it, how many there can be, what the button does.
  function settle() {
    const card = chosen();
    const image = page.querySelector("#gpu-image option:checked");
    const unfit = JSON.parse(image?.dataset.unfit ?? "[]");
    document.getElementById("gpu-image-about").textContent = image?.dataset.about ?? "";
    for (const input of cards.querySelectorAll("input")) {
      const runsNot = unfit.includes(input.value);
      const closed = "closed" in input.dataset || runsNot;
      // What is chosen stays chosen and keeps the focus; the button says that it cannot be had.
      input.disabled = closed && input !== card;
      input.toggleAttribute("data-gone", closed && input === card);
      input.closest("label").querySelector(".gpu-unfit").hidden = !runsNot;
    }
    const count = document.getElementById("gpu-count");
    const most = Number(card?.dataset.most ?? 1);
    if (count) {
      document.getElementById("gpu-several").hidden = count.disabled = most < 2;
      document.getElementById("gpu-most").textContent = count.max = most;
    }
    const wanted = count && !count.disabled ? Number(count.value) : 1;
    const gone = !card || "gone" in card.dataset;
    const words = page.dataset;
    const button = form.querySelector("[type=submit]");
    if (!button) return;
    const text = gone ? words.choose : wanted > Number(card.dataset.now) ? words.join : words.start;
    if (button.textContent !== text) button.textContent = text;
    button.disabled = gone;
    const note = document.getElementById("gpu-gone");
    const said = gone ? words.gone : "";
    if (note.textContent !== said) note.textContent = said;
  }

  function becomeLike(old, fresh) {
    if (old.className !== fresh.className) old.className = fresh.className;
    if (old.innerHTML !== fresh.innerHTML) old.innerHTML = fresh.innerHTML;
  }

  // Only what changed is touched: what was chosen and typed, and the focus, stay.
  function take(fresh) {
    showTimes(fresh);
    for (const id of ["gpu-strip", "gpu-places", "gpu-now"]) {
      becomeLike(document.getElementById(id), fresh.querySelector(`#${id}`));
    }
    const before = [...cards.querySelectorAll("input")];
    const after = [...fresh.querySelectorAll(".gpu-choices input")];
    if (before.length !== after.length || before.some((input, n) => input.value !== after[n].value)) {
      const kept = chosen()?.value;
      const focused = before.find((input) => input === document.activeElement)?.value;
      for (const input of after) {
        input.checked = input.value === kept;
        if (input.checked) input.disabled = false;
      }
      cards.replaceChildren(...fresh.querySelector(".gpu-choices").children);
      after.find((input) => input.value === focused)?.focus();
    } else {
      before.forEach((input, n) => {
        const [label, other] = [input.closest("label"), after[n].closest("label")];
        for (const part of [".gpu-detail", ".gpu-state"]) becomeLike(label.querySelector(part), other.querySelector(part));
        input.dataset.now = after[n].dataset.now;
        input.dataset.most = after[n].dataset.most;
        input.toggleAttribute("data-closed", "closed" in after[n].dataset);
      });
    }
    settle();
  }

  async function look() {
    if (document.hidden || submitted) return;
    try {
      // Not what follows in the address: options there would start a server.
      const answer = await fetch(location.pathname, { redirect: "manual" });
      if (answer.type === "opaqueredirect") {
        const moved = document.getElementById("gpu-moved");
        moved.querySelector("a").href = location.pathname;
        moved.hidden = false;
        return;
      }
      const html = answer.ok ? await answer.text() : "";
      const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("gpu-start");
      if (fresh && !submitted) {
        take(fresh);
        known = Date.now();
      }
    } catch {
      // The hub or the network is away: it is tried again.
    }
    document.getElementById("gpu-old").hidden = Date.now() - known < OLD;
  }

  // A server for a course has its image, and opens no notebooks of another. Which course an image is for goes
  // without saying where one alone has it.
  function fitCourse(event) {
    const course = document.getElementById("gpu-course");
    const notebooks = document.getElementById("gpu-notebooks");
    const image = document.getElementById("gpu-image");
    if (!course) return;
    if (event.target === notebooks && notebooks.value) course.value = `course:${notebooks.value}`;
    const wanted = course.selectedOptions[0]?.dataset.image;
    if (event.target === image && image.value !== wanted) {
      const fitting = [...course.options].filter((option) => option.dataset.image === image.value);
      course.value = fitting.length > 1 ? "" : (fitting[0]?.value ?? "none");
    } else if (wanted) image.value = wanted;
    if (notebooks?.value && course.value !== `course:${notebooks.value}`) notebooks.value = "";
  }

  showTimes(page);
  form.addEventListener("change", fitCourse);
  form.addEventListener("change", settle);
  form.addEventListener("input", settle);
  form.addEventListener("submit", () => { submitted = true; });
  document.addEventListener("DOMContentLoaded", () => {
    settle();
    // A refusal stays until it has been read.
    if (document.querySelector(".spawn-error-msg, .gpu-placed")) return;
    setInterval(look, LOOK_AGAIN);
    document.addEventListener("visibilitychange", look);
  });
})();

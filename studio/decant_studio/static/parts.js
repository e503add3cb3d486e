// Pieces that all pages share: drop zones, the line of progress, numbers, elements.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// Calls take(files) with dropped, chosen or pasted files.
export function dropZone(id, take) {
  const zone = $(id);
  const input = $(`${id}-file`);
  input.addEventListener("change", () => {
    if (input.files.length) take([...input.files]);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

// A file dropped beside a zone must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

// Shows the progress of work(report), or the sentence of its error; resolves to undefined where it failed.
export async function working(id, work) {
  const box = $(id);
  const problem = $(`${id}-problem`);
  const [words, bar] = box.children;
  const began = performance.now();
  let stage = "";
  const say = () => {
    const seconds = Math.round((performance.now() - began) / 1000);
    words.textContent = seconds > 2 ? `${stage} … ${seconds} s` : `${stage} …`;
  };
  const report = (text, share) => {
    stage = text[0].toUpperCase() + text.slice(1);
    if (share > 0) bar.value = share;
    else bar.removeAttribute("value");
    say();
  };
  problem.hidden = true;
  box.hidden = false;
  report("sending", 0);
  try {
    return await work(report);
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    return undefined;
  } finally {
    box.hidden = true;
  }
}

export const whole = (value) => Math.round(value).toLocaleString("en");
export const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));

export function download(address, label) {
  return element("a", { class: "button", href: address, download: true }, label);
}

export function loaded(image) {
  return image.decode().catch(() => undefined);
}

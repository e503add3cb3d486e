// A split view: two of several pictures of one size, one on each side of a line that can be dragged.
//
// Keys: 1, 2, 3 show one picture alone and again the split; left and right move the line; + - 0 zoom. The wheel
// and two fingers zoom; a drag moves the picture where it is larger than the view, and the line where it is not.

import { element } from "./parts.js";

const LARGEST_ZOOM = 32;

export class SplitView {
  // pictures: [{key, label, source, tag}], all of width x height; left, right: keys. The first three have keys 1-3.
  constructor(root, pictures, { width, height, left, right }) {
    Object.assign(this, { root, pictures, width, height, left, right });
    this.position = 0.5;
    this.alone = null;
    this.pointers = new Map();
    this.#build();
    this.#listen();
    this.fit();
  }

  #build() {
    const side = (name) => {
      const image = element("img", { alt: "", draggable: "false" });
      const tag = element("span", { class: `tag ${name}` });
      const layer = element("div", { class: `layer ${name}` }, image);
      return { image, tag, layer };
    };
    this.sides = { left: side("left"), right: side("right") };
    this.divider = element("div", {
      class: "divider", role: "slider", tabindex: "0", "aria-label": "Dividing line", "aria-valuemin": "0",
      "aria-valuemax": "100",
    });
    this.stage = element("div", { class: "split", tabindex: "0", role: "group" },
      this.sides.left.layer, this.sides.right.layer, this.sides.left.tag, this.sides.right.tag, this.divider);
    this.stage.setAttribute("aria-label", "Split view. Keys 1, 2 and 3 show one picture alone.");
    this.stage.style.aspectRatio = `${this.width} / ${this.height}`;
    this.stage.style.maxWidth = `max(16rem, ${(72 * this.width) / this.height}vh)`;
    this.bar = element("div", { class: "toolbar" }, this.#choice("left", "Left"), this.#choice("right", "Right"),
      this.#alones(), this.#zooms());
    this.root.replaceChildren(this.bar, this.stage);
    this.#show();
  }

  #choice(side, label) {
    const select = element("select", { "aria-label": `Picture on the ${side}` },
      ...this.pictures.map((one) => element("option", { value: one.key }, one.label)));
    select.value = this[side];
    select.addEventListener("change", () => {
      this[side] = select.value;
      this.alone = null;
      this.#show();
    });
    return element("label", { class: "inline" }, `${label} `, select);
  }

  #alones() {
    this.buttons = this.pictures.slice(0, 3).map((one, index) => {
      const button = element("button", { type: "button", "aria-pressed": "false", title: `Key ${index + 1}` }, one.label);
      button.addEventListener("click", () => this.toggle(one.key));
      return [one.key, button];
    });
    return element("div", { class: "segments", role: "group", "aria-label": "One picture alone" },
      ...this.buttons.map(([, button]) => button));
  }

  #zooms() {
    const button = (label, name, act, spoken = name) => {
      const made = element("button", { type: "button", "aria-label": spoken, title: name }, label);
      made.addEventListener("click", act);
      return made;
    };
    this.percent = element("output", { class: "percent", "aria-label": "Zoom" });
    return element("div", { class: "segments", role: "group", "aria-label": "Zoom" },
      button("Fit", "Fit the view", () => this.fit()), button("1:1", "Actual pixels", () => this.actual(), null),
      button("−", "Zoom out", () => this.zoomBy(0.5)), button("+", "Zoom in", () => this.zoomBy(2)), this.percent);
  }

  #listen() {
    this.stage.addEventListener("pointerdown", (event) => this.#down(event));
    this.stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) this.stage.addEventListener(kind, (event) => this.#up(event));
    this.stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.stage.addEventListener("dblclick", () => (this.zoom > this.fitted * 1.01 ? this.fit() : this.actual()));
    this.stage.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(this.stage);
  }

  toggle(key) {
    this.alone = this.alone === key ? null : key;
    this.#show();
  }

  setPosition(position) {
    this.position = Math.min(1, Math.max(0, position));
    this.#place();
  }

  fit() {
    const { clientWidth, clientHeight } = this.stage;
    this.fitted = Math.min(clientWidth / this.width, clientHeight / this.height);
    this.zoom = this.fitted;
    this.x = this.y = 0;
    this.#place();
  }

  actual() {
    this.zoomBy(1 / devicePixelRatio / this.zoom);
  }

  // Zooms about a point of the view; its middle where none is given.
  zoomBy(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(Math.min(this.fitted, 1), this.zoom * factor));
    this.x = x - ((x - this.x) * zoom) / this.zoom;
    this.y = y - ((y - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#place();
  }

  #resize() {
    const whole = this.zoom <= this.fitted * 1.001;
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth) return;
    this.fitted = Math.min(clientWidth / this.width, clientHeight / this.height);
    if (whole) this.fit();
    else this.#place();
  }

  #show() {
    const of = (key) => this.pictures.find((one) => one.key === key);
    for (const name of ["left", "right"]) {
      const picture = of(this.alone ?? this[name]);
      const { image, tag } = this.sides[name];
      if (image.getAttribute("src") !== picture.source) image.src = picture.source;
      image.alt = picture.label;
      tag.textContent = picture.tag ?? picture.label;
    }
    this.stage.classList.toggle("alone", this.alone !== null);
    for (const [key, button] of this.buttons) button.setAttribute("aria-pressed", String(this.alone === key));
    this.#place();
  }

  #place() {
    const { clientWidth, clientHeight } = this.stage;
    if (this.zoom === undefined) return;
    const [w, h] = [this.width * this.zoom, this.height * this.zoom];
    this.x = w <= clientWidth ? (clientWidth - w) / 2 : Math.min(0, Math.max(clientWidth - w, this.x));
    this.y = h <= clientHeight ? (clientHeight - h) / 2 : Math.min(0, Math.max(clientHeight - h, this.y));
    for (const { image } of Object.values(this.sides)) {
      image.style.width = `${this.width}px`;
      image.style.height = `${this.height}px`;
      image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
      image.style.imageRendering = this.zoom * devicePixelRatio >= 2 ? "pixelated" : "auto";
    }
    const percent = (100 * this.position).toFixed(2);
    this.sides.right.layer.style.clipPath = this.alone ? "none" : `inset(0 0 0 ${percent}%)`;
    this.divider.style.left = `${percent}%`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(100 * this.position)));
    this.percent.textContent = `${Math.round(100 * this.zoom * devicePixelRatio)} %`;
  }

  #point(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #down(event) {
    if (event.button) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#point(event));
    const larger = this.zoom > this.fitted * 1.001;
    if (this.pointers.size === 1) this.moves = event.target === this.divider || !larger ? "line" : "picture";
    if (this.moves === "line" && event.target === this.divider) this.divider.focus({ preventScroll: true });
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#point(event);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const distance = (a, b) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
      this.x += (now.x - before.x) / 2;
      this.y += (now.y - before.y) / 2;
      this.zoomBy(distance(now, other) / distance(before, other), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (this.moves === "line") {
      this.setPosition(now.x / this.stage.clientWidth);
    } else {
      this.x += now.x - before.x;
      this.y += now.y - before.y;
      this.#place();
    }
    this.pointers.set(event.pointerId, now);
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
  }

  #wheel(event) {
    const whole = this.zoom <= this.fitted * 1.001;
    if (whole && event.deltaY > 0 && !event.ctrlKey) return; // the page scrolls on
    event.preventDefault();
    const { x, y } = this.#point(event);
    this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), x, y);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 0.1 : 0.01;
    const acts = {
      ArrowLeft: () => this.setPosition(this.position - step), ArrowRight: () => this.setPosition(this.position + step),
      Home: () => this.setPosition(0), End: () => this.setPosition(1),
      "+": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8), 0: () => this.fit(),
    };
    this.pictures.slice(0, 3).forEach((one, index) => { acts[index + 1] = () => this.toggle(one.key); });
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

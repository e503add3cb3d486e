// Light or dark: the system's choice, or the one kept from the button. Runs before the page is drawn.
(() => {
  const NAMES = { "": "auto", light: "light", dark: "dark" };
  const kept = () => {
    try { return localStorage.getItem("studio-theme") || ""; } catch { return ""; }
  };
  const show = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${NAMES[theme]}`;
  };
  show(kept());
  document.addEventListener("DOMContentLoaded", () => {
    show(kept());
    document.getElementById("theme")?.addEventListener("click", () => {
      const order = ["", "light", "dark"];
      const next = order[(order.indexOf(kept()) + 1) % order.length];
      try { localStorage.setItem("studio-theme", next); } catch { /* private mode: for this page only */ }
      show(next);
    });
  });
})();

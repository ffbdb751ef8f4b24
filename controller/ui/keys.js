// Single keys for people who play this like an instrument. They rest while something is being typed, and can be turned
// off altogether, because single keys get in the way of speech input and some screen readers.

const REMEMBERED = "gst-scope.keys";
const TYPING = "input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, select, dialog[open] *";

/** `actions`: what each key does. `?` opens the help. */
export function bindKeys(actions) {
  const help = document.getElementById("help");
  const toggle = document.getElementById("keys-on");
  toggle.checked = localStorage.getItem(REMEMBERED) !== "off";
  toggle.addEventListener("change", () => localStorage.setItem(REMEMBERED, toggle.checked ? "on" : "off"));
  document.getElementById("help-open").addEventListener("click", () => help.showModal());

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !toggle.checked) return;
    if (event.target.closest?.(TYPING) || help.open) return;
    if (event.key === "?") help.showModal();
    else {
      const act = actions[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    }
  });
}

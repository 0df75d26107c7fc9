/** Elements, text only ever as text. */

/** An element with properties, `data-` and `aria-` attributes by name, and children; strings become text nodes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "list") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Changes the text only where it differs, so that nothing is laid out again in vain. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A button that tells whether it is pressed. */
export function button(text, title, onclick, properties = {}) {
  return element("button", { type: "button", title, onclick, ...properties }, text);
}

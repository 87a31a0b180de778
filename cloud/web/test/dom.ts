// As much of a document as Preact needs to render into and a test needs to press buttons. Not a browser: no
// layout, no styles, no events beyond those that are sent here.

export class Node {
  parentNode: Node | null = null;
  childNodes: Node[] = [];
  listeners: Record<string, (this: unknown, e: unknown) => void> = {};
  attributes: { name: string; value: string }[] = [];
  namespaceURI = "http://www.w3.org/1999/xhtml";
  ownerDocument: unknown = fake;
  /** Preact sends events only to handlers that were there when they began. */
  [key: string]: unknown;
  constructor(readonly nodeType: number, readonly localName: string, public data = "") {}
  get nodeName(): string { return this.localName.toUpperCase(); }
  get firstChild(): Node | null { return this.childNodes[0] ?? null; }
  get nextSibling(): Node | null {
    const all = this.parentNode?.childNodes ?? [];
    return all[all.indexOf(this) + 1] ?? null;
  }
  get textContent(): string { return this.data + this.childNodes.map((c) => c.textContent).join(""); }
  insertBefore(node: Node, before: Node | null): Node {
    node.remove();
    const at = before ? this.childNodes.indexOf(before) : this.childNodes.length;
    this.childNodes.splice(at, 0, node);
    node.parentNode = this;
    return node;
  }
  appendChild(node: Node): Node { return this.insertBefore(node, null); }
  removeChild(node: Node): Node {
    node.remove();
    return node;
  }
  remove(): void {
    const all = this.parentNode?.childNodes;
    all?.splice(all.indexOf(this), 1);
    this.parentNode = null;
  }
  contains(node: Node | null): boolean {
    return node === this || (!!node?.parentNode && this.contains(node.parentNode));
  }
  setAttribute(name: string, value: string): void {
    this.removeAttribute(name);
    this.attributes.push({ name, value: String(value) });
  }
  removeAttribute(name: string): void { this.attributes = this.attributes.filter((a) => a.name !== name); }
  getAttribute(name: string): string | null { return this.attributes.find((a) => a.name === name)?.value ?? null; }
  addEventListener(type: string, f: (this: unknown, e: unknown) => void): void { this.listeners[type] = f; }
  removeEventListener(type: string): void { delete this.listeners[type]; }
  focus(): void {}

  /** Sends an event to this node alone. */
  send(type: string): void {
    this.listeners[type]?.call(this, { type, currentTarget: this, target: this, preventDefault: () => {} });
  }
  /** Every element below of a kind. */
  all(name: string): Node[] {
    return this.childNodes.flatMap((c) => [...(c.localName === name ? [c] : []), ...c.all(name)]);
  }
  button(text: string): Node {
    const found = this.all("button").find((b) => b.textContent === text);
    if (!found) throw new Error(`no button "${text}" in "${this.textContent}"`);
    return found;
  }
}

const fake = {
  createElement: (name: string): Node => new Node(1, name),
  createElementNS: (_: string, name: string): Node => new Node(1, name),
  createTextNode: (text: string): Node => new Node(3, "#text", text),
  getElementById: (): null => null,
  documentElement: { lang: "" },
  activeElement: null,
  addEventListener: (): void => {},
};

/** Puts the document in place, and gives an element to render into. */
export function place(): Node {
  Object.assign(globalThis, { document: fake });
  return new Node(1, "div");
}

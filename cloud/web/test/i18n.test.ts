// Translations: the same keys (tsc holds that as well), no empty text, the same placeholders.
import { expect, test } from "vitest";
import { CODES, QUALITIES } from "../src/api/types";
import { en } from "../src/i18n/en";
import { enLater } from "../src/i18n/en-later";
import { zh, zhLater } from "../src/i18n/zh";

type Tree = { [key: string]: unknown };

function flat(tree: Tree, at = ""): Map<string, unknown> {
  const out = new Map<string, unknown>();
  for (const [key, value] of Object.entries(tree)) {
    if (value && typeof value === "object") for (const [k, v] of flat(value as Tree, `${at}${key}.`)) out.set(k, v);
    else out.set(at + key, value);
  }
  return out;
}

for (const [name, a, b] of [["frame", en, zh], ["later", enLater, zhLater]] as [string, Tree, Tree][]) {
  test(`${name}: both languages have the same texts`, () => {
    const [left, right] = [flat(a), flat(b)];
    expect([...right.keys()].sort()).toEqual([...left.keys()].sort());
    for (const [key, text] of left) {
      const other = right.get(key);
      expect(typeof other, key).toBe(typeof text);
      if (typeof text === "function") {
        const given = ["‹1›", "‹2›", "‹3›"].slice(0, text.length);
        const said = (other as (...a: string[]) => string)(...given);
        for (const g of given) expect(said, key).toContain(g);
      } else expect(other, key).not.toBe("");
    }
  });
}

test("every error code and quality has a text", () => {
  for (const code of CODES) expect(enLater.code[code]).toBeTruthy();
  for (const q of Object.values(QUALITIES)) expect(en.quality[q]).toBeTruthy();
});

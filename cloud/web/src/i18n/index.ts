// The page's language: chosen here, kept in the browser, followed by everything that reads `t`.
import { batch, signal } from "@preact/signals";
import { en, type Texts } from "./en";
import type { LaterTexts } from "./en-later";

export type Language = "en" | "zh-CN";
export const LANGUAGES: readonly (readonly [Language, string])[] = [["en", "English"], ["zh-CN", "中文"]];
const KEPT = "twinway.language";

export const language = signal<Language>("en");
/** Texts of the frame and the table. */
export const t = signal<Texts>(en);
/** Translated texts of what loads later; null for English, which loads with it (later.ts). */
export const translatedLater = signal<LaterTexts | null>(null);

export async function setLanguage(to: Language): Promise<void> {
  const other = to === "en" ? null : await import("./zh");
  batch(() => {
    t.value = other?.zh ?? en;
    translatedLater.value = other?.zhLater ?? null;
    language.value = to;
  });
  document.documentElement.lang = to;
  try {
    localStorage.setItem(KEPT, to);
  } catch {
    // A browser that keeps nothing still shows the page.
  }
}

/** Sets the language that was kept, or else the browser's. */
export async function startLanguage(): Promise<void> {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {
    // as above
  }
  await setLanguage((kept ?? navigator.language).startsWith("zh") ? "zh-CN" : "en");
}

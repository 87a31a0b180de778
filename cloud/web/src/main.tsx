// Where the page begins: language, then the session that the cookie may still hold, then the view.
import { render } from "preact";
import { startLanguage } from "./i18n";
import { followHistory } from "./state/route";
import { resume } from "./state/session";
import "./styles/tokens.css";
import "./styles/frame.css";
import "./styles/parts.css";
import { App } from "./ui/App";

async function begin(root: HTMLElement): Promise<void> {
  await startLanguage();
  followHistory();
  render(<App />, root);
  await resume();
}

// Not awaited at the top: the chunks that load later import this one.
const root = document.getElementById("app");
if (root) void begin(root);

// Builds the page: hashed assets, brotli copies beside them, and a build that fails when the shell
// outgrows its budget. Not here: serving (cloud-ui embeds the output).
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** What a first visit loads before it shows the login, in brotli bytes. */
const SHELL_BUDGET = 25_000;
const TEXT = /\.(html|js|css|svg|json|webmanifest)$/;

function brotli(bytes: Uint8Array): Uint8Array {
  return brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
}

/** Writes `<file>.br` beside each text file and holds the shell's budget. */
function brotliCopies(): Plugin {
  return {
    name: "twinway-brotli",
    apply: "build",
    enforce: "post",
    async writeBundle(options, bundle) {
      const dir = options.dir ?? "dist";
      let shell = 0;
      const inShell = new Set<string>(["index.html"]);
      const take = (file: string): void => {
        const chunk = bundle[file];
        if (inShell.has(file) || chunk?.type !== "chunk") return;
        inShell.add(file);
        for (const css of chunk.viteMetadata?.importedCss ?? []) inShell.add(css);
        chunk.imports.forEach(take);
      };
      for (const chunk of Object.values(bundle)) if (chunk.type === "chunk" && chunk.isEntry) take(chunk.fileName);
      for (const file of Object.keys(bundle)) {
        if (!TEXT.test(file)) continue;
        const small = brotli(readFileSync(join(dir, file)));
        await writeFile(join(dir, `${file}.br`), small);
        if (inShell.has(file)) shell += small.length;
      }
      if (shell > SHELL_BUDGET) this.error(`the shell is ${shell} bytes of brotli, its budget ${SHELL_BUDGET}`);
      this.info(`shell: ${shell} of ${SHELL_BUDGET} bytes of brotli`);
    },
  };
}

const cloud = process.env["TWINWAY_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [brotliCopies()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // Hashes do not compress, and the shell names every part: six characters tell a few dozen files of a build apart.
    rolldownOptions: {
      output: { chunkFileNames: "assets/[name]-[hash:6].js", assetFileNames: "assets/[name]-[hash:6][extname]" },
    },
  },
  server: {
    proxy: {
      // The cloud checks Origin against Host on writes and on the live channel.
      "/api": { target: cloud, changeOrigin: true, ws: true, headers: { origin: new URL(cloud).origin } },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
} as Parameters<typeof defineConfig>[0]);

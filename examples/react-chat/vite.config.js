import { defineConfig } from "vite";

// The page and Tokenwire are one origin to the browser, so that the session cookie counts.
export default defineConfig({
  esbuild: { jsx: "automatic" },
  server: { proxy: { "/api": process.env.TOKENWIRE ?? "http://127.0.0.1:8000" } },
});

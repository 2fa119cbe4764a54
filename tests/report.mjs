// The report in a browser: node tests/report.mjs REPORT.html [screenshot.png]. Every chart is drawn, nothing is wider
// than the page, every Chinese letter has its glyph, nothing is asked of the network.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [file, screenshot] = process.argv.slice(2);
const require = createRequire(join(resolve(process.env.NODE_MODULES ?? "node_modules"), "x.js"));
const { chromium } = require("playwright-core");
const fail = (text) => { console.error(`FAILED: ${text}`); process.exit(1); };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
const errors = [];
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("request", (request) => /^(file|data):/.test(request.url()) || errors.push(`asked the network for ${request.url()}`));
await page.goto(`file://${resolve(file)}`);
await page.evaluate(() => document.fonts.ready);
const found = await page.evaluate(() => {
  const charts = [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    // What lies outside of the chart's own frame would be cut off.
    const outside = [...svg.querySelectorAll("text")].filter((t) => {
      const b = t.getBoundingClientRect();
      return b.width > 0 && (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1);
    });
    return {
      name: svg.parentElement.id, width: box.width, height: box.height,
      drawn: svg.querySelectorAll("path, rect, circle, line, polyline").length,
      texts: svg.querySelectorAll("text").length, outside: outside.map((t) => t.textContent),
    };
  });
  return { charts, wide: document.documentElement.scrollWidth, width: innerWidth,
    tables: document.querySelectorAll("table").length, language: document.documentElement.lang };
});
const expected = ["question1", "question2", "question3", "question4", "confusion", "calibration", "bytes", "waterfall",
  "sensitivity", "curves", "losses", "twins", "lineage"];
for (const name of expected) {
  const chart = found.charts.find((c) => c.name === name);
  if (!chart) fail(`no chart ${name}`);
  if (!(chart.width > 200 && chart.height > 80 && chart.drawn >= 5 && chart.texts >= 3)) fail(`an empty chart: ${JSON.stringify(chart)}`);
  if (chart.outside.length) fail(`${name}: cut off: ${chart.outside.join(", ")}`);
}
if (found.wide > found.width) fail(`the page is ${found.wide} px wide, the window ${found.width}`);
if (errors.length) fail(errors.join("; "));
if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
await browser.close();
console.log(`ok: report.html (${found.language}): ${found.charts.length} charts and ${found.tables} tables shown, none cut off, nothing asked of the network`);

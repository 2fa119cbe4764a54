// The web page in a browser: node tests/page.mjs PAGE ANSWERS PHOTOS [most milliseconds per picture].
// Twenty pictures must get the logits that `infer eval` kept in ANSWERS, by whatever way they come in; then
// pixels, wrong files and the examples. Needs playwright-core beside a Chromium in CHROMIUM.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { tmpdir } from "node:os";

const [page_file, answers_file, photos, most] = process.argv.slice(2);
const require = createRequire(join(resolve(process.env.NODE_MODULES ?? "node_modules"), "x.js"));
const { chromium } = require("playwright-core");
const fail = (text) => { console.error(`FAILED: ${text}`); process.exit(1); };
const pass = (text) => console.log(`ok: ${text}`);

// The logits of an answers artifact (FORMAT.md) by picture name.
function answers(file) {
  const bytes = readFileSync(file), length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length));
  const part = (name) => bytes.subarray(8 + length + header[name].data_offsets[0], 8 + length + header[name].data_offsets[1]);
  const names = part("names").toString().split("\n"), [n, classes] = header.logits.shape;
  const values = Buffer.from(part("logits"));
  const row = (i) => Array.from({ length: classes }, (_, c) => values.readFloatLE(4 * (i * classes + c)));
  // What the model's file divides logits by, if it was calibrated.
  const { temperature = 1 } = JSON.parse(header.__metadata__.crumb).body;
  return [new Map(names.map((name, i) => [name, row(i)])), temperature];
}

const [known, temperature] = answers(answers_file);
const all = readdirSync(photos).filter((name) => known.has(name)).sort();
const chosen = Array.from({ length: Math.min(20, all.length) }, (_, i) => all[Math.floor(i * all.length / Math.min(20, all.length))]);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"],
});
const context = await browser.newContext({ permissions: ["camera"] });
const page = await context.newPage();
const errors = [];
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("request", (request) => /^(file|data|blob):/.test(request.url()) || errors.push(`asked the network for ${request.url()}`));
await page.goto(`file://${resolve(page_file)}`);
await page.evaluate("ready");
pass(await page.textContent("#about"));

const argmax = (row) => row.indexOf(Math.max(...row));
let largest = 0;
const times = [];
for (const name of chosen) {
  const data = readFileSync(join(photos, name)).toString("base64");
  const found = await page.evaluate(async ([data, name]) => {
    const blob = await (await fetch(`data:application/octet-stream;base64,${data}`)).blob();
    return classifyBlob(blob, name);
  }, [data, name]);
  if (found.error) fail(`${name}: ${found.error}`);
  const expected = known.get(name);
  largest = Math.max(largest, ...found.logits.map((v, i) => Math.abs(v - expected[i])));
  if (argmax(found.logits) !== argmax(expected)) fail(`${name}: class ${argmax(found.logits)}, infer says ${argmax(expected)}`);
  times.push(found.milliseconds);
}
if (!(largest <= 1e-3)) fail(`logits differ by ${largest}`);
times.sort((a, b) => a - b);
const median = times[times.length >> 1];
pass(`${chosen.length} pictures: same classes as infer, logits differ by ${largest.toExponential(1)} at most; ` +
  `${median.toFixed(1)} ms a picture (median; the first ${times.at(-1).toFixed(1)})`);
if (most && median > Number(most)) fail(`${median} ms a picture`);

const bars = () => page.$$eval("#bars tr", (rows) => rows.map((row) => row.innerText.replace(/\s+/g, " ").trim()));
const classes = known.get(chosen[0]).length;
if ((await bars()).filter((bar) => bar !== "none of these").length !== classes) fail(`bars: ${await bars()}`);

// Chosen, dropped and pasted pictures, and the camera.
const first = join(photos, chosen[0]);
await page.setInputFiles("#file", first);
await page.waitForFunction(() => /Answered in \d+ ms/.test(document.querySelector("#told").textContent));
const by_choice = (await bars()).join();
const row = known.get(chosen[0]), share = 1 / row.reduce((sum, v) => sum + Math.exp((v - Math.max(...row)) / temperature), 0);
const shown = await bars(), unknown = shown[0] === "none of these", best = shown[Number(unknown)];
if (!(Math.abs(parseFloat(best.match(/([\d.]+) %$/)[1]) - 100 * share) <= 0.051)) fail(`${best}, not ${100 * share} %`);
if (unknown !== share < (await page.evaluate("threshold") ?? 0)) fail(`none of these: ${unknown}, at ${share}`);
pass(`${best}, over a temperature of ${temperature}${unknown ? ": none of these" : ""}`);
for (const kind of ["drop", "paste"]) {
  await page.evaluate(() => document.querySelector("#bars").replaceChildren());
  await page.evaluate(([kind, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "picture", { type: "image/png" }));
    const event = new Event(kind, { bubbles: true, cancelable: true });
    event[kind === "drop" ? "dataTransfer" : "clipboardData"] = transfer;
    document.body.dispatchEvent(event);
  }, [kind, readFileSync(first).toString("base64")]);
  await page.waitForFunction(() => document.querySelectorAll("#bars tr").length > 0);
  if ((await bars()).join() !== by_choice) fail(`${kind}: ${await bars()}`);
}
pass("a picture that is chosen, dropped or pasted gets one answer");
const examples = await page.$$("#examples img");
if (examples.length) {
  await page.evaluate(() => document.querySelector("#bars").replaceChildren());
  await examples.at(-1).click();
  await page.waitForFunction(() => document.querySelectorAll("#bars tr").length > 0);
  pass(`${examples.length} examples, the last is answered: ${(await bars())[0]}`);
}
await page.evaluate(() => document.querySelector("#bars").replaceChildren());
await page.click("#film");
await page.waitForFunction(() => document.querySelector("#camera").videoWidth > 0);
await page.click("#film");
await page.waitForFunction(() => document.querySelectorAll("#bars tr").length > 0);
pass(`the camera is answered: ${(await bars())[0]}`);
if (process.env.SCREENSHOT) {
  await page.setInputFiles("#file", first);
  await page.waitForTimeout(300);
  await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });
}

// Wrong files get a message, and the page goes on.
const wrong = join(tmpdir(), `wrong-${process.pid}`);
const jpeg = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 16]);
for (const [what, bytes, expected] of [["text", Buffer.from("no picture"), "no picture that the browser can read"],
  ["an empty file", Buffer.alloc(0), "no picture that the browser can read"], ["half a JPEG", jpeg, "JPEG"]]) {
  writeFileSync(wrong, bytes);
  await page.setInputFiles("#file", wrong);
  await page.waitForFunction(() => document.querySelector("#error").textContent !== "");
  const told = await page.textContent("#error");
  if (!told.includes(expected) || (await bars()).length) fail(`${what}: ${told}`);
  pass(`${what} gets a message: ${told.replace(/^\S+: /, "")}`);
  await page.setInputFiles("#file", first);
  await page.waitForFunction(() => document.querySelectorAll("#bars tr").length > 0);
}
// What the picture element says of a file it cannot show is the test's own doing.
const grave = errors.filter((text) => !/Failed to load resource/.test(text) || !/blob:/.test(text));
if (grave.length) fail(`the console: ${grave.join("; ")}`);
pass("no error on the console, nothing asked of the network");
await browser.close();

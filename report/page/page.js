"use strict";
const $ = (id) => document.getElementById(id);

// A character holds 15 bits, see report/src/page.rs.
function unpack(id) {
  const text = $(id).textContent, bytes = new Uint8Array(Number($(id).dataset.bytes));
  let bits = 0, held = 0, at = 0;
  for (let i = 0; i < text.length; i++) {
    bits = (bits << 15) | (text.charCodeAt(i) - 0x3400);
    for (held += 15; held >= 8 && at < bytes.length; held -= 8) bytes[at++] = bits >> (held - 8);
    bits &= (1 << held) - 1;
  }
  return bytes;
}

let engine, about;

// Calls an engine function on `input`; what it answers.
function ask(name, input, ...rest) {
  const at = engine.room(input.length);
  new Uint8Array(engine.memory.buffer, at, input.length).set(input);
  const n = engine[name](...rest);
  const text = new TextDecoder().decode(new Uint8Array(engine.memory.buffer, engine.output(), Math.abs(n)));
  if (n < 0) throw new Error(text);
  return JSON.parse(text);
}

async function start() {
  const unzipped = new Blob([unpack("engine")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(unzipped).arrayBuffer();
  engine = (await WebAssembly.instantiate(code, {})).instance.exports;
  about = ask("load", unpack("model"));
  const count = (n) => n.toLocaleString("en");
  $("about").textContent = `${about.classes.length} classes. The whole classifier is a file of ${count(about.bytes)} bytes ` +
    `(${count(about.parameters)} parameters) inside this page. Nothing leaves your computer.`;
}

// What only the browser can decode: pixels, R, G, B, A.
function pixels(picture, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  return new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
}

async function logitsOf(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  // JPEG decoders differ, so ours is asked, which refuses the uncommon kinds that it would read wrongly; what
  // else a picture is, the browser reads.
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return ask("classify_file", bytes);
  const how = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const picture = await createImageBitmap(blob, how).catch(() => {
    throw new Error("this is no picture that the browser can read");
  });
  const { width, height } = picture;
  return ask("classify_pixels", pixels(picture, width, height), width, height);
}

function show(logits, milliseconds) {
  const top = Math.max(...logits), powers = logits.map((v) => Math.exp((v - top) / temperature));
  const sum = powers.reduce((a, b) => a + b);
  const rows = powers.map((p, i) => [p / sum, about.classes[i]]).sort((a, b) => b[0] - a[0]);
  if (rows[0][0] < threshold) rows.unshift([null, "none of these"]);
  $("bars").replaceChildren(...rows.map(([share, name]) => {
    const row = document.createElement("tr"), cells = ["name", "bar", "share"].map((c) => {
      const cell = row.insertCell();
      cell.className = c;
      return cell;
    });
    cells[0].textContent = name;
    const bar = document.createElement("div");
    bar.style.width = `${100 * share}%`;
    cells[1].append(bar);
    cells[2].textContent = share === null ? "" : `${(100 * share).toFixed(1)} %`;
    return row;
  }));
  $("told").textContent = `Answered in ${milliseconds.toFixed(0)} ms.`;
}

// Classifies; what the page shows is this answer or this message.
async function classify(name, work) {
  $("error").textContent = "";
  try {
    await ready;
    const began = performance.now(), logits = await work(), milliseconds = performance.now() - began;
    show(logits, milliseconds);
    return { logits, milliseconds };
  } catch (error) {
    $("bars").replaceChildren();
    $("told").textContent = "";
    $("shown").removeAttribute("src");
    $("error").textContent = `${name}: ${error.message}`;
    return { error: error.message };
  }
}

function classifyBlob(blob, name) {
  if ($("shown").src.startsWith("blob:")) URL.revokeObjectURL($("shown").src);
  $("shown").src = URL.createObjectURL(blob);
  return classify(name || "the picture", () => logitsOf(blob));
}

async function film() {
  const camera = $("camera");
  if (camera.hidden) {
    try {
      camera.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      $("error").textContent = `the camera cannot be used: ${error.message}`;
      return;
    }
    camera.hidden = false;
    $("film").textContent = "Take the picture";
    return camera.play();
  }
  const { videoWidth: w, videoHeight: h } = camera;
  const frame = pixels(camera, w, h);
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(frame.buffer), w, h), 0, 0);
  camera.srcObject.getTracks().forEach((track) => track.stop());
  camera.hidden = true;
  $("film").textContent = "Use the camera";
  $("shown").src = canvas.toDataURL();
  return classify("the camera", async () => ask("classify_pixels", frame, w, h));
}

$("choose").onclick = () => $("file").click();
$("film").onclick = film;
$("file").onchange = (event) => {
  const file = event.target.files[0];
  if (file) classifyBlob(file, file.name);
  event.target.value = "";
};
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("place").classList.add("over");
});
addEventListener("dragleave", () => $("place").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("place").classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) classifyBlob(file, file.name);
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files][0];
  if (file) classifyBlob(file, file.name);
});
for (const example of $("examples").children) {
  const run = async () => classifyBlob(await (await fetch(example.src)).blob(), example.alt);
  example.onclick = run;
  example.onkeydown = (event) => event.key === "Enter" && run();
}
const ready = start();
ready.catch((error) => {
  $("about").textContent = `This browser cannot run the classifier (${error.message}): it needs WebAssembly with SIMD ` +
    "and DecompressionStream, as browsers since 2023 have.";
});

// Answers pictures by the engine of a page. Pieces of bytes come in and go out, each behind its length: out who
// answers, in the engine and the model; then in a picture and out 0 and its logits, f32, or 1 and a message, until
// the end. A picture is width and height, u32 each, and its R, G, B, A; both are 0 before a JPEG file. `infer check`
// starts it.
const fs = require("fs");

function read(n) {
  const data = Buffer.alloc(n);
  for (let at = 0; at < n; ) {
    const got = fs.readSync(0, data, at, n - at, null);
    if (!got) process.exit();
    at += got;
  }
  return data;
}

const take = () => read(read(4).readUInt32LE());

function give(kind, bytes) {
  const data = Buffer.concat([Buffer.alloc(4), kind, bytes]);
  data.writeUInt32LE(data.length - 4);
  for (let at = 0; at < data.length; ) at += fs.writeSync(1, data, at);
}

give(Buffer.from("node "), Buffer.from(process.version));
const engine = new WebAssembly.Instance(new WebAssembly.Module(take()), {}).exports;

function ask(name, input, ...rest) {
  const at = engine.room(input.length);
  new Uint8Array(engine.memory.buffer, at, input.length).set(input);
  const n = engine[name](...rest);
  const text = Buffer.from(engine.memory.buffer, engine.output(), Math.abs(n)).toString();
  if (n < 0) throw new Error(text);
  return JSON.parse(text);
}

ask("load", take());
for (;;) {
  const piece = take(), [width, height] = [0, 4].map((at) => piece.readUInt32LE(at)), picture = piece.subarray(8);
  try {
    const logits = width ? ask("classify_pixels", picture, width, height) : ask("classify_file", picture);
    give(Buffer.from([0]), Buffer.from(Float32Array.from(logits).buffer));
  } catch (error) {
    // Memory that is missing, code that fails: no refusal.
    if (error instanceof WebAssembly.RuntimeError) throw error;
    give(Buffer.from([1]), Buffer.from(error.message));
  }
}

// The zoo's application on Node's own server: `node_server.mjs PORT`. See servers.py.

import { createServer } from "node:http";

const journal = [];
const opened = new Set();
const waiting = new Map();

function whenOpen(gate, then) {
  if (opened.has(gate)) then();
  else waiting.set(gate, then);
}

function answer(request, response) {
  const [path, query] = request.url.split("?");
  journal.push(`${request.method} ${path}`);
  const name = path.split("/").pop();
  if (name === "stream") {
    response.write("first\n");
    whenOpen(query, () => response.end("second\n"));
    return;
  }
  if (name === "open") {
    opened.add(query);
    waiting.get(query)?.();
  }
  response.setHeader("ETag", '"1"');
  if (name === "echo") {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => response.end(Buffer.concat(parts)));
  } else if (name === "journal") {
    response.end(journal.join("\n"));
  } else if (request.headers["if-none-match"] === '"1"') {
    response.statusCode = 304;
    response.end();
  } else {
    response.setHeader("Content-Length", 6);
    response.end("hello\n");
  }
}

const server = createServer(answer);
server.keepAliveTimeout = 1000;
server.listen(Number(process.argv[2]), "127.0.0.1");

// Node's clients as their users use them: one JSON document of what they saw, as python_clients.py tells it.
//
//   clients.mjs fetch|openai URL HOST BROKEN_URL BROKEN_HOST
//
// `fetch` is Node's own fetch, with the packages ws and eventsource; `openai` asks an OpenAI-compatible server.
// HOST is the name and port to ask for, "" for those of the URL.

import { randomBytes, randomUUID } from "node:crypto";
import dns from "node:dns";
import { EventSource } from "eventsource";
import OpenAI, { APIError } from "openai";
import WebSocket from "ws";

// Names below .localhost are this machine, as the resolvers of macOS and systemd say; others do not know it.
const lookup = dns.lookup;
dns.lookup = (name, ...more) => lookup(name.endsWith(".localhost") ? "127.0.0.1" : name, ...more);

const [client, ...words] = process.argv.slice(2);
const at = (url, host) => (host ? `http://${host}` : url);
const url = at(words[0], words[1]);
const broken = at(words[2], words[3]);
const megabyte = randomBytes(1 << 20);

/** What the WebSocket echoed, text and bytes. */
const socket = () =>
  new Promise((resolve, reject) => {
    const one = new WebSocket(`${url.replace("http", "ws")}/socket`);
    const back = [];
    one.on("open", () => {
      one.send("hello");
      one.send(megabyte);
    });
    one.on("message", (data, isBinary) => {
      back.push(isBinary ? megabyte.equals(data) : data.toString());
      if (back.length === 2) one.close();
    });
    one.on("close", () => resolve(back));
    one.on("error", reject);
  });

/** What ws says of a service that cannot start. */
const refused = () =>
  new Promise((resolve) => {
    const one = new WebSocket(`${broken.replace("http", "ws")}/socket`);
    one.on("error", (error) => resolve(error.message));
    one.on("open", () => resolve("opened"));
  });

/** Each event as it comes; eventsource would connect again at the end, so the last one closes it. */
const events = () =>
  new Promise((resolve, reject) => {
    const token = randomUUID();
    const source = new EventSource(`${url}/events?${token}`);
    const found = [];
    source.onmessage = ({ data }) => {
      found.push(data);
      fetch(`${url}/seen?${token}`).catch(reject);
      if (data === "third") {
        source.close();
        resolve(found);
      }
    };
    source.onerror = (error) => {
      source.close();
      reject(new Error(error.message));
    };
  });

/** fetch has no error for a 503: its users look at `ok`, then at the body. */
const failure = async () => {
  const answer = await fetch(`${broken}/x`);
  return { status: answer.status, error: await answer.text() };
};

const withFetch = async () => {
  return {
    woke: await (await fetch(`${url}/who?woke`)).json(),
    again: await (await fetch(`${url}/who?again`)).json(),
    echoed: megabyte.equals(
      Buffer.from(await (await fetch(`${url}/echo`, { method: "POST", body: megabyte })).arrayBuffer()),
    ),
    events: await events(),
    socket: await socket(),
    refused: await refused(),
    ...(await failure()),
  };
};

const withOpenai = async () => {
  const messages = [{ role: "user", content: "a" }];
  const more = { model: "tiny", max_tokens: 40, ignore_eos: true };
  const model = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  let chunks = 0;
  let end = null;
  for await (const chunk of await model.chat.completions.create({ messages, ...more, stream: true })) {
    chunks += 1;
    end = chunk.choices[0].finish_reason ?? end;
  }
  const whole = await model.chat.completions.create({ messages, ...more });
  const seen = { chunks, end, tokens: whole.usage.completion_tokens };
  const failing = new OpenAI({ baseURL: `${broken}/v1`, apiKey: "none", maxRetries: 0 });
  try {
    await failing.chat.completions.create({ messages, ...more });
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    return { ...seen, kind: error.constructor.name, status: error.status, error: error.message };
  }
  return seen;
};

console.log(JSON.stringify(await (client === "openai" ? withOpenai() : withFetch())));

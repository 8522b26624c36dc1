// Requests to the server that served this page; there is no other.

import { sentence } from "./dom.js";

export class Failed extends Error {}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Failed("The server does not answer. Start it again with `stylecore serve`; nothing is lost.");
  }
  if (response.ok) return response.json();
  const { error } = await response.json().catch(() => ({}));
  if (error) throw new Failed(sentence(error));
  if (response.status === 403)
    throw new Failed("This page is no longer known to the server. Open the address that `stylecore serve` printed.");
  throw new Failed(`The server answered with an error (${response.status}).`);
}

const OWN = { "X-Stylecore": "1" };

export const get = (path) => send(path, {});

export const post = (path, body = {}) =>
  send(path, { method: "POST", headers: { ...OWN, "Content-Type": "application/json" }, body: JSON.stringify(body) });

export function upload(file, name, query = {}) {
  return send(`api/pictures?${new URLSearchParams(query)}`, { method: "POST", headers: { ...OWN, "X-Name": encodeURIComponent(name) }, body: file });
}

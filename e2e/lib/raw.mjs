// Bytes on a socket, for requests and frames that no client library would send.

import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { within } from './inbox.mjs';

/// One TCP connection that keeps all that it receives.
export class Raw {
  received = Buffer.alloc(0);
  #watchers = new Set();

  constructor(t, port, host = '127.0.0.1') {
    this.socket = net.connect({ port, host, allowHalfOpen: true });
    this.socket.setNoDelay(true);
    this.connected = new Promise((resolve, reject) => { this.socket.once('connect', resolve); this.socket.once('error', reject); });
    this.connected.catch(() => {});
    this.socket.on('data', (chunk) => { this.received = Buffer.concat([this.received, chunk]); this.#notify(); });
    // A reset counts as an end: the peer wants no more of this.
    this.ended = new Promise((resolve) => { this.socket.on('end', resolve); this.socket.on('close', resolve); this.socket.on('error', resolve); });
    this.over = false;
    this.ended.then(() => { this.over = true; this.#notify(); });
    t.after(() => this.socket.destroy());
  }

  #notify() {
    for (const watcher of this.#watchers) watcher();
  }

  send(bytes) {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    return this;
  }

  get text() {
    return this.received.toString('latin1');
  }

  /// Resolves when `look(this)` gives something truthy.
  when(look, what, patience) {
    const found = new Promise((resolve) => {
      const watcher = () => {
        const answer = look(this);
        if (answer) { this.#watchers.delete(watcher); resolve(answer); }
      };
      this.#watchers.add(watcher);
      watcher();
    });
    return within(found, `${what}; received: ${JSON.stringify(this.text.slice(0, 400))}`, patience);
  }

  /// Waits for the peer to close; fails when it does not.
  closed(patience) {
    return within(this.ended, `the peer to close; received: ${JSON.stringify(this.text.slice(0, 400))}`, patience);
  }

  /// All complete HTTP responses with a Content-Length that have come so far.
  responses() {
    const found = [];
    let rest = this.received;
    for (;;) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) return found;
      const head = rest.subarray(0, end).toString('latin1');
      const length = Number(head.match(/\r\ncontent-length: *(\d+)/i)?.[1] ?? 0);
      const body = rest.subarray(end + 4, end + 4 + length);
      if (body.length < length) return found;
      found.push({ status: Number(head.split(' ')[1]), head, body: body.toString('utf8') });
      rest = rest.subarray(end + 4 + length);
    }
  }

  response(patience) {
    return this.when((raw) => raw.responses()[0], 'a response', patience);
  }
}

export async function raw(t, port) {
  const opened = new Raw(t, port);
  await within(opened.connected, 'a TCP connection');
  return opened;
}

/// A WebSocket upgrade by hand; resolves when the server has switched protocols, with only frames left to read.
export async function upgraded(t, port, path = '/ws') {
  const opened = await raw(t, port);
  opened.send(upgradeRequest(port, path));
  const end = await opened.when((it) => it.text.indexOf('\r\n\r\n') + 1, 'the answer to an upgrade');
  if (!opened.text.startsWith('HTTP/1.1 101')) throw new Error(`not upgraded: ${opened.text}`);
  opened.received = opened.received.subarray(end + 3);
  return opened;
}

export function upgradeRequest(port, path = '/ws', more = '') {
  const key = randomBytes(16).toString('base64');
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    + `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${more}\r\n`;
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/// A client's frame, with every part open to be wrong.
export function frame(opcode, payload = '', { fin = true, masked = true, rsv = 0, length } = {}) {
  const body = Buffer.isBuffer(payload) ? payload : Buffer.from(payload);
  const announced = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const mask = masked ? 0x80 : 0;
  if (announced < 126) head.push(mask | announced);
  else if (announced < 65536) head.push(mask | 126, announced >> 8, announced & 255);
  else {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(BigInt(announced));
    head.push(mask | 127, ...wide);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), body]);
  const key = randomBytes(4);
  const hidden = Buffer.from(body);
  for (let at = 0; at < hidden.length; at += 1) hidden[at] ^= key[at & 3];
  return Buffer.concat([Buffer.from(head), key, hidden]);
}

/// The complete frames of a server in `bytes`: `{ opcode, payload }`.
export function frames(bytes) {
  const found = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    let length = bytes[at + 1] & 127;
    let start = at + 2;
    if (length === 126) { if (start + 2 > bytes.length) break; length = bytes.readUInt16BE(start); start += 2; }
    else if (length === 127) { if (start + 8 > bytes.length) break; length = Number(bytes.readBigUInt64BE(start)); start += 8; }
    if (start + length > bytes.length) break;
    found.push({ opcode: bytes[at] & 15, payload: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}

/// The server's close frame as `{ code, reason }`, once it has come.
export function closeFrame(opened) {
  return opened.when((it) => {
    const close = frames(it.received).find(({ opcode }) => opcode === OPCODE.close);
    return close && { code: close.payload.length >= 2 ? close.payload.readUInt16BE(0) : null, reason: close.payload.subarray(2).toString() };
  }, 'a close frame');
}

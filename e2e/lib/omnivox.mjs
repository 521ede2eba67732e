// The server under test: the built binary on a free port.
//
//   const server = await omnivox(t);                          // omnivox dev
//   const server = await omnivox(t, { settings: '…toml…' });  // omnivox serve --config FILE
//
// After the test it gets SIGTERM and must end with exit code 0 and without a panic in its log; a test that ends it by
// itself calls `server.stop()`.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Program, folder } from './programs.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.resolve(here, '../..');
export const TARGET = process.env.E2E_TARGET ?? path.join(ROOT, 'target');
export const BINARY = process.env.E2E_BINARY ?? path.join(TARGET, 'debug/omnivox');

/// The environment without settings that someone's shell may hold.
export function cleanEnvironment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('OMNIVOX_'));
  return { ...Object.fromEntries(kept), ...more };
}

/// `dev`, or `serve` with these settings; `settingsFile` is where they are written, for tests that change them.
export async function omnivox(t, { settings, settingsFile, flags = [], env = {} } = {}) {
  const args = settings === undefined ? ['dev', '--port', '0'] : ['serve', '--config', writeSettings(t, settings, settingsFile)];
  // `dev` has the short paths; in a settings file they are routes like any other.
  const server = new Server([...args, ...flags], env, settings === undefined ? '/ws' : '/v1/ws');
  t.after(() => server.endOfTest());
  await server.ready();
  return server;
}

function writeSettings(t, settings, file = path.join(folder(t), 'omnivox.toml')) {
  writeFileSync(file, settings);
  return file;
}

class Server extends Program {
  #stopped = null;

  constructor(args, env, path) {
    super(BINARY, args, { env: cleanEnvironment({ NO_COLOR: '1', ...env }) });
    this.path = path;
  }

  async ready() {
    const [, host, port] = await this.printed(/http:\/\/(127\.0\.0\.1|localhost|\[::1\]):(\d+)/);
    this.host = host;
    this.port = Number(port);
    this.url = `http://127.0.0.1:${port}`;
    this.ws = `ws://127.0.0.1:${port}${this.path}`;
  }

  /// SIGTERM (or another signal), then its exit code.
  stop(signal, patience) {
    this.#stopped ??= super.stop(signal, patience);
    return this.#stopped;
  }

  async endOfTest() {
    const byTheTest = this.#stopped !== null;
    const { code, signal } = await this.stop('SIGTERM', 30_000);
    assert.doesNotMatch(this.output, /panicked at/, 'the server panicked');
    if (!byTheTest) assert.equal(code ?? signal, 0, `exit after SIGTERM; its last words:\n${this.output.slice(-2000)}`);
  }

  /// A request of the HTTP API: the status, the headers, and the body as JSON where it is JSON.
  async request(method, target, body, headers = {}) {
    const json = body === undefined || typeof body === 'string' ? {} : { 'content-type': 'application/json' };
    const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(new URL(target, this.url), { method, body: sent, headers: { ...json, ...headers } });
    const text = await response.text();
    const isJson = (response.headers.get('content-type') ?? '').startsWith('application/json');
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
  }

  get(target, headers) {
    return this.request('GET', target, undefined, headers);
  }

  post(target, body, headers) {
    return this.request('POST', target, body, headers);
  }

  /// Publishes and gives the position's id; fails the test when it is refused.
  async publish(channel, data, more = {}) {
    const { status, json, text } = await this.post('/v1/publish', { channel, data, ...more });
    assert.equal(status, 200, text);
    return json.id;
  }

  /// The value of a metric, summed over its labels; 0 when there is none.
  async metric(name) {
    const { text } = await this.get('/metrics');
    const values = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /// Kilobytes of memory that the server holds.
  residentKb() {
    return Number(readFileSync(`/proc/${this.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]);
  }

  /// Fails unless a new client gets a message through: what every abuse must leave untouched.
  async assertHealthy() {
    const channel = `healthy-${Math.random().toString(36).slice(2)}`;
    await this.publish(channel, 'alive');
    const { status, json } = await this.get(`/v1/history?channel=${channel}`);
    assert.equal(status, 200);
    assert.equal(json.events.at(-1).data, 'alive');
  }
}

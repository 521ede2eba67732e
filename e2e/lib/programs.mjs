// Starts programs for one test and makes sure that none outlives it.
//
// Each is stopped by its own process id: when its test ends, when the test process ends, and when that is interrupted.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { within } from './inbox.mjs';

const running = new Set();

function endAll() {
  for (const child of running) child.kill('SIGKILL');
}
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

export class Program {
  #lines = '';
  #watchers = new Set();

  constructor(command, args, options = {}) {
    this.name = path.basename(command);
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    running.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => { this.#lines += text; for (const watcher of this.#watchers) watcher(); });
    }
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => { this.#lines += `${error}\n`; });
      this.child.on('close', (code, signal) => { running.delete(this.child); resolve({ code, signal }); });
    });
  }

  get pid() {
    return this.child.pid;
  }

  /// All that it has printed so far, both streams.
  get output() {
    return this.#lines;
  }

  /// The first match of `pattern` in what it prints.
  printed(pattern) {
    const found = new Promise((resolve, reject) => {
      const look = () => {
        const match = this.#lines.match(pattern);
        if (match) { this.#watchers.delete(look); resolve(match); }
      };
      this.#watchers.add(look);
      this.ended.then(({ code, signal }) => { look(); reject(new Error(`${this.name} ended (${code ?? signal}) without ${pattern}:\n${this.#lines}`)); });
      look();
    });
    return within(found, `${this.name} to print ${pattern}; it printed:\n${this.#lines}`);
  }

  /// Sends a signal and waits for the end.
  stop(signal = 'SIGTERM', patience) {
    this.child.kill(signal);
    return within(this.ended, `${this.name} to end after ${signal}`, patience).catch((error) => {
      this.child.kill('SIGKILL');
      throw new Error(`${error.message}; its last words:\n${this.#lines.slice(-4000)}`);
    });
  }
}

/// A program that ends with its test.
export function program(t, command, args, options) {
  const started = new Program(command, args, options);
  t.after(async () => {
    if (started.child.exitCode === null && started.child.signalCode === null) await started.stop('SIGTERM');
  });
  return started;
}

/// A folder that is gone after the test.
export function folder(t) {
  const made = mkdtempSync(path.join(tmpdir(), 'omnivox-e2e-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/// A port that was free a moment ago, for programs that can't choose one by themselves.
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/// Resolves when something accepts connections on the port.
export async function accepting(port, host = '127.0.0.1') {
  for (let attempt = 0; attempt < 250; attempt += 1) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, host, () => { socket.destroy(); resolve(true); });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nothing accepts connections on port ${port}`);
}

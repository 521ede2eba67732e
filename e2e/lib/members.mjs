// aiortc members of a room (e2e/webrtc/member.py), started and stopped by a test.

import assert from 'node:assert/strict';
import path from 'node:path';
import { within } from './inbox.mjs';
import { ROOT } from './omnivox.mjs';
import { Program } from './programs.mjs';

const PYTHON = path.join(ROOT, 'target/venv/bin/python');
const PROGRAM = path.join(ROOT, 'e2e/webrtc/member.py');
const PATIENCE_MS = 90_000;

/// Starts a member; `inside` is a command in front of it, such as that of a network namespace.
export function member(t, { url, room = 'meeting', name, peers, inside = [], args = [], env = {} }) {
  const [command, ...rest] = [...inside, PYTHON, PROGRAM, url, room, name, String(peers), ...args];
  const started = new Program(command, rest, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PYTHONUNBUFFERED: '1', ...env } });
  const line = (word) => within(new Promise((resolve, reject) => {
    const found = () => started.output.split('\n').find((text) => text.startsWith(`{"${word}":`));
    const look = () => found() && resolve(JSON.parse(found())[word]);
    started.child.stdout.on('data', look);
    started.ended.then(() => (found() ? look() : reject(new Error(`${name} ended:\n${started.output}`))));
    look();
  }), `${name} to say "${word}"`, PATIENCE_MS).catch((error) => { throw new Error(`${error.message}; it printed:\n${started.output}`); });
  const who = {
    entered: () => line('entered'),
    /// How it is connected to each peer, once it has heard and seen enough of them.
    done: () => line('done'),
    async leave() {
      started.child.stdin.end('leave\n');
      const { code } = await within(started.ended, `${name} to leave`, PATIENCE_MS);
      assert.equal(code, 0, started.output);
    },
  };
  t.after(async () => {
    if (started.child.exitCode === null && started.child.signalCode === null) await started.stop('SIGKILL');
  });
  return who;
}
